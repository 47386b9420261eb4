//! What a TPM does with RSA keys and says nowhere: found by trying, with a key that everybody may know.
//!
//! TPM2_RSA_Decrypt without a scheme is the raw operation, and does all that is padded by software. Some TPMs refuse it: then there is
//! left what TPM2_Sign and TPM2_RSA_Decrypt do with schemes of their own, for hashes of their own.

use base::Secret;
use base::digest::Hash;
use base::hex;
use base::pad::{oaep_encode, pkcs1_encrypt_block, pkcs1_sign_check, pss_verify};
use base::rsa::RsaPublic;
use log::debug;
use serde::{Deserialize, Serialize};

use crate::connection::{Connection, Protection};
use crate::error::{Error, Result};
use crate::keys::import::{self, KeyMaterial};
use crate::session::authorization::Entity;
use crate::session::command::{Command, Handle, Response};
use crate::state::capabilities::Capabilities;
use crate::wire::Writer;
use crate::wire::constants::{alg, cc, rh, st};
use crate::wire::hash::hash_alg;
use crate::wire::public::{Name, Parameters, PublicArea};
use crate::wire::signature::pad_left;
use crate::wire::template::{self, KeyTemplate};
use crate::words::ResponseCode;

/// How a TPM uses RSA keys. Hashes are TPM_ALG_IDs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RsaWays {
    /// TPM2_RSA_Decrypt without a scheme; where it is there, nothing else was tried.
    pub raw: bool,
    /// Hashes of RSASSA-PKCS1-v1_5.
    #[serde(default)]
    pub ssa: Vec<u16>,
    /// Hashes of RSASSA-PSS.
    #[serde(default)]
    pub pss: Vec<u16>,
    /// Length of the salt of RSASSA-PSS.
    #[serde(default)]
    pub salt: SaltLen,
    /// RSAES-PKCS1-v1_5.
    #[serde(default)]
    pub es: bool,
    /// Hashes of RSAES-OAEP.
    #[serde(default)]
    pub oaep: Vec<u16>,
}

/// The length of the salt that a TPM makes (Part 1, B.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SaltLen {
    /// That of the hash.
    #[default]
    Digest,
    /// The most that there is room for.
    Largest,
}

impl SaltLen {
    /// In bytes, for a modulus of so many bits; `None` where there is no room.
    pub fn bytes(self, hash: Hash, modulus_bits: usize) -> Option<usize> {
        let largest = (modulus_bits - 1).div_ceil(8).checked_sub(hash.len() + 2)?;
        match self {
            SaltLen::Digest => (hash.len() <= largest).then(|| hash.len()),
            SaltLen::Largest => Some(largest),
        }
    }
}

impl RsaWays {
    /// Whether RSASSA-PKCS1-v1_5 is there for a hash.
    pub fn can_ssa(&self, hash: Hash) -> bool {
        hash_alg(hash).is_ok_and(|id| self.ssa.contains(&id))
    }

    /// Whether RSASSA-PSS is there for a hash.
    pub fn can_pss(&self, hash: Hash) -> bool {
        hash_alg(hash).is_ok_and(|id| self.pss.contains(&id))
    }

    /// Whether RSAES-OAEP is there for a hash.
    pub fn can_oaep(&self, hash: Hash) -> bool {
        hash_alg(hash).is_ok_and(|id| self.oaep.contains(&id))
    }
}

/// A modulus of 2048 bits, made for this and published here, and one of its primes: no secret hangs on it.
const MODULUS: &str = "\
    e5f0e796e335793569ed5ca3c2b15d38def77eadb4e1bf95b25dca9501ce720970e93d5aa5d14fcb46ba4b6723b0e05fa35e01d811552312\
    175090776e4a2b5685f62f89a343fc804e514a47e7e24a90709620ff648c1acafb8f22f2f1c71ec3ceee5d2bf7ebaeb12af7294e2e27f4bb\
    040c52b8797dfe519bae0f7fb7d89712bad9d0e2deed2ef276ed961253e3028d4a7b722e0e336ec2ce421531dd0708c7f7ad4bd7eaa2d851\
    904f808cb2801b53fa9f2dd44b0b8a537f2cdb088344836b0824824f00b2ef63191541c72b07eb1044781f7a5535284bf5a2048e201590df\
    6330399fd8a55470bd5423cc0a9f4a9146b5e281c6b2f3211156f469f348bfcf";
const PRIME: &str = "\
    ea4b4a02b77e6b80ba32b07c4188ca3aeba7f9a27b4d60c6fdba3d6927b9b87b0382da4384ec3bfc4078b9724ba4fa7a984906d1f5d07ea9\
    bbc601da77cd83da3550692a517e02c67287aa8cf1e1a6bb3fcea00b4ac2631747c13a546636735ba20250dc30c1ca2b258f45cd390c2429\
    2d1617d973696aa78cc0e2bac0b9559f";
const EXPONENT: [u8; 3] = [1, 0, 1];
const MESSAGE: &[u8] = b"What does this TPM do?";

/// LoadExternal, RSA_Decrypt, FlushContext; where the raw operation is refused, one command more for each hash and scheme.
/// `None` where the TPM does not take the key.
pub(crate) fn rsa_ways(connection: &mut Connection, chip: &Capabilities) -> Result<Option<RsaWays>> {
    let decode = |digits| hex::decode(digits).ok_or(Error::Invalid("the key for trials is not written as digits"));
    let (n, p) = (decode(MODULUS)?, Secret::new(decode(PRIME)?));
    let public = RsaPublic::new(&n, EXPONENT).map_err(|_| Error::Invalid("the key for trials is none"))?;
    let material = KeyMaterial::Rsa { n, e: EXPONENT.to_vec(), p };
    let object = import::check(&material, &Secret::zeroed(0), None)?;
    let Some((handle, name)) = load_external(connection, &object.sensitive, &object.area)? else { return Ok(None) };
    let trial = Trial { handle: Handle::object(handle, &name), name, public };
    let ways = trial.ways(connection, chip);
    connection.end_temporary(handle)?;
    ways.map(Some)
}

/// A key into the null hierarchy, the only one that takes both halves (Part 3, 12.3). `None` where that is not done. It is a temporary
/// of this operation.
fn load_external(connection: &mut Connection, sensitive: &[u8], area: &PublicArea) -> Result<Option<(u32, Name)>> {
    let parameters = Writer::new().tpm2b(sensitive).bytes(&area.marshal()?).u32(rh::NULL);
    let command = Command { returns_handle: true, ..connection.command(cc::LOAD_EXTERNAL, Vec::new(), parameters)? };
    let Some(response) = unless_refused(connection.execute(&command, &mut []))? else { return Ok(None) };
    let (handle, name) = (response.handle()?, area.name()?);
    connection.add_temporary(handle, &name);
    Ok(Some((handle, name)))
}

/// Sizes of the RSA keys that this TPM makes, in bits, ascending. No capability says so: one TPM2_TestParms for each; where there is
/// no such command, LoadExternal, and FlushContext if that succeeds.
pub(crate) fn rsa_sizes(connection: &mut Connection) -> Result<Vec<u16>> {
    sizes([1024, 2048, 3072, 4096], |bits| {
        // TPMT_PUBLIC_PARMS: type, symmetric, scheme, keyBits, exponent (Part 2, 12.2.3.5).
        let parameters = Writer::new().u16(alg::RSA).u16(alg::NULL).u16(alg::NULL).u16(bits).u32(0);
        match test_parms(connection, parameters)? {
            Some(answer) => Ok(answer),
            None => {
                let mut area = template::imported_key(KeyTemplate::Rsa { bits, exponent: 0 })?;
                if let Parameters::Rsa { modulus, .. } = &mut area.parameters {
                    // An odd number with its highest bit set is a modulus as far as a TPM looks.
                    *modulus = vec![0xff; usize::from(bits) / 8];
                }
                takes(connection, &[], &area)
            }
        }
    })
}

/// The same of AES keys.
pub(crate) fn aes_sizes(connection: &mut Connection) -> Result<Vec<u16>> {
    sizes([128, 192, 256], |bits| {
        // TPMT_PUBLIC_PARMS: type, algorithm, keyBits, mode (Part 2, 12.2.3.3).
        let parameters = Writer::new().u16(alg::SYMCIPHER).u16(alg::AES).u16(bits).u16(alg::NULL);
        match test_parms(connection, parameters)? {
            Some(answer) => Ok(answer),
            None => {
                let key = Secret::zeroed(usize::from(bits) / 8);
                let object = import::check(&KeyMaterial::Aes { key }, &Secret::zeroed(0), None)?;
                takes(connection, &object.sensitive, &object.area)
            }
        }
    })
}

fn sizes<const N: usize>(all: [u16; N], mut is_there: impl FnMut(u16) -> Result<bool>) -> Result<Vec<u16>> {
    let mut sizes = Vec::new();
    for bits in all {
        if is_there(bits)? {
            sizes.push(bits);
        }
    }
    Ok(sizes)
}

/// Whether the TPM has the parameters; `None` where it does not have the command.
fn test_parms(connection: &mut Connection, parameters: Writer) -> Result<Option<bool>> {
    let command = connection.command(cc::TEST_PARMS, Vec::new(), parameters)?;
    match connection.execute(&command, &mut []) {
        Ok(_) => Ok(Some(true)),
        Err(Error::Response(code)) if code.base() == ResponseCode::COMMAND_CODE => Ok(None),
        Err(Error::Response(code)) if code.refuses_object() => {
            debug!("the TPM does not have these parameters: {code}");
            Ok(Some(false))
        }
        Err(error) => Err(error),
    }
}

fn takes(connection: &mut Connection, sensitive: &[u8], area: &PublicArea) -> Result<bool> {
    match load_external(connection, sensitive, area)? {
        Some((handle, _)) => connection.end_temporary(handle).map(|()| true),
        None => Ok(false),
    }
}

struct Trial {
    handle: Handle,
    name: Name,
    public: RsaPublic,
}

impl Trial {
    fn ways(&self, connection: &mut Connection, chip: &Capabilities) -> Result<RsaWays> {
        let mut two = vec![0; self.public.modulus_len()];
        if let Some(last) = two.last_mut() {
            *last = 2;
        }
        let root = self.decrypt(connection, &two, Writer::new().u16(alg::NULL))?;
        if let Some(root) = root {
            let root = pad_left(root.expose(), two.len())?;
            if self.public.raw(root.expose()).ok() != Some(two) {
                return Err(Error::Malformed("the result of an RSA operation is wrong"));
            }
            return Ok(RsaWays { raw: true, ..RsaWays::default() });
        }
        let mut ways = RsaWays::default();
        for hash in Hash::ALL.into_iter().filter(|hash| chip.has_hash(*hash)) {
            let id = hash_alg(hash)?;
            let digest = hash.digest(&[MESSAGE]);
            if chip.has_algorithm(alg::RSASSA)
                && let Some(block) = self.sign(connection, &digest, alg::RSASSA, id)?
                && pkcs1_sign_check(&block, &[hash.digest_info_prefix(), &digest].concat())
            {
                ways.ssa.push(id);
            }
            if chip.has_algorithm(alg::RSAPSS)
                && let Some(block) = self.sign(connection, &digest, alg::RSAPSS, id)?
                && let Some(salt) = self.salt_of(&block, &digest, hash)
                && (ways.pss.is_empty() || ways.salt == salt)
            {
                ways.salt = salt;
                ways.pss.push(id);
            }
            if chip.has_algorithm(alg::OAEP)
                && let Ok(block) = oaep_encode(MESSAGE, hash, hash, &[], self.public.modulus_len())
                && self.decrypts(connection, &block, Writer::new().u16(alg::OAEP).u16(id))?
            {
                ways.oaep.push(id);
            }
        }
        if chip.has_algorithm(alg::RSAES)
            && let Ok(block) = pkcs1_encrypt_block(MESSAGE, self.public.modulus_len())
        {
            ways.es = self.decrypts(connection, block.expose(), Writer::new().u16(alg::RSAES))?;
        }
        Ok(ways)
    }

    /// The signed block.
    fn sign(&self, connection: &mut Connection, digest: &[u8], scheme: u16, hash: u16) -> Result<Option<Vec<u8>>> {
        let parameters = Writer::new().tpm2b(digest).u16(scheme).u16(hash);
        let parameters = parameters.u16(st::HASHCHECK).u32(rh::NULL).tpm2b(&[]);
        let Some(response) = self.try_command(connection, cc::SIGN, parameters)? else { return Ok(None) };
        let mut reader = response.reader();
        if reader.u16()? != scheme || reader.u16()? != hash {
            return Err(Error::Malformed("the signature has another scheme than the one asked for"));
        }
        Ok(self.public.raw(reader.tpm2b()?).ok())
    }

    fn salt_of(&self, block: &[u8], digest: &[u8], hash: Hash) -> Option<SaltLen> {
        let bits = self.public.modulus_bits();
        [SaltLen::Digest, SaltLen::Largest]
            .into_iter()
            .find(|salt| salt.bytes(hash, bits).is_some_and(|len| pss_verify(block, digest, hash, hash, len, bits - 1)))
    }

    fn decrypts(&self, connection: &mut Connection, block: &[u8], scheme: Writer) -> Result<bool> {
        let cipher = self.public.raw(block).map_err(|_| Error::Invalid("the block is not below the modulus"))?;
        Ok(self.decrypt(connection, &cipher, scheme)?.is_some_and(|plain| plain.expose() == MESSAGE))
    }

    fn decrypt(&self, connection: &mut Connection, cipher: &[u8], scheme: Writer) -> Result<Option<Secret>> {
        let parameters = Writer::new().tpm2b(cipher).bytes(&scheme.finish()?).tpm2b(&[]);
        let Some(response) = self.try_command(connection, cc::RSA_DECRYPT, parameters)? else { return Ok(None) };
        Ok(Some(Secret::copy_from(response.reader().tpm2b()?)))
    }

    fn try_command(&self, connection: &mut Connection, code: u32, parameters: Writer) -> Result<Option<Response>> {
        let command = connection.command(code, vec![self.handle.clone()], parameters)?;
        let none = Secret::zeroed(0);
        let entity = Entity { name: &self.name, auth: &none };
        let mut protection = Protection::none();
        unless_refused(connection.execute(&command, &mut [protection.authorize(entity, false, false)]))
    }
}

/// `None` where the TPM does not have the command, or does not take its parameters.
fn unless_refused(result: Result<Response>) -> Result<Option<Response>> {
    match result {
        Ok(response) => Ok(Some(response)),
        Err(Error::Response(code)) if code.base() == ResponseCode::COMMAND_CODE || code.refuses_object() => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_salt_of_a_short_key_has_room_or_is_not_there() {
        assert_eq!(SaltLen::Digest.bytes(Hash::Sha256, 2048), Some(32));
        assert_eq!(SaltLen::Largest.bytes(Hash::Sha256, 2048), Some(222));
        assert_eq!(SaltLen::Digest.bytes(Hash::Sha512, 1024), None);
        assert_eq!(SaltLen::Largest.bytes(Hash::Sha512, 1024), Some(62));
    }

    #[test]
    fn the_key_for_trials_is_one() {
        let (n, p) = (hex::decode(MODULUS).unwrap(), Secret::new(hex::decode(PRIME).unwrap()));
        let material = KeyMaterial::Rsa { n, e: EXPONENT.to_vec(), p };
        import::check(&material, &Secret::zeroed(0), None).unwrap();
    }
}
