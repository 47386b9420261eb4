//! Tables for `docs/`, rendered from the same rows that the code runs on.

use std::fmt::Write;

use crate::{ATTRIBUTES, KeyKind, MECHANISMS, Ops, ParamKind, Rule, Scheme, Scope};

/// `docs/MECHANISMS.md`.
#[must_use]
pub fn mechanisms() -> String {
    let mut text = String::from(
        "# Mechanisms\n\nGenerated from the mechanism table; `C_GetMechanismList` shows those that the token's TPM can do.\n\
         Signing and decryption with a private key happen in the TPM, and so is everything with a secret key that is a token object; everything with a public\n\
         key, with a secret key that is a session object, and every digest, in software.\n\n\
         | mechanism | does | keys | hash | parameters |\n|---|---|---|---|---|\n",
    );
    for row in MECHANISMS {
        let does = row.ops.iter_names().map(|(name, _)| op_name(name)).collect::<Vec<_>>().join(", ");
        let keys = match row.key {
            KeyKind::None => "",
            KeyKind::Rsa => "RSA",
            KeyKind::Ec => "EC",
            KeyKind::Pair => "RSA, EC",
            KeyKind::Aes => "AES",
            KeyKind::Secret if row.scheme == Scheme::Hmac => "generic secret, those for this HMAC",
            KeyKind::Secret => "generic secret",
            KeyKind::Hkdf => "HKDF, generic secret",
        };
        let params = match row.params {
            ParamKind::None => "none",
            ParamKind::Pss => "`CK_RSA_PKCS_PSS_PARAMS`: any hash, MGF1 hash and salt length",
            ParamKind::PssOf(_) => "`CK_RSA_PKCS_PSS_PARAMS`: the mechanism's hash, any MGF1 hash and salt length",
            ParamKind::Oaep => "`CK_RSA_PKCS_OAEP_PARAMS`: any hash, MGF1 hash and label",
            ParamKind::Iv => "initialisation vector, 16 bytes",
            ParamKind::Counter => "`CK_AES_CTR_PARAMS`",
            ParamKind::Gcm => {
                "`CK_GCM_PARAMS`; tags of 32, 64 and 96 to 128 bits. Messages: `CK_GCM_MESSAGE_PARAMS`, with vectors that are given, \
                 random or, with a key in memory, counted"
            }
            ParamKind::MacLen => "`CK_MAC_GENERAL_PARAMS`: 1 byte to the full length",
            ParamKind::WrapIv => "none, or an initial value of 8 bytes",
            ParamKind::Ecdh => {
                "`CK_ECDH1_DERIVE_PARAMS`: `CKD_NULL`, X9.63 with SHA-1 or SHA-2; raw or DER points; to encapsulate and decapsulate, none"
            }
            ParamKind::Hkdf => "`CK_HKDF_PARAMS`: any hash, salts of all three types",
            ParamKind::Data => "`CK_KEY_DERIVATION_STRING_DATA`",
            ParamKind::Key => "`CK_OBJECT_HANDLE`",
        };
        let hash = row.hash.map_or("", base::digest::Hash::name);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| `{}` | {does} | {keys} | {hash} | {params} |", row.ty);
    }
    text
}

/// `docs/ATTRIBUTES.md`.
#[must_use]
pub fn attributes() -> String {
    let mut text = String::from(
        "# Attributes\n\nGenerated from the attribute table. \"made\": a template may give it when the object is created (C) or generated (G);\n\
         \"later\": `C_SetAttributeValue` may change it. What is neither is computed by the token.\n\
         Templates within templates (`CKA_WRAP_TEMPLATE`, `CKA_UNWRAP_TEMPLATE`, `CKA_DERIVE_TEMPLATE`, `CKA_ENCAPSULATE_TEMPLATE`, `CKA_DECAPSULATE_TEMPLATE`) are not kept: `CKR_ATTRIBUTE_TYPE_INVALID`.\n\n\
         | attribute | objects | made | later | default |\n|---|---|---|---|---|\n",
    );
    for row in ATTRIBUTES {
        let made = match (row.rule.contains(Rule::CREATE), row.rule.contains(Rule::GENERATE)) {
            (true, true) => "C G",
            (true, false) => "C",
            (false, true) => "G",
            (false, false) => "",
        };
        let later = if !row.rule.contains(Rule::MODIFY) {
            ""
        } else if row.rule.contains(Rule::ONLY_TRUE) {
            "to true"
        } else if row.rule.contains(Rule::ONLY_FALSE) {
            "to false"
        } else if row.rule.contains(Rule::SO) {
            "by the security officer"
        } else {
            "yes"
        };
        let default = row.default().map_or_else(String::new, |value| match value {
            crate::Value::Bool(value) => value.to_string(),
            crate::Value::Ulong(value) => value.to_string(),
            crate::Value::Bytes(_) | crate::Value::Mechanisms(_) => "empty".to_owned(),
        });
        let _ = writeln!(text, "| `{}` | {} | {made} | {later} | {default} |", row.ty, scope(row.scope));
    }
    text
}

fn op_name(flag: &str) -> String {
    debug_assert!(Ops::from_name(flag).is_some());
    flag.to_lowercase().replace('_', " ")
}

fn scope(scope: Scope) -> String {
    if scope == Scope::ALL {
        return "all".to_owned();
    }
    let names = [
        (Scope::DATA, "data"),
        (Scope::CERTIFICATE, "certificate"),
        (Scope::RSA_PUBLIC, "RSA public"),
        (Scope::EC_PUBLIC, "EC public"),
        (Scope::RSA_PRIVATE, "RSA private"),
        (Scope::EC_PRIVATE, "EC private"),
        (Scope::SECRET, "secret"),
        (Scope::PROFILE, "profile"),
    ];
    names.iter().filter(|(flag, _)| scope.contains(*flag)).map(|(_, name)| *name).collect::<Vec<_>>().join(", ")
}
