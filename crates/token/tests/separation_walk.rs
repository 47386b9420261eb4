//! Every way, one after the other, from a key that must not be known to something that shows it: each mechanism of the table, in each
//! function that takes a key, in the manner of the known searches for attacks on PKCS#11.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may")]

mod common;

use std::collections::BTreeSet;

use base::digest::Hash;
use common::{World, pin};
use model::{
    AttributeType as A, HkdfSalt, KeyType, MECHANISMS, Mechanism, MechanismRow, MechanismType as M, ObjectClass,
    ObjectHandle, Ops, Output, ParamKind, Params, Scheme, SessionHandle, Template, UserType, Value,
};
use token::Library;
use token::info::AttributeValue;

/// The value that must not come out.
const SECRET: &[u8; 32] = b"what nobody may read, whatever..";
/// The caller's own key.
const OWN: [u8; 32] = [0x11; 32];
/// What the caller mixes in.
const MASK: [u8; 32] = [0x36; 32];
/// So many steps from the start.
const DEPTH: usize = 2;

fn flag(ty: A, value: bool) -> Template {
    Template::new().with(ty, Value::Bool(value))
}

fn secret(key_type: KeyType, value: &[u8]) -> Template {
    let template = Template::new()
        .with(A::CLASS, Value::Ulong(ObjectClass::SECRET_KEY.0))
        .with(A::KEY_TYPE, Value::Ulong(key_type.0))
        .with(A::VALUE, Value::Bytes(value.to_vec()))
        .with(A::DERIVE, Value::Bool(true));
    template.with(A::TOKEN, Value::Bool(false))
}

fn joined(first: &Template, second: &Template) -> Template {
    second.iter().fold(first.clone(), |template, (ty, value)| {
        let mut template = template;
        template.push(ty, value.to_vec());
        template
    })
}

/// Who walks, and what was seen on the way.
struct Walk<'a> {
    library: &'a Library,
    session: SessionHandle,
    /// An open key, and its mask.
    open: ObjectHandle,
    /// Keys that wrap, with the keys that open what they wrapped for the caller.
    wrapping: Vec<ObjectHandle>,
    unwrapping: Vec<ObjectHandle>,
    opening: Vec<ObjectHandle>,
    /// What was wrapped, how, and by which of the wrapping keys: one of each, for each kind of key.
    blobs: Vec<(Vec<u8>, Mechanism, usize)>,
    wrapped: BTreeSet<String>,
    /// Kinds of keys that were reached, and when.
    seen: BTreeSet<String>,
    leaks: BTreeSet<String>,
    steps: usize,
}

/// Eight bytes of the secret in a row, as they are or under the mask.
fn shows(bytes: &[u8]) -> bool {
    let masked: Vec<u8> = SECRET.iter().zip(MASK).map(|(byte, mask)| byte ^ mask).collect();
    bytes
        .windows(8)
        .any(|window| SECRET.windows(8).any(|part| part == window) || masked.windows(8).any(|part| part == window))
}

impl Walk<'_> {
    fn look(&mut self, how: &str, bytes: &[u8]) {
        self.steps += 1;
        if shows(bytes) {
            self.leaks.insert(how.to_owned());
        }
    }

    fn out(&self, run: impl FnOnce(Output<'_>) -> token::Result<usize>) -> Option<Vec<u8>> {
        let mut bytes = vec![0; 1024];
        let len = run(Output::Buffer(&mut bytes)).ok()?;
        bytes.truncate(len);
        Some(bytes)
    }

    fn attribute(&self, key: ObjectHandle, ty: A) -> Option<Vec<u8>> {
        match self.library.get_attributes(self.session, key, &[ty]).ok()?.remove(0) {
            AttributeValue::Value(value) => Some(value),
            _ => None,
        }
    }

    /// What the rules go by, and where it came from.
    fn kind(&self, key: ObjectHandle) -> String {
        let all = [
            A::CLASS,
            A::KEY_TYPE,
            A::VALUE_LEN,
            A::SENSITIVE,
            A::EXTRACTABLE,
            A::WRAP_WITH_TRUSTED,
            A::ENCRYPT,
            A::DECRYPT,
            A::WRAP,
            A::UNWRAP,
            A::SIGN,
            A::DERIVE,
        ];
        let values = all.map(|ty| self.attribute(key, ty).map(|value| value.into_iter().take(2).collect::<Vec<_>>()));
        format!("{values:?}")
    }

    /// One key with everything that can be done with it; the keys that come of it and were not seen before.
    fn step(&mut self, way: &str, key: ObjectHandle) -> Vec<(String, ObjectHandle)> {
        let (library, session) = (self.library, self.session);
        if let Some(value) = self.attribute(key, A::VALUE) {
            self.look(&format!("{way}: read"), &value);
        }
        let mut made = Vec::new();
        for row in MECHANISMS {
            for mechanism in mechanisms(row, self.open, key) {
                let name = format!("{way}: {}", row.ty);
                if row.ops.contains(Ops::DERIVE) {
                    for (base, template) in [key, self.open].into_iter().flat_map(|base| wishes().map(|w| (base, w))) {
                        if let Ok(new) = library.derive_key(session, &mechanism, base, &template) {
                            if let Some(value) = self.attribute(new, A::VALUE) {
                                self.look(&format!("{name}: read"), &value);
                            }
                            let reversible = matches!(
                                row.scheme,
                                Scheme::BaseAndKey | Scheme::BaseAndData | Scheme::DataAndBase | Scheme::XorData
                            );
                            // What is made of other keys alone, or one way, leads nowhere.
                            if !reversible || (base != key && mechanism.params != Params::Key(key)) {
                                continue;
                            }
                            let len = self
                                .attribute(new, A::VALUE_LEN)
                                .map_or(0, |len| u64::from_ne_bytes(len.try_into().unwrap()));
                            if len < SECRET.len() as u64 {
                                self.leaks.insert(format!("{name}: cut to {len}"));
                            }
                            made.push((name.clone(), new));
                        }
                    }
                }
                if row.ops.contains(Ops::SIGN) && library.sign_init(session, &mechanism, key).is_ok() {
                    let signature = self.out(|out| library.sign(session, b"some message of it", out));
                    self.look(&format!("{name}: sign"), &signature.unwrap_or_default());
                }
                for (way, init, run) in [
                    ("encrypt", true, Library::encrypt as fn(&Library, SessionHandle, &[u8], Output<'_>) -> _),
                    ("decrypt", false, Library::decrypt),
                ] {
                    let blobs: Vec<Vec<u8>> =
                        self.blobs.iter().filter(|(_, by, _)| by.ty == row.ty).map(|(blob, ..)| blob.clone()).collect();
                    for data in blobs.iter().chain([&vec![0; 32]]) {
                        let begun = match init {
                            true if row.ops.contains(Ops::ENCRYPT) => library.encrypt_init(session, &mechanism, key),
                            false if row.ops.contains(Ops::DECRYPT) => library.decrypt_init(session, &mechanism, key),
                            _ => break,
                        };
                        if begun.is_err() {
                            break;
                        }
                        let out = self.out(|out| run(library, session, data, out)).unwrap_or_default();
                        self.look(&format!("{name}: {way}"), &out);
                    }
                }
                if row.ops.contains(Ops::WRAP) {
                    for (index, wrapping) in self.wrapping.clone().into_iter().enumerate() {
                        let kind = format!("{} {index} {}", row.ty, self.kind(key));
                        if !self.wrapped.insert(kind) {
                            continue;
                        }
                        let blob = self.out(|out| library.wrap_key(session, &mechanism, wrapping, key, out));
                        if let Some(blob) = blob {
                            self.look(&format!("{name}: wrap"), &blob);
                            self.open_blob(&name, &mechanism, &blob);
                            self.blobs.push((blob.clone(), mechanism.clone(), index));
                            made.extend(self.unwrap(&name, &blob, &mechanism, index));
                        }
                    }
                }
                if row.ops.contains(Ops::DIGEST) && library.digest_init(session, &mechanism).is_ok() {
                    let _ = library.digest_key(session, key);
                    let digest = self.out(|out| library.digest_final(session, out)).unwrap_or_default();
                    self.look(&format!("{name}: digest"), &digest);
                }
            }
        }
        for wish in wishes() {
            if let Ok(copy) = library.copy_object(session, key, &wish) {
                let _ = library.set_attributes(session, copy, &wish);
                made.push((format!("{way}: copy"), copy));
            }
        }
        let new = made.into_iter().filter(|(_, key)| {
            let kind = self.kind(*key);
            self.seen.insert(kind)
        });
        new.collect()
    }

    /// Back into keys, by the other half of what wrapped it.
    fn unwrap(&self, name: &str, blob: &[u8], mechanism: &Mechanism, index: usize) -> Vec<(String, ObjectHandle)> {
        let mut made = Vec::new();
        for (wish, key_type) in wishes()
            .into_iter()
            .flat_map(|wish| [KeyType::GENERIC_SECRET, KeyType::AES].map(|key_type| (wish.clone(), key_type)))
        {
            let class = Template::new()
                .with(A::CLASS, Value::Ulong(ObjectClass::SECRET_KEY.0))
                .with(A::KEY_TYPE, Value::Ulong(key_type.0));
            let template = joined(&class, &wish);
            let unwrapping = self.unwrapping[index];
            if let Ok(new) = self.library.unwrap_key(self.session, mechanism, unwrapping, blob, &template) {
                made.push((format!("{name}: unwrap"), new));
            }
        }
        made
    }

    /// What was wrapped, by all that the caller may decrypt with.
    fn open_blob(&mut self, name: &str, mechanism: &Mechanism, blob: &[u8]) {
        for opening in self.opening.clone() {
            if self.library.decrypt_init(self.session, mechanism, opening).is_ok() {
                let plain = self.out(|out| self.library.decrypt(self.session, blob, out)).unwrap_or_default();
                self.look(&format!("{name}: wrap, decrypt"), &plain);
            }
        }
    }
}

/// What a caller asks of a new key.
fn wishes() -> [Template; 8] {
    let shown = flag(A::SENSITIVE, false).with(A::EXTRACTABLE, Value::Bool(true));
    let goes = flag(A::EXTRACTABLE, true);
    let aes = Template::new().with(A::KEY_TYPE, Value::Ulong(KeyType::AES.0));
    [
        Template::new(),
        shown.clone(),
        goes.clone(),
        goes.clone().with(A::WRAP_WITH_TRUSTED, Value::Bool(false)),
        flag(A::WRAP_WITH_TRUSTED, false),
        shown.with(A::VALUE_LEN, Value::Ulong(1)),
        goes.with(A::VALUE_LEN, Value::Ulong(1)),
        joined(&aes, &flag(A::DECRYPT, true).with(A::ENCRYPT, Value::Bool(true)).with(A::VALUE_LEN, Value::Ulong(32))),
    ]
}

/// The mechanism, with the parameters that bring one on.
fn mechanisms(row: &MechanismRow, open: ObjectHandle, key: ObjectHandle) -> Vec<Mechanism> {
    let hkdf = |extract, salt| Params::Hkdf { extract, expand: true, hash: Hash::Sha256, salt, info: b"i".to_vec() };
    let params = match row.params {
        ParamKind::None => vec![Params::None],
        ParamKind::WrapIv => vec![Params::None, Params::WrapIv([0xa6; 8])],
        ParamKind::Iv => vec![Params::Iv([0; 16])],
        ParamKind::Counter => vec![Params::Counter { bits: 128, block: [0; 16] }],
        ParamKind::Gcm => vec![Params::Gcm { iv: vec![1; 12], aad: Vec::new(), tag_bits: 128 }],
        ParamKind::MacLen => vec![Params::MacLen(1), Params::MacLen(16)],
        ParamKind::Data => vec![Params::Data(MASK.to_vec()), Params::Data(vec![0; 64]), Params::Data(vec![7])],
        ParamKind::Key => vec![Params::Key(open), Params::Key(key)],
        ParamKind::Hkdf => {
            vec![hkdf(false, HkdfSalt::Null), hkdf(true, HkdfSalt::Null), hkdf(true, HkdfSalt::Key(key))]
        }
        ParamKind::Oaep => vec![Params::Oaep { hash: Hash::Sha1, mgf: Hash::Sha1, label: Vec::new() }],
        _ => Vec::new(),
    };
    params.into_iter().map(|params| Mechanism { ty: row.ty, params }).collect()
}

/// RSA pairs on the token: one that decrypts, one that the security officer trusts and that only unwraps.
fn pairs(world: &World) {
    for (label, decrypts) in [("own", true), ("trusted", false)] {
        let (library, session) = world.logged_in();
        let name =
            Template::new().with(A::LABEL, Value::Bytes(label.as_bytes().to_vec())).with(A::TOKEN, Value::Bool(true));
        let public = name.clone().with(A::MODULUS_BITS, Value::Ulong(2048)).with(A::WRAP, Value::Bool(true));
        let private = name.with(A::UNWRAP, Value::Bool(true)).with(A::DECRYPT, Value::Bool(decrypts));
        let mechanism = Mechanism::plain(M::RSA_PKCS_KEY_PAIR_GEN);
        let (public, _) = library.generate_key_pair(session, &mechanism, &public, &private).unwrap();
        library.logout(session).unwrap();
        if !decrypts {
            library.login(session, UserType::So, Some(pin("sopin"))).unwrap();
            library.set_attributes(session, public, &flag(A::TRUSTED, true)).unwrap();
        }
        library.close();
    }
}

#[test]
fn no_way_leads_to_what_nobody_may_read() {
    let world = World::with_token(&[]);
    pairs(&world);
    let (library, session) = world.logged_in();
    let powers = |template: Template, powers: &[A]| {
        let all = [A::ENCRYPT, A::DECRYPT, A::WRAP, A::UNWRAP];
        all.into_iter().fold(template, |template, ty| template.with(ty, Value::Bool(powers.contains(&ty))))
    };
    let create = |template: &Template| library.create_object(session, template).unwrap();
    let shown = flag(A::SENSITIVE, false).with(A::EXTRACTABLE, Value::Bool(true));
    let hidden = flag(A::SENSITIVE, true).with(A::EXTRACTABLE, Value::Bool(false));
    let own = joined(&secret(KeyType::AES, &OWN), &shown);
    let wraps = create(&powers(own.clone(), &[A::WRAP, A::UNWRAP]));
    let opens = create(&powers(own, &[A::DECRYPT, A::ENCRYPT]));
    let kek = joined(&secret(KeyType::AES, &[0x22; 32]), &hidden);
    let kek = create(&powers(kek, &[A::WRAP, A::UNWRAP]));
    let open = create(&joined(&secret(KeyType::GENERIC_SECRET, &[0x33]), &shown));
    let of = |class, label| common::find(&library, session, class, label);
    let (public, private) = (ObjectClass::PUBLIC_KEY, ObjectClass::PRIVATE_KEY);
    let starts = [
        ("stays", hidden),
        ("goes under trusted keys", flag(A::EXTRACTABLE, true).with(A::WRAP_WITH_TRUSTED, Value::Bool(true))),
    ];
    let mut leaks = BTreeSet::new();
    for (name, guard) in starts {
        for key_type in [KeyType::GENERIC_SECRET, KeyType::AES, KeyType::HKDF] {
            let start = create(&joined(&secret(key_type, SECRET), &guard));
            let mut walk = Walk {
                library: &library,
                session,
                open,
                wrapping: vec![wraps, kek, of(public, "own"), of(public, "trusted")],
                unwrapping: vec![wraps, kek, of(private, "own"), of(private, "trusted")],
                opening: vec![opens, of(private, "own")],
                blobs: Vec::new(),
                wrapped: BTreeSet::new(),
                seen: BTreeSet::new(),
                leaks: BTreeSet::new(),
                steps: 0,
            };
            let mut keys = vec![(format!("{name}, {key_type}"), start)];
            for _ in 0..DEPTH {
                keys = keys.iter().flat_map(|(way, key)| walk.step(way, *key)).collect();
            }
            assert!(
                walk.steps > 20 && walk.seen.len() > 3,
                "{name}, {key_type}: it walked: {} {}",
                walk.steps,
                walk.seen.len()
            );
            leaks.extend(walk.leaks);
        }
    }
    assert!(leaks.is_empty(), "{leaks:#?}");
    library.close();
}
