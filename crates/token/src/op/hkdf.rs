//! HKDF (RFC 5869; PKCS#11 mechanisms v3.1 2.62), with keys in memory and, for what is the key of a code, in the TPM.

use std::sync::Arc;

use base::Secret;
use base::digest::Hash;
use model::{AttributeType, HkdfSalt, MechanismRow, ObjectClass, ObjectHandle, Params, Rule, Scope, Template, Value};

use crate::library::Library;
use crate::object::Object;
use crate::objects::draft::Draft;
use crate::objects::separation;
use crate::op::{self, Half, Material};
use crate::slots::session::Session;
use crate::slots::token::MAX_SECRET_LEN;
use crate::template;
use crate::{Error, Result};

impl Library {
    /// `CKM_HKDF_DATA`: the result is a data object, whose value can be read: initialisation vectors and the finished
    /// messages of TLS 1.3 are made so.
    pub(crate) fn derive_data(
        &self,
        session: &Session,
        row: &'static MechanismRow,
        params: &Params,
        base: &Arc<Object>,
        template: &Template,
    ) -> Result<ObjectHandle> {
        // Its mechanisms name this one, or none; but the salt may be the key that is to hand on all.
        let salt = match params {
            Params::Hkdf { salt: HkdfSalt::Key(salt), .. } => session.token.meant(*salt)?,
            _ => None,
        };
        if salt.as_ref().into_iter().chain([base]).any(|key| !separation::may_make_data(key)) {
            return Err(Error::KeyFunctionNotPermitted);
        }
        // A data object has no length of its own: the template says with it how much to derive.
        let wanted = match template.value(AttributeType::VALUE_LEN)? {
            Some(Value::Ulong(len @ 1..=MAX_SECRET_LEN)) => usize::try_from(len).ok(),
            Some(_) => return Err(Error::KeySizeRange),
            None => None,
        };
        let mut given = Template::new();
        for (ty, value) in template.iter().filter(|(ty, _)| *ty != AttributeType::VALUE_LEN) {
            if ty == AttributeType::VALUE {
                return Err(Error::AttributeReadOnly(ty));
            }
            given.push(ty, value.to_vec());
        }
        let mut attributes = template::start(Scope::DATA, Rule::CREATE, &given)?;
        template::settle(&mut attributes, AttributeType::CLASS, Value::Ulong(ObjectClass::DATA.0))?;
        let on_token = attributes.is_true(AttributeType::TOKEN);
        template::default(&mut attributes, AttributeType::PRIVATE, Value::Bool(on_token));
        let value = self.hkdf(session, row, params, base, wanted)?;
        self.settle_new(session, Draft::new(attributes, None, Some(value))?)
    }

    /// The key material that HKDF makes: `wanted` bytes, or after the extract step alone as many as the hash has. Commands
    /// of the TPM are those of codes with a key there: one for each block of the result.
    pub(crate) fn hkdf(
        &self,
        session: &Session,
        row: &'static MechanismRow,
        params: &Params,
        base: &Arc<Object>,
        wanted: Option<usize>,
    ) -> Result<Secret> {
        let Params::Hkdf { extract, expand, hash, salt, info } = params else {
            return Err(Error::MechanismParamInvalid("HKDF needs its parameters"));
        };
        let (hash, len) = (*hash, wanted.unwrap_or(hash.len()));
        match (extract, expand) {
            (false, false) => return Err(Error::MechanismParamInvalid("neither extract nor expand")),
            (_, true) if wanted.is_none() => return Err(Error::TemplateIncomplete(AttributeType::VALUE_LEN)),
            (_, true) if len > 255 * hash.len() => return Err(Error::KeySizeRange),
            (true, false) if len > hash.len() => return Err(Error::KeySizeRange),
            _ => {}
        }
        let key = if *extract {
            // The input of the extract step is the message of a code: the TPM gives no key away for that.
            let input = Material::value(self, session, base)?;
            let salt = match salt {
                HkdfSalt::Null => Material::Memory(Secret::zeroed(hash.len())),
                HkdfSalt::Data(salt) => Material::Memory(Secret::copy_from(salt)),
                HkdfSalt::Key(salt) => {
                    // Who may choose the input sees codes under the salt: it must be a key to derive from, too.
                    let salt = op::key_for(session, *salt, Half::Private, AttributeType::DERIVE, row)?;
                    self.code_key(session, salt, hash)?
                }
            };
            let mut key = salt.hmac(self, session, hash, input.expose())?;
            if !expand {
                key.truncate(len);
                return Ok(key);
            }
            Material::Memory(key)
        } else {
            self.code_key(session, Arc::clone(base), hash)?
        };
        expanded(hash, info, len, |message| key.hmac(self, session, hash, message))
    }

    /// A key for codes with this hash, wherever it is.
    fn code_key(&self, session: &Session, key: Arc<Object>, hash: Hash) -> Result<Material> {
        if !key.in_memory() && !session.token.chip.capabilities.has_hash(hash) {
            return Err(Error::MechanismParamInvalid("the key is in the TPM, which does not have this hash"));
        }
        Material::new(self, session, key)
    }
}

/// HKDF-Expand (RFC 5869 2.3); `code` is the HMAC under the pseudorandom key.
fn expanded(hash: Hash, info: &[u8], len: usize, code: impl Fn(&[u8]) -> Result<Secret>) -> Result<Secret> {
    let mut out = Secret::zeroed(0);
    let mut message = Secret::zeroed(0);
    for counter in 1..=len.div_ceil(hash.len()) {
        message.extend(info);
        message.extend(&[u8::try_from(counter).map_err(|_| Error::KeySizeRange)?]);
        message = code(message.expose())?;
        out.extend(message.expose());
    }
    out.truncate(len);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5869, A.1.
    #[test]
    fn hkdf_of_the_rfc() {
        let prk = Hash::Sha256.hmac(&(0..=12).collect::<Vec<u8>>(), &[&[0x0b; 22]]);
        let info: Vec<u8> = (0xf0..=0xf9).collect();
        let okm = expanded(Hash::Sha256, &info, 42, |message| Ok(Hash::Sha256.hmac(prk.expose(), &[message]))).unwrap();
        assert_eq!(okm.expose()[..8], [0x3c, 0xb2, 0x5f, 0x25, 0xfa, 0xac, 0xd5, 0x7a]);
        assert_eq!(okm.expose()[34..], [0x34, 0x00, 0x72, 0x08, 0xd5, 0xb8, 0x87, 0x18, 0x58, 0x65][2..]);
    }
}
