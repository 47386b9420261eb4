//! Which powers of a key do not go together, and what a key hands on to what is made of it (PKCS#11 leaves it to the token; Clulow, "On the
//! Security of PKCS #11", CHES 2003; searches for such ways: Bortolozzo, Centenaro, Focardi, Steel, "Attacking and Fixing PKCS#11 Security
//! Tokens", CCS 2010).
//!
//! Whoever may use a key that wraps and decrypts can read what it wraps: wrap, then decrypt. Whoever may unwrap into a key
//! that shows its value needs no `CKA_DECRYPT`. So:
//!
//! - An AES key does not wrap and decrypt, nor unwrap and encrypt. A template that names all four powers, as clients do
//!   that ask for whatever there is, makes a key, and that key wraps only what can be read anyway.
//! - What a key unwraps can be read only if the key may decrypt, or can itself be read.
//! - No key gains a power by which it opens what it, or its copy, wrapped before: these rules hold for what
//!   `C_SetAttributeValue` and `C_CopyObject` make of a key, too.
//! - A private RSA key that unwraps, or decapsulates, and does not decrypt makes no raw signatures, which would be decryptions.
//! - A key that only trusted keys may wrap is not wrapped for a private key on this token that opens it, and not by a secret key:
//!   who had a copy of that, or made it, could unwrap again what only trusted keys may wrap, and say something else of it.
//! - Of what only a private key that does not decrypt can open, nobody knows what it was: it stays for trusted keys alone to wrap.
//! - What comes of a sensitive key by concatenation or XOR is not shorter than the key: short results can be guessed. And it is guarded
//!   as all that went into it ([`hand_on`]).
//! - What is derived one way (HKDF, Diffie-Hellman) tells nothing of the key. Whether it can be read itself the caller says: whoever
//!   has the key can derive it again, as data or as a code. A key whose `CKA_ALLOWED_MECHANISMS` names `CKM_HKDF_DERIVE` alone
//!   makes only what is guarded as it is itself.
//!
//! Every path by which bytes of a key become another key's goes through [`hand_on`] or [`unwrapped`]. A key that is sensitive, can be extracted
//! and is not for trusted keys alone is as safe as the programs that may use it: they can wrap it under a key of their own.

use model::{AttributeType, Attributes, KeyType, MechanismRow, MechanismType, ObjectClass, Scheme, Template, Value};

use crate::object::{Object, has_power};
use crate::slots::token::Token;
use crate::{Error, Result, template};

/// The powers of an AES key that only go.
const GOING: [AttributeType; 4] =
    [AttributeType::ENCRYPT, AttributeType::DECRYPT, AttributeType::WRAP, AttributeType::UNWRAP];

/// A new key's powers go together.
pub(crate) fn check_new(attributes: &Attributes) -> Result<()> {
    let is = |ty| attributes.is_true(ty);
    let mixed = (is(AttributeType::WRAP) && is(AttributeType::DECRYPT))
        || (is(AttributeType::UNWRAP) && is(AttributeType::ENCRYPT));
    if is_aes(attributes) && mixed && !GOING.into_iter().all(is) {
        return Err(Error::TemplateInconsistent(
            "an AES key that wraps does not decrypt, one that unwraps does not encrypt",
        ));
    }
    Ok(())
}

/// A changed key, or a copy, opens nothing that the key it was did not.
pub(crate) fn check_change(before: &Attributes, after: &Attributes) -> Result<()> {
    let gains = |ty| !has_power(before, ty) && has_power(after, ty);
    let loses = |ty| has_power(before, ty) && !has_power(after, ty);
    let refused = if is_aes(before) {
        // A key that decrypts and wraps goes on decrypting as long as it wraps: what it may wrap depends on it.
        let unmixes = loses(AttributeType::DECRYPT) && after.is_true(AttributeType::WRAP);
        GOING.into_iter().find(|ty| gains(*ty)).or(unmixes.then_some(AttributeType::DECRYPT))
    } else if only_unwraps(before) {
        [AttributeType::DECRYPT, AttributeType::UNWRAP, AttributeType::DECAPSULATE]
            .into_iter()
            .find(|ty| gains(*ty) || loses(*ty))
    } else {
        None
    };
    refused.map_or(Ok(()), |ty| Err(Error::AttributeReadOnly(ty)))
}

/// Does the key's usage allow this mechanism for signatures?
pub(crate) fn may_sign(key: &Object, row: &MechanismRow) -> bool {
    row.scheme != Scheme::RsaRaw || !only_unwraps(&key.attributes)
}

/// May this key wrap that one?
///
/// # Errors
/// Those of the store.
pub(crate) fn may_wrap(token: &Token, wrapping: &Object, key: &Object) -> Result<bool> {
    let opens_itself = is_aes(&wrapping.attributes) && wrapping.attributes.is_true(AttributeType::DECRYPT);
    if opens_itself && !key.is_readable() {
        return Ok(false);
    }
    if !key.attributes.is_true(AttributeType::WRAP_WITH_TRUSTED) {
        return Ok(true);
    }
    if !wrapping.attributes.is_true(AttributeType::TRUSTED) {
        return Ok(false);
    }
    // The public half of a pair: its private half can be told to be here, and what it opens.
    let Ok(public) = wrapping.public_key() else { return Ok(false) };
    let opened_here = |other: &Object| {
        other.class() == ObjectClass::PRIVATE_KEY
            && other.public_key().as_ref() == Ok(&public)
            && !only_unwraps(&other.attributes)
    };
    let mut opened = token.session_objects().iter().any(|other| opened_here(other));
    // There are private keys that this caller does not see, too.
    token.shelf().each(|other| opened |= opened_here(&other))?;
    Ok(!opened)
}

/// What is made of keys is guarded as they are. `attributes` are those that `template` asks for.
///
/// # Errors
/// [`Error::TemplateInconsistent`] for a template that asks for less.
pub(crate) fn hand_on(
    attributes: &mut Attributes,
    template: &Template,
    row: &MechanismRow,
    sources: &[&Object],
) -> Result<()> {
    let reversible =
        matches!(row.scheme, Scheme::BaseAndKey | Scheme::BaseAndData | Scheme::DataAndBase | Scheme::XorData);
    for source in sources {
        if reversible || hands_on_all(&source.attributes) {
            if source.attributes.is_true(AttributeType::SENSITIVE) {
                template::settle(attributes, AttributeType::SENSITIVE, Value::Bool(true))?;
            }
            if !source.attributes.is_true(AttributeType::EXTRACTABLE) {
                template::settle(attributes, AttributeType::EXTRACTABLE, Value::Bool(false))?;
            }
        }
        if source.attributes.is_true(AttributeType::WRAP_WITH_TRUSTED) {
            only_trusted(attributes, template)?;
        }
    }
    Ok(())
}

/// May this key make data that can be read?
pub(crate) fn may_make_data(base: &Object) -> bool {
    !hands_on_all(&base.attributes)
}

/// What a key unwraps is guarded as what it may have been.
///
/// # Errors
/// [`Error::TemplateInconsistent`] for a template that asks for less.
pub(crate) fn unwrapped(attributes: &mut Attributes, template: &Template, unwrapping: &Object) -> Result<()> {
    let may_show = unwrapping.attributes.is_true(AttributeType::DECRYPT) || unwrapping.is_readable();
    if !attributes.is_true(AttributeType::SENSITIVE) && !may_show {
        return Err(Error::TemplateInconsistent(
            "what a key unwraps that neither decrypts nor can be read itself is sensitive",
        ));
    }
    if only_unwraps(&unwrapping.attributes) && attributes.is_true(AttributeType::EXTRACTABLE) {
        only_trusted(attributes, template)?;
    }
    Ok(())
}

fn only_trusted(attributes: &mut Attributes, template: &Template) -> Result<()> {
    if template.value(AttributeType::WRAP_WITH_TRUSTED)? == Some(Value::Bool(false)) {
        return Err(Error::TemplateInconsistent(
            "what may have been a key that only trusted keys wrap stays one: CKA_WRAP_WITH_TRUSTED",
        ));
    }
    attributes.set(AttributeType::WRAP_WITH_TRUSTED, Value::Bool(true));
    Ok(())
}

/// A secret key that by its mechanisms, which are said once and for all when it is made, derives keys with HKDF and does nothing else.
fn hands_on_all(attributes: &Attributes) -> bool {
    let Some(Value::Mechanisms(allowed)) = attributes.find(AttributeType::ALLOWED_MECHANISMS) else { return false };
    let derives_keys = |ty: &MechanismType| ty.row().is_some_and(|row| row.scheme == Scheme::Hkdf);
    attributes.ulong(AttributeType::CLASS) == Some(ObjectClass::SECRET_KEY.0)
        && !allowed.is_empty()
        && allowed.iter().all(derives_keys)
}

/// A private key that unwraps, or decapsulates, which for RSA is the same, and does not decrypt. It stays so.
fn only_unwraps(attributes: &Attributes) -> bool {
    attributes.ulong(AttributeType::CLASS) == Some(ObjectClass::PRIVATE_KEY.0)
        && !attributes.is_true(AttributeType::DECRYPT)
        && (attributes.is_true(AttributeType::UNWRAP)
            || (attributes.ulong(AttributeType::KEY_TYPE) == Some(KeyType::RSA.0)
                && has_power(attributes, AttributeType::DECAPSULATE)))
}

/// Of secret keys only those of AES wrap and decrypt; others may have these powers, and cannot use them.
fn is_aes(attributes: &Attributes) -> bool {
    attributes.ulong(AttributeType::KEY_TYPE) == Some(KeyType::AES.0)
}

#[cfg(test)]
mod tests {
    use model::Value;

    use super::*;

    fn key(class: ObjectClass, powers: &[AttributeType]) -> Attributes {
        let mut attributes = Attributes::new();
        attributes.set(AttributeType::CLASS, Value::Ulong(class.0));
        let key_type = if class == ObjectClass::SECRET_KEY { KeyType::AES } else { KeyType::RSA };
        attributes.set(AttributeType::KEY_TYPE, Value::Ulong(key_type.0));
        for ty in GOING {
            attributes.set(ty, Value::Bool(powers.contains(&ty)));
        }
        attributes
    }

    /// Every set of powers, as a key of the class.
    fn keys(class: ObjectClass) -> impl Iterator<Item = Attributes> {
        (0..16).map(move |bits| {
            let powers: Vec<_> =
                GOING.into_iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1).map(|(_, ty)| ty).collect();
            key(class, &powers)
        })
    }

    #[test]
    fn secret_keys_are_made_with_powers_that_go_together() {
        use AttributeType as A;
        let made = keys(ObjectClass::SECRET_KEY).filter(|key| check_new(key).is_ok());
        for key in made {
            let mixed = key.is_true(A::WRAP) && key.is_true(A::DECRYPT);
            assert!(!mixed || GOING.into_iter().all(|ty| key.is_true(ty)), "{key:?}");
        }
        assert!(check_new(&key(ObjectClass::SECRET_KEY, &[A::WRAP, A::UNWRAP])).is_ok());
        assert!(check_new(&key(ObjectClass::SECRET_KEY, &GOING)).is_ok());
        assert!(check_new(&key(ObjectClass::SECRET_KEY, &[A::WRAP, A::DECRYPT])).is_err());
        assert!(check_new(&key(ObjectClass::SECRET_KEY, &[A::UNWRAP, A::ENCRYPT])).is_err());
        assert!(check_new(&key(ObjectClass::PRIVATE_KEY, &[A::UNWRAP, A::DECRYPT])).is_ok());
    }

    /// Whatever is changed and copied in whatever order: no key wraps secrets that it or a relative decrypts.
    #[test]
    fn no_way_leads_from_a_key_that_wraps_secrets_to_one_that_decrypts() {
        use AttributeType as A;
        for start in keys(ObjectClass::SECRET_KEY).filter(|key| check_new(key).is_ok()) {
            let mut reached = vec![start];
            let mut next = 0;
            while let Some(from) = reached.get(next).cloned() {
                for to in keys(ObjectClass::SECRET_KEY) {
                    if check_change(&from, &to).is_ok() && !reached.contains(&to) {
                        reached.push(to);
                    }
                }
                next += 1;
            }
            let wraps_secrets = reached.iter().any(|key| key.is_true(A::WRAP) && !key.is_true(A::DECRYPT));
            let decrypts = reached.iter().any(|key| key.is_true(A::DECRYPT));
            assert!(!(wraps_secrets && decrypts), "{reached:?}");
        }
    }

    #[test]
    fn a_private_key_that_only_unwraps_stays_so() {
        use AttributeType as A;
        let only = key(ObjectClass::PRIVATE_KEY, &[A::UNWRAP]);
        for to in keys(ObjectClass::PRIVATE_KEY) {
            assert_eq!(check_change(&only, &to).is_ok(), only_unwraps(&to), "{to:?}");
        }
        let all = key(ObjectClass::PRIVATE_KEY, &[A::UNWRAP, A::DECRYPT]);
        assert!(keys(ObjectClass::PRIVATE_KEY).all(|to| check_change(&all, &to).is_ok()));
    }
}
