//! Tokens on TPMs that can do less: what is listed, offered and refused follows what the TPM says of itself.
//!
//! Between the clients and a software TPM stands something that leaves out of the TPM's answers what it is told to.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use pkcs11_sys::*;
use tests::probe::{Attribute, Mechanism, Probe, attributes, bytes, flag, number};
use tests::world::{Run, World};
use tests::{Argument, Ck, product};

/// `TPM_CC_GetCapability`, `TPM_CC_TestParms` and what they are asked for (TPM 2.0 Part 2, 6.12).
const GET_CAPABILITY: u32 = 0x17a;
const TEST_PARMS: u32 = 0x18a;
const ALGORITHMS: u32 = 0;
const COMMANDS: u32 = 2;
const CURVES: u32 = 8;
/// Things to leave out.
const ENCRYPT_DECRYPT_2: u32 = 0x193;
const TPM_ALG_ECC: u32 = 0x23;
const TPM_ALG_RSA: u32 = 1;
const TPM_ECC_NIST_P224: u32 = 2;
const TPM_ECC_NIST_P384: u32 = 4;
const TPM_ECC_NIST_P521: u32 = 5;

/// What the TPM does not have: the property that it is listed in, and its number there.
type Missing = &'static [(u32, u32)];

/// Starts a filter in front of a TPM on this port; tells its own.
fn filter(upstream: u16, missing: Missing) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (Ok(client), Ok(tpm)) = (client, TcpStream::connect((Ipv4Addr::LOCALHOST, upstream))) else { return };
            std::thread::spawn(move || pass_on(client, tpm, missing));
        }
    });
    port
}

/// Passes commands and responses on, one after the other, until one side is gone.
fn pass_on(mut client: TcpStream, mut tpm: TcpStream, missing: Missing) {
    while let Some(command) = frame(&mut client) {
        let rsa_tested = word(&command, 6) == TEST_PARMS && command[10..12] == (TPM_ALG_RSA as u16).to_be_bytes();
        if rsa_tested && missing.contains(&(ALGORITHMS, TPM_ALG_RSA)) {
            // TPM_RC_ASYMMETRIC of the first parameter.
            if client.write_all(&[0x80, 1, 0, 0, 0, 10, 0, 0, 1, 0xc1]).is_err() {
                return;
            }
            continue;
        }
        if tpm.write_all(&command).is_err() {
            return;
        }
        let Some(response) = frame(&mut tpm) else { return };
        let response = if word(&command, 6) == GET_CAPABILITY { without(response, missing) } else { response };
        if client.write_all(&response).is_err() {
            return;
        }
    }
}

/// A command or response: tag, size, code, and the rest.
fn frame(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut frame = vec![0; 10];
    stream.read_exact(&mut frame).ok()?;
    frame.resize(word(&frame, 2) as usize, 0);
    stream.read_exact(&mut frame[10..]).ok()?;
    Some(frame)
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// An answer of TPM2_GetCapability (TPM 2.0 Part 3, 30.2) without what is missing.
fn without(response: Vec<u8>, missing: Missing) -> Vec<u8> {
    // With sessions the parameters stand elsewhere; nobody asks so.
    if word(&response, 6) != 0 || response[..2] != [0x80, 1] {
        return response;
    }
    let property = word(&response, 11);
    // How long an entry is, and the number in it.
    let (size, number): (usize, fn(&[u8]) -> u32) = match property {
        ALGORITHMS => (6, |entry| u16::from_be_bytes([entry[0], entry[1]]).into()),
        COMMANDS => (4, |entry| word(entry, 0) & 0xffff),
        CURVES => (2, |entry| u16::from_be_bytes([entry[0], entry[1]]).into()),
        _ => return response,
    };
    let (head, entries) = response.split_at(19);
    let left: Vec<&[u8]> = entries.chunks(size).filter(|entry| !missing.contains(&(property, number(entry)))).collect();
    let mut out = head.to_vec();
    out[15..19].copy_from_slice(&(left.len() as u32).to_be_bytes());
    out.extend(left.concat());
    let size = out.len() as u32;
    out[2..6].copy_from_slice(&size.to_be_bytes());
    out
}

/// A token on such a TPM, and its user's session.
struct Token {
    probe: Probe,
    session: u64,
    slot: u64,
    _world: World,
}

impl Token {
    fn on(missing: Missing) -> Token {
        let world = World::empty();
        let tcti = format!("swtpm:host=127.0.0.1,port={}", filter(world.proxy.port(), missing));
        for arguments in
            [&["init"][..], &["addtoken", "--pid=1", "--label=less", "--sopin=officer", "--userpin=user-pin"]]
        {
            let mut ptool = world.command(product::ptool());
            Run::of(ptool.args(arguments).env("TPM2_CRYPTOKI_TCTI", &tcti)).ok();
        }
        let probe = world.probe_with(&[("TPM2_CRYPTOKI_TCTI", tcti)]).initialized();
        let slot = probe.slot_of("less");
        let session = probe.open_rw(slot);
        probe.login(session, CKU_USER, "user-pin").unwrap();
        Token { probe, session, slot, _world: world }
    }

    fn has(&self, ty: u64) -> bool {
        let listed = self.probe.mechanisms(self.slot).unwrap().contains(&ty);
        assert_eq!(self.probe.mechanism_info(self.slot, ty).is_ok(), listed, "{ty:#x}");
        listed
    }

    fn sizes(&self, ty: u64) -> (u64, u64) {
        let (least, most, _) = self.probe.mechanism_info(self.slot, ty).unwrap();
        (least, most)
    }

    fn aes(&self, token: bool) -> Result<u64, Ck> {
        let template = [flag(CKA_TOKEN, token), number(CKA_VALUE_LEN, 16)];
        let mechanism = Mechanism::plain(CKM_AES_KEY_GEN).argument();
        let list = [attributes(&template), 2.into(), Argument::place(0)];
        let (rv, left) = self.probe.call("C_GenerateKey", [&[self.session.into(), mechanism][..], &list].concat());
        if rv == CKR_OK { Ok(left[4].word()) } else { Err(Ck(rv)) }
    }

    fn ec(&self, curve: &[u8]) -> Result<(u64, u64), Ck> {
        self.probe.generate_pair(self.session, CKM_EC_KEY_PAIR_GEN, &[curve_of(curve)], &[])
    }

    fn rsa(&self) -> Result<(u64, u64), Ck> {
        let bits = [number(CKA_MODULUS_BITS, 1024)];
        self.probe.generate_pair(self.session, CKM_RSA_PKCS_KEY_PAIR_GEN, &bits, &[])
    }

    fn signs(&self, mechanism: u64, (public, private): (u64, u64)) {
        let signature = self.probe.sign(self.session, mechanism, private, b"message").unwrap();
        self.probe.verify(self.session, mechanism, public, b"message", &signature).unwrap();
    }
}

fn curve_of(curve: &[u8]) -> Attribute {
    bytes(CKA_EC_PARAMS, curve)
}

const P224: &[u8] = &[6, 5, 0x2b, 0x81, 4, 0, 0x21];
const P256: &[u8] = &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const P384: &[u8] = &[6, 5, 0x2b, 0x81, 4, 0, 0x22];

#[test]
fn a_whole_tpm_does_it_all() {
    let token = Token::on(&[]);
    assert!(token.has(CKM_ECDSA) && token.has(CKM_RSA_PKCS) && token.has(CKM_AES_CBC));
    assert_eq!((token.sizes(CKM_ECDSA), token.sizes(CKM_RSA_PKCS)), ((224, 521), (1024, 3072)));
    token.aes(true).unwrap();
    token.signs(CKM_ECDSA_SHA256, token.ec(P384).unwrap());
}

#[test]
fn without_a_cipher_keys_for_it_are_in_memory() {
    let token = Token::on(&[(COMMANDS, ENCRYPT_DECRYPT_2)]);
    assert_eq!(token.aes(true), Err(Ck(CKR_TEMPLATE_INCONSISTENT)));
    let key = token.aes(false).unwrap();
    let cipher = token.probe.encrypt(token.session, CKM_AES_ECB, key, &[7; 16]).unwrap();
    assert_eq!(token.probe.decrypt(token.session, CKM_AES_ECB, key, &cipher).unwrap(), [7; 16]);
    assert!(token.has(CKM_AES_ECB) && token.has(CKM_ECDSA));
}

#[test]
fn without_curves_there_are_no_keys_on_them() {
    let token = Token::on(&[(CURVES, TPM_ECC_NIST_P224), (CURVES, TPM_ECC_NIST_P384), (CURVES, TPM_ECC_NIST_P521)]);
    assert_eq!(token.sizes(CKM_ECDSA), (256, 256));
    for curve in [P224, P384] {
        assert_eq!(token.ec(curve), Err(Ck(CKR_CURVE_NOT_SUPPORTED)));
    }
    token.signs(CKM_ECDSA_SHA256, token.ec(P256).unwrap());
}

#[test]
fn without_rsa_there_are_curves() {
    let token = Token::on(&[(ALGORITHMS, TPM_ALG_RSA)]);
    for ty in [CKM_RSA_PKCS_KEY_PAIR_GEN, CKM_RSA_PKCS, CKM_RSA_PKCS_OAEP, CKM_SHA256_RSA_PKCS, CKM_SHA256_RSA_PKCS_PSS]
    {
        assert!(!token.has(ty), "{ty:#x}");
    }
    assert_eq!(token.rsa(), Err(Ck(CKR_MECHANISM_INVALID)));
    assert!(token.has(CKM_ECDSA) && token.has(CKM_ECDH1_DERIVE) && token.has(CKM_SHA256));
    token.signs(CKM_ECDSA_SHA256, token.ec(P256).unwrap());
}

#[test]
fn without_curves_at_all_there_is_rsa() {
    let all: Missing = &[
        (ALGORITHMS, TPM_ALG_ECC),
        (CURVES, 1),
        (CURVES, 2),
        (CURVES, 3),
        (CURVES, 4),
        (CURVES, 5),
        (CURVES, 0x10),
        (CURVES, 0x20),
    ];
    let token = Token::on(all);
    for ty in [CKM_EC_KEY_PAIR_GEN, CKM_ECDSA, CKM_ECDSA_SHA256, CKM_ECDH1_DERIVE, CKM_ECDH1_COFACTOR_DERIVE] {
        assert!(!token.has(ty), "{ty:#x}");
    }
    assert_eq!(token.ec(P256), Err(Ck(CKR_MECHANISM_INVALID)));
    token.signs(CKM_SHA256_RSA_PKCS, token.rsa().unwrap());
}
