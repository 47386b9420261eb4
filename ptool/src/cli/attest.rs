//! Options of the verbs that prove that a key is in a TPM, and of those that look at such proofs.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::certificate::WhichKey;
use super::import::Passphrase;
use super::values::parse_octets;
use super::{Hidden, Octets, UserPin};

/// `attest`, alone or with a verb of its own.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Attest {
    #[command(flatten)]
    pub(crate) key: AttestKey,

    #[command(subcommand)]
    pub(crate) verb: Option<AttestVerb>,
}

/// What an attestation is asked for, and how it is written.
#[derive(Debug, Args)]
pub(crate) struct Proof {
    /// The authority that is to see it: any name; each has an attestation key of its own, which is made when it is first needed
    /// [default: default]
    #[arg(long, value_name = "NAME")]
    pub(crate) authority: Option<String>,

    /// What the authority gave so that it knows a new attestation from an old one, in hexadecimal: at most 34 bytes, else a digest
    #[arg(long, value_name = "HEX", value_parser = parse_octets, conflicts_with = "nonce_file")]
    pub(crate) nonce: Option<Octets>,

    /// The same, as the bytes of a file; of a longer one its SHA-256
    #[arg(long, value_name = "FILE")]
    pub(crate) nonce_file: Option<PathBuf>,

    /// How the TPM's signature is written, since verifiers differ [default: for webauthn bare, else tpmt]
    #[arg(long, value_enum, value_name = "FORM")]
    pub(crate) signature: Option<SignatureName>,
}

/// How the TPM's signature is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SignatureName {
    /// TPMT_SIGNATURE, as the TPM gives it
    Tpmt,
    /// As X.509 has it: the RSA block, or the ECDSA numbers in DER
    Bare,
}

/// `attest` itself.
#[derive(Debug, Args)]
pub(crate) struct AttestKey {
    /// Label of the token
    #[arg(long, value_name = "LABEL", required = true)]
    pub(crate) label: Option<String>,

    #[command(flatten)]
    pub(crate) key: WhichKey,

    /// What to write
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = AttestFormat::Json)]
    pub(crate) format: AttestFormat,

    #[command(flatten)]
    pub(crate) proof: Proof,

    /// With json: put the certificate of the TPM's endorsement key in, by which the machine is known for ever
    #[arg(long)]
    pub(crate) with_ek: bool,

    /// With webauthn: the relying party, a domain
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) rp_id: Option<String>,

    /// With webauthn: file with the client data, JSON with the challenge in it
    #[arg(long, value_name = "FILE")]
    pub(crate) client_data: Option<PathBuf>,

    /// With acme: the key authorization of the challenge, TOKEN.THUMBPRINT
    #[arg(long, value_name = "TEXT")]
    pub(crate) key_authorization: Option<String>,

    /// With csr: the subject; `ptool csr --attest` makes requests with more in them
    #[arg(long, value_name = "NAME")]
    pub(crate) subject: Option<String>,

    /// With tcg-csr-idevid: the model of the machine
    #[arg(long, value_name = "TEXT")]
    pub(crate) model: Option<String>,

    /// With tcg-csr-idevid: the serial number of the machine
    #[arg(long, value_name = "TEXT")]
    pub(crate) serial: Option<String>,

    /// The file to write [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) user: UserPin,
}

/// What authorities take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AttestFormat {
    /// All parts, for scripts of one's own and `ptool attest verify`
    Json,
    /// Attestation object of WebAuthn with a tpm statement
    Webauthn,
    /// Payload for the ACME challenge device-attest-01
    Acme,
    /// PKCS #10 request with the evidence as an attribute
    Csr,
    /// TCG_CSR_IDEVID
    TcgCsrIdevid,
}

/// Names an attestation key.
#[derive(Debug, Args)]
pub(crate) struct Attester {
    /// Label of the token
    #[arg(long, value_name = "LABEL")]
    pub(crate) label: String,

    /// The authority that the attestation key is for
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) authority: String,
}

/// Names an endorsement key.
#[derive(Debug, Args)]
pub(crate) struct WhichEndorsement {
    /// The kind of endorsement key [default: one that the TPM has a certificate for]
    #[arg(long, value_enum, value_name = "KIND")]
    pub(crate) ek: Option<EndorsementName>,

    /// Authorization of the TPM's endorsement hierarchy: text, hex:..., file:PATH or `-` [default: empty]
    #[arg(long, value_name = "AUTH")]
    pub(crate) ek_auth: Option<Hidden>,
}

/// Endorsement keys of the TCG's profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EndorsementName {
    /// L-1: certificate at 0x01C00002
    Rsa2048Low,
    /// L-2: certificate at 0x01C0000A
    Ecc256Low,
    /// H-1: certificate at 0x01C00012
    Rsa2048,
    /// H-2: certificate at 0x01C00014
    Ecc256,
    /// H-3: certificate at 0x01C00016
    Ecc384,
    /// H-6: certificate at 0x01C0001C
    Rsa3072,
}

/// The kinds of attestation keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AttesterName {
    Ecc256,
    Rsa2048,
}

/// The verbs below `attest`.
#[derive(Debug, Subcommand)]
pub(crate) enum AttestVerb {
    /// Write what an authority needs to make a challenge for this TPM; it names the machine
    Identity(MakeIdentity),
    /// Answer an authority's challenge, which only this TPM can
    Activate(Activate),
    /// Keep the certificate that the authority issued for its attestation key
    Addcert(AddAttesterCert),
    /// List the attestation keys of a token's TPM
    List(ListAttesters),
    /// Make a challenge for a machine; needs no TPM and no store
    Challenge(MakeChallenge),
    /// Check a machine's answer, and write its attestation key in PEM, for an authority that issues certificates with other software
    Confirm(Confirm),
    /// Issue a certificate for an attestation key that answered its challenge; needs no TPM and no store
    IssueAk(IssueAk),
    /// Say whether a key is in a TPM, and why; needs no TPM and no store
    Verify(VerifyAttestation),
}

/// `attest identity`
#[derive(Debug, Args)]
pub(crate) struct MakeIdentity {
    #[command(flatten)]
    pub(crate) attester: Attester,

    /// The kind of attestation key [default: ecc256]
    #[arg(long, value_enum, value_name = "KIND")]
    pub(crate) algorithm: Option<AttesterName>,

    #[command(flatten)]
    pub(crate) endorsement: WhichEndorsement,

    /// File with the certificate of the endorsement key, and those above, for a TPM that has none
    #[arg(long, value_name = "FILE")]
    pub(crate) ek_certificate: Option<PathBuf>,

    /// The file to write [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// `attest activate`
#[derive(Debug, Args)]
pub(crate) struct Activate {
    /// File with the challenge: of `ptool attest challenge`, or of tpm2_makecredential, which is answered with its secret
    #[arg(value_name = "CHALLENGE")]
    pub(crate) challenge: PathBuf,

    #[command(flatten)]
    pub(crate) attester: Attester,

    #[command(flatten)]
    pub(crate) endorsement: WhichEndorsement,

    /// The file to write, for its owner alone [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// `attest addcert`
#[derive(Debug, Args)]
pub(crate) struct AddAttesterCert {
    /// File with the certificate, PEM or DER, and in PEM those of the authorities above it
    #[arg(value_name = "CERTIFICATE")]
    pub(crate) file: PathBuf,

    #[command(flatten)]
    pub(crate) attester: Attester,
}

/// `attest list`
#[derive(Debug, Args)]
pub(crate) struct ListAttesters {
    /// Label of the token
    #[arg(long, value_name = "LABEL")]
    pub(crate) label: String,
}

/// `attest challenge`
#[derive(Debug, Args)]
pub(crate) struct MakeChallenge {
    /// File with the identity of the machine
    #[arg(value_name = "IDENTITY")]
    pub(crate) identity: PathBuf,

    /// Certificates of the makers of TPMs: a file, or a directory of files
    #[arg(long, value_name = "DIR", required = true)]
    pub(crate) ek_roots: Vec<PathBuf>,

    /// What the authority keeps for itself, to know the answer by
    #[arg(long, value_name = "FILE")]
    pub(crate) record: PathBuf,

    /// The challenge, for the machine [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// `attest confirm`
#[derive(Debug, Args)]
pub(crate) struct Confirm {
    /// What `attest challenge` kept
    #[arg(long, value_name = "FILE")]
    pub(crate) record: PathBuf,

    /// What the machine answered
    #[arg(long, value_name = "FILE")]
    pub(crate) answer: PathBuf,

    /// The file to write [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// `attest issue-ak`
#[derive(Debug, Args)]
pub(crate) struct IssueAk {
    /// What `attest challenge` kept
    #[arg(long, value_name = "FILE")]
    pub(crate) record: PathBuf,

    /// What the machine answered
    #[arg(long, value_name = "FILE")]
    pub(crate) answer: PathBuf,

    /// The authority's certificate
    #[arg(long, value_name = "FILE")]
    pub(crate) issuer: PathBuf,

    /// The authority's private key
    #[arg(long, value_name = "FILE")]
    pub(crate) issuer_key: PathBuf,

    #[command(flatten)]
    pub(crate) passphrase: Passphrase,

    /// Days for which the certificate is valid, from now on
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=36500))]
    pub(crate) days: u32,

    /// The TPM's manufacturer, such as id:494E5443, where verifiers do not know the one in the endorsement certificate
    #[arg(long, value_name = "ID")]
    pub(crate) manufacturer: Option<String>,

    /// The file to write, in PEM [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// `attest verify`
#[derive(Debug, Args)]
pub(crate) struct VerifyAttestation {
    /// The attestation, in any of the forms that `ptool attest` writes
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// Certificates of the authorities that issue those of attestation keys: a file, or a directory of files
    #[arg(long, value_name = "DIR")]
    pub(crate) roots: Vec<PathBuf>,

    /// Certificates of the makers of TPMs: a file, or a directory of files
    #[arg(long, value_name = "DIR")]
    pub(crate) ek_roots: Vec<PathBuf>,

    /// Trust the attestation key that this challenge was made for, by what `attest challenge` kept, without a certificate for it
    #[arg(long, value_name = "FILE", requires = "answer", requires = "ek_roots", conflicts_with = "roots")]
    pub(crate) record: Option<PathBuf>,

    /// With --record: what the machine answered
    #[arg(long, value_name = "FILE", requires = "record")]
    pub(crate) answer: Option<PathBuf>,

    /// The nonce that was given, in hexadecimal
    #[arg(long, value_name = "HEX", value_parser = parse_octets, conflicts_with_all = ["nonce_file", "key_authorization", "client_data"])]
    pub(crate) nonce: Option<Octets>,

    /// The same, as the bytes of a file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key_authorization", "client_data"])]
    pub(crate) nonce_file: Option<PathBuf>,

    /// The key authorization of the ACME challenge
    #[arg(long, value_name = "TEXT", conflicts_with = "client_data")]
    pub(crate) key_authorization: Option<String>,

    /// The relying party of a WebAuthn registration
    #[arg(long, value_name = "DOMAIN", requires = "client_data")]
    pub(crate) rp_id: Option<String>,

    /// File with the client data of a WebAuthn registration
    #[arg(long, value_name = "FILE", requires = "rp_id")]
    pub(crate) client_data: Option<PathBuf>,

    /// Take an attestation that may be old
    #[arg(long, conflicts_with_all = ["nonce", "nonce_file", "key_authorization", "client_data"])]
    pub(crate) any_age: bool,

    /// The key that it must be about: a file with a public key, certificate or request
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,

    /// The policy that the key must have: a file with JSON, as `policy` in the form json
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
}
