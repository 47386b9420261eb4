//! Another product under the same tests: Debian's `libtpm2-pkcs11-1`, when `TPM2_CRYPTOKI_MODULE` names it. Its store is made by
//! its own `tpm2_ptool`, so that what is said in comparison can be seen by anybody.
//!
//! Of the tests, those that run other people's programs make sense for it. It always sits behind the resource manager: on a bare
//! TPM its own tool fails.

use std::path::Path;
use std::process::{Command, Stdio};

use pkcs11_sys::{
    CKA_EC_PARAMS, CKA_EC_POINT, CKA_KEY_TYPE, CKA_MODULUS, CKA_PUBLIC_EXPONENT, CKA_PUBLIC_KEY_INFO, CKK_RSA,
};

use crate::probe::Probe;
use crate::product;
use crate::world::{Run, Token};

/// Is it not our own module that is under test?
pub fn is_under_test() -> bool {
    product::module().file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("libtpm2_pkcs11"))
}

/// How it reaches the resource manager on this socket: its library has no word for a socket, but for a program.
pub fn tcti(socket: &str) -> String {
    format!("cmd:socat - UNIX-CONNECT:{socket}")
}

/// The variables that lead it, and its tool, to a store and a TPM.
pub fn environment(store: &str, socket: &str) -> Vec<(&'static str, String)> {
    vec![
        ("TPM2_PKCS11_STORE", store.to_owned()),
        ("TPM2_PKCS11_TCTI", tcti(socket)),
        ("TPM2TOOLS_TCTI", tcti(socket)),
        ("TSS2_LOG", "all+none".to_owned()),
        ("TPM2_PKCS11_LOG_LEVEL", "0".to_owned()),
    ]
}

/// Makes a store with these tokens and their keys, as far as its tool can.
pub fn make_store(store: &Path, socket: &Path, tokens: &[Token]) {
    let tool = |arguments: &[&str]| {
        let mut command = Command::new("tpm2_ptool");
        command
            .args(arguments)
            .arg(format!("--path={}", store.display()))
            .envs(environment(store.to_str().unwrap(), socket.to_str().unwrap()))
            .stdin(Stdio::null());
        let run = Run::of(&mut command);
        assert!(run.success(), "tpm2_ptool {arguments:?}: {run:?}");
    };
    tool(&["init"]);
    for token in tokens {
        // Without a PIN it has no tokens that programs can use.
        let Some(pin) = token.user_pin else { continue };
        let (label, user_pin) = (format!("--label={}", token.label), format!("--userpin={pin}"));
        tool(&["addtoken", "--pid=1", &label, &user_pin, &format!("--sopin={}", token.so_pin)]);
        for key in token.keys {
            // Its tool has no word for this curve, but the module has.
            if key.algorithm == "ecc521" {
                let mut command = Command::new("pkcs11-tool");
                command.arg("--module").arg(product::module()).args([
                    "--token-label",
                    token.label,
                    "--login",
                    "--pin",
                    pin,
                ]);
                command.args(["--keypairgen", "--key-type", "EC:secp521r1", "--label", key.label, "--id", key.id]);
                command.envs(environment(store.to_str().unwrap(), socket.to_str().unwrap())).stdin(Stdio::null());
                Run::of(&mut command).ok();
                continue;
            }
            // Its bytes, as they are.
            let id = String::from_utf8(crate::call::unhex(key.id).unwrap()).unwrap();
            let (algorithm, name) = (format!("--algorithm={}", key.algorithm), format!("--key-label={}", key.label));
            tool(&["addkey", &label, &user_pin, &algorithm, &name, &format!("--id={id}")]);
        }
    }
}

/// The SubjectPublicKeyInfo of a public key. Our own module says it; from another one it is put together.
pub fn public_key_info(probe: &Probe, session: u64, key: u64) -> Vec<u8> {
    if let Ok(info) = probe.attribute(session, key, CKA_PUBLIC_KEY_INFO)
        && !info.is_empty()
    {
        return info;
    }
    let attribute = |kind| probe.attribute(session, key, kind).unwrap();
    let null_terminated = |oid: &[u8], parameters: &[u8]| tlv(0x30, &[oid, parameters].concat());
    if attribute(CKA_KEY_TYPE) == CKK_RSA.to_ne_bytes() {
        let integer = |value: Vec<u8>| tlv(2, &[&[0][..], &value].concat());
        let number = |value: Vec<u8>| if value[0] < 0x80 { tlv(2, &value) } else { integer(value) };
        let rsa = [number(attribute(CKA_MODULUS)), number(attribute(CKA_PUBLIC_EXPONENT))].concat();
        let algorithm = null_terminated(b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01", &[5, 0]);
        return tlv(0x30, &[algorithm, bits(&tlv(0x30, &rsa))].concat());
    }
    // Whatever it says of the length of an OCTET STRING: the point is what comes from the 4 on.
    let point = attribute(CKA_EC_POINT);
    let len =
        [57, 65, 97, 133].into_iter().rev().find(|len| point.len() > *len && point[point.len() - len] == 4).unwrap();
    let algorithm = null_terminated(b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01", &attribute(CKA_EC_PARAMS));
    tlv(0x30, &[algorithm, bits(&point[point.len() - len..])].concat())
}

fn bits(content: &[u8]) -> Vec<u8> {
    tlv(3, &[&[0][..], content].concat())
}

fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    let len = value.len();
    let head = match len {
        0..0x80 => vec![tag, len as u8],
        0x80..0x100 => vec![tag, 0x81, len as u8],
        _ => vec![tag, 0x82, (len >> 8) as u8, len as u8],
    };
    [head, value.to_vec()].concat()
}
