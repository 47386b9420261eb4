//! Keys of tokens named by PKCS#11 URIs (RFC 7512).

use std::str::FromStr;

/// A `pkcs11:` URI that names a key of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyUri {
    /// The token's label.
    pub token: String,
    /// `CKA_LABEL` of the key.
    pub object: Option<String>,
    /// `CKA_ID` of the key.
    pub id: Option<Vec<u8>>,
}

impl FromStr for KeyUri {
    type Err = &'static str;

    /// What would name the key more closely and is not known here is an error, not passed over: another key could be meant.
    fn from_str(text: &str) -> Result<Self, &'static str> {
        let path = text.strip_prefix("pkcs11:").ok_or("a PKCS#11 URI begins with pkcs11:")?;
        if path.contains('?') {
            return Err("give the PIN by an option, not in the PKCS#11 URI");
        }
        let (mut token, mut object, mut id) = (None, None, None);
        for part in path.split(';').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').ok_or("a part of the PKCS#11 URI has no value")?;
            let value = decode(value).ok_or("a value of the PKCS#11 URI is not encoded right")?;
            let text = |value| String::from_utf8(value).map_err(|_| "a value of the PKCS#11 URI is not UTF-8");
            match name {
                "token" => token = Some(text(value)?),
                "object" => object = Some(text(value)?),
                "id" => id = Some(value),
                "type" if matches!(value.as_slice(), b"private" | b"public") => {}
                _ => return Err("the PKCS#11 URI may have token, object, id and type only"),
            }
        }
        if object.is_none() && id.is_none() {
            return Err("the PKCS#11 URI names no object");
        }
        Ok(Self { token: token.ok_or("the PKCS#11 URI names no token")?, object, id })
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut out = Vec::new();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                *base::hex::decode(std::str::from_utf8(&digits).ok()?)?.first()?
            }
            byte => byte,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_name_keys() {
        let uri: KeyUri = "pkcs11:token=the%20boss;object=approver;type=private".parse().unwrap();
        assert_eq!((uri.token.as_str(), uri.object.as_deref(), uri.id), ("the boss", Some("approver"), None));
        let uri: KeyUri = "pkcs11:id=%01%fF;token=t".parse().unwrap();
        assert_eq!((uri.object, uri.id), (None, Some(vec![1, 0xff])));
        for wrong in [
            "",
            "token=t;object=o",
            "pkcs11:",
            "pkcs11:token=t",
            "pkcs11:object=o",
            "pkcs11:token=t;object=%zz",
            "pkcs11:token=t;object=%1",
            "pkcs11:token=t;object=%ff",
            "pkcs11:token=t;object=o;serial=1",
            "pkcs11:token=t;object=o?pin-value=1",
        ] {
            assert!(wrong.parse::<KeyUri>().is_err(), "{wrong}");
        }
    }
}
