//! Keys that were made elsewhere: checked here, wrapped to the primary here, and taken over by one command (TPM 2.0 Part 1, 23.3;
//! Part 3, 13.3).

use aes::cipher::{BlockCipherEncrypt, KeyInit, KeySizeUser};
use aes::{Aes128, Aes192, Aes256};
use base::Secret;
use base::curve::{Curve, EcPublic};
use base::digest::Hash;
use base::private::PrivateKey;
use base::rsa::RsaPublic;
use cfb_mode::cipher::InnerIvInit;
use p256::elliptic_curve::sec1::{FromSec1Point, ModulusSize, ToSec1Point};
use p256::elliptic_curve::{AffinePoint, CurveArithmetic, FieldBytesSize, SecretKey};
use zeroize::Zeroizing;

use crate::connection::primary::Primary;
use crate::connection::{Connection, Protection};
use crate::error::{Error, Result};
use crate::keys::external::Importable;
use crate::keys::seal;
use crate::policy::Policy;
use crate::session::authorization::{Entity, Kind};
use crate::session::crypto::{Direction, kdfa, trim_auth};
use crate::session::salt;
use crate::wire::Writer;
use crate::wire::constants::{alg, cc};
use crate::wire::public::{NAME_HASH, Name, Parameters, PublicArea, Symmetric, Wrapped};
use crate::wire::template::{self, KeyTemplate};

/// The usage of the secret that the wrapping keys are derived from (Part 1, 23.3.2.3).
pub(crate) const USAGE: &str = "DUPLICATE";
/// MAX_SYM_DATA: bytes of an HMAC key for any hash.
const MAX_HMAC_KEY: usize = 128;

/// A key pair or a secret key. All numbers are big-endian; leading zeros do not matter.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyMaterial {
    /// RSA with two primes of the same length.
    Rsa {
        /// The modulus: 1024 bits or more, a multiple of 16.
        n: Vec<u8>,
        /// The public exponent: at most 32 bits.
        e: Vec<u8>,
        /// One of the primes; the TPM computes what else it needs.
        p: Secret,
    },
    /// Elliptic curve.
    Ecc {
        /// The curve.
        curve: Curve,
        /// The x coordinate of the public point.
        x: Vec<u8>,
        /// The y coordinate of the public point.
        y: Vec<u8>,
        /// The private scalar.
        d: Secret,
    },
    /// AES, for any mode of operation.
    Aes {
        /// The key: 16, 24 or 32 bytes.
        key: Secret,
    },
    /// HMAC.
    Hmac {
        /// The only hash the key is for; `None`: any.
        hash: Option<Hash>,
        /// The key: any length but zero; at most 128 bytes for any hash.
        key: Secret,
    },
}

impl From<&PrivateKey> for KeyMaterial {
    fn from(key: &PrivateKey) -> Self {
        match key {
            PrivateKey::Rsa { public, p } => Self::Rsa { n: public.n().to_vec(), e: public.e().to_vec(), p: p.clone() },
            PrivateKey::Ec { public, d } => {
                Self::Ecc { curve: public.curve(), x: public.x().to_vec(), y: public.y().to_vec(), d: d.clone() }
            }
        }
    }
}

/// Checked material in the form of the TPM.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) area: PublicArea,
    /// TPMT_SENSITIVE.
    pub(crate) sensitive: Zeroizing<Vec<u8>>,
}

/// Checks that the material is a key, and that its parts belong together. Sends nothing.
pub(crate) fn check(material: &KeyMaterial, auth: &Secret, policy: Option<&Policy>) -> Result<Object> {
    seal::check_auth(auth)?;
    let object = match material {
        KeyMaterial::Rsa { n, e, p } => check_rsa(n, e, p, auth),
        KeyMaterial::Ecc { curve, x, y, d } => check_ecc(*curve, x, y, d, auth),
        KeyMaterial::Aes { key } => {
            let bits = u16::try_from(key.len() * 8).unwrap_or_default();
            secret_key(template::imported_key(KeyTemplate::Aes { bits })?, key, auth)
        }
        KeyMaterial::Hmac { hash, key } => check_hmac(*hash, key, auth),
    }?;
    Ok(Object { area: template::with_policy(object.area, policy.map(Policy::digest)), ..object })
}

fn check_rsa(n: &[u8], e: &[u8], p: &Secret, auth: &Secret) -> Result<Object> {
    let public = RsaPublic::new(n, e).map_err(|_| Error::Invalid("the numbers are not those of an RSA public key"))?;
    let exponent = match public.e() {
        e if e.len() <= 4 => e.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)),
        _ => return Err(Error::Unsupported("an RSA public exponent of more than 32 bits".into())),
    };
    let bits = u16::try_from(public.modulus_bits()).map_err(|_| Error::Invalid("the RSA key is too long"))?;
    let mut area = template::imported_key(KeyTemplate::Rsa { bits, exponent })?;
    let p = strip(p.expose());
    let q = divide(public.n(), p).ok_or(Error::Invalid("the prime does not divide the modulus"))?;
    let q = strip(q.expose());
    let is_half =
        |prime: &[u8]| prime.len() * 2 == public.modulus_len() && prime.first().is_some_and(|top| *top >= 0x80);
    if !is_half(p) || !is_half(q) {
        return Err(Error::Unsupported("an RSA key whose primes are not half as long as its modulus".into()));
    }
    if p == q {
        return Err(Error::Invalid("the modulus is a square"));
    }
    if let Parameters::Rsa { modulus, .. } = &mut area.parameters {
        *modulus = public.n().to_vec();
    }
    let sensitive = sensitive(&area, auth, &[], p)?;
    Ok(Object { area, sensitive })
}

fn check_ecc(curve: Curve, x: &[u8], y: &[u8], d: &Secret, auth: &Secret) -> Result<Object> {
    let given = EcPublic::new(curve, x, y).map_err(|_| Error::Invalid("the point is not on its curve"))?;
    let d = strip(d.expose());
    let missing = curve.field_len().checked_sub(d.len()).ok_or(Error::Invalid("the private scalar is too long"))?;
    let mut scalar = Secret::zeroed(curve.field_len());
    for (to, from) in scalar.expose_mut().iter_mut().skip(missing).zip(d) {
        *to = *from;
    }
    let point = match curve {
        Curve::P224 => public_point::<p224::NistP224>(&scalar)?,
        Curve::P256 => public_point::<p256::NistP256>(&scalar)?,
        Curve::P384 => public_point::<p384::NistP384>(&scalar)?,
        Curve::P521 => public_point::<p521::NistP521>(&scalar)?,
    };
    if point != given.point() {
        return Err(Error::Invalid("the private scalar is not that of the public point"));
    }
    let mut area = template::imported_key(KeyTemplate::Ecc { curve })?;
    if let Parameters::Ecc { x, y, .. } = &mut area.parameters {
        (*x, *y) = (given.x().to_vec(), given.y().to_vec());
    }
    let sensitive = sensitive(&area, auth, &[], scalar.expose())?;
    Ok(Object { area, sensitive })
}

/// The point of a scalar, uncompressed; fails for zero, and for what is not below the order.
fn public_point<C>(scalar: &Secret) -> Result<Vec<u8>>
where
    C: CurveArithmetic,
    AffinePoint<C>: FromSec1Point<C> + ToSec1Point<C>,
    FieldBytesSize<C>: ModulusSize,
{
    let key = SecretKey::<C>::from_slice(scalar.expose())
        .map_err(|_| Error::Invalid("the private scalar is zero, or not below the order of the curve"))?;
    Ok(key.public_key().to_sec1_point(false).as_bytes().to_vec())
}

fn check_hmac(hash: Option<Hash>, key: &Secret, auth: &Secret) -> Result<Object> {
    let area = template::imported_key(KeyTemplate::Hmac { hash })?;
    if key.is_empty() {
        return Err(Error::Invalid("an HMAC key has at least one byte"));
    }
    match hash {
        // A TPM takes no key longer than a block. HMAC itself begins by hashing such a key (RFC 2104).
        Some(hash) if key.len() > hash.block_len() => {
            secret_key(area, &Secret::new(hash.digest(&[key.expose()])), auth)
        }
        None if key.len() > MAX_HMAC_KEY => {
            Err(Error::Unsupported("an HMAC key of more than 128 bytes that is not for one hash only".into()))
        }
        _ => secret_key(area, key, auth),
    }
}

/// A symmetric or HMAC key: bound to its public area by a digest, which a random number keeps from telling anything about the
/// key.
pub(crate) fn secret_key(mut area: PublicArea, key: &Secret, auth: &Secret) -> Result<Object> {
    let mut seed = Secret::zeroed(NAME_HASH.len());
    base::random::fill(seed.expose_mut())?;
    if let Parameters::SymCipher { unique, .. } | Parameters::KeyedHash { unique, .. } = &mut area.parameters {
        *unique = NAME_HASH.digest(&[seed.expose(), key.expose()]);
    }
    let sensitive = sensitive(&area, auth, seed.expose(), key.expose())?;
    Ok(Object { area, sensitive })
}

/// TPMT_SENSITIVE (Part 2, 12.3.2.4).
fn sensitive(area: &PublicArea, auth: &Secret, seed: &[u8], secret: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    Writer::new().u16(area.object_type()).tpm2b(trim_auth(auth.expose())).tpm2b(seed).tpm2b(secret).finish()
}

/// Import; StartAuthSession before it where the primary has an authorisation value that must not be seen, and no session is
/// held. All that is secret is inside the outer wrapper, whose integrity value also covers the public area: a password session
/// gives nothing away.
pub(crate) fn import_key(connection: &mut Connection, primary: &Primary, object: &Object) -> Result<Wrapped> {
    import_wrapped(connection, primary, &wrap(primary.area(), object)?)
}

/// The same for what was wrapped elsewhere.
pub(crate) fn import_wrapped(connection: &mut Connection, primary: &Primary, object: &Importable) -> Result<Wrapped> {
    let Importable { public, private, secret } = object;
    let protection = protect(connection, primary)?;
    connection.with(protection, |connection, protection| {
        // encryptionKey and symmetricAlg are those of an inner wrapper: there is none.
        let parameters = Writer::new().tpm2b(&[]).bytes(public).bytes(private).bytes(secret).u16(alg::NULL);
        let parent = connection.parent(primary)?;
        let command = connection.command(cc::IMPORT, vec![parent], parameters)?;
        let parent = Entity { name: primary.name(), auth: &primary.auth };
        let response = match connection.execute(&command, &mut [protection.authorize(parent, false, false)]) {
            Ok(response) => response,
            Err(error) => {
                let error = connection.explain_parent(primary, error);
                return Err(seal::explain_create(connection, primary, error));
            }
        };
        let mut reader = response.reader();
        let private = Writer::new().tpm2b(reader.tpm2b()?).finish()?.to_vec();
        reader.finish()?;
        Ok(Wrapped { public: public.clone(), private })
    })
}

fn protect(connection: &mut Connection, primary: &Primary) -> Result<Protection> {
    if !connection.options().bus_protection {
        return Ok(Protection::none());
    }
    if let Some(session) = connection.take_session() {
        let keep = !session.last_use_next;
        return Ok(Protection { session: Some(session), keep });
    }
    if primary.auth.is_empty() {
        return Ok(Protection::none());
    }
    let session = connection.start_salted(primary, Kind::Hmac)?;
    Ok(Protection { session: Some(session), keep: false })
}

/// The outer wrapper for the holder of `parent` (Part 1, 23.3.2.3).
pub(crate) fn wrap(parent: &PublicArea, object: &Object) -> Result<Importable> {
    let name = object.area.name()?;
    let (seed, encrypted_seed) = salt::share(parent, USAGE)?;
    let keys = WrappingKeys::derive(parent, &seed, &name)?;
    let mut wrapped = Writer::new().tpm2b(&object.sensitive).finish()?;
    keys.apply(&mut wrapped, Direction::Encrypt)?;
    let mac = keys.mac(&wrapped, &name);
    let duplicate = Writer::new().tpm2b(mac.expose()).bytes(&wrapped).finish()?;
    Ok(Importable {
        public: object.area.marshal()?,
        private: Writer::new().tpm2b(&duplicate).finish()?.to_vec(),
        secret: Writer::new().tpm2b(&encrypted_seed).finish()?.to_vec(),
    })
}

/// What the outer wrapper is made of: derived from a seed that the new parent alone can open.
#[derive(Debug)]
pub(crate) struct WrappingKeys {
    hash: Hash,
    key: Secret,
    mac_key: Secret,
}

impl WrappingKeys {
    pub(crate) fn derive(parent: &PublicArea, seed: &Secret, name: &Name) -> Result<WrappingKeys> {
        let hash = parent.name_hash()?;
        let Some(Symmetric { algorithm: alg::AES, bits, mode: alg::CFB }) = parent.storage_cipher() else {
            return Err(Error::Unsupported("a storage primary with another cipher than AES-CFB".into()));
        };
        let key = kdfa(hash, seed.expose(), "STORAGE", name.as_bytes(), &[], bits.into());
        let mac_bits = u32::try_from(hash.len() * 8).unwrap_or_default();
        let mac_key = kdfa(hash, seed.expose(), "INTEGRITY", &[], &[], mac_bits);
        Ok(WrappingKeys { hash, key, mac_key })
    }

    pub(crate) fn mac(&self, wrapped: &[u8], name: &Name) -> Secret {
        self.hash.hmac(self.mac_key.expose(), &[wrapped, name.as_bytes()])
    }

    pub(crate) fn apply(&self, data: &mut [u8], direction: Direction) -> Result<()> {
        match self.key.len() {
            16 => cfb::<Aes128>(&self.key, data, direction),
            24 => cfb::<Aes192>(&self.key, data, direction),
            32 => cfb::<Aes256>(&self.key, data, direction),
            _ => Err(Error::Malformed("an AES key of the primary has an unknown length")),
        }
    }
}

/// CFB with an initialisation vector of zeros: the key serves once.
fn cfb<C>(key: &Secret, data: &mut [u8], direction: Direction) -> Result<()>
where
    C: BlockCipherEncrypt + KeyInit + KeySizeUser,
{
    let cipher = C::new_from_slice(key.expose()).map_err(|_| Error::Invalid("key material"))?;
    let iv = &Default::default();
    match direction {
        Direction::Encrypt => cfb_mode::Encryptor::inner_iv_init(cipher, iv).encrypt(data),
        Direction::Decrypt => cfb_mode::Decryptor::inner_iv_init(cipher, iv).decrypt(data),
    }
    Ok(())
}

/// n / p where that leaves nothing, as long as n. Schoolbook division, bit by bit: no branch and no index depends on p, and
/// nothing of it stays behind, which no library of large numbers promises.
fn divide(n: &[u8], p: &[u8]) -> Option<Secret> {
    let mut rest = Secret::zeroed(p.len() + 1);
    let mut quotient = Secret::zeroed(n.len());
    for (digit, byte) in quotient.expose_mut().iter_mut().zip(n) {
        for shift in (0..8).rev() {
            shift_in(rest.expose_mut(), byte >> shift & 1);
            *digit = *digit << 1 | subtract_if_less_equal(rest.expose_mut(), p);
        }
    }
    let nothing = rest.expose().iter().fold(0, |all, byte| all | byte) == 0;
    (nothing && !p.is_empty()).then_some(quotient)
}

/// 2 `number` + `bit`.
fn shift_in(number: &mut [u8], bit: u8) {
    number.iter_mut().rev().fold(bit, |carry, byte| {
        let top = *byte >> 7;
        *byte = *byte << 1 | carry;
        top
    });
}

/// Takes `p` from `number`, which is one byte longer, and gives 1; if it is larger, nothing and 0.
fn subtract_if_less_equal(number: &mut [u8], p: &[u8]) -> u8 {
    let difference = |byte: u8, p: u8, borrow: u8| {
        let difference = 0x100 + u16::from(byte) - u16::from(p) - u16::from(borrow);
        (difference.to_be_bytes()[1], 1 - difference.to_be_bytes()[0])
    };
    let digits = || p.iter().rev().chain(std::iter::once(&0));
    let borrow = number.iter().rev().zip(digits()).fold(0, |borrow, (byte, p)| difference(*byte, *p, borrow).1);
    let fits = 1 - borrow;
    let mask = fits.wrapping_neg();
    number.iter_mut().rev().zip(digits()).fold(0, |borrow, (byte, p)| {
        let (low, borrow) = difference(*byte, *p & mask, borrow);
        *byte = low;
        borrow
    });
    fits
}

/// Without leading zeros.
fn strip(number: &[u8]) -> &[u8] {
    let start = number.iter().position(|byte| *byte != 0).unwrap_or(number.len());
    number.get(start..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn division_is_that_of_numbers() {
        for (n, p) in
            [(0xffff_ffffu32, 0xffffu16), (0x1234_5678, 0x89ab), (0x8000_0000, 0x8000), (35, 5), (36, 5), (4, 5)]
        {
            let quotient = divide(&n.to_be_bytes(), &p.to_be_bytes());
            let expected = (n % u32::from(p) == 0).then(|| Secret::copy_from(&(n / u32::from(p)).to_be_bytes()));
            assert_eq!(quotient, expected, "{n} / {p}");
        }
        for p in 1..=255u8 {
            for q in [1u8, 2, 3, 127, 128, 254, 255] {
                let n = u16::from(p) * u16::from(q);
                assert_eq!(divide(&n.to_be_bytes(), &[p]).unwrap().expose(), [0, q]);
                assert_eq!(divide(&(n + 1).to_be_bytes(), &[p]).is_some(), p == 1);
            }
        }
        assert!(divide(&[1], &[]).is_none());
        assert!(divide(&[1], &[0]).is_none());
    }
}
