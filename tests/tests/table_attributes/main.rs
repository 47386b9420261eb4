//! Every attribute of every kind of objects: given when it is created, generated, copied or changed, and left out.

mod rules;

use std::cell::RefCell;
use std::collections::BTreeSet;

use pkcs11_sys::*;
use rsa::traits::{PrivateKeyParts, PublicKeyParts};
use rules::{CLASSES, Kind, OF_PROFILES, RULES, Rule};
use tests::probe::{Attribute, Mechanism, Probe, attributes, bytes, fails, flag, number, p256};
use tests::world::{ALPHA, World};
use tests::{Argument, Ck};

type Outcome<T> = Result<T, Ck>;

/// A logged-in client, and a key that is also outside.
struct Desk {
    _world: World,
    probe: Probe,
    session: u64,
    rsa: rsa::RsaPrivateKey,
    certificate: Vec<u8>,
    /// What is not as the table says: all of it is told.
    wrong: RefCell<Vec<String>>,
}

impl Drop for Desk {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let wrong = self.wrong.take();
            assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        }
    }
}

impl Desk {
    fn new() -> Desk {
        let world = World::new();
        let probe = world.probe().initialized();
        let session = probe.user_session(&ALPHA);
        let rsa = rsa::RsaPrivateKey::new(&mut p256::elliptic_curve::rand_core::OsRng, 1024).unwrap();
        let request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -subj /CN=reader -days 2 -outform DER";
        let made = tests::openssl::openssl(&world.path(""), &request.split(' ').collect::<Vec<_>>(), b"");
        assert!(made.status.success(), "{made:?}");
        Desk { _world: world, probe, session, rsa, certificate: made.stdout, wrong: RefCell::default() }
    }

    /// What must be in a template of `C_CreateObject`.
    fn needed(&self, class: char) -> Vec<Attribute> {
        let part = |number: &rsa::BigUint| number.to_bytes_be();
        let key = |class: u64, key_type: u64| vec![number(CKA_CLASS, class), number(CKA_KEY_TYPE, key_type)];
        let rsa = [bytes(CKA_MODULUS, &part(self.rsa.n())), bytes(CKA_PUBLIC_EXPONENT, &part(self.rsa.e()))];
        let curve = p256(false)[0].clone();
        let more = match class {
            'd' => return vec![number(CKA_CLASS, CKO_DATA)],
            'c' => {
                let certificate = vec![number(CKA_CLASS, CKO_CERTIFICATE), number(CKA_CERTIFICATE_TYPE, CKC_X_509)];
                return [certificate, vec![bytes(CKA_VALUE, &self.certificate)]].concat();
            }
            'R' => [key(CKO_PUBLIC_KEY, CKK_RSA), rsa.to_vec()],
            'E' => [key(CKO_PUBLIC_KEY, CKK_EC), vec![curve, bytes(CKA_EC_POINT, &point())]],
            'r' => {
                let secret = [
                    bytes(CKA_PRIVATE_EXPONENT, &part(self.rsa.d())),
                    bytes(CKA_PRIME_1, &part(&self.rsa.primes()[0])),
                ];
                [key(CKO_PRIVATE_KEY, CKK_RSA), [rsa, secret].concat()]
            }
            'e' => [key(CKO_PRIVATE_KEY, CKK_EC), vec![curve, bytes(CKA_VALUE, &[0x11; 32])]],
            _ => [key(CKO_SECRET_KEY, CKK_GENERIC_SECRET), vec![bytes(CKA_VALUE, &[7; 16])]],
        };
        more.concat()
    }

    /// A value that is right, and not what it is without being given.
    fn given(&self, rule: &Rule, class: char) -> Attribute {
        let needed = self.needed(class).into_iter().find(|(ty, _)| *ty == rule.ty);
        if let Some(needed) = needed {
            return needed;
        }
        let part = |index: usize| self.rsa.primes()[index].to_bytes_be();
        let value = match rule.ty {
            CKA_CLASS => CKO_DATA.to_ne_bytes().to_vec(),
            CKA_CERTIFICATE_CATEGORY | CKA_JAVA_MIDP_SECURITY_DOMAIN => 2_u64.to_ne_bytes().to_vec(),
            CKA_MODULUS_BITS => 1024_u64.to_ne_bytes().to_vec(),
            CKA_VALUE_LEN => 32_u64.to_ne_bytes().to_vec(),
            CKA_PRIME_2 => part(1),
            CKA_EXPONENT_1 => (self.rsa.d() % (&self.rsa.primes()[0] - 1_u8)).to_bytes_be(),
            CKA_EXPONENT_2 => (self.rsa.d() % (&self.rsa.primes()[1] - 1_u8)).to_bytes_be(),
            CKA_PUBLIC_EXPONENT => vec![1, 0, 1],
            CKA_EC_PARAMS => p256(false)[0].1.clone(),
            CKA_EC_POINT => self.public_point(),
            CKA_ALLOWED_MECHANISMS => [CKM_ECDSA, CKM_SHA256_HMAC].map(u64::to_ne_bytes).concat(),
            CKA_OBJECT_ID => vec![6, 3, 0x55, 4, 3],
            _ => match rule.kind {
                Kind::Bool => {
                    let is = rule.cell(rule.created, class).unwrap_or('0');
                    vec![u8::from(is == '0')]
                }
                Kind::Number => 7_u64.to_ne_bytes().to_vec(),
                Kind::Bytes => b"given".to_vec(),
                Kind::Date => b"20301231".to_vec(),
                Kind::List => CKM_ECDSA.to_ne_bytes().to_vec(),
            },
        };
        (rule.ty, value)
    }

    /// The point that belongs to the private key of [`Desk::needed`].
    fn public_point(&self) -> Vec<u8> {
        use p256::elliptic_curve::sec1::ToEncodedPoint;
        let key = p256::SecretKey::from_slice(&[0x11; 32]).unwrap().public_key();
        [&[4, 65][..], key.to_encoded_point(false).as_bytes()].concat()
    }

    fn create(&self, template: &[Attribute]) -> Outcome<u64> {
        self.handle("C_CreateObject", vec![], template)
    }

    fn copy(&self, object: u64, template: &[Attribute]) -> Outcome<u64> {
        self.handle("C_CopyObject", vec![object.into()], template)
    }

    fn set(&self, object: u64, template: &[Attribute]) -> Outcome<()> {
        let list = vec![self.session.into(), object.into(), attributes(template), (template.len() as u64).into()];
        self.probe.rv("C_SetAttributeValue", list)
    }

    fn handle(&self, function: &str, head: Vec<Argument>, template: &[Attribute]) -> Outcome<u64> {
        let rest = vec![attributes(template), (template.len() as u64).into(), Argument::place(0)];
        let (rv, left) = self.probe.call(function, [vec![self.session.into()], head, rest].concat());
        if rv == CKR_OK { Ok(left.last().unwrap().word()) } else { Err(Ck(rv)) }
    }

    /// Generates an object of this kind; `more` goes into its template.
    fn generate(&self, class: char, more: &[Attribute]) -> Outcome<u64> {
        let with = |needed: Vec<Attribute>| {
            let left = needed.into_iter().filter(|(ty, _)| more.iter().all(|(other, _)| ty != other));
            left.chain(more.iter().cloned()).collect::<Vec<_>>()
        };
        let bits = || vec![number(CKA_MODULUS_BITS, 1024)];
        let curve = || vec![p256(false)[0].clone()];
        let pair = |mechanism: u64, public: &[Attribute], private: &[Attribute]| {
            self.probe.generate_pair(self.session, mechanism, public, private)
        };
        match class {
            'R' => pair(CKM_RSA_PKCS_KEY_PAIR_GEN, &with(bits()), &[]).map(|made| made.0),
            'r' => pair(CKM_RSA_PKCS_KEY_PAIR_GEN, &bits(), more).map(|made| made.1),
            'E' => pair(CKM_EC_KEY_PAIR_GEN, &with(curve()), &[]).map(|made| made.0),
            'e' => pair(CKM_EC_KEY_PAIR_GEN, &curve(), more).map(|made| made.1),
            _ => {
                let mechanism = Mechanism::plain(CKM_GENERIC_SECRET_KEY_GEN).argument();
                self.handle("C_GenerateKey", vec![mechanism], &with(vec![number(CKA_VALUE_LEN, 16)]))
            }
        }
    }

    /// An object that has what it needs, and more.
    fn made(&self, class: char, more: &[Attribute]) -> Outcome<u64> {
        let needed = self.needed(class).into_iter().filter(|(ty, _)| more.iter().all(|(other, _)| ty != other));
        self.create(&needed.chain(more.iter().cloned()).collect::<Vec<_>>())
    }

    fn get(&self, object: u64, ty: u64) -> Outcome<Vec<u8>> {
        self.probe.attribute(self.session, object, ty)
    }

    /// The outcome of a way to give an attribute is what the letter says, and so is the attribute afterwards.
    fn check(&self, what: &str, letter: char, given: &Attribute, hidden: bool, outcome: Outcome<u64>) {
        let expected = match letter {
            'y' | 'd' => {
                let seen = outcome.and_then(|object| {
                    let seen = self.get(object, given.0);
                    self.tidy(object);
                    seen
                });
                let (_, value) = if letter == 'd' { another(given) } else { given.clone() };
                let expected = if hidden { Err(Ck(CKR_ATTRIBUTE_SENSITIVE)) } else { Ok(value) };
                return self.same(what, &seen, &expected);
            }
            'r' => CKR_ATTRIBUTE_READ_ONLY,
            'i' => CKR_TEMPLATE_INCONSISTENT,
            't' => CKR_ATTRIBUTE_TYPE_INVALID,
            'v' => CKR_ATTRIBUTE_VALUE_INVALID,
            other => panic!("{what}: {other}"),
        };
        self.same(what, &outcome.map(drop), &Err(Ck(expected)));
    }

    fn same<T: PartialEq + std::fmt::Debug>(&self, what: &str, got: &T, expected: &T) {
        if got != expected {
            self.wrong.borrow_mut().push(format!("{what}: {got:02x?}, and not {expected:02x?}"));
        }
    }

    /// Token objects would be there for the next process.
    fn tidy(&self, object: u64) {
        let _ = self.probe.destroy(self.session, object);
    }
}

/// A point on P-256 as DER OCTET STRING: the base point (SP 800-186 3.2.1.3).
fn point() -> Vec<u8> {
    let digits = "0441046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c2964fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";
    tests::call::unhex(digits).unwrap()
}

/// A value that is not the one that the object has.
fn another((ty, value): &Attribute) -> Attribute {
    let mut value = value.clone();
    *value.last_mut().unwrap() ^= 1;
    (*ty, value)
}

fn name(ty: u64) -> String {
    model::AttributeType(ty).to_string()
}

#[test]
fn every_attribute_has_a_rule() {
    let known: BTreeSet<_> = model::ATTRIBUTES.iter().map(|row| row.ty.0).collect();
    let ruled: Vec<_> = RULES.iter().map(|rule| rule.ty).chain(OF_PROFILES).collect();
    assert_eq!(ruled.iter().copied().collect::<BTreeSet<_>>(), known);
    assert_eq!(ruled.len(), known.len(), "an attribute has two rules");
    for rule in RULES {
        for cell in [rule.create, rule.generate, rule.copy, rule.set, rule.created, rule.generated] {
            assert!(cell.len() == 1 || cell.len() == rule.of.len(), "{}: {cell}", name(rule.ty));
        }
    }
}

#[test]
fn what_is_created_has_what_was_given() {
    let desk = Desk::new();
    for rule in RULES {
        for class in CLASSES.chars() {
            let what = format!("{} of {class}, created", name(rule.ty));
            let given = desk.given(rule, class);
            let letter = rule.cell(rule.create, class).unwrap_or('t');
            let hidden = rule.cell(rule.created, class) == Some('s');
            desk.check(&what, letter, &given, hidden, desk.made(class, std::slice::from_ref(&given)));
        }
    }
}

#[test]
fn what_is_generated_has_what_was_given() {
    let desk = Desk::new();
    for rule in RULES {
        for class in CLASSES.chars().skip(2) {
            let what = format!("{} of {class}, generated", name(rule.ty));
            let mut given = desk.given(rule, class);
            if rule.ty == CKA_PUBLIC_EXPONENT {
                given.1 = vec![1, 0, 1];
            }
            let letter = rule.cell(rule.generate, class).unwrap_or('t');
            let hidden = rule.cell(rule.generated, class) == Some('s');
            desk.check(&what, letter, &given, hidden, desk.generate(class, std::slice::from_ref(&given)));
        }
    }
}

#[test]
fn what_is_changed_and_copied_keeps_the_rules() {
    let desk = Desk::new();
    for class in CLASSES.chars() {
        for rule in RULES {
            let given = desk.given(rule, class);
            let hidden = rule.cell(rule.created, class) == Some('s');
            let object = desk.made(class, &[]).unwrap();
            // What is as it was is no change.
            let given =
                if hidden || desk.get(object, rule.ty) == Ok(given.1.clone()) { another(&given) } else { given };
            let what = format!("{} of {class}, copied", name(rule.ty));
            let copied = desk.copy(object, std::slice::from_ref(&given));
            desk.check(&what, rule.cell(rule.copy, class).unwrap_or('t'), &given, hidden, copied);
            let what = format!("{} of {class}, changed", name(rule.ty));
            let set = desk.set(object, std::slice::from_ref(&given)).map(|()| object);
            desk.check(&what, rule.cell(rule.set, class).unwrap_or('t'), &given, hidden, set);
            desk.tidy(object);
        }
    }
}

#[test]
fn what_is_not_given_has_its_default() {
    let desk = Desk::new();
    for class in CLASSES.chars() {
        let created = desk.made(class, &[]).unwrap();
        let generated = (!"dc".contains(class)).then(|| desk.generate(class, &[]).unwrap());
        for rule in RULES {
            let ways = [(Some(created), rule.created, "created"), (generated, rule.generated, "generated")];
            for (object, cell, way) in ways {
                let Some(object) = object else { continue };
                let what = format!("{} of {class}, {way}", name(rule.ty));
                let value = desk.get(object, rule.ty);
                match rule.cell(cell, class).unwrap_or('n') {
                    '0' => desk.same(&what, &value, &Ok(vec![0])),
                    '1' => desk.same(&what, &value, &Ok(vec![1])),
                    'e' => desk.same(&what, &value, &Ok(vec![])),
                    'v' => {
                        let value = value.unwrap_or_else(|error| panic!("{what}: {error}"));
                        assert!(!value.is_empty(), "{what}");
                        let needed = desk.needed(class).into_iter().find(|(ty, _)| *ty == rule.ty);
                        if let (Some((_, needed)), "created") = (needed, way) {
                            assert_eq!(value, needed, "{what}");
                        }
                    }
                    'u' => desk.same(&what, &value, &Ok(u64::MAX.to_ne_bytes().to_vec())),
                    'n' => desk.same(&what, &value, &Err(Ck(CKR_ATTRIBUTE_TYPE_INVALID))),
                    's' => desk.same(&what, &value, &Err(Ck(CKR_ATTRIBUTE_SENSITIVE))),
                    other => panic!("{what}: {other}"),
                }
            }
        }
        // All of them at once: those that cannot be told have no length, the others are told (5.7.5).
        let all: Vec<_> = RULES.iter().map(|rule| (rule.ty, Some(2048))).collect();
        let (rv, values) = desk.probe.get_attributes(desk.session, created, &all);
        assert!([CKR_ATTRIBUTE_SENSITIVE, CKR_ATTRIBUTE_TYPE_INVALID].contains(&rv), "{class}: {:?}", Ck(rv));
        for (rule, (len, value)) in RULES.iter().zip(values) {
            let told = (len != u64::MAX).then(|| value[..len as usize].to_vec());
            assert_eq!(told, desk.get(created, rule.ty).ok(), "{} of {class}", name(rule.ty));
        }
    }
}

#[test]
fn values_of_another_shape_are_refused() {
    let desk = Desk::new();
    for class in CLASSES.chars() {
        let object = desk.made(class, &[]).unwrap();
        for rule in RULES {
            let bad: &[&[u8]] = match rule.kind {
                Kind::Bool => &[b"", &[1, 0], &[0; 8]],
                Kind::Number => &[b"", &[1], &[0; 7], &[0; 9]],
                Kind::Date => &[b"2030123", b"20301301", b"20300132", b"2030-1-1", b"203012310"],
                Kind::List => &[&[1; 7], &[1; 9]],
                Kind::Bytes => &[],
            };
            for value in bad {
                let given = [bytes(rule.ty, value)];
                let what = |way: &str| format!("{} of {class}, {way}: {value:?}", name(rule.ty));
                let invalid = Err(Ck(CKR_ATTRIBUTE_VALUE_INVALID));
                if rule.cell(rule.create, class) == Some('y') {
                    desk.same(&what("created"), &desk.made(class, &given), &invalid);
                }
                if rule.cell(rule.generate, class) == Some('y') {
                    desk.same(&what("generated"), &desk.generate(class, &given), &invalid);
                }
                if rule.cell(rule.copy, class) == Some('y') {
                    desk.same(&what("copied"), &desk.copy(object, &given), &invalid);
                }
                if rule.cell(rule.set, class) == Some('y') {
                    desk.same(&what("changed"), &desk.set(object, &given), &invalid.map(drop));
                }
            }
        }
    }
}

#[test]
fn a_public_key_is_told_in_one_way() {
    let desk = Desk::new();
    for class in "cREre".chars() {
        let object = desk.made(class, &[]).unwrap();
        let right = desk.get(object, CKA_PUBLIC_KEY_INFO).unwrap();
        let made = desk.made(class, &[bytes(CKA_PUBLIC_KEY_INFO, &right)]).unwrap();
        assert_eq!(desk.get(made, CKA_PUBLIC_KEY_INFO).unwrap(), right, "{class}");
        let wrong = desk.made(class, &[another(&bytes(CKA_PUBLIC_KEY_INFO, &right))]);
        assert_eq!(wrong, Err(Ck(CKR_ATTRIBUTE_VALUE_INVALID)), "{class}");
    }
}

#[test]
fn what_is_missing_or_contradicts_is_refused() {
    let desk = Desk::new();
    for class in CLASSES.chars() {
        let needed = desk.needed(class);
        for (missing, _) in &needed {
            // One of the two says what the private key is, and a private RSA key needs one of its numbers.
            if class == 'r' && [CKA_PRIVATE_EXPONENT, CKA_PRIME_1].contains(missing) {
                continue;
            }
            let rest: Vec<_> = needed.iter().filter(|(ty, _)| ty != missing).cloned().collect();
            let what = format!("{class} without {}", name(*missing));
            desk.same(&what, &desk.create(&rest), &Err(Ck(CKR_TEMPLATE_INCOMPLETE)));
        }
        // Said twice it is said; with two values it is not.
        let twice =
            |value: &[u8]| desk.create(&[&needed[..], &[bytes(CKA_LABEL, b"one"), bytes(CKA_LABEL, value)]].concat());
        assert!(twice(b"one").is_ok(), "{class}");
        assert_eq!(twice(b"two"), Err(Ck(CKR_TEMPLATE_INCONSISTENT)), "{class}");
        // What nobody knows.
        for ty in
            [CKA_WRAP_TEMPLATE, CKA_UNWRAP_TEMPLATE, CKA_DERIVE_TEMPLATE, CKA_OWNER, CKA_VENDOR_DEFINED, 0xcf53_4301]
                .into_iter()
                // The header of 3.2 has them without the flag of an array, others with it.
                .chain([0x62a, 0x62b, 0x4000_062a, 0x4000_062b])
        {
            let unknown = desk.made(class, &[bytes(ty, b"")]);
            assert_eq!(unknown, Err(Ck(CKR_ATTRIBUTE_TYPE_INVALID)), "{class} with {ty:#x}");
        }
    }
    // Of a generated key the class, the type, and the other half.
    for class in CLASSES.chars().skip(2) {
        for wrong in [number(CKA_CLASS, CKO_DATA), number(CKA_KEY_TYPE, CKK_DSA)] {
            let made = desk.generate(class, std::slice::from_ref(&wrong));
            assert_eq!(made, Err(Ck(CKR_TEMPLATE_INCONSISTENT)), "{class} with {}", name(wrong.0));
        }
    }
    for (mechanism, template) in [
        (CKM_RSA_PKCS_KEY_PAIR_GEN, vec![]),
        (CKM_EC_KEY_PAIR_GEN, vec![]),
        (CKM_RSA_PKCS_KEY_PAIR_GEN, vec![bytes(CKA_PUBLIC_EXPONENT, &[1, 0, 1])]),
    ] {
        let made = desk.probe.generate_pair(desk.session, mechanism, &template, &[]);
        assert_eq!(made, Err(Ck(CKR_TEMPLATE_INCOMPLETE)), "{mechanism:#x} with {template:?}");
    }
    let none = desk.handle("C_GenerateKey", vec![Mechanism::plain(CKM_AES_KEY_GEN).argument()], &[]);
    assert_eq!(none, Err(Ck(CKR_TEMPLATE_INCOMPLETE)));
}

#[test]
fn what_goes_one_way_does_not_come_back() {
    let desk = Desk::new();
    let shown = [flag(CKA_SENSITIVE, false), flag(CKA_EXTRACTABLE, true)];
    let key = desk.made('s', &shown).unwrap();
    assert_eq!(desk.get(key, CKA_VALUE).unwrap(), [7; 16]);
    let open = desk.generate('s', &shown).unwrap();
    for (attribute, expected) in [
        (flag(CKA_EXTRACTABLE, false), [0, 0]),
        (flag(CKA_SENSITIVE, true), [0, 0]),
        (flag(CKA_WRAP_WITH_TRUSTED, true), [0, 0]),
        (flag(CKA_COPYABLE, false), [0, 0]),
    ] {
        for key in [key, open] {
            desk.set(key, std::slice::from_ref(&attribute)).unwrap();
            let back = (attribute.0, vec![attribute.1[0] ^ 1]);
            fails(desk.set(key, &[back]), CKR_ATTRIBUTE_READ_ONLY);
            desk.set(key, std::slice::from_ref(&attribute)).unwrap();
            fails(desk.get(key, CKA_VALUE), CKR_ATTRIBUTE_SENSITIVE);
            // It was not so from the beginning.
            let was = [CKA_ALWAYS_SENSITIVE, CKA_NEVER_EXTRACTABLE].map(|ty| desk.get(key, ty).unwrap()[0]);
            assert_eq!(was, expected, "{}", name(attribute.0));
        }
    }
    fails(desk.copy(key, &[]), CKR_ACTION_PROHIBITED);
    // What nobody may set is not set, whatever it is set to; the template of a copy may say what the original is.
    let other = desk.made('s', &shown).unwrap();
    for (ty, value) in
        [CKA_CLASS, CKA_KEY_TYPE, CKA_LOCAL, CKA_PRIVATE, CKA_VALUE].map(|ty| (ty, desk.get(other, ty).unwrap()))
    {
        fails(desk.set(other, &[(ty, value)]), CKR_ATTRIBUTE_READ_ONLY);
    }
    let same = [CKA_CLASS, CKA_KEY_TYPE].map(|ty| (ty, desk.get(other, ty).unwrap()));
    assert!(desk.copy(other, &same).is_ok());
    // All of a template or nothing.
    let label = desk.get(key, CKA_LABEL).unwrap();
    fails(desk.set(key, &[bytes(CKA_LABEL, b"new"), flag(CKA_SENSITIVE, false)]), CKR_ATTRIBUTE_READ_ONLY);
    assert_eq!(desk.get(key, CKA_LABEL).unwrap(), label);
}

#[test]
fn a_public_secret_of_a_session_is_changed_without_login() {
    let desk = Desk::new();
    desk.probe.logout(desk.session).unwrap();
    let key = desk.made('s', &[flag(CKA_PRIVATE, false), flag(CKA_EXTRACTABLE, true)]).unwrap();
    desk.set(key, &[bytes(CKA_LABEL, b"new"), flag(CKA_EXTRACTABLE, false)]).unwrap();
    assert_eq!(
        (desk.get(key, CKA_LABEL).unwrap(), desk.get(key, CKA_EXTRACTABLE).unwrap()),
        (b"new".to_vec(), vec![0])
    );
    // It is the same key still.
    let copy = desk.copy(key, &[bytes(CKA_LABEL, b"copy")]).unwrap();
    fails(desk.set(copy, &[flag(CKA_EXTRACTABLE, true)]), CKR_ATTRIBUTE_READ_ONLY);
    fails(desk.get(copy, CKA_VALUE), CKR_ATTRIBUTE_SENSITIVE);
    desk.probe.destroy(desk.session, key).unwrap();
}

#[test]
fn what_must_not_be_touched_is_not() {
    let desk = Desk::new();
    let kept = |object: u64, ty: u64| desk.get(object, ty).unwrap();
    for class in CLASSES.chars() {
        for token in [false, true] {
            let with = |more: Attribute| desk.made(class, &[flag(CKA_TOKEN, token), more]).unwrap();
            let fixed = with(flag(CKA_MODIFIABLE, false));
            fails(desk.set(fixed, &[bytes(CKA_LABEL, b"new")]), CKR_ACTION_PROHIBITED);
            assert_eq!(kept(fixed, CKA_LABEL), b"", "{class}");
            // A copy may be what the original is not (4.1.3).
            let copy = desk.copy(fixed, &[flag(CKA_MODIFIABLE, true)]).unwrap();
            desk.set(copy, &[bytes(CKA_LABEL, b"new")]).unwrap();
            assert_eq!(kept(copy, CKA_LABEL), b"new");

            let single = with(flag(CKA_COPYABLE, false));
            fails(desk.copy(single, &[]), CKR_ACTION_PROHIBITED);
            fails(desk.copy(single, &[flag(CKA_COPYABLE, true)]), CKR_ACTION_PROHIBITED);

            let lasting = with(flag(CKA_DESTROYABLE, false));
            fails(desk.probe.destroy(desk.session, lasting), CKR_ACTION_PROHIBITED);
            assert_eq!(kept(lasting, CKA_DESTROYABLE), [0], "{class}");
            for object in [fixed, copy, single] {
                desk.probe.destroy(desk.session, object).unwrap();
            }
        }
    }
}

#[test]
fn trust_is_the_security_officers() {
    let desk = Desk::new();
    let on = [flag(CKA_TRUSTED, true)];
    let objects = ["c", "R", "E"].map(|class| {
        let class = class.chars().next().unwrap();
        desk.made(class, &[flag(CKA_TOKEN, true)]).unwrap()
    });
    for object in objects {
        fails(desk.set(object, &on), CKR_ATTRIBUTE_READ_ONLY);
    }
    fails(desk.made('c', &[flag(CKA_TOKEN, true), flag(CKA_TRUSTED, true)]), CKR_ATTRIBUTE_READ_ONLY);
    desk.probe.logout(desk.session).unwrap();
    desk.probe.login(desk.session, CKU_SO, "so-alpha").unwrap();
    for object in objects {
        desk.set(object, &on).unwrap();
    }
    // From the start, too.
    let brought = desk.made('c', &[flag(CKA_TOKEN, true), flag(CKA_TRUSTED, true)]).unwrap();
    let objects = [objects[0], objects[1], objects[2], brought];
    desk.probe.logout(desk.session).unwrap();
    desk.probe.login(desk.session, CKU_USER, "user-alpha").unwrap();
    for object in objects {
        assert_eq!(desk.get(object, CKA_TRUSTED).unwrap(), [1]);
        // What the officer trusts is this object, not a copy that the user may change.
        let copy = desk.copy(object, &[]).unwrap();
        assert_eq!(desk.get(copy, CKA_TRUSTED).unwrap(), [0]);
        desk.set(object, &[flag(CKA_TRUSTED, false)]).unwrap();
        fails(desk.set(object, &on), CKR_ATTRIBUTE_READ_ONLY);
    }
}

#[test]
fn profiles_only_tell() {
    let desk = Desk::new();
    let found = desk.probe.find(desk.session, &[number(CKA_CLASS, CKO_PROFILE)]).unwrap();
    assert!(!found.is_empty());
    for object in found {
        for ty in OF_PROFILES {
            assert_eq!(desk.get(object, ty).unwrap().len(), 8);
        }
        assert_eq!(desk.get(object, CKA_CLASS).unwrap(), CKO_PROFILE.to_ne_bytes());
        assert!(desk.set(object, &[bytes(CKA_LABEL, b"new")]).is_err());
        assert!(desk.copy(object, &[]).is_err());
        assert!(desk.probe.destroy(desk.session, object).is_err());
    }
    assert!(desk.create(&[number(CKA_CLASS, CKO_PROFILE)]).is_err());
}
