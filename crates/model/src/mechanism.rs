//! The mechanism table: one row each (PKCS#11 mechanisms v3.1).

use base::digest::Hash;
use pkcs11_sys::{
    CKF_DECRYPT, CKF_DIGEST, CKF_ENCRYPT, CKF_GENERATE_KEY_PAIR, CKF_SIGN, CKF_VERIFY, CKG_MGF1_SHA1, CKG_MGF1_SHA224,
    CKG_MGF1_SHA256, CKG_MGF1_SHA384, CKG_MGF1_SHA512, CKM_EC_KEY_PAIR_GEN, CKM_ECDSA, CKM_ECDSA_SHA1,
    CKM_ECDSA_SHA224, CKM_ECDSA_SHA256, CKM_ECDSA_SHA384, CKM_ECDSA_SHA512, CKM_RSA_PKCS, CKM_RSA_PKCS_KEY_PAIR_GEN,
    CKM_RSA_PKCS_OAEP, CKM_RSA_PKCS_PSS, CKM_RSA_X_509, CKM_SHA_1, CKM_SHA1_RSA_PKCS, CKM_SHA1_RSA_PKCS_PSS,
    CKM_SHA224, CKM_SHA224_RSA_PKCS, CKM_SHA224_RSA_PKCS_PSS, CKM_SHA256, CKM_SHA256_RSA_PKCS, CKM_SHA256_RSA_PKCS_PSS,
    CKM_SHA384, CKM_SHA384_RSA_PKCS, CKM_SHA384_RSA_PKCS_PSS, CKM_SHA512, CKM_SHA512_RSA_PKCS, CKM_SHA512_RSA_PKCS_PSS,
};

use crate::names::named_type;

named_type! {
    /// `CK_MECHANISM_TYPE`.
    pub MechanismType, "CKM_" {
        RSA_PKCS_KEY_PAIR_GEN = CKM_RSA_PKCS_KEY_PAIR_GEN,
        RSA_PKCS = CKM_RSA_PKCS,
        RSA_X_509 = CKM_RSA_X_509,
        RSA_PKCS_OAEP = CKM_RSA_PKCS_OAEP,
        RSA_PKCS_PSS = CKM_RSA_PKCS_PSS,
        SHA1_RSA_PKCS = CKM_SHA1_RSA_PKCS,
        SHA224_RSA_PKCS = CKM_SHA224_RSA_PKCS,
        SHA256_RSA_PKCS = CKM_SHA256_RSA_PKCS,
        SHA384_RSA_PKCS = CKM_SHA384_RSA_PKCS,
        SHA512_RSA_PKCS = CKM_SHA512_RSA_PKCS,
        SHA1_RSA_PKCS_PSS = CKM_SHA1_RSA_PKCS_PSS,
        SHA224_RSA_PKCS_PSS = CKM_SHA224_RSA_PKCS_PSS,
        SHA256_RSA_PKCS_PSS = CKM_SHA256_RSA_PKCS_PSS,
        SHA384_RSA_PKCS_PSS = CKM_SHA384_RSA_PKCS_PSS,
        SHA512_RSA_PKCS_PSS = CKM_SHA512_RSA_PKCS_PSS,
        EC_KEY_PAIR_GEN = CKM_EC_KEY_PAIR_GEN,
        ECDSA = CKM_ECDSA,
        ECDSA_SHA1 = CKM_ECDSA_SHA1,
        ECDSA_SHA224 = CKM_ECDSA_SHA224,
        ECDSA_SHA256 = CKM_ECDSA_SHA256,
        ECDSA_SHA384 = CKM_ECDSA_SHA384,
        ECDSA_SHA512 = CKM_ECDSA_SHA512,
        SHA_1 = CKM_SHA_1,
        SHA224 = CKM_SHA224,
        SHA256 = CKM_SHA256,
        SHA384 = CKM_SHA384,
        SHA512 = CKM_SHA512,
    }
}

impl MechanismType {
    /// The mechanism's row, or `None` if it is not one of ours.
    #[must_use]
    pub fn row(self) -> Option<&'static MechanismRow> {
        MECHANISMS.iter().find(|row| row.ty == self)
    }
}

/// A mechanism with its parameters, as the boundary read them.
#[derive(Clone, Debug)]
pub struct Mechanism {
    /// Which one.
    pub ty: MechanismType,
    /// Its parameters, in the shape that [`MechanismRow::params`] says.
    pub params: Params,
}

impl Mechanism {
    /// A mechanism without parameters.
    #[must_use]
    pub fn plain(ty: MechanismType) -> Self {
        Self { ty, params: Params::None }
    }
}

/// Parameters of a mechanism, typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Params {
    /// The caller gave none.
    None,
    /// `CK_RSA_PKCS_PSS_PARAMS`.
    Pss {
        /// Hash of the message.
        hash: Hash,
        /// Hash of the mask generation function MGF1.
        mgf: Hash,
        /// Length of the salt in bytes.
        salt_len: usize,
    },
    /// `CK_RSA_PKCS_OAEP_PARAMS`.
    Oaep {
        /// Hash of the label.
        hash: Hash,
        /// Hash of the mask generation function MGF1.
        mgf: Hash,
        /// The label ("source data"), often empty.
        label: Vec<u8>,
    },
    /// Bytes that no row asked for: the caller gave parameters to a mechanism that has none.
    Unexpected,
}

/// Which C structure the parameters of a mechanism are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamKind {
    /// No parameters.
    None,
    /// `CK_RSA_PKCS_PSS_PARAMS`, always required.
    Pss,
    /// `CK_RSA_PKCS_PSS_PARAMS`, required, and its hash is the mechanism's.
    PssOf(Hash),
    /// `CK_RSA_PKCS_OAEP_PARAMS`.
    Oaep,
}

bitflags::bitflags! {
    /// What a mechanism does; the bits are those of `CK_MECHANISM_INFO`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Ops: u64 {
        /// `C_Encrypt*`
        const ENCRYPT = CKF_ENCRYPT;
        /// `C_Decrypt*`
        const DECRYPT = CKF_DECRYPT;
        /// `C_Digest*`
        const DIGEST = CKF_DIGEST;
        /// `C_Sign*`
        const SIGN = CKF_SIGN;
        /// `C_Verify*`
        const VERIFY = CKF_VERIFY;
        /// `C_GenerateKeyPair`
        const GENERATE_KEY_PAIR = CKF_GENERATE_KEY_PAIR;
    }
}

/// Which keys a mechanism works with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// None: software only.
    None,
    /// RSA keys; needs a TPM with RSA.
    Rsa,
    /// EC keys; needs a TPM with ECC.
    Ec,
}

/// What is done with the (digested) input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// The digest itself.
    Digest,
    /// RSASSA-PKCS1-v1_5 / RSAES-PKCS1-v1_5 (RFC 8017 8.2, 7.2). Without a hash the input is the DigestInfo, or anything.
    RsaPkcs1,
    /// The raw RSA operation.
    RsaRaw,
    /// RSASSA-PSS (RFC 8017 8.1).
    RsaPss,
    /// RSAES-OAEP (RFC 8017 7.1).
    RsaOaep,
    /// ECDSA (FIPS 186-5 6).
    Ecdsa,
    /// Making a key pair.
    KeyPair,
}

/// One mechanism.
#[derive(Debug)]
pub struct MechanismRow {
    /// Its number and name.
    pub ty: MechanismType,
    /// What it does.
    pub ops: Ops,
    /// With which keys.
    pub key: KeyKind,
    /// How.
    pub scheme: Scheme,
    /// The hash applied to the input first, if the mechanism has one.
    pub hash: Option<Hash>,
    /// The C structure of its parameters.
    pub params: ParamKind,
}

/// Every mechanism. `C_GetMechanismList` is this table without what the token's TPM cannot do.
pub static MECHANISMS: &[MechanismRow] = {
    use Hash::{Sha1, Sha224, Sha256, Sha384, Sha512};
    use MechanismType as M;
    const SIGN_VERIFY: Ops = Ops::SIGN.union(Ops::VERIFY);
    const ENCRYPT_DECRYPT: Ops = Ops::ENCRYPT.union(Ops::DECRYPT);

    const fn key_pair(ty: M, key: KeyKind) -> MechanismRow {
        MechanismRow {
            ty,
            ops: Ops::GENERATE_KEY_PAIR,
            key,
            scheme: Scheme::KeyPair,
            hash: None,
            params: ParamKind::None,
        }
    }
    const fn rsa(ty: M, ops: Ops, scheme: Scheme, params: ParamKind) -> MechanismRow {
        MechanismRow { ty, ops, key: KeyKind::Rsa, scheme, hash: None, params }
    }
    const fn hash_rsa(ty: M, hash: Hash) -> MechanismRow {
        MechanismRow {
            ty,
            ops: SIGN_VERIFY,
            key: KeyKind::Rsa,
            scheme: Scheme::RsaPkcs1,
            hash: Some(hash),
            params: ParamKind::None,
        }
    }
    const fn hash_pss(ty: M, hash: Hash) -> MechanismRow {
        MechanismRow {
            ty,
            ops: SIGN_VERIFY,
            key: KeyKind::Rsa,
            scheme: Scheme::RsaPss,
            hash: Some(hash),
            params: ParamKind::PssOf(hash),
        }
    }
    const fn ecdsa(ty: M, hash: Option<Hash>) -> MechanismRow {
        MechanismRow { ty, ops: SIGN_VERIFY, key: KeyKind::Ec, scheme: Scheme::Ecdsa, hash, params: ParamKind::None }
    }
    const fn digest(ty: M, hash: Hash) -> MechanismRow {
        MechanismRow {
            ty,
            ops: Ops::DIGEST,
            key: KeyKind::None,
            scheme: Scheme::Digest,
            hash: Some(hash),
            params: ParamKind::None,
        }
    }

    &[
        key_pair(M::RSA_PKCS_KEY_PAIR_GEN, KeyKind::Rsa),
        key_pair(M::EC_KEY_PAIR_GEN, KeyKind::Ec),
        rsa(M::RSA_PKCS, SIGN_VERIFY.union(ENCRYPT_DECRYPT), Scheme::RsaPkcs1, ParamKind::None),
        rsa(M::RSA_X_509, SIGN_VERIFY.union(ENCRYPT_DECRYPT), Scheme::RsaRaw, ParamKind::None),
        rsa(M::RSA_PKCS_OAEP, ENCRYPT_DECRYPT, Scheme::RsaOaep, ParamKind::Oaep),
        rsa(M::RSA_PKCS_PSS, SIGN_VERIFY, Scheme::RsaPss, ParamKind::Pss),
        hash_rsa(M::SHA1_RSA_PKCS, Sha1),
        hash_rsa(M::SHA224_RSA_PKCS, Sha224),
        hash_rsa(M::SHA256_RSA_PKCS, Sha256),
        hash_rsa(M::SHA384_RSA_PKCS, Sha384),
        hash_rsa(M::SHA512_RSA_PKCS, Sha512),
        hash_pss(M::SHA1_RSA_PKCS_PSS, Sha1),
        hash_pss(M::SHA224_RSA_PKCS_PSS, Sha224),
        hash_pss(M::SHA256_RSA_PKCS_PSS, Sha256),
        hash_pss(M::SHA384_RSA_PKCS_PSS, Sha384),
        hash_pss(M::SHA512_RSA_PKCS_PSS, Sha512),
        ecdsa(M::ECDSA, None),
        ecdsa(M::ECDSA_SHA1, Some(Sha1)),
        ecdsa(M::ECDSA_SHA224, Some(Sha224)),
        ecdsa(M::ECDSA_SHA256, Some(Sha256)),
        ecdsa(M::ECDSA_SHA384, Some(Sha384)),
        ecdsa(M::ECDSA_SHA512, Some(Sha512)),
        digest(M::SHA_1, Sha1),
        digest(M::SHA224, Sha224),
        digest(M::SHA256, Sha256),
        digest(M::SHA384, Sha384),
        digest(M::SHA512, Sha512),
    ]
};

/// The hash that a digest mechanism names, as the parameters of PSS and OAEP name theirs (`CKM_SHA256` ...).
#[must_use]
pub fn hash_of_mechanism(number: u64) -> Option<Hash> {
    MechanismType(number).row().filter(|row| row.scheme == Scheme::Digest).and_then(|row| row.hash)
}

/// The hash of a mask generation function (`CKG_MGF1_SHA256` ...).
#[must_use]
pub fn hash_of_mgf(number: u64) -> Option<Hash> {
    Some(match number {
        CKG_MGF1_SHA1 => Hash::Sha1,
        CKG_MGF1_SHA224 => Hash::Sha224,
        CKG_MGF1_SHA256 => Hash::Sha256,
        CKG_MGF1_SHA384 => Hash::Sha384,
        CKG_MGF1_SHA512 => Hash::Sha512,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_row_a_mechanism() {
        for (index, row) in MECHANISMS.iter().enumerate() {
            assert!(row.ty.name().is_some());
            assert!(MECHANISMS[..index].iter().all(|other| other.ty != row.ty), "{} twice", row.ty);
        }
    }

    #[test]
    fn parameters_name_hashes() {
        assert_eq!(hash_of_mechanism(CKM_SHA256), Some(Hash::Sha256));
        assert_eq!(hash_of_mechanism(CKM_SHA256_RSA_PKCS), None);
        assert_eq!(hash_of_mgf(CKG_MGF1_SHA224), Some(Hash::Sha224));
        assert_eq!(hash_of_mgf(0), None);
    }
}
