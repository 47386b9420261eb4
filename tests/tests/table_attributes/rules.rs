//! The table: who may give an attribute a value, and what it is when nobody does (PKCS#11 v3.1 4.1 to 4.13).

use cryptoki_sys::{CKA_DECAPSULATE, CKA_ENCAPSULATE};
use pkcs11_sys::*;

/// Kinds of objects, by letters: `d`ata, `c`ertificate, public keys `R` (RSA) and `E` (EC), private keys `r` and `e`, `s`ecret.
pub(crate) const CLASSES: &str = "dcREres";

/// The shape of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Number,
    Bytes,
    Date,
    List,
}

/// One attribute.
///
/// The cells have one letter for all kinds of objects in `of`, or one for each in their order:
///
/// - of a way to give the attribute a value other than the default: `y` it is taken, `d` the object is made
///   and has the default all the same, `r` `CKR_ATTRIBUTE_READ_ONLY`,
///   `i` `CKR_TEMPLATE_INCONSISTENT`, `v` `CKR_ATTRIBUTE_VALUE_INVALID`, `-` there is no such way (nobody generates a certificate);
/// - of the value when nobody gives one: `0` false, `1` true, `e` empty, `v` some value, `n` there is none
///   (`CKR_ATTRIBUTE_TYPE_INVALID`), `s` there is one and it is hidden (`CKR_ATTRIBUTE_SENSITIVE`), `u` unavailable.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) ty: u64,
    pub(crate) kind: Kind,
    pub(crate) of: &'static str,
    pub(crate) create: &'static str,
    pub(crate) generate: &'static str,
    pub(crate) copy: &'static str,
    pub(crate) set: &'static str,
    /// After C_CreateObject.
    pub(crate) created: &'static str,
    /// After C_GenerateKey or C_GenerateKeyPair.
    pub(crate) generated: &'static str,
}

impl Rule {
    /// The letter of a cell for a kind of objects; `None` if they do not have the attribute.
    pub(crate) fn cell(&self, cell: &str, class: char) -> Option<char> {
        let at = self.of.find(class)?;
        let letters: Vec<char> = cell.chars().collect();
        assert!(letters.len() == 1 || letters.len() == self.of.len(), "{:#x}: {cell}", self.ty);
        Some(letters[if letters.len() == 1 { 0 } else { at }])
    }
}

/// A row in one line: type, kind, objects, then how it is given (create, generate, copy, set) and what it is (created,
/// generated).
const fn rule(ty: u64, kind: Kind, of: &'static str, given: [&'static str; 4], is: [&'static str; 2]) -> Rule {
    let [create, generate, copy, set] = given;
    let [created, generated] = is;
    Rule { ty, kind, of, create, generate, copy, set, created, generated }
}

use Kind::{Bool, Bytes, Date, List, Number};

pub(crate) static RULES: &[Rule] = &[
    // 4.2, 4.4. Class and key type are in every template; what contradicts them is looked at elsewhere.
    rule(CKA_CLASS, Number, "dcREres", ["y", "--yyyyy", "r", "r"], ["v", "v"]),
    rule(CKA_TOKEN, Bool, "dcREres", ["y", "--yyyyy", "y", "r"], ["0", "0"]),
    // A copy may be private where the original is not, never the other way (4.4).
    rule(CKA_PRIVATE, Bool, "dcREres", ["y", "--yyyyy", "iyyyiiy", "r"], ["1000110", "1000110"]),
    rule(CKA_MODIFIABLE, Bool, "dcREres", ["y", "--yyyyy", "y", "r"], ["1", "1"]),
    rule(CKA_LABEL, Bytes, "dcREres", ["y", "--yyyyy", "y", "y"], ["e", "e"]),
    rule(CKA_COPYABLE, Bool, "dcREres", ["y", "--yyyyy", "y", "y"], ["1", "1"]),
    rule(CKA_DESTROYABLE, Bool, "dcREres", ["y", "--yyyyy", "y", "r"], ["1", "1"]),
    rule(CKA_UNIQUE_ID, Bytes, "dcREres", ["r", "--rrrrr", "r", "r"], ["v", "v"]),
    // 4.5
    rule(CKA_APPLICATION, Bytes, "d", ["y", "-", "y", "y"], ["e", "-"]),
    rule(CKA_OBJECT_ID, Bytes, "d", ["y", "-", "y", "y"], ["e", "-"]),
    // 4.6: a certificate is what its value says; only what helps to find it changes.
    rule(CKA_CERTIFICATE_TYPE, Number, "c", ["y", "-", "r", "r"], ["v", "-"]),
    rule(CKA_CERTIFICATE_CATEGORY, Number, "c", ["y", "-", "r", "r"], ["v", "-"]),
    // What it says itself is said of it, and nothing else.
    rule(CKA_ISSUER, Bytes, "c", ["i", "-", "i", "i"], ["v", "-"]),
    rule(CKA_SERIAL_NUMBER, Bytes, "c", ["i", "-", "i", "i"], ["v", "-"]),
    // 4.6.3. Which hash is used is not told where nobody said it (SHA-1 then).
    rule(CKA_URL, Bytes, "c", ["y", "-", "r", "r"], ["e", "-"]),
    rule(CKA_HASH_OF_SUBJECT_PUBLIC_KEY, Bytes, "c", ["y", "-", "r", "r"], ["e", "-"]),
    rule(CKA_HASH_OF_ISSUER_PUBLIC_KEY, Bytes, "c", ["y", "-", "r", "r"], ["e", "-"]),
    rule(CKA_NAME_HASH_ALGORITHM, Number, "c", ["y", "-", "r", "r"], ["n", "-"]),
    rule(CKA_JAVA_MIDP_SECURITY_DOMAIN, Number, "c", ["y", "-", "r", "r"], ["v", "-"]),
    // Only the security officer makes it true.
    rule(CKA_TRUSTED, Bool, "cREs", ["r", "-rrr", "r", "r"], ["0", "0"]),
    // It may be given, if it is what the value comes to.
    rule(CKA_CHECK_VALUE, Bytes, "cs", ["v", "-r", "r", "r"], ["n", "n"]),
    // 4.7
    rule(CKA_KEY_TYPE, Number, "REres", ["y", "y", "r", "r"], ["v", "v"]),
    rule(CKA_ID, Bytes, "cREres", ["y", "-yyyyy", "y", "y"], ["eeevve", "-vvvve"]),
    rule(CKA_START_DATE, Date, "cREres", ["y", "-yyyyy", "ryyyyy", "ryyyyy"], ["e", "e"]),
    rule(CKA_END_DATE, Date, "cREres", ["y", "-yyyyy", "ryyyyy", "ryyyyy"], ["e", "e"]),
    rule(CKA_DERIVE, Bool, "REres", ["y", "y", "y", "y"], ["00011", "00011"]),
    rule(CKA_LOCAL, Bool, "REres", ["r", "r", "r", "r"], ["0", "1"]),
    rule(CKA_KEY_GEN_MECHANISM, Number, "REres", ["r", "r", "r", "r"], ["u", "v"]),
    rule(CKA_ALLOWED_MECHANISMS, List, "REres", ["y", "y", "r", "r"], ["e", "e"]),
    // 4.8
    rule(CKA_SUBJECT, Bytes, "cREre", ["iyyyy", "-yyyy", "ryyyy", "ryyyy"], ["veeee", "-eeee"]),
    rule(CKA_ENCRYPT, Bool, "REs", ["y", "y", "y", "y"], ["100", "100"]),
    rule(CKA_VERIFY, Bool, "REs", ["y", "y", "y", "y"], ["1", "1"]),
    rule(CKA_VERIFY_RECOVER, Bool, "RE", ["y", "y", "y", "y"], ["10", "10"]),
    rule(CKA_WRAP, Bool, "REs", ["y", "y", "y", "y"], ["0", "0"]),
    // v3.2. Not said, it is what the key's other powers come to.
    rule(CKA_ENCAPSULATE, Bool, "RE", ["y", "y", "y", "y"], ["1", "1"]),
    // It may be given, if it is what the other attributes say.
    rule(CKA_PUBLIC_KEY_INFO, Bytes, "cREre", ["v", "-rrrr", "r", "r"], ["vvvvv", "-vvvv"]),
    // 4.9. Private keys are in the TPM, and stay there.
    rule(CKA_SENSITIVE, Bool, "res", ["ddy", "ddy", "r", "r"], ["1", "1"]),
    rule(CKA_DECRYPT, Bool, "res", ["y", "y", "y", "y"], ["100", "100"]),
    rule(CKA_SIGN, Bool, "res", ["y", "y", "y", "y"], ["1", "1"]),
    rule(CKA_SIGN_RECOVER, Bool, "re", ["y", "y", "y", "y"], ["10", "10"]),
    rule(CKA_UNWRAP, Bool, "res", ["y", "y", "y", "y"], ["0", "0"]),
    rule(CKA_DECAPSULATE, Bool, "re", ["y", "y", "y", "y"], ["1", "1"]),
    rule(CKA_EXTRACTABLE, Bool, "res", ["iiy", "iiy", "r", "r"], ["0", "0"]),
    rule(CKA_ALWAYS_SENSITIVE, Bool, "res", ["r", "r", "r", "r"], ["0", "1"]),
    rule(CKA_NEVER_EXTRACTABLE, Bool, "res", ["r", "r", "r", "r"], ["0", "1"]),
    rule(CKA_WRAP_WITH_TRUSTED, Bool, "res", ["y", "y", "y", "y"], ["0", "0"]),
    // A secret in memory is not asked for again.
    rule(CKA_ALWAYS_AUTHENTICATE, Bool, "res", ["yyi", "yyi", "r", "r"], ["0", "0"]),
    // RSA (mechanisms v3.1 2.1.2, 2.1.3)
    rule(CKA_MODULUS, Bytes, "Rr", ["y", "r", "r", "r"], ["v", "v"]),
    rule(CKA_MODULUS_BITS, Number, "R", ["r", "y", "r", "r"], ["v", "v"]),
    rule(CKA_PUBLIC_EXPONENT, Bytes, "Rr", ["y", "y", "r", "r"], ["v", "v"]),
    rule(CKA_PRIVATE_EXPONENT, Bytes, "r", ["y", "r", "r", "r"], ["s", "s"]),
    rule(CKA_PRIME_1, Bytes, "r", ["y", "r", "r", "r"], ["s", "s"]),
    rule(CKA_PRIME_2, Bytes, "r", ["y", "r", "r", "r"], ["s", "s"]),
    rule(CKA_EXPONENT_1, Bytes, "r", ["y", "r", "r", "r"], ["s", "s"]),
    rule(CKA_EXPONENT_2, Bytes, "r", ["y", "r", "r", "r"], ["s", "s"]),
    rule(CKA_COEFFICIENT, Bytes, "r", ["y", "r", "r", "r"], ["s", "s"]),
    // EC (2.3.3, 2.3.4)
    rule(CKA_EC_PARAMS, Bytes, "Ee", ["y", "y", "r", "r"], ["v", "v"]),
    rule(CKA_EC_POINT, Bytes, "Ee", ["y", "r", "r", "r"], ["v", "v"]),
    // The value of data that is private, and of keys, is not changed in place.
    rule(CKA_VALUE, Bytes, "dces", ["y", "--rr", "r", "r"], ["evss", "--ss"]),
    rule(CKA_VALUE_LEN, Number, "s", ["r", "y", "r", "r"], ["v", "v"]),
    // The vendor's, of keys in the TPM that are not like the others: computed, and absent otherwise.
    rule(CKA_TPM_RECOVERY_KEY, Bytes, "res", ["r", "r", "r", "r"], ["n", "n"]),
    rule(CKA_TPM_PARENT, Bytes, "res", ["r", "r", "r", "r"], ["n", "n"]),
    rule(CKA_TPM_HANDLE, Number, "res", ["r", "r", "r", "r"], ["n", "n"]),
];

const CKA_TPM_RECOVERY_KEY: u64 = CKA_VENDOR_DEFINED | 0x5450_4d01;
const CKA_TPM_PARENT: u64 = CKA_VENDOR_DEFINED | 0x5450_4d02;
const CKA_TPM_HANDLE: u64 = CKA_VENDOR_DEFINED | 0x5450_4d03;

/// What only profile objects have.
pub(crate) const OF_PROFILES: [u64; 1] = [CKA_PROFILE_ID];
