//! Options of the verbs that bring keys in.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use super::values::parse_id;
use super::{Binding, Hidden, KeyId, SoPin, TokenLabel, UnusedAuth, UserPin};

/// `import`
#[derive(Debug, Args)]
pub(crate) struct Import {
    #[command(flatten)]
    pub(crate) label: TokenLabel,

    /// The key: PEM or DER (PKCS#8, PKCS#1, SEC 1), OpenSSH, PKCS#12, a key wrapped by `ptool wrap`; or with --algorithm aes or hmac
    /// the bytes, or hexadecimal digits, of a secret key; `-` reads standard input; all keys of several files come in with
    /// one login, and numbers follow --key-label: LABEL-1, LABEL-2
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    pub(crate) privkey: Vec<PathBuf>,

    /// What the file must have: rsa, ecc, aes, hmac, or hmac:sha256 for that hash alone; aes and hmac are found by no other sign
    #[arg(long, value_name = "ALGORITHM")]
    pub(crate) algorithm: Option<ImportAlgorithm>,

    /// With --algorithm aes or hmac: take the bytes of the file as they are, also if they are hexadecimal digits
    #[arg(long, requires = "algorithm")]
    pub(crate) raw: bool,

    #[command(flatten)]
    pub(crate) passphrase: Passphrase,

    /// Certificates to keep with the key, in PEM or DER; those in the key's file are kept anyway
    #[arg(long, value_name = "FILE")]
    pub(crate) cert: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) names: KeyNames,

    #[command(flatten)]
    pub(crate) binding: Binding,

    /// Make a key that needs no PIN: the state of the machine is enough
    #[arg(long, conflicts_with = "attr_always_authenticate")]
    pub(crate) no_pin: bool,

    #[command(flatten)]
    pub(crate) user: UserPin,

    #[command(flatten)]
    pub(crate) so: SoPin,

    #[command(flatten)]
    pub(crate) unused: UnusedAuth,
}

/// How the objects of a key are called.
#[derive(Debug, Args)]
pub(crate) struct KeyNames {
    /// CKA_LABEL of the new objects [default: what the file calls the key]
    #[arg(long, value_name = "LABEL")]
    pub(crate) key_label: Option<String>,

    /// CKA_ID of the new objects: text, or hex:... for bytes [default: derived from the public key]
    #[arg(long, value_name = "ID", value_parser = parse_id)]
    pub(crate) id: Option<KeyId>,

    /// Ask for the PIN again before each private key operation (CKA_ALWAYS_AUTHENTICATE)
    #[arg(long)]
    pub(crate) attr_always_authenticate: bool,
}

/// Where the passphrase of a file comes from, as far as the command line says.
#[derive(Debug, Args)]
pub(crate) struct Passphrase {
    /// Passphrase of the file: pass:TEXT, env:VARIABLE, file:FILE or stdin, as tpm2_ptool and openssl take it
    #[arg(long, value_name = "SOURCE", conflicts_with = "passphrase_file")]
    pub(crate) passin: Option<Hidden>,

    /// File that holds the passphrase of the file
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

/// What a file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ImportAlgorithm {
    Rsa,
    Ecc,
    Aes,
    /// With any hash, or one.
    Hmac(Option<HmacHash>),
}

/// Hashes that a key may be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HmacHash {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl FromStr for ImportAlgorithm {
    type Err = String;

    fn from_str(name: &str) -> Result<ImportAlgorithm, String> {
        match name {
            "rsa" => Ok(ImportAlgorithm::Rsa),
            "ecc" | "ec" => Ok(ImportAlgorithm::Ecc),
            "aes" => Ok(ImportAlgorithm::Aes),
            "hmac" => Ok(ImportAlgorithm::Hmac(None)),
            "hmac:sha1" => Ok(ImportAlgorithm::Hmac(Some(HmacHash::Sha1))),
            "hmac:sha256" => Ok(ImportAlgorithm::Hmac(Some(HmacHash::Sha256))),
            "hmac:sha384" => Ok(ImportAlgorithm::Hmac(Some(HmacHash::Sha384))),
            "hmac:sha512" => Ok(ImportAlgorithm::Hmac(Some(HmacHash::Sha512))),
            _ => Err("there are rsa, ecc, aes, hmac and, for one hash alone, hmac:sha1, hmac:sha256, hmac:sha384 and hmac:sha512".to_owned()),
        }
    }
}
