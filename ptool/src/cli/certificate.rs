//! Options of the verbs about certificates.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::attest::Proof;
use super::values::{parse_hex_id, parse_id};
use super::{KeyId, SoPin, TokenLabel, UserPin};

/// Names a key pair of the token.
#[derive(Debug, Args)]
pub(crate) struct WhichKey {
    /// CKA_LABEL of the key pair [default: the only one]
    #[arg(long, value_name = "LABEL")]
    pub(crate) key_label: Option<String>,

    /// CKA_ID of the key pair: text, or hex:... for bytes
    #[arg(long, value_name = "ID", value_parser = parse_id)]
    pub(crate) id: Option<KeyId>,
}

/// What a request or certificate says.
#[derive(Debug, Args)]
pub(crate) struct Contents {
    /// Name of the subject: "CN=web.example,O=Example,C=DE" or "/C=DE/O=Example/CN=web.example"
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub(crate) subject: String,

    /// Further names, with commas between them: dns:web.example, ip:192.0.2.1, email:a@b.example, uri:https://b.example/; a comma in a
    /// name is \,
    #[arg(long, value_name = "KIND:NAME")]
    pub(crate) san: Vec<String>,

    /// What the key may do: digitalSignature, keyEncipherment, keyAgreement, keyCertSign, ...
    #[arg(long, value_name = "USAGE", value_delimiter = ',')]
    pub(crate) key_usage: Vec<String>,

    /// What for: serverAuth, clientAuth, codeSigning, emailProtection, ... or an OID
    #[arg(long, value_name = "PURPOSE", value_delimiter = ',')]
    pub(crate) ext_key_usage: Vec<String>,

    /// The key is that of a certification authority
    #[arg(long)]
    pub(crate) ca: bool,

    /// Hash of the signature [default: sha256, for P-384 sha384, for P-521 sha512]
    #[arg(long, value_enum, value_name = "HASH")]
    pub(crate) hash: Option<HashName>,

    /// Sign with RSASSA-PSS instead of PKCS #1 v1.5
    #[arg(long)]
    pub(crate) pss: bool,

    /// File for the result, in PEM [default: standard output]
    #[arg(short, long = "out", value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// Hashes that certificates are signed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum HashName {
    Sha256,
    Sha384,
    Sha512,
}

/// What is signed, and by which key.
#[derive(Debug, Args)]
pub(crate) struct Signing {
    #[command(flatten)]
    pub(crate) label: TokenLabel,

    #[command(flatten)]
    pub(crate) key: WhichKey,

    #[command(flatten)]
    pub(crate) contents: Contents,

    #[command(flatten)]
    pub(crate) user: UserPin,
}

/// `csr`
#[derive(Debug, Args)]
pub(crate) struct Csr {
    #[command(flatten)]
    pub(crate) signing: Signing,

    /// Put the TPM's word that the key is in it into the request, as `ptool attest` does
    #[arg(long)]
    pub(crate) attest: bool,

    #[command(flatten)]
    pub(crate) proof: Proof,
}

/// `selfsign`
#[derive(Debug, Args)]
pub(crate) struct SelfSign {
    #[command(flatten)]
    pub(crate) signing: Signing,

    /// Days for which the certificate is valid, from now on
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=36500))]
    pub(crate) days: u32,

    /// Keep the certificate in the token too, beside its key
    #[arg(long)]
    pub(crate) store: bool,
}

/// `addcert`
#[derive(Debug, Args)]
pub(crate) struct AddCert {
    #[command(flatten)]
    pub(crate) label: TokenLabel,

    /// File with the certificate, PEM or DER, and in PEM those of the authorities above it; `-` is standard input
    #[arg(value_name = "CERTIFICATE")]
    pub(crate) file: PathBuf,

    /// CKA_LABEL of the key pair [default: the one that the certificate is for]
    #[arg(long, value_name = "LABEL")]
    pub(crate) key_label: Option<String>,

    /// CKA_ID of the key pair in hexadecimal
    #[arg(long, value_name = "HEX", value_parser = parse_hex_id)]
    pub(crate) key_id: Option<KeyId>,

    /// The file has certificates of authorities only, and none for a key of the token
    #[arg(long, conflicts_with_all = ["key_label", "key_id", "replace"])]
    pub(crate) ca: bool,

    /// Mark the certificates of authorities as trusted (CKA_TRUSTED); needs the security officer PIN
    #[arg(long)]
    pub(crate) trusted: bool,

    /// Remove older certificates of the same key
    #[arg(long)]
    pub(crate) replace: bool,

    #[command(flatten)]
    pub(crate) user: UserPin,

    #[command(flatten)]
    pub(crate) so: SoPin,
}
