//! Objects of the other store, as objects of ours.

use base::digest::Hash;
use model::{
    ATTRIBUTES, AttributeType, Attributes, KeyType, MechanismType, ObjectClass, Rule, Scope, Value, ValueKind,
};
use store::NewObject;
use store::peer::{PeerObject, PeerValue, ScalarTag};

use super::primary::parse_reference;
use super::{MigratedObject, Outcome};
use crate::link;
use token::Error;
use token::manage::{PublicKey, adopt_attributes};

/// Attributes of that software's own: 0x8f000000 and a number.
const OBJAUTH_ENC: u64 = 0x8f00_0001;
const PUB_BLOB: u64 = 0x8f00_0002;
const PRIV_BLOB: u64 = 0x8f00_0003;
const ENC_BLOB: u64 = 0x8f00_0004;
const SERIALIZED_TR: u64 = 0x8f00_0005;

/// Key types of HMAC keys for a hash that is not here (MD5, RIPEMD-160): the key itself says for which it is.
const OTHER_HMAC_TYPES: [u64; 2] = [0x27, 0x29];
/// Numbers of mechanisms in the specification are below this.
const STANDARD_MECHANISMS: u64 = 0x1_0000;

type Result<T> = std::result::Result<T, String>;

/// What becomes of an object, and its row but for the token's number.
pub(super) fn translate(
    found: &PeerObject,
    so_name: &tpm::Name,
    tpm: &tpm::Tpm,
) -> (MigratedObject, Option<NewObject>) {
    let mut report = MigratedObject { id: found.id, label: None, class: None, action: Outcome::Migrate, why: None };
    let result = match &found.attributes {
        Ok(attributes) => {
            let source = Source(attributes);
            report.class = source.number(AttributeType::CLASS).map(|class| ObjectClass(class).to_string());
            let label = source.bytes(AttributeType::LABEL.0).filter(|label| !label.is_empty());
            report.label = label.map(|label| String::from_utf8_lossy(&label).into_owned());
            row(&source, found.id, so_name, tpm)
        }
        Err(why) => Err(format!("its attributes cannot be read: {why}")),
    };
    match result {
        Ok(row) => (report, Some(row)),
        Err(why) => {
            (report.action, report.why) = (Outcome::Skip, Some(why));
            (report, None)
        }
    }
}

fn row(source: &Source<'_>, id: i64, so_name: &tpm::Name, tpm: &tpm::Tpm) -> Result<NewObject> {
    let class = source.number(AttributeType::CLASS).map(ObjectClass).ok_or("it does not say what it is")?;
    let key_type = source
        .number(AttributeType::KEY_TYPE)
        .map(|number| if OTHER_HMAC_TYPES.contains(&number) { KeyType::GENERIC_SECRET } else { KeyType(number) });
    let scope = Scope::of(class, key_type).ok_or("there are no objects of this kind here")?;
    let mut attributes = source.attributes(scope);
    attributes.set(AttributeType::CLASS, Value::Ulong(class.0));
    attributes.set(AttributeType::TOKEN, Value::Bool(true));
    // That software writes false here, always, and lets everything be changed.
    attributes.set(AttributeType::MODIFIABLE, Value::Bool(true));
    let private = match attributes.find(AttributeType::PRIVATE) {
        Some(Value::Bool(private)) => *private,
        _ => scope.intersects(Scope::HIDDEN.union(Scope::DATA)),
    };
    attributes.set(AttributeType::PRIVATE, Value::Bool(private));
    let mut row = NewObject { private, ..NewObject::default() };
    if let Some(key_type) = key_type.filter(|_| scope.intersects(Scope::KEY)) {
        attributes.set(AttributeType::KEY_TYPE, Value::Ulong(key_type.0));
        row.key_type = u32::try_from(key_type.0).ok();
    }
    if scope.intersects(Scope::HIDDEN) {
        tpm_key(source, &mut attributes, &mut row, tpm)?;
    } else if scope.intersects(Scope::PUBLIC) {
        public_key(source, &mut attributes)?;
    } else if scope == Scope::CERTIFICATE {
        certificate(&mut attributes)?;
    } else {
        data(source, &mut attributes, &mut row)?;
    }
    row.class = u32::try_from(class.0).map_err(|_| "there are no objects of this kind here")?;
    let identity = row.tpm_name.clone().or_else(|| attributes.bytes(AttributeType::VALUE).map(<[u8]>::to_vec));
    row.uid = uid(so_name, id, class, &identity.unwrap_or_default());
    // What would not be served is not taken over either.
    adopt_attributes(&mut row, &attributes)?;
    Ok(row)
}

/// The number of the object, the same whenever the store is taken over.
fn uid(so_name: &tpm::Name, id: i64, class: ObjectClass, identity: &[u8]) -> [u8; 16] {
    let parts: [&[u8]; 5] =
        [b"tpm2-pkcs11 object", so_name.as_bytes(), &id.to_be_bytes(), &class.0.to_be_bytes(), identity];
    let digest = Hash::Sha256.digest(&parts);
    digest.first_chunk().copied().unwrap_or_default()
}

/// A private or secret key: its blobs, and what the TPM says it may do.
fn tpm_key(source: &Source<'_>, attributes: &mut Attributes, row: &mut NewObject, tpm: &tpm::Tpm) -> Result<()> {
    let wrapped = match (source.bytes(PUB_BLOB), source.bytes(PRIV_BLOB)) {
        (Some(public), Some(private)) if !private.is_empty() => tpm::Wrapped { public, private },
        _ => linked(source, tpm)?,
    };
    let allowed = source.0.find(&AttributeType::ALLOWED_MECHANISMS.0.to_string());
    if allowed.is_some_and(|allowed| mechanisms(allowed).is_none()) {
        return Err("its allowed mechanisms cannot be read, and without them it would allow all".to_owned());
    }
    let damaged = |_| "its public area is damaged, or of a kind that is not known here".to_owned();
    let area = wrapped.public_area().map_err(damaged)?;
    let name = wrapped.name().map_err(damaged)?;
    let may = |usage| area.attributes().contains(usage);
    let said = |attributes: &Attributes, ty| attributes.is_true(ty);
    let origin = may(tpm::Attributes::SENSITIVE_DATA_ORIGIN);
    let native = origin && may(tpm::Attributes::FIXED_TPM) && may(tpm::Attributes::FIXED_PARENT);
    let mut set = |ty, value| attributes.set(ty, Value::Bool(value));
    set(AttributeType::SENSITIVE, true);
    set(AttributeType::EXTRACTABLE, false);
    set(AttributeType::ALWAYS_SENSITIVE, native);
    set(AttributeType::NEVER_EXTRACTABLE, native);
    set(AttributeType::LOCAL, origin);
    if !origin || attributes.find(AttributeType::KEY_GEN_MECHANISM).is_none() {
        attributes.set(AttributeType::KEY_GEN_MECHANISM, Value::Ulong(u64::MAX));
    }
    let secret = row.key_type.is_some_and(|ty| KeyType(ty.into()).is_secret());
    if secret {
        secret_key(&area, attributes)?;
    } else {
        let key = PublicKey::from_area(&area).map_err(|_| "its size or curve is not supported here")?;
        link::check(&area).map_err(|error| match error {
            // What to do about it is for who links a key.
            Error::ArgumentsBad(why) => why.split("; ").next().unwrap_or(why).to_owned(),
            error => error.to_string(),
        })?;
        key.describe(attributes);
        let rsa = matches!(key, PublicKey::Rsa(_));
        // RSA signatures are made by the raw private-key operation.
        let signs = may(if rsa { tpm::Attributes::DECRYPT } else { tpm::Attributes::SIGN });
        let uses = [
            (AttributeType::SIGN, signs),
            (AttributeType::SIGN_RECOVER, signs && rsa),
            (AttributeType::DECRYPT, rsa && may(tpm::Attributes::DECRYPT)),
            (AttributeType::DERIVE, !rsa && may(tpm::Attributes::DECRYPT)),
        ];
        for (ty, possible) in uses {
            let value = possible && said(attributes, ty);
            attributes.set(ty, Value::Bool(value));
        }
    }
    row.wrapped_auth = Some(source.wrapped(OBJAUTH_ENC).ok_or("its authorization is missing, or damaged")?);
    row.tpm_name = Some(name.as_bytes().to_vec());
    (row.tpm_public, row.tpm_private) = (Some(wrapped.public), Some(wrapped.private));
    Ok(())
}

/// A persistent key of the TPM that a reference names: it must still be there, and the same.
fn linked(source: &Source<'_>, tpm: &tpm::Tpm) -> Result<tpm::Wrapped> {
    let reference = source.bytes(SERIALIZED_TR).ok_or("there is no key in the TPM behind it")?;
    let (handle, public) = parse_reference(&reference)?;
    let wrapped = tpm::Wrapped::persistent(public, handle);
    let found = tpm.public_of(handle).map_err(|error| error.to_string())?;
    let found = found.ok_or_else(|| format!("it is a key at {handle:#010x}, and this TPM has nothing there"))?;
    if found.name().ok() != wrapped.name().ok() {
        return Err(format!("it is a key at {handle:#010x}, and this TPM has another one there"));
    }
    Ok(wrapped)
}

fn secret_key(area: &tpm::PublicArea, attributes: &mut Attributes) -> Result<()> {
    let may = |usage| area.attributes().contains(usage);
    attributes.remove(AttributeType::VALUE);
    if let Some(bits) = area.aes_bits() {
        attributes.set(AttributeType::VALUE_LEN, Value::Ulong(u64::from(bits) / 8));
        let uses = [
            // A symmetric key that "signs" is one that encrypts (TPM 2.0 Part 1, 27.2).
            (AttributeType::ENCRYPT, may(tpm::Attributes::SIGN)),
            (AttributeType::DECRYPT, may(tpm::Attributes::DECRYPT)),
        ];
        for (ty, possible) in uses {
            let value = possible && attributes.is_true(ty);
            attributes.set(ty, Value::Bool(value));
        }
        return Ok(());
    }
    if area.hmac().is_none() {
        return Err("the key behind it is neither for AES nor for HMAC".to_owned());
    }
    for ty in [AttributeType::ENCRYPT, AttributeType::DECRYPT, AttributeType::DERIVE] {
        attributes.set(ty, Value::Bool(false));
    }
    Ok(())
}

/// A public key: what the TPM says where there is a key in it, since its usage is given wrongly by most releases.
fn public_key(source: &Source<'_>, attributes: &mut Attributes) -> Result<()> {
    let not_known = "its size or curve is not supported here";
    let area = source.bytes(PUB_BLOB).and_then(|blob| tpm::PublicArea::parse(&blob).ok());
    let key = match &area {
        Some(area) => PublicKey::from_area(area).map_err(|_| not_known)?,
        None => PublicKey::from_attributes(attributes).map_err(|_| not_known)?,
    };
    key.describe(attributes);
    let rsa = matches!(key, PublicKey::Rsa(_));
    if let PublicKey::Rsa(_) = &key {
        attributes.set(AttributeType::MODULUS_BITS, Value::Ulong(key.bits()));
    }
    if let Some(area) = area {
        let may = |usage| area.attributes().contains(usage);
        let verifies = may(tpm::Attributes::SIGN);
        attributes.set(AttributeType::VERIFY, Value::Bool(verifies));
        attributes.set(AttributeType::VERIFY_RECOVER, Value::Bool(verifies && rsa));
        attributes.set(AttributeType::ENCRYPT, Value::Bool(rsa && may(tpm::Attributes::DECRYPT)));
        attributes.set(AttributeType::LOCAL, Value::Bool(may(tpm::Attributes::SENSITIVE_DATA_ORIGIN)));
    }
    for ty in [AttributeType::DERIVE, AttributeType::TRUSTED] {
        attributes.set(ty, Value::Bool(false));
    }
    if attributes.find(AttributeType::KEY_GEN_MECHANISM).is_none() {
        attributes.set(AttributeType::KEY_GEN_MECHANISM, Value::Ulong(u64::MAX));
    }
    Ok(())
}

fn certificate(attributes: &mut Attributes) -> Result<()> {
    if attributes.bytes(AttributeType::VALUE).is_none_or(<[u8]>::is_empty) {
        return Err("there is no certificate in it".to_owned());
    }
    if attributes.find(AttributeType::CERTIFICATE_TYPE).is_none() {
        attributes.set(AttributeType::CERTIFICATE_TYPE, Value::Ulong(0));
    }
    // Only the security officer says so, and nobody who did is known here.
    attributes.set(AttributeType::TRUSTED, Value::Bool(false));
    Ok(())
}

fn data(source: &Source<'_>, attributes: &mut Attributes, row: &mut NewObject) -> Result<()> {
    if row.private {
        attributes.remove(AttributeType::VALUE);
        row.wrapped_auth = Some(source.wrapped(ENC_BLOB).ok_or("its value is missing, or damaged")?);
    }
    Ok(())
}

/// The attributes as that store has them.
struct Source<'a>(&'a PeerValue);

impl Source<'_> {
    fn number(&self, ty: AttributeType) -> Option<u64> {
        ulong(self.0.find(&ty.0.to_string())?)
    }

    fn bytes(&self, ty: u64) -> Option<Vec<u8>> {
        unhex(self.0.find(&ty.to_string())?.text()?)
    }

    /// `iv:tag:ciphertext` in hexadecimal digits, and that as bytes in hexadecimal digits: as nonce, ciphertext, tag.
    fn wrapped(&self, ty: u64) -> Option<Vec<u8>> {
        let text = String::from_utf8(self.bytes(ty)?).ok()?;
        // The C library ends it with a zero byte, sometimes.
        let parts: Option<Vec<Vec<u8>>> = text.trim_end_matches('\0').split(':').map(unhex).collect();
        match parts?.as_slice() {
            [iv, tag, body] if iv.len() == 12 && tag.len() == 16 => Some([&iv[..], body, tag].concat()),
            _ => None,
        }
    }

    /// All that objects of this kind have here, and what is not said by its default.
    fn attributes(&self, scope: Scope) -> Attributes {
        let mut attributes = Attributes::new();
        for row in ATTRIBUTES.iter().filter(|row| row.scope.intersects(scope)) {
            // What follows from something else, and what nobody may read.
            let derived = [
                AttributeType::UNIQUE_ID,
                AttributeType::PUBLIC_KEY_INFO,
                AttributeType::ENCAPSULATE,
                AttributeType::DECAPSULATE,
            ];
            let derived = derived.contains(&row.ty);
            if derived || row.secret.intersects(scope) {
                continue;
            }
            let found = self.0.find(&row.ty.0.to_string()).and_then(|value| typed(row.kind, value));
            match (found, row.default()) {
                // None allowed is what nobody means.
                (Some(Value::Mechanisms(list)), _) if list.is_empty() => {}
                (Some(value), _) => attributes.set(row.ty, value),
                (None, Some(value)) => attributes.set(row.ty, value),
                (None, None) if row.rule.contains(Rule::POWER) && row.kind == ValueKind::Bool => {
                    attributes.set(row.ty, Value::Bool(false));
                }
                (None, None) => {}
            }
        }
        attributes
    }
}

fn typed(kind: ValueKind, value: &PeerValue) -> Option<Value> {
    match kind {
        ValueKind::Bool => value.truth().or_else(|| value.number().map(|number| number != 0)).map(Value::Bool),
        ValueKind::Ulong => ulong(value).map(Value::Ulong),
        ValueKind::Bytes => value.text().and_then(unhex).map(Value::Bytes),
        ValueKind::Date => Value::from_native(kind, &value.text().and_then(unhex)?),
        ValueKind::Mechanisms => Some(Value::Mechanisms(mechanisms(value)?)),
    }
}

/// A number: as one, or as the bytes of a CK_ULONG.
fn ulong(value: &PeerValue) -> Option<u64> {
    match value {
        PeerValue::Scalar { text, tag: Some(ScalarTag::Str) } if matches!(text.len(), 8 | 16) => {
            words(&unhex(text)?).and_then(|words| words.first().copied())
        }
        value => value.number(),
    }
}

/// The mechanisms of a list, or of the bytes of an array of CK_MECHANISM_TYPE; without zeros, each once.
fn mechanisms(value: &PeerValue) -> Option<Vec<MechanismType>> {
    let numbers = match value {
        PeerValue::List(items) => {
            let numbers: Vec<u64> = items.iter().filter_map(ulong).collect();
            // A shorter list allows less, none at all would allow everything.
            if numbers.is_empty() && !items.is_empty() {
                return None;
            }
            numbers
        }
        PeerValue::Scalar { text, .. } if text.is_empty() => Vec::new(),
        PeerValue::Scalar { text, .. } => words(&unhex(text)?)?,
        PeerValue::Map(_) => return None,
    };
    let mut list: Vec<MechanismType> = Vec::new();
    for number in numbers.into_iter().filter(|number| *number != 0).map(MechanismType) {
        if !list.contains(&number) {
            list.push(number);
        }
    }
    Some(list)
}

/// The numbers in an array of CK_ULONG, which has 8 or 4 bytes, in the order of the machine that wrote it: in which of them
/// the numbers are those of the specification shows which it was.
fn words(bytes: &[u8]) -> Option<Vec<u64>> {
    let read = |len: usize, big: bool| -> Option<Vec<u64>> {
        if !bytes.len().is_multiple_of(len) {
            return None;
        }
        let numbers = bytes.chunks_exact(len).map(|word| {
            let add = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
            if big { word.iter().fold(0, add) } else { word.iter().rev().fold(0, add) }
        });
        let numbers: Vec<u64> = numbers.collect();
        numbers.iter().all(|number| *number < STANDARD_MECHANISMS).then_some(numbers)
    };
    [(8, false), (8, true), (4, false), (4, true)].into_iter().find_map(|(len, big)| read(len, big))
}

/// The bytes that pairs of hexadecimal digits stand for.
pub(crate) fn unhex(digits: &str) -> Option<Vec<u8>> {
    base::hex::decode(digits)
}

#[cfg(test)]
mod tests {
    use base::hex::encode as hex;

    use super::*;

    fn list(text: &str) -> Vec<u64> {
        mechanisms(&PeerValue::parse(text).unwrap()).unwrap().into_iter().map(|mechanism| mechanism.0).collect()
    }

    #[test]
    fn lists_of_mechanisms_in_every_spelling() {
        assert_eq!(list("[1, 3, 13]"), [1, 3, 13]);
        assert_eq!(list("!!seq [!!int \"1\", !!str \"0d00000000000000\", !!int \"0\", !!int \"1\"]"), [1, 13]);
        // 8 bytes and 4, little-endian and big-endian, with zeros in between
        assert_eq!(list("'010000000000000000000000000000000d00000000000000'"), [1, 13]);
        assert_eq!(list("'00000000000000010000000000001041'"), [1, 0x1041]);
        assert_eq!(list("'010000000d00000041100000'"), [1, 13, 0x1041]);
        assert_eq!(list("'000000010000000d00001041'"), [1, 13, 0x1041]);
        assert_eq!(list("''"), [0; 0]);
        assert!(mechanisms(&PeerValue::parse("'0102'").unwrap()).is_none());
        assert!(mechanisms(&PeerValue::parse("'xyz'").unwrap()).is_none());
    }

    #[test]
    fn values_in_every_spelling() {
        let value = |text: &str| PeerValue::parse(text).unwrap();
        assert_eq!(typed(ValueKind::Bool, &value("!!bool \"true\"")), Some(Value::Bool(true)));
        assert_eq!(typed(ValueKind::Bool, &value("'01'")), Some(Value::Bool(true)));
        assert_eq!(typed(ValueKind::Bool, &value("!!int \"0\"")), Some(Value::Bool(false)));
        assert_eq!(typed(ValueKind::Ulong, &value("!!int \"4160\"")), Some(Value::Ulong(4160)));
        assert_eq!(typed(ValueKind::Ulong, &value("!!str \"4010000000000000\"")), Some(Value::Ulong(4160)));
        assert_eq!(typed(ValueKind::Bytes, &value("!!str \"\"")), Some(Value::Bytes(Vec::new())));
        assert_eq!(typed(ValueKind::Bytes, &value("6b65")), Some(Value::Bytes(b"ke".to_vec())));
        assert_eq!(typed(ValueKind::Date, &value("!!str \"3230323631333031\"")), None, "no such month");
        assert_eq!(typed(ValueKind::Bytes, &value("[]")), None);
    }

    #[test]
    fn wrapped_secrets_are_rearranged() {
        let text = format!("{}:{}:{}", hex(&[1; 12]), hex(&[2; 16]), hex(&[3; 5]));
        let value = value_of(ENC_BLOB, &hex(text.as_bytes()));
        assert_eq!(Source(&value).wrapped(ENC_BLOB).unwrap(), [&[1; 12][..], &[3; 5], &[2; 16]].concat());
        for wrong in ["00:11:22", "", ":::", &format!("{}:{}", hex(&[1; 12]), hex(&[2; 16]))] {
            assert_eq!(Source(&value_of(ENC_BLOB, &hex(wrong.as_bytes()))).wrapped(ENC_BLOB), None, "{wrong}");
        }
    }

    fn value_of(ty: u64, text: &str) -> PeerValue {
        PeerValue::parse(&format!("{{? !!int \"{ty}\" : !!str \"{text}\"}}")).unwrap()
    }
}
