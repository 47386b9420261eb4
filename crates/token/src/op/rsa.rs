//! RSA with a private key: by the raw operation where the TPM has it, else by the schemes that the TPM has.
//!
//! Which it is, is known from the try that was made when the TPM's primary was entered. In a store from before that, or after other
//! firmware came, it shows at the first use: the TPM refuses, is asked what it does instead, and the operation goes that way.

use base::Secret;
use base::digest::Hash;
use base::rsa::RsaPublic;
use model::{MechanismRow, Params, Scheme};

use super::{KeyUse, plan};
use crate::library::Library;
use crate::slots::chip::ChipFacts;
use crate::slots::session::Session;
use crate::{Error, Result};

/// How a signature is made.
enum SignWay {
    /// The block is padded here.
    Raw,
    /// By the TPM; without a hash, of that which the caller's DigestInfo names.
    Scheme(tpm::SignScheme, Option<Hash>),
}

/// How a block is decrypted.
enum DecryptWay<'a> {
    /// The padding is taken off here.
    Raw,
    /// By the TPM.
    Scheme(tpm::DecryptScheme<'a>),
}

/// Can a signature be made with these parameters? Asked before any data comes.
pub(super) fn check_sign(chip: &ChipFacts, row: &MechanismRow, params: &Params, key: &RsaPublic) -> Result<()> {
    sign_way(chip, row, params, key).map(drop)
}

/// Can a block be decrypted with these parameters?
pub(super) fn check_decrypt(chip: &ChipFacts, row: &MechanismRow, params: &Params) -> Result<()> {
    decrypt_way(chip, row, params).map(drop)
}

fn sign_way(chip: &ChipFacts, row: &MechanismRow, params: &Params, key: &RsaPublic) -> Result<SignWay> {
    let Some(ways) = chip.strict_rsa() else { return Ok(SignWay::Raw) };
    match (row.scheme, params) {
        (Scheme::RsaPkcs1, _) if row.hash.map_or(!ways.ssa.is_empty(), |hash| ways.can_ssa(hash)) => {
            Ok(SignWay::Scheme(tpm::SignScheme::RsaSsa, row.hash))
        }
        (Scheme::RsaPss, Params::Pss { hash, mgf, salt_len }) => {
            if !ways.can_pss(*hash) {
                return Err(Error::MechanismParamInvalid("this TPM does not sign digests of this hash"));
            }
            if hash != mgf {
                return Err(Error::MechanismParamInvalid(
                    "this TPM generates masks with the hash of the message alone",
                ));
            }
            if ways.salt.bytes(*hash, key.modulus_bits()) != Some(*salt_len) {
                return Err(Error::MechanismParamInvalid("this TPM makes the salt itself, of another length"));
            }
            Ok(SignWay::Scheme(tpm::SignScheme::RsaPss, Some(*hash)))
        }
        _ => Err(Error::MechanismInvalid),
    }
}

fn decrypt_way<'a>(chip: &ChipFacts, row: &MechanismRow, params: &'a Params) -> Result<DecryptWay<'a>> {
    let Some(ways) = chip.strict_rsa() else { return Ok(DecryptWay::Raw) };
    match (row.scheme, params) {
        (Scheme::RsaPkcs1, _) if ways.es => Ok(DecryptWay::Scheme(tpm::DecryptScheme::Es)),
        (Scheme::RsaOaep, Params::Oaep { hash, mgf, label }) => {
            if !ways.can_oaep(*hash) {
                return Err(Error::MechanismParamInvalid("this TPM does not decrypt OAEP with this hash"));
            }
            if hash != mgf {
                return Err(Error::MechanismParamInvalid("this TPM has one hash for the label and the mask of OAEP"));
            }
            if label.last().is_some_and(|last| *last != 0) {
                return Err(Error::MechanismParamInvalid("this TPM takes labels of OAEP that end with a zero byte"));
            }
            Ok(DecryptWay::Scheme(tpm::DecryptScheme::Oaep { hash: *hash, label }))
        }
        _ => Err(Error::MechanismInvalid),
    }
}

/// Signs: `input` is the digest for mechanisms with a hash, the caller's data otherwise. One TPM command when the key is loaded.
pub(super) fn sign(
    (library, session): (&Library, &Session),
    use_: &KeyUse,
    key: &RsaPublic,
    row: &MechanismRow,
    params: &Params,
    input: &[u8],
) -> Result<Vec<u8>> {
    if let SignWay::Raw = sign_way(&session.token.chip, row, params, key)? {
        let block = plan::rsa_block(row, params, key, input)?;
        if let Some(signature) = raw(library, session, use_, &block)? {
            return Ok(signature.expose().to_vec());
        }
    }
    let SignWay::Scheme(scheme, hash) = sign_way(&session.token.chip, row, params, key)? else {
        return Err(refused());
    };
    let (hash, digest) = match hash {
        Some(hash) => (hash, input),
        None => digest_of(input, |hash| session.token.chip.strict_rsa().is_some_and(|ways| ways.can_ssa(hash)))?,
    };
    plan::check_digest(hash, digest)?;
    let tpm = library.tpm()?;
    match use_.with(session, |key| tpm.sign(&key, hash, digest, scheme))? {
        tpm::Signature::Rsa(signature) => Ok(signature),
        tpm::Signature::Ecc { .. } => {
            Err(Error::DeviceError("the TPM answered with another kind of signature".to_owned()))
        }
    }
}

/// Decrypts a block that is below the modulus. One TPM command when the key is loaded.
pub(super) fn decrypt(
    (library, session): (&Library, &Session),
    use_: &KeyUse,
    row: &MechanismRow,
    params: &Params,
    cipher: &[u8],
) -> Result<Secret> {
    let rejection = || Hash::Sha256.hmac(use_.auth.expose(), &[b"tpm2-cryptoki 1 implicit rejection"]);
    if let DecryptWay::Raw = decrypt_way(&session.token.chip, row, params)?
        && let Some(block) = raw(library, session, use_, cipher)?
    {
        return plan::unpad(row.scheme, params, block, rejection().expose(), cipher);
    }
    let DecryptWay::Scheme(scheme) = decrypt_way(&session.token.chip, row, params)? else { return Err(refused()) };
    let tpm = library.tpm()?;
    let mut is_bad = false;
    let result = use_
        .with(session, |key| tpm.rsa_decrypt(&key, scheme, cipher).inspect_err(|error| is_bad = error.refuses_data()));
    match scheme {
        // A bad block decrypts to random bytes, as it does where the padding is taken off here: a block of zeros is one.
        tpm::DecryptScheme::Es if is_bad => {
            plan::unpad(row.scheme, params, Secret::zeroed(cipher.len()), rejection().expose(), cipher)
        }
        _ if is_bad => Err(Error::EncryptedDataInvalid),
        _ => result,
    }
}

/// The raw operation; `None` where the TPM refuses it, and what it does instead is known from now on.
pub(super) fn raw(library: &Library, session: &Session, use_: &KeyUse, block: &[u8]) -> Result<Option<Secret>> {
    let tpm = library.tpm()?;
    let mut is_refused = false;
    let result = use_.with(session, |key| {
        let result = tpm.rsa_decrypt(&key, tpm::DecryptScheme::Raw, block);
        result.inspect_err(|error| is_refused = error.refuses_scheme())
    });
    if !is_refused {
        return result.map(Some);
    }
    let chip = &session.token.chip;
    match tpm.rsa_ways(&chip.capabilities)? {
        Some(ways) if !ways.raw => chip.learn_rsa(ways),
        // It is this key, then.
        _ => return result.map(Some),
    }
    log::warn!("this TPM refuses raw RSA: mechanisms are from now on those that it has schemes for");
    let kept = library
        .writer()
        .and_then(|store| Ok(store.set_capabilities(session.token.row().primary_id, &chip.to_json()?)?));
    if let Err(error) = kept {
        log::warn!("the store does not know it yet: {error}");
    }
    Ok(None)
}

fn refused() -> Error {
    Error::DeviceError("the TPM refuses raw RSA, and has no scheme for this".to_owned())
}

/// The digest of a DigestInfo (RFC 8017 9.2), and its hash, if the TPM has that.
fn digest_of(input: &[u8], can_hash: impl Fn(Hash) -> bool) -> Result<(Hash, &[u8])> {
    let digest = |hash: Hash| {
        let digest = input.strip_prefix(hash.digest_info_prefix()).filter(|digest| digest.len() == hash.len());
        digest.map(|digest| (hash, digest))
    };
    let found = Hash::ALL.into_iter().filter(|hash| can_hash(*hash)).find_map(digest);
    found.ok_or(Error::DataInvalid("this TPM signs a DigestInfo of one of its hashes, and nothing else"))
}
