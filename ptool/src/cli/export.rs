//! Options of the verbs that take keys out, and of those that bring them to another TPM.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::import::{KeyNames, Passphrase};
use super::values::parse_id;
use super::{Hidden, KeyId, SoPin, TokenLabel, UnusedAuth, UserPin};

/// Names an object of a token.
#[derive(Debug, Args)]
pub(crate) struct WhichObject {
    /// Label of the token; --id alone finds it, too
    #[arg(long = "label", value_name = "LABEL", id = "token_label")]
    pub(crate) label: Option<String>,

    /// The object, as listobjects numbers them
    #[arg(long, value_name = "ID", conflicts_with_all = ["key_label", "key_id"])]
    pub(crate) id: Option<i64>,

    /// CKA_LABEL of the object
    #[arg(long, value_name = "LABEL", conflicts_with = "key_id")]
    pub(crate) key_label: Option<String>,

    /// CKA_ID of the object: text, or hex:... for bytes
    #[arg(long, value_name = "ID", value_parser = parse_id)]
    pub(crate) key_id: Option<KeyId>,
}

/// `export`
#[derive(Debug, Args)]
pub(crate) struct Export {
    #[command(flatten)]
    pub(crate) which: WhichObject,

    /// What to write
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = ExportFormat::Auto)]
    pub(crate) format: ExportFormat,

    /// The file to write; `-` is standard output [default: standard output; for auto, pem and tpm2, a file that is named after
    /// the key, as tpm2_ptool has it, if it is a private or secret key, or --id names the object]
    #[arg(long, short, value_name = "FILE", conflicts_with = "output_prefix")]
    pub(crate) out: Option<PathBuf>,

    /// Write PREFIX.pem, or PREFIX.pub, PREFIX.priv and PREFIX.tr
    #[arg(long, value_name = "PREFIX")]
    pub(crate) output_prefix: Option<String>,

    /// The authorization that the exported key is to have: pass:TEXT, env:VARIABLE, file:FILE or stdin; a prompt asks for it otherwise
    #[arg(long, value_name = "SOURCE", conflicts_with_all = ["passphrase_file", "no_passphrase"])]
    pub(crate) passout: Option<Hidden>,

    /// File that holds it
    #[arg(long, value_name = "FILE", conflicts_with = "no_passphrase")]
    pub(crate) passphrase_file: Option<PathBuf>,

    /// The exported key has none: whoever has the file and may use the TPM can use the key
    #[arg(long)]
    pub(crate) no_passphrase: bool,

    #[command(flatten)]
    pub(crate) user: UserPin,

    #[command(flatten)]
    pub(crate) so: SoPin,

    #[command(flatten)]
    pub(crate) unused: UnusedAuth,
}

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// Of a key pair the private half if its PIN or a passphrase is given, or --id names it, as pem has it; else the public half. Of a
    /// secret key the same as tpm2
    Auto,
    /// The same in PEM: TSS2 PRIVATE KEY, public key or certificate
    Pem,
    /// Private or secret key as the TPM wrapped it: its two blobs, and a reference to its parent
    Tpm2,
    /// Private or secret key as the TPM wrapped it: TSS2 PRIVATE KEY in PEM
    Tss2,
    /// Public key in PEM
    Public,
    /// Public key or certificate in DER
    Der,
    /// Public key as a line of OpenSSH
    Ssh,
    /// Certificate in PEM
    Cert,
}

/// `srk`
#[derive(Debug, Args)]
pub(crate) struct Srk {
    /// The primary key, as listprimaries numbers them [default: the first]
    #[arg(long, value_name = "ID")]
    pub(crate) pid: Option<i64>,

    /// PEM, which OpenSSL reads and which has all that the TPM says of the key; or the bytes of a TPM2B_PUBLIC
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = SrkFormat::Pem)]
    pub(crate) format: SrkFormat,

    /// The file to write [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// How a storage key is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SrkFormat {
    Pem,
    Tpm2b,
}

/// `wrap`
#[derive(Debug, Args)]
pub(crate) struct Wrap {
    /// The storage key of the TPM that is to have the key: what `ptool srk` printed there
    #[arg(long, value_name = "FILE")]
    pub(crate) srk: PathBuf,

    /// The key: as `ptool import` takes it
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,

    /// What the file must have; aes and hmac only are found by no other sign
    #[arg(long, value_name = "ALGORITHM")]
    pub(crate) algorithm: Option<super::import::ImportAlgorithm>,

    /// With --algorithm aes or hmac: take the bytes of the file as they are, also if they are hexadecimal digits
    #[arg(long, requires = "algorithm")]
    pub(crate) raw: bool,

    /// The file to write
    #[arg(long, short, value_name = "FILE")]
    pub(crate) out: PathBuf,

    #[command(flatten)]
    pub(crate) passphrase: Passphrase,

    /// The authorization that the wrapped key is to have, which `ptool import` asks for then: pass:TEXT, env:VARIABLE, file:FILE or
    /// stdin [default: none]
    #[arg(long, value_name = "SOURCE")]
    pub(crate) passout: Option<Hidden>,

    /// Handle of the storage key over there, for other software
    #[arg(long, value_name = "HANDLE", value_parser = parse_handle, default_value = "0x81000001")]
    pub(crate) parent: u32,
}

/// `backup`
#[derive(Debug, Args)]
pub(crate) struct Backup {
    #[command(flatten)]
    pub(crate) which: WhichObject,

    /// The file to write
    #[arg(long, short, value_name = "FILE")]
    pub(crate) out: PathBuf,

    #[command(flatten)]
    pub(crate) user: UserPin,

    #[command(flatten)]
    pub(crate) so: SoPin,
}

/// `restore`
#[derive(Debug, Args)]
pub(crate) struct Restore {
    #[command(flatten)]
    pub(crate) label: TokenLabel,

    /// What `ptool backup` wrote
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// The private recovery key; not needed where the backup is for this TPM's storage key
    #[arg(long, value_name = "FILE")]
    pub(crate) recovery_key: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) passphrase: Passphrase,

    /// CKA_LABEL of the new objects [default: as they were]
    #[arg(long, value_name = "LABEL")]
    pub(crate) key_label: Option<String>,

    /// CKA_ID of the new objects: text, or hex:... for bytes [default: as it was]
    #[arg(long, value_name = "ID", value_parser = parse_id)]
    pub(crate) id: Option<KeyId>,

    #[command(flatten)]
    pub(crate) user: UserPin,

    #[command(flatten)]
    pub(crate) so: SoPin,
}

/// `link`
#[derive(Debug, Args)]
pub(crate) struct Link {
    #[command(flatten)]
    pub(crate) label: TokenLabel,

    /// A TSS2 PRIVATE KEY in PEM; or the public and the private blob of a key; or a persistent handle such as 0x81000010
    #[arg(value_name = "KEY", required = true, num_args = 1..=2)]
    pub(crate) key: Vec<PathBuf>,

    /// Authorization of the key: text, hex:..., file:PATH or `-` [default: empty]
    #[arg(long, value_name = "AUTH")]
    pub(crate) auth: Option<Hidden>,

    /// Handle of the parent of two blobs: persistent, or 0x40000001 for a primary of the owner hierarchy [default: the token's]
    #[arg(long, value_name = "HANDLE", value_parser = parse_parent)]
    pub(crate) parent: Option<u32>,

    #[command(flatten)]
    pub(crate) names: KeyNames,

    #[command(flatten)]
    pub(crate) user: UserPin,

    #[command(flatten)]
    pub(crate) so: SoPin,

    #[command(flatten)]
    pub(crate) unused: UnusedAuth,
}

/// A persistent handle.
fn parse_handle(text: &str) -> Result<u32, String> {
    let number = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    number.filter(|handle| handle >> 24 == 0x81).ok_or_else(|| "a persistent handle is 0x81000000 to 0x81FFFFFF".into())
}

/// TPM_RH_OWNER, beside the persistent handles.
fn parse_parent(text: &str) -> Result<u32, String> {
    match text {
        "0x40000001" | "o" | "owner" => Ok(0x4000_0001),
        _ => parse_handle(text),
    }
}
