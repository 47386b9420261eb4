//! The attribute table: one row each (PKCS#11 v3.1 4.2 - 4.13).

use pkcs11_sys::{
    CKA_ALLOWED_MECHANISMS, CKA_ALWAYS_AUTHENTICATE, CKA_ALWAYS_SENSITIVE, CKA_APPLICATION, CKA_CERTIFICATE_CATEGORY,
    CKA_CERTIFICATE_TYPE, CKA_CHECK_VALUE, CKA_CLASS, CKA_COEFFICIENT, CKA_COPYABLE, CKA_DECRYPT, CKA_DERIVE,
    CKA_DESTROYABLE, CKA_EC_PARAMS, CKA_EC_POINT, CKA_ENCRYPT, CKA_END_DATE, CKA_EXPONENT_1, CKA_EXPONENT_2,
    CKA_EXTRACTABLE, CKA_HASH_OF_ISSUER_PUBLIC_KEY, CKA_HASH_OF_SUBJECT_PUBLIC_KEY, CKA_ID, CKA_ISSUER,
    CKA_JAVA_MIDP_SECURITY_DOMAIN, CKA_KEY_GEN_MECHANISM, CKA_KEY_TYPE, CKA_LABEL, CKA_LOCAL, CKA_MODIFIABLE,
    CKA_MODULUS, CKA_MODULUS_BITS, CKA_NAME_HASH_ALGORITHM, CKA_NEVER_EXTRACTABLE, CKA_OBJECT_ID, CKA_PRIME_1,
    CKA_PRIME_2, CKA_PRIVATE, CKA_PRIVATE_EXPONENT, CKA_PROFILE_ID, CKA_PUBLIC_EXPONENT, CKA_PUBLIC_KEY_INFO,
    CKA_SENSITIVE, CKA_SERIAL_NUMBER, CKA_SIGN, CKA_SIGN_RECOVER, CKA_START_DATE, CKA_SUBJECT, CKA_TOKEN, CKA_TRUSTED,
    CKA_UNIQUE_ID, CKA_UNWRAP, CKA_URL, CKA_VALUE, CKA_VALUE_LEN, CKA_VENDOR_DEFINED, CKA_VERIFY, CKA_VERIFY_RECOVER,
    CKA_WRAP, CKA_WRAP_WITH_TRUSTED,
};

use crate::names::named_type;
use crate::v3_2::{CKA_DECAPSULATE, CKA_ENCAPSULATE};
use crate::{KeyType, ObjectClass, Value, ValueKind};

/// Of this vendor: numbers that no other is likely to use. Computed, and of no use to a client.
const CKA_TPM_RECOVERY_KEY: u64 = CKA_VENDOR_DEFINED | 0x5450_4d01;
const CKA_TPM_PARENT: u64 = CKA_VENDOR_DEFINED | 0x5450_4d02;
const CKA_TPM_HANDLE: u64 = CKA_VENDOR_DEFINED | 0x5450_4d03;

named_type! {
    /// `CK_ATTRIBUTE_TYPE`.
    pub AttributeType, "CKA_" {
        CLASS = CKA_CLASS,
        TOKEN = CKA_TOKEN,
        PRIVATE = CKA_PRIVATE,
        LABEL = CKA_LABEL,
        UNIQUE_ID = CKA_UNIQUE_ID,
        APPLICATION = CKA_APPLICATION,
        VALUE = CKA_VALUE,
        OBJECT_ID = CKA_OBJECT_ID,
        PROFILE_ID = CKA_PROFILE_ID,
        CERTIFICATE_TYPE = CKA_CERTIFICATE_TYPE,
        ISSUER = CKA_ISSUER,
        SERIAL_NUMBER = CKA_SERIAL_NUMBER,
        TRUSTED = CKA_TRUSTED,
        CERTIFICATE_CATEGORY = CKA_CERTIFICATE_CATEGORY,
        URL = CKA_URL,
        HASH_OF_SUBJECT_PUBLIC_KEY = CKA_HASH_OF_SUBJECT_PUBLIC_KEY,
        HASH_OF_ISSUER_PUBLIC_KEY = CKA_HASH_OF_ISSUER_PUBLIC_KEY,
        NAME_HASH_ALGORITHM = CKA_NAME_HASH_ALGORITHM,
        JAVA_MIDP_SECURITY_DOMAIN = CKA_JAVA_MIDP_SECURITY_DOMAIN,
        CHECK_VALUE = CKA_CHECK_VALUE,
        KEY_TYPE = CKA_KEY_TYPE,
        SUBJECT = CKA_SUBJECT,
        ID = CKA_ID,
        SENSITIVE = CKA_SENSITIVE,
        ENCRYPT = CKA_ENCRYPT,
        DECRYPT = CKA_DECRYPT,
        WRAP = CKA_WRAP,
        UNWRAP = CKA_UNWRAP,
        SIGN = CKA_SIGN,
        SIGN_RECOVER = CKA_SIGN_RECOVER,
        VERIFY = CKA_VERIFY,
        VERIFY_RECOVER = CKA_VERIFY_RECOVER,
        DERIVE = CKA_DERIVE,
        ENCAPSULATE = CKA_ENCAPSULATE,
        DECAPSULATE = CKA_DECAPSULATE,
        START_DATE = CKA_START_DATE,
        END_DATE = CKA_END_DATE,
        MODULUS = CKA_MODULUS,
        MODULUS_BITS = CKA_MODULUS_BITS,
        PUBLIC_EXPONENT = CKA_PUBLIC_EXPONENT,
        PRIVATE_EXPONENT = CKA_PRIVATE_EXPONENT,
        PRIME_1 = CKA_PRIME_1,
        PRIME_2 = CKA_PRIME_2,
        EXPONENT_1 = CKA_EXPONENT_1,
        EXPONENT_2 = CKA_EXPONENT_2,
        COEFFICIENT = CKA_COEFFICIENT,
        PUBLIC_KEY_INFO = CKA_PUBLIC_KEY_INFO,
        VALUE_LEN = CKA_VALUE_LEN,
        EXTRACTABLE = CKA_EXTRACTABLE,
        LOCAL = CKA_LOCAL,
        NEVER_EXTRACTABLE = CKA_NEVER_EXTRACTABLE,
        ALWAYS_SENSITIVE = CKA_ALWAYS_SENSITIVE,
        KEY_GEN_MECHANISM = CKA_KEY_GEN_MECHANISM,
        MODIFIABLE = CKA_MODIFIABLE,
        COPYABLE = CKA_COPYABLE,
        DESTROYABLE = CKA_DESTROYABLE,
        EC_PARAMS = CKA_EC_PARAMS,
        EC_POINT = CKA_EC_POINT,
        ALWAYS_AUTHENTICATE = CKA_ALWAYS_AUTHENTICATE,
        WRAP_WITH_TRUSTED = CKA_WRAP_WITH_TRUSTED,
        ALLOWED_MECHANISMS = CKA_ALLOWED_MECHANISMS,
        TPM_RECOVERY_KEY = CKA_TPM_RECOVERY_KEY,
        TPM_PARENT = CKA_TPM_PARENT,
        TPM_HANDLE = CKA_TPM_HANDLE,
    }
}

impl AttributeType {
    /// The attribute's row, or `None` for an attribute that no object here has.
    #[must_use]
    pub fn row(self) -> Option<&'static AttributeRow> {
        ATTRIBUTES.iter().find(|row| row.ty == self)
    }
}

bitflags::bitflags! {
    /// Which objects have the attribute.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Scope: u16 {
        /// Data objects.
        const DATA = 1;
        /// Certificates.
        const CERTIFICATE = 1 << 1;
        /// RSA public keys.
        const RSA_PUBLIC = 1 << 2;
        /// EC public keys.
        const EC_PUBLIC = 1 << 3;
        /// RSA private keys.
        const RSA_PRIVATE = 1 << 4;
        /// EC private keys.
        const EC_PRIVATE = 1 << 5;
        /// AES, generic secret, HMAC and HKDF keys.
        const SECRET = 1 << 6;
        /// Profiles, which the token has and nobody makes.
        const PROFILE = 1 << 7;

        /// Public keys.
        const PUBLIC = Self::RSA_PUBLIC.bits() | Self::EC_PUBLIC.bits();
        /// Private keys.
        const PRIVATE = Self::RSA_PRIVATE.bits() | Self::EC_PRIVATE.bits();
        /// RSA keys.
        const RSA = Self::RSA_PUBLIC.bits() | Self::RSA_PRIVATE.bits();
        /// EC keys.
        const EC = Self::EC_PUBLIC.bits() | Self::EC_PRIVATE.bits();
        /// Keys.
        const KEY = Self::PUBLIC.bits() | Self::PRIVATE.bits() | Self::SECRET.bits();
        /// Keys that have something to hide.
        const HIDDEN = Self::PRIVATE.bits() | Self::SECRET.bits();
        /// Every object that can be stored.
        const ALL = Self::KEY.bits() | Self::DATA.bits() | Self::CERTIFICATE.bits();
    }
}

impl Scope {
    /// The scope of one object; `None` for a combination that no object here has.
    #[must_use]
    pub fn of(class: ObjectClass, key_type: Option<KeyType>) -> Option<Self> {
        Some(match (class, key_type) {
            (ObjectClass::DATA, _) => Self::DATA,
            (ObjectClass::CERTIFICATE, _) => Self::CERTIFICATE,
            (ObjectClass::PUBLIC_KEY, Some(KeyType::RSA)) => Self::RSA_PUBLIC,
            (ObjectClass::PUBLIC_KEY, Some(KeyType::EC)) => Self::EC_PUBLIC,
            (ObjectClass::PRIVATE_KEY, Some(KeyType::RSA)) => Self::RSA_PRIVATE,
            (ObjectClass::PRIVATE_KEY, Some(KeyType::EC)) => Self::EC_PRIVATE,
            (ObjectClass::SECRET_KEY, Some(key_type)) if key_type.is_secret() => Self::SECRET,
            (ObjectClass::PROFILE, _) => Self::PROFILE,
            _ => return None,
        })
    }
}

bitflags::bitflags! {
    /// Who may give the attribute a value, and when (PKCS#11 v3.1 4.1.1, table 13 and its footnotes).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Rule: u16 {
        /// A template of `C_CreateObject` may have it.
        const CREATE = 1;
        /// A template of `C_GenerateKey(Pair)` may have it.
        const GENERATE = 1 << 1;
        /// A generation template must have it.
        const NEEDED_TO_GENERATE = 1 << 2;
        /// `C_SetAttributeValue` may change it.
        const MODIFY = 1 << 3;
        /// It may be changed to true only.
        const ONLY_TRUE = 1 << 4;
        /// It may be changed to false only.
        const ONLY_FALSE = 1 << 5;
        /// Only the security officer may make it true.
        const SO = 1 << 7;
        /// What it says decides what the key may do: it is bound to the key's authorisation.
        const POWER = 1 << 8;
        /// A template of `C_CreateObject` must have it.
        const NEEDED_TO_CREATE = 1 << 9;

        /// A template may have it when the object is made.
        const TEMPLATE = Self::CREATE.bits() | Self::GENERATE.bits();
    }
}

/// One attribute.
#[derive(Debug)]
pub struct AttributeRow {
    /// Its number and name.
    pub ty: AttributeType,
    /// The shape of its value.
    pub kind: ValueKind,
    /// Which objects have it.
    pub scope: Scope,
    /// Who may set it, and when.
    pub rule: Rule,
    /// In which objects its value is the secret itself: shown only of a key that is extractable and not sensitive.
    pub secret: Scope,
    default: Preset,
}

/// A default that a constant can hold.
#[derive(Debug)]
enum Preset {
    None,
    False,
    True,
    Empty,
    Zero,
}

impl AttributeRow {
    /// The value an object gets when its template says nothing; `None` when it is computed or then absent.
    #[must_use]
    pub fn default(&self) -> Option<Value> {
        match self.default {
            Preset::None => None,
            Preset::False => Some(Value::Bool(false)),
            Preset::True => Some(Value::Bool(true)),
            Preset::Empty => Some(Value::Bytes(Vec::new())),
            Preset::Zero => Some(Value::Ulong(0)),
        }
    }
}

const fn row(ty: AttributeType, kind: ValueKind, scope: Scope, rule: Rule, default: Preset) -> AttributeRow {
    AttributeRow { ty, kind, scope, rule, secret: Scope::empty(), default }
}

/// A row of what a key hides.
const fn secret(ty: AttributeType, scope: Scope, secret: Scope, rule: Rule) -> AttributeRow {
    AttributeRow { ty, kind: ValueKind::Bytes, scope, rule, secret, default: Preset::None }
}

/// Every attribute that an object can have. An attribute without [`Rule::CREATE`] and [`Rule::GENERATE`] is computed.
pub static ATTRIBUTES: &[AttributeRow] = {
    use AttributeType as A;
    use Preset::{Empty, False, None, True, Zero};
    use ValueKind::{Bool, Bytes, Date, Mechanisms, Ulong};
    const TEMPLATE: Rule = Rule::TEMPLATE;
    const NEEDED: Rule = Rule::CREATE.union(Rule::NEEDED_TO_CREATE);
    const FREE: Rule = TEMPLATE.union(Rule::MODIFY);
    const USAGE: Rule = FREE.union(Rule::POWER);
    const COMPUTED: Rule = Rule::empty();
    const POWER: Rule = Rule::POWER;
    &[
        // 4.2, 4.4: common to all
        row(A::CLASS, Ulong, Scope::ALL, TEMPLATE.union(POWER), None),
        row(A::TOKEN, Bool, Scope::ALL, TEMPLATE, False),
        row(A::PRIVATE, Bool, Scope::ALL, TEMPLATE, None),
        row(A::MODIFIABLE, Bool, Scope::ALL, TEMPLATE, True),
        row(A::LABEL, Bytes, Scope::ALL, FREE, Empty),
        row(A::COPYABLE, Bool, Scope::ALL, FREE.union(Rule::ONLY_FALSE), True),
        row(A::DESTROYABLE, Bool, Scope::ALL, TEMPLATE, True),
        row(A::UNIQUE_ID, Bytes, Scope::ALL, COMPUTED, None),
        // 4.5: data objects
        row(A::APPLICATION, Bytes, Scope::DATA, Rule::CREATE.union(Rule::MODIFY), Empty),
        row(A::OBJECT_ID, Bytes, Scope::DATA, Rule::CREATE.union(Rule::MODIFY), Empty),
        // 4.13: profiles
        row(A::PROFILE_ID, Ulong, Scope::PROFILE, COMPUTED, None),
        // 4.6: certificates
        row(A::CERTIFICATE_TYPE, Ulong, Scope::CERTIFICATE, NEEDED, None),
        row(A::CERTIFICATE_CATEGORY, Ulong, Scope::CERTIFICATE, Rule::CREATE, None),
        row(A::ISSUER, Bytes, Scope::CERTIFICATE, Rule::CREATE.union(Rule::MODIFY), Empty),
        row(A::SERIAL_NUMBER, Bytes, Scope::CERTIFICATE, Rule::CREATE.union(Rule::MODIFY), Empty),
        // 4.6.3: where the certificate is, and what it says of keys, in the caller's words.
        row(A::URL, Bytes, Scope::CERTIFICATE, Rule::CREATE, Empty),
        row(A::HASH_OF_SUBJECT_PUBLIC_KEY, Bytes, Scope::CERTIFICATE, Rule::CREATE, Empty),
        row(A::HASH_OF_ISSUER_PUBLIC_KEY, Bytes, Scope::CERTIFICATE, Rule::CREATE, Empty),
        row(A::NAME_HASH_ALGORITHM, Ulong, Scope::CERTIFICATE, Rule::CREATE, None),
        row(A::JAVA_MIDP_SECURITY_DOMAIN, Ulong, Scope::CERTIFICATE, Rule::CREATE, Zero),
        row(
            A::TRUSTED,
            Bool,
            Scope::CERTIFICATE.union(Scope::PUBLIC).union(Scope::SECRET),
            FREE.union(Rule::SO),
            False,
        ),
        row(A::CHECK_VALUE, Bytes, Scope::CERTIFICATE.union(Scope::SECRET), Rule::CREATE, None),
        // 4.7: keys
        row(A::KEY_TYPE, Ulong, Scope::KEY, TEMPLATE.union(POWER), None),
        row(A::ID, Bytes, Scope::KEY.union(Scope::CERTIFICATE), FREE, Empty),
        row(A::START_DATE, Date, Scope::KEY.union(Scope::CERTIFICATE), FREE, Empty),
        row(A::END_DATE, Date, Scope::KEY.union(Scope::CERTIFICATE), FREE, Empty),
        row(A::DERIVE, Bool, Scope::KEY, USAGE, None),
        row(A::LOCAL, Bool, Scope::KEY, COMPUTED.union(POWER), None),
        row(A::KEY_GEN_MECHANISM, Ulong, Scope::KEY, COMPUTED, None),
        // Absent means any: an empty list would mean none to some clients.
        row(A::ALLOWED_MECHANISMS, Mechanisms, Scope::KEY, TEMPLATE.union(POWER), None),
        // 4.8: public keys
        row(A::SUBJECT, Bytes, Scope::PUBLIC.union(Scope::PRIVATE).union(Scope::CERTIFICATE), FREE, Empty),
        row(A::ENCRYPT, Bool, Scope::PUBLIC.union(Scope::SECRET), USAGE, None),
        row(A::VERIFY, Bool, Scope::PUBLIC.union(Scope::SECRET), USAGE, None),
        row(A::VERIFY_RECOVER, Bool, Scope::PUBLIC, USAGE, None),
        row(A::WRAP, Bool, Scope::PUBLIC.union(Scope::SECRET), USAGE, False),
        // Version 3.2. Who says nothing of these two gets what the key's other powers come to.
        row(A::ENCAPSULATE, Bool, Scope::PUBLIC, USAGE, None),
        row(
            A::PUBLIC_KEY_INFO,
            Bytes,
            Scope::PUBLIC.union(Scope::PRIVATE).union(Scope::CERTIFICATE),
            Rule::CREATE,
            None,
        ),
        // 4.9: private keys
        row(A::SENSITIVE, Bool, Scope::HIDDEN, USAGE.union(Rule::ONLY_TRUE), True),
        row(A::DECRYPT, Bool, Scope::HIDDEN, USAGE, None),
        row(A::SIGN, Bool, Scope::HIDDEN, USAGE, None),
        row(A::SIGN_RECOVER, Bool, Scope::PRIVATE, USAGE, None),
        row(A::UNWRAP, Bool, Scope::HIDDEN, USAGE, False),
        row(A::DECAPSULATE, Bool, Scope::PRIVATE, USAGE, None),
        row(A::EXTRACTABLE, Bool, Scope::HIDDEN, USAGE.union(Rule::ONLY_FALSE), False),
        row(A::ALWAYS_SENSITIVE, Bool, Scope::HIDDEN, COMPUTED.union(POWER), None),
        row(A::NEVER_EXTRACTABLE, Bool, Scope::HIDDEN, COMPUTED.union(POWER), None),
        row(A::WRAP_WITH_TRUSTED, Bool, Scope::HIDDEN, USAGE.union(Rule::ONLY_TRUE), False),
        // The specification has it of private keys. One that came over from elsewhere has it of a secret key, too.
        row(A::ALWAYS_AUTHENTICATE, Bool, Scope::HIDDEN, TEMPLATE.union(POWER), False),
        // RSA keys (PKCS#11 mechanisms v3.1 2.1.2, 2.1.3)
        row(A::MODULUS, Bytes, Scope::RSA, NEEDED, None),
        row(A::MODULUS_BITS, Ulong, Scope::RSA_PUBLIC, Rule::GENERATE.union(Rule::NEEDED_TO_GENERATE), None),
        row(A::PUBLIC_EXPONENT, Bytes, Scope::RSA, TEMPLATE.union(Rule::NEEDED_TO_CREATE), None),
        secret(A::PRIVATE_EXPONENT, Scope::RSA_PRIVATE, Scope::RSA_PRIVATE, Rule::CREATE),
        secret(A::PRIME_1, Scope::RSA_PRIVATE, Scope::RSA_PRIVATE, Rule::CREATE),
        secret(A::PRIME_2, Scope::RSA_PRIVATE, Scope::RSA_PRIVATE, Rule::CREATE),
        secret(A::EXPONENT_1, Scope::RSA_PRIVATE, Scope::RSA_PRIVATE, Rule::CREATE),
        secret(A::EXPONENT_2, Scope::RSA_PRIVATE, Scope::RSA_PRIVATE, Rule::CREATE),
        secret(A::COEFFICIENT, Scope::RSA_PRIVATE, Scope::RSA_PRIVATE, Rule::CREATE),
        // EC keys (2.3.3, 2.3.4). The point is shown on private keys as well: several clients look for it there.
        row(A::EC_PARAMS, Bytes, Scope::EC, TEMPLATE.union(Rule::NEEDED_TO_CREATE), None),
        row(A::EC_POINT, Bytes, Scope::EC, Rule::CREATE, None),
        // The value of data and certificates is what they are; that of an EC private or secret key is the secret.
        secret(
            A::VALUE,
            Scope::DATA.union(Scope::CERTIFICATE).union(Scope::EC_PRIVATE).union(Scope::SECRET),
            Scope::EC_PRIVATE.union(Scope::SECRET),
            Rule::CREATE.union(Rule::MODIFY),
        ),
        row(A::VALUE_LEN, Ulong, Scope::SECRET, Rule::GENERATE, None),
        // Keys of the TPM that are not like the others: the TPM2B_PUBLIC of the one parent that the key can be duplicated to; the
        // parent that it has (its handle and TPM2B_PUBLIC) if that is not the token's primary; its own handle if it is persistent.
        row(A::TPM_RECOVERY_KEY, Bytes, Scope::HIDDEN, POWER, None),
        row(A::TPM_PARENT, Bytes, Scope::HIDDEN, POWER, None),
        row(A::TPM_HANDLE, Ulong, Scope::HIDDEN, POWER, None),
    ]
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_row_an_attribute() {
        for (index, row) in ATTRIBUTES.iter().enumerate() {
            assert!(row.ty.name().is_some(), "{:?}", row.ty);
            assert!(ATTRIBUTES[..index].iter().all(|other| other.ty != row.ty), "{:?} twice", row.ty);
        }
    }

    #[test]
    fn defaults_have_the_kind_of_their_row() {
        for row in ATTRIBUTES {
            if let Some(value) = row.default() {
                assert!(Value::from_native(row.kind, &value.to_native()).is_some(), "{:?}", row.ty);
            }
        }
    }

    #[test]
    fn what_is_computed_is_in_no_template() {
        for ty in [
            AttributeType::LOCAL,
            AttributeType::ALWAYS_SENSITIVE,
            AttributeType::NEVER_EXTRACTABLE,
            AttributeType::UNIQUE_ID,
        ] {
            assert!(!ty.row().unwrap().rule.intersects(Rule::TEMPLATE | Rule::MODIFY), "{ty}");
        }
    }
}
