//! Arguments for the functions of the interface: mostly good ones, of the things that are there, and now and then one that is not.
//! Whatever is said to be memory is memory: what a caller may not do is not done.

use model::ATTRIBUTES;
use pkcs11_sys::*;

use super::Rng;
use crate::probe::{Attribute, Mechanism, attributes, bytes, flag, number, words_place};
use crate::signatures::{Kind, Signature};
use crate::{Argument, Memory, Piece};

/// What a key is, as far as mechanisms tell keys apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    RsaPublic,
    RsaPrivate,
    EcPublic,
    EcPrivate,
    Aes,
    Secret,
}

/// What is known of the module's state, for arguments that mean something.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) slots: Vec<u64>,
    pub(super) sessions: Vec<u64>,
    pub(super) objects: Vec<u64>,
    /// Those that are keys, by what they are good for.
    pub(super) keys: Vec<(Use, u64)>,
    pub(super) mechanisms: Vec<u64>,
    /// What came out of calls: ciphertexts, signatures, wrapped keys, saved states.
    pub(super) outputs: Vec<Vec<u8>>,
}

/// The first the most: with it most is to be had.
const PINS: [&str; 11] = [
    "user-alpha",
    "user-alpha",
    "user-alpha",
    "user-alpha",
    "so-alpha",
    "so-beta",
    "user-beta",
    "so-open",
    "another pin",
    "",
    "1",
];
/// No memory is that long, which can be known.
const ABSURD: [u64; 4] = [u64::MAX, u64::MAX - 1, 1 << 63, (1 << 63) - 1];
const P256: &[u8] = &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];

/// Arguments of one call. `session` is the one to work with, if there is a reason to.
pub(super) fn arguments(signature: &Signature, known: &Known, session: Option<u64>, rng: &mut Rng) -> Vec<Argument> {
    let mut out = Vec::new();
    let ty = mechanism_for(signature.name, known, rng);
    let params = parameters(ty, rng);
    let mechanism = if rng.one_in(60) { Argument::NULL } else { Mechanism { ty, params }.argument() };
    let fitting: Vec<u64> = {
        let wanted = fitting(signature.name, ty);
        known.keys.iter().filter(|(key, _)| Some(*key) == wanted).map(|(_, key)| *key).collect()
    };
    let mut blobs = 0;
    for (place, kind) in signature.parameters.iter().enumerate() {
        match kind {
            Kind::Session => out.push(match session {
                Some(session) if !rng.one_in(30) => session.into(),
                _ => handle(&known.sessions, rng),
            }),
            Kind::Slot => out.push(handle(&known.slots, rng)),
            Kind::Object
                if !fitting.is_empty() && signature.parameters.contains(&Kind::Mechanism) && !rng.one_in(5) =>
            {
                out.push((*rng.pick(&fitting)).into());
            }
            Kind::Object => out.push(handle(&known.objects, rng)),
            Kind::SessionFlags => {
                const FLAGS: [u64; 4] = [CKF_SERIAL_SESSION | CKF_RW_SESSION, CKF_SERIAL_SESSION, 0, u64::MAX];
                let most = if rng.one_in(10) { FLAGS.len() } else { 2 };
                out.push((*rng.pick(&FLAGS[..most])).into());
            }
            Kind::Number => out.push(number_for(signature.name, known, rng)),
            Kind::Place => out.push(if rng.one_in(40) { Argument::NULL } else { Argument::buffer(512) }),
            Kind::Optional => out.push(Argument::NULL),
            Kind::Label => {
                out.push(if rng.one_in(40) {
                    Argument::NULL
                } else {
                    Argument::bytes(&[b'a' + rng.below(4) as u8; 32])
                });
            }
            Kind::Mechanism => out.push(mechanism.clone()),
            Kind::Bytes => {
                blobs += 1;
                let parameters = blobs == 1 && signature.name.contains("Message");
                out.extend(if parameters { message_parameters(rng) } else { blob(signature.name, known, rng) });
            }
            Kind::Attributes => {
                let private = place > 2 && signature.name == "C_GenerateKeyPair";
                out.extend(template_argument(signature.name, private, known, rng));
            }
            Kind::Output => out.extend(output(signature.name, rng)),
            Kind::UpTo => {
                let room = rng.below(20);
                let list = if rng.one_in(40) { Argument::NULL } else { words_place(room) };
                let room = if rng.one_in(40) { u64::MAX } else { room as u64 };
                let null = room == u64::MAX;
                out.extend([if null { Argument::NULL } else { list }, room.into(), Argument::place(0)]);
            }
        }
    }
    out
}

fn handle(of: &[u64], rng: &mut Rng) -> Argument {
    const NONE: [u64; 4] = [0, 77_777, u64::MAX, 1 << 32];
    if of.is_empty() || rng.one_in(25) { Argument::Word(*rng.pick(&NONE)) } else { Argument::Word(*rng.pick(of)) }
}

fn number_for(function: &str, known: &Known, rng: &mut Rng) -> Argument {
    const USERS: [u64; 6] = [CKU_USER, CKU_USER, CKU_USER, CKU_SO, CKU_CONTEXT_SPECIFIC, 99];
    let users = if rng.one_in(10) { USERS.len() } else { 5 };
    let word = match function {
        // Without it the call waits for an event that never comes.
        "C_WaitForSlotEvent" => CKF_DONT_BLOCK,
        "C_Login" | "C_LoginUser" => *rng.pick(&USERS[..users]),
        "C_GetMechanismInfo" if !known.mechanisms.is_empty() => *rng.pick(&known.mechanisms),
        _ => *rng.pick(&[0, 1, 2, 0xffff, u64::MAX]),
    };
    word.into()
}

fn random_bytes(known: &Known, rng: &mut Rng) -> Vec<u8> {
    match rng.below(8) {
        0 if !known.outputs.is_empty() => rng.pick(&known.outputs).clone(),
        1 | 2 if !known.outputs.is_empty() => {
            let mut bytes = rng.pick(&known.outputs).clone();
            if !bytes.is_empty() {
                let at = rng.below(bytes.len());
                bytes[at] ^= 1;
            }
            bytes
        }
        3 => vec![7; *rng.pick(&[0, 16, 20, 32, 48, 64, 128, 256, 384])],
        4 => vec![9; *rng.pick(&[1023, 1024, 1025, 4096, 70_000])],
        _ => rng.bytes(80),
    }
}

fn blob(function: &str, known: &Known, rng: &mut Rng) -> [Argument; 2] {
    let pin = matches!(function, "C_Login" | "C_LoginUser" | "C_InitPIN" | "C_SetPIN" | "C_InitToken");
    let bytes = match function {
        _ if pin && !rng.one_in(10) => rng.pick(&PINS).as_bytes().to_vec(),
        _ => random_bytes(known, rng),
    };
    match rng.below(40) {
        0 => [Argument::NULL, (bytes.len() as u64).into()],
        1 => [Argument::NULL, Argument::Word(*rng.pick(&ABSURD))],
        2 => [Argument::bytes(&bytes), Argument::Word(*rng.pick(&ABSURD))],
        3 => [Argument::NULL, 0.into()],
        _ => {
            let len = bytes.len() as u64;
            let argument = Argument::bytes(&bytes);
            let odd = rng.one_in(8);
            [if odd { shifted(argument) } else { argument }, len.into()]
        }
    }
}

fn shifted(argument: Argument) -> Argument {
    match argument {
        Argument::Pointer(memory) => Argument::Pointer(memory.misaligned()),
        word => word,
    }
}

fn output(function: &str, rng: &mut Rng) -> [Argument; 2] {
    let room = *rng.pick(&[0, 1, 15, 16, 32, 64, 128, 256, 512, 2048, 2048, 2048, 80_000]);
    // Of these, how many numbers there are, and not bytes.
    let unit = if matches!(function, "C_GetSlotList" | "C_GetMechanismList") { size_of::<CK_ULONG>() } else { 1 };
    match rng.below(12) {
        0 => [Argument::NULL, Argument::place(0)],
        1 => [Argument::NULL, Argument::place(u64::MAX)],
        2 if rng.one_in(3) => [Argument::buffer(room), Argument::NULL],
        _ => [Argument::buffer(unit * room), Argument::place(room as u64)],
    }
}

fn message_parameters(rng: &mut Rng) -> [Argument; 2] {
    match rng.below(6) {
        0 => [Argument::NULL, 0.into()],
        1 => [Argument::NULL, 48.into()],
        2 => {
            // Of no structure's length.
            let len = *rng.pick(&[1, 7, 13, 17, 33, 47]);
            [Argument::bytes(&vec![0xff; len]), (len as u64).into()]
        }
        _ => {
            let (iv, tag) = (rng.below(20), *rng.pick(&[0, 4, 12, 16, 16, 16]));
            let iv = if rng.one_in(3) { iv } else { 12 };
            let words = [
                pointer(&vec![3; iv], rng),
                Piece::Word(iv as u64),
                Piece::Word(*rng.pick(&[0, 0, 32, 96, u64::MAX])),
                Piece::Word(rng.below(5) as u64),
                pointer(&vec![5; tag], rng),
                Piece::Word(8 * tag as u64),
            ];
            [Argument::Pointer(Memory::of(words.to_vec())), 48.into()]
        }
    }
}

/// A pointer to these bytes, or seldom the null pointer.
fn pointer(bytes: &[u8], rng: &mut Rng) -> Piece {
    if rng.one_in(25) { Piece::Word(0) } else { Piece::Pointer(Memory::bytes(bytes)) }
}

fn length(len: usize, rng: &mut Rng) -> Piece {
    Piece::Word(if rng.one_in(40) { *rng.pick(&ABSURD) } else { len as u64 })
}

/// A mechanism that the function has something to do with.
fn mechanism_for(function: &str, known: &Known, rng: &mut Rng) -> u64 {
    match function {
        _ if rng.one_in(4) && !known.mechanisms.is_empty() => *rng.pick(&known.mechanisms),
        "C_GenerateKeyPair" => *rng.pick(&[CKM_EC_KEY_PAIR_GEN, CKM_EC_KEY_PAIR_GEN, CKM_RSA_PKCS_KEY_PAIR_GEN]),
        "C_GenerateKey" => *rng.pick(&[CKM_AES_KEY_GEN, CKM_GENERIC_SECRET_KEY_GEN]),
        "C_DigestInit" => *rng.pick(&[CKM_SHA256, CKM_SHA_1, CKM_SHA512]),
        "C_DeriveKey" => *rng.pick(&[CKM_ECDH1_DERIVE, CKM_HKDF_DERIVE]),
        "C_WrapKey" | "C_UnwrapKey" => {
            *rng.pick(&[CKM_AES_KEY_WRAP, CKM_AES_KEY_WRAP_KWP, CKM_RSA_PKCS_OAEP, CKM_RSA_PKCS])
        }
        name if name.contains("Recover") => *rng.pick(&[CKM_RSA_PKCS, CKM_RSA_X_509]),
        name if name.contains("Sign") || name.contains("Verify") => *rng.pick(&[
            CKM_ECDSA,
            CKM_ECDSA_SHA256,
            CKM_RSA_PKCS,
            CKM_SHA256_RSA_PKCS,
            CKM_RSA_PKCS_PSS,
            CKM_SHA256_RSA_PKCS_PSS,
            CKM_SHA256_HMAC,
            CKM_AES_CMAC,
            CKM_RSA_X_509,
        ]),
        name if name.contains("MessageEn") || name.contains("MessageDe") => CKM_AES_GCM,
        _ => *rng.pick(&[
            CKM_AES_CBC,
            CKM_AES_CBC_PAD,
            CKM_AES_ECB,
            CKM_AES_CTR,
            CKM_AES_GCM,
            CKM_AES_OFB,
            CKM_RSA_PKCS,
            CKM_RSA_PKCS_OAEP,
            CKM_RSA_X_509,
        ]),
    }
}

/// The keys that a function wants for a mechanism.
fn fitting(function: &str, ty: u64) -> Option<Use> {
    let private = ["Sign", "Decrypt", "Unwrap", "Derive"].iter().any(|word| function.contains(word));
    Some(match ty {
        CKM_RSA_PKCS
        | CKM_SHA256_RSA_PKCS
        | CKM_RSA_PKCS_PSS
        | CKM_SHA256_RSA_PKCS_PSS
        | CKM_RSA_X_509
        | CKM_RSA_PKCS_OAEP => {
            if private {
                Use::RsaPrivate
            } else {
                Use::RsaPublic
            }
        }
        CKM_ECDSA | CKM_ECDSA_SHA256 | CKM_ECDH1_DERIVE => {
            if private {
                Use::EcPrivate
            } else {
                Use::EcPublic
            }
        }
        CKM_SHA256_HMAC | CKM_HKDF_DERIVE => Use::Secret,
        CKM_AES_CBC | CKM_AES_CBC_PAD | CKM_AES_ECB | CKM_AES_CTR | CKM_AES_GCM | CKM_AES_OFB | CKM_AES_CMAC
        | CKM_AES_KEY_WRAP | CKM_AES_KEY_WRAP_KWP => Use::Aes,
        _ => return None,
    })
}

fn parameters(ty: u64, rng: &mut Rng) -> Option<Memory> {
    const HASHES: [u64; 5] = [CKM_SHA_1, CKM_SHA256, CKM_SHA384, CKM_SHA512, 0xffff];
    const MASKS: [u64; 4] = [CKG_MGF1_SHA1, CKG_MGF1_SHA256, CKG_MGF1_SHA384, 77];
    if rng.one_in(15) {
        // Of no structure's length.
        return rng.one_in(2).then(|| Memory::bytes(&vec![0xff; *rng.pick(&[1, 7, 9, 15, 17, 33])]));
    }
    let words = match ty {
        CKM_RSA_PKCS_PSS | CKM_SHA256_RSA_PKCS_PSS | CKM_SHA1_RSA_PKCS_PSS => vec![
            Piece::Word(*rng.pick(&HASHES)),
            Piece::Word(*rng.pick(&MASKS)),
            Piece::Word(*rng.pick(&[0, 20, 32, 32, 64, 1000, u64::MAX])),
        ],
        CKM_RSA_PKCS_OAEP => {
            let label = rng.bytes(20);
            vec![
                Piece::Word(*rng.pick(&HASHES)),
                Piece::Word(*rng.pick(&MASKS)),
                Piece::Word(u64::from(!rng.one_in(8))),
                pointer(&label, rng),
                length(label.len(), rng),
            ]
        }
        CKM_AES_CBC | CKM_AES_CBC_PAD | CKM_AES_OFB | CKM_AES_CFB128 => vec![Piece::Bytes(vec![4; 16])],
        CKM_AES_CTR => {
            vec![Piece::Word(*rng.pick(&[0, 1, 8, 32, 128, 129, u64::MAX])), Piece::Bytes(vec![0xff; 16])]
        }
        CKM_AES_GCM => {
            let (iv, more) = (*rng.pick(&[0, 1, 12, 12, 12, 16, 300]), rng.bytes(40));
            vec![
                pointer(&vec![6; iv], rng),
                length(iv, rng),
                Piece::Word(8 * iv as u64),
                pointer(&more, rng),
                length(more.len(), rng),
                Piece::Word(*rng.pick(&[0, 1, 96, 128, 128, 129, u64::MAX])),
            ]
        }
        CKM_AES_KEY_WRAP => {
            return if rng.one_in(2) { None } else { Some(Memory::bytes(&[0xa6; 8])) };
        }
        CKM_ECDH1_DERIVE | CKM_ECDH1_COFACTOR_DERIVE => {
            let mut point = vec![4; 65];
            if rng.one_in(2) {
                // The generator of P-256.
                let generator = "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c2964fe342e2fe1a7f9b8ee7eb4a7c0f9e16\
                                 2bce33576b315ececbb6406837bf51f5";
                point = crate::call::unhex(generator).unwrap_or_default();
            }
            let shared = rng.bytes(10);
            vec![
                Piece::Word(*rng.pick(&[1, 1, 2, 5, 6, 77])),
                length(shared.len(), rng),
                pointer(&shared, rng),
                length(point.len(), rng),
                pointer(&point, rng),
            ]
        }
        CKM_HKDF_DERIVE | CKM_HKDF_DATA => {
            let (salt, info) = (rng.bytes(20), rng.bytes(20));
            vec![
                Piece::Bytes(vec![rng.below(2) as u8, rng.below(2) as u8, 0, 0, 0, 0, 0, 0]),
                Piece::Word(*rng.pick(&HASHES)),
                Piece::Word(*rng.pick(&[1, 2, 4, 77])),
                pointer(&salt, rng),
                length(salt.len(), rng),
                Piece::Word(rng.below(10) as u64),
                pointer(&info, rng),
                length(info.len(), rng),
            ]
        }
        _ => return None,
    };
    let memory = Memory::of(words);
    Some(if rng.one_in(10) { memory.misaligned() } else { memory })
}

fn template_argument(function: &str, private: bool, known: &Known, rng: &mut Rng) -> [Argument; 2] {
    match rng.below(60) {
        0 => return [Argument::NULL, 1.into()],
        1 => return [Argument::NULL, Argument::Word(*rng.pick(&ABSURD))],
        2 => return [Argument::NULL, 0.into()],
        _ => {}
    }
    let template = template(function, private, known, rng);
    let len = template.len() as u64;
    if function != "C_GetAttributeValue" {
        return [attributes(&template), len.into()];
    }
    let pieces = template.iter().flat_map(|(ty, _)| {
        let room = *rng.pick(&[0, 1, 8, 64, 1024]);
        match rng.below(6) {
            0 => [Piece::Word(*ty), Piece::Word(0), Piece::Word(0)],
            _ => [Piece::Word(*ty), Piece::Pointer(Memory::bytes(&vec![0xa5; room])), Piece::Word(room as u64)],
        }
    });
    let memory = Memory::of(pieces.collect());
    [if template.is_empty() { Argument::NULL } else { Argument::Pointer(memory) }, len.into()]
}

fn template(function: &str, private: bool, known: &Known, rng: &mut Rng) -> Vec<Attribute> {
    let usage = [CKA_SIGN, CKA_VERIFY, CKA_ENCRYPT, CKA_DECRYPT, CKA_WRAP, CKA_UNWRAP, CKA_DERIVE];
    let on_token = flag(CKA_TOKEN, rng.one_in(3));
    let secret = |rng: &mut Rng| {
        let ty = *rng.pick(&[CKK_AES, CKK_GENERIC_SECRET]);
        vec![number(CKA_CLASS, CKO_SECRET_KEY), number(CKA_KEY_TYPE, ty), on_token.clone()]
    };
    let mut template = match function {
        "C_GenerateKeyPair" if private => vec![on_token.clone()],
        "C_GenerateKeyPair" => {
            let bits = *rng.pick(&[1024, 1024, 1024, 1025, 0]);
            vec![bytes(CKA_EC_PARAMS, P256), number(CKA_MODULUS_BITS, bits), on_token.clone()].split_off(rng.below(2))
        }
        "C_GenerateKey" => vec![number(CKA_VALUE_LEN, *rng.pick(&[16, 32, 20, 0, u64::MAX])), on_token.clone()],
        "C_CreateObject" => match rng.below(3) {
            0 => vec![number(CKA_CLASS, CKO_DATA), bytes(CKA_VALUE, &rng.bytes(300)), on_token.clone()],
            1 => vec![
                number(CKA_CLASS, CKO_PUBLIC_KEY),
                number(CKA_KEY_TYPE, CKK_RSA),
                bytes(CKA_MODULUS, &[0xc5; 128]),
                bytes(CKA_PUBLIC_EXPONENT, &[1, 0, 1]),
                on_token.clone(),
            ],
            _ => [secret(rng), vec![bytes(CKA_VALUE, &[7; 16])]].concat(),
        },
        "C_UnwrapKey" | "C_DeriveKey" => {
            let mut template = secret(rng);
            if rng.one_in(2) {
                template.push(number(CKA_VALUE_LEN, *rng.pick(&[16, 32, 24, 0, u64::MAX])));
            }
            template
        }
        _ => Vec::new(),
    };
    for ty in usage {
        if rng.one_in(4) && !matches!(function, "C_FindObjectsInit" | "C_SetAttributeValue") {
            template.push(flag(ty, true));
        }
    }
    for _ in 0..rng.below(4) {
        let ty = ATTRIBUTES[rng.below(ATTRIBUTES.len())].ty.0;
        template.push(match rng.below(5) {
            0 => flag(ty, rng.one_in(2)),
            1 => number(ty, *rng.pick(&[0, 1, 2, 3, 4, 0x1f, u64::MAX])),
            2 => bytes(CKA_LABEL, &rng.bytes(12)),
            3 if !known.outputs.is_empty() => bytes(ty, rng.pick::<Vec<u8>>(&known.outputs)),
            _ => bytes(ty, &rng.bytes(40)),
        });
    }
    if rng.one_in(12) && !template.is_empty() {
        template.remove(rng.below(template.len()));
    }
    template
}
