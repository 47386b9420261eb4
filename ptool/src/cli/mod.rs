//! The command line as data: options, subcommands and their help, and nothing else.
//!
//! These files depend on clap and the standard library alone; the manual pages and the shell completions are made from them. Option names are those of tpm2_ptool, so that scripts written for it go on working.

pub(crate) mod attest;
pub(crate) mod certificate;
mod common;
pub(crate) mod doctor;
pub(crate) mod export;
pub(crate) mod import;
mod init;
pub(crate) mod key;
mod migrate;
mod object;
pub(crate) mod pcr;
mod rebuild;
pub(crate) mod residence;
pub(crate) mod settings;
pub(crate) mod shell;
#[cfg(test)]
mod shown;
pub(crate) mod snippet;
mod store;
mod token;
mod values;

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

pub(crate) use common::{SoPin, TokenLabel, UnusedAuth, UserPin};
pub(crate) use init::{Init, ParentTemplate};
pub(crate) use key::AddKey;
pub(crate) use migrate::Migrate;
pub(crate) use object::{ModifyObject, RemoveObject, ValueType};
pub(crate) use pcr::{Binding, Pcr};
pub(crate) use rebuild::Rebuild;
pub(crate) use store::{AddEmptyToken, Destroy};
pub(crate) use token::{AddToken, ChangePin, InitPin, ListTokens, Verify, Who};
pub(crate) use values::{HandleOrFile, Hidden, KeyId, Octets, decode_hex};

const ABOUT: &str = "Manages the PKCS#11 tokens that tpm2-cryptoki keeps in the TPM 2.0";

const AFTER_HELP: &str = "\
PINs are taken from the first of:
  --userpin PIN / --sopin PIN (visible to other processes; `-` reads a line of standard input)
  --userpin-file FILE / --sopin-file FILE
  TPM2_CRYPTOKI_USERPIN / TPM2_CRYPTOKI_SOPIN
  $CREDENTIALS_DIRECTORY/tpm2-cryptoki.userpin / .sopin   (systemd credentials)
  a prompt on the terminal

Exit status:
  0 done   1 failed   2 wrong usage   3 PIN wrong or locked
  4 TPM unreachable, or not the TPM of this store
  5 store missing, unreadable, damaged or newer than this program

Example:
  ptool init
  ptool addtoken --label=server-tpm
  ptool addkey --label=server-tpm --key-label=webserver-key --algorithm=ecc256";

/// Everything the command line can say.
#[derive(Debug, Parser)]
#[command(name = "ptool", version, about = ABOUT, after_help = AFTER_HELP, propagate_version = true)]
pub(crate) struct Cli {
    /// Directory of the store [default: where the PKCS#11 module looks]
    #[arg(long, value_name = "DIR", global = true, help_heading = "Common options")]
    pub(crate) path: Option<PathBuf>,

    /// How results are printed: YAML as tpm2_ptool has it, JSON with the same keys, or text for people [default: text on
    /// a terminal, else YAML]
    #[arg(long, value_enum, value_name = "FORMAT", global = true, help_heading = "Common options")]
    pub(crate) output: Option<Format>,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The form of what goes to standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Yaml,
    Json,
    Text,
}

/// One verb each.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make the store and its primary key in the TPM
    Init(Init),
    /// Add a token: a slot with a security officer PIN and a user PIN
    Addtoken(AddToken),
    /// Make a key pair in the TPM
    Addkey(AddKey),
    /// Take a key from a file into the TPM
    Import(import::Import),
    /// Take a key that the TPM has already into a token
    Link(export::Link),
    /// Write a public key, a certificate, or a private key as the TPM wrapped it
    Export(export::Export),
    /// Print the TPM's storage key, for which keys can be wrapped elsewhere
    Srk(export::Srk),
    /// Wrap a key for the TPM with a storage key, without a TPM here
    Wrap(export::Wrap),
    /// Wrap a key that was made with --backup for its recovery key
    Backup(export::Backup),
    /// Take the key of a backup into the TPM
    Restore(export::Restore),
    /// Keep a copy of a key in the TPM, at a persistent handle: it need not be loaded for each use
    Persist(residence::Residence),
    /// Take that copy out of the TPM; the key stays
    Unpersist(residence::Residence),
    /// Set the user PIN as security officer
    Initpin(InitPin),
    /// Change the user PIN or the security officer PIN
    Changepin(ChangePin),
    /// List the primary keys of the store
    Listprimaries,
    /// List the tokens of the store
    Listtokens(ListTokens),
    /// List the objects of a token
    Listobjects(TokenLabel),
    /// Check PINs, and the objects of a token against the TPM
    Verify(Verify),
    /// Remove a token and all its objects, without asking
    Rmtoken(TokenLabel),
    /// Remove one object
    Objdel(RemoveObject),
    /// Bind keys to the state of the machine (PCRs), and approve of states
    #[command(subcommand)]
    Pcr(Pcr),
    /// Prove that a key is in the TPM, enrol the machine for that, and check such proofs
    Attest(attest::Attest),
    /// Ask for a certificate: a PKCS #10 request, signed by a key of the token
    Csr(certificate::Csr),
    /// Make a certificate of a key that is its own issuer
    Selfsign(certificate::SelfSign),
    /// Put a certificate into the token, beside its key
    Addcert(certificate::AddCert),
    /// Print what other programs need to find the token
    Config(snippet::Config),
    /// Make the lost public key object of a private key anew
    Rebuild(Rebuild),
    /// Find out why something does not work, from the device to each key, and what to do
    Doctor(doctor::Doctor),
    /// Show the TPM's lockout after wrong PINs, or end it
    Lockout(doctor::Lockout),
    /// Show or change the attributes of an object
    Objmod(ModifyObject),
    /// Remove a primary key with all tokens below it, also from the TPM
    Destroy(Destroy),
    /// Bring the store to the version of this program
    Dbup,
    /// Name the slot in which C_InitToken makes a token
    Addemptytoken(AddEmptyToken),
    /// Take over a store of tpm2-pkcs11: its tokens with their PINs and keys; that store stays as it is
    Migrate(Migrate),
    /// Open a shell with everything set up for trying it
    Shell(shell::Shell),
    /// Write manual pages, or print completions for a shell
    #[command(hide = true)]
    Generate(shell::Generate),
}

#[cfg(test)]
mod tests {
    use super::values::parse_id;
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn lines_written_for_tpm2_ptool_parse() {
        parse("ptool init --path D").unwrap();
        parse("ptool addtoken --pid=1 --sopin=adminpin --userpin=userpin --label=server-tpm --path=D").unwrap();
        parse(
            "ptool addkey --label=server-tpm --userpin=userpin --key-label=webserver-key --algorithm=rsa2048 --path=D",
        )
        .unwrap();
        parse("ptool init --owner-auth x --primary-auth y --primary-handle --path D").unwrap();
        parse("ptool init --hierarchy-auth=x --transient-parent --path D").unwrap();
        parse("ptool addkey --label l --userpin u --algorithm ecc256 --id web --attr-always-authenticate").unwrap();
        parse("ptool changepin --label l --user so --old a --new b").unwrap();
        parse("ptool objdel 5 --path D").unwrap();
        parse("ptool addcert --label l --key-label k cert.pem --path D").unwrap();
        parse("ptool addcert --label l --key-id 6465 cert.pem").unwrap();
        parse("ptool init --transient-parent=tpm2-tools-default --path D").unwrap();
        parse("ptool init --primary-handle primary.handle").unwrap();
        parse("ptool addkey --label l --algorithm hmac:sha256 --userpin u").unwrap();
        parse("ptool addemptytoken --pid 1 --path D").unwrap();
        parse("ptool config --label l --key tcti --value device:/dev/tpmrm0").unwrap();
        parse("ptool objmod --id 3 --key CKA_LABEL --value new --type str").unwrap();
        parse("ptool objmod --id 3 attributes.yaml").unwrap();
        parse("ptool destroy --pid 1 --hierarchy-auth x").unwrap();
        parse("ptool dbup --path D").unwrap();
    }

    /// The options that its parser knows, verb by verb.
    #[test]
    fn every_option_of_tpm2_ptool_parses() {
        for line in [
            "init --primary-auth a --primary-handle 0x81000002 --hierarchy-auth o",
            "init --owner-auth o --primary-auth a --transient-parent tss2-engine-key",
            "destroy --pid 1 --hierarchy-auth o",
            "dbup",
            "addtoken --pid 1 --sopin s --userpin u --label l --hierarchy-auth o",
            "addemptytoken --pid 1 --hierarchy-auth o",
            "rmtoken --label l",
            "listtokens --pid 1",
            "listprimaries",
            "verify --label l --sopin s --userpin u --hierarchy-auth o",
            "initpin --sopin s --userpin u --label l --hierarchy-auth o",
            "changepin --user user --old a --new b --label l --hierarchy-auth o",
            "config --label l --key empty-user-pin --value true",
            "listobjects --label l",
            "addkey --label l --key-label k --id i --attr-always-authenticate --hierarchy-auth o --userpin u --algorithm rsa2048",
            "addkey --label l --sopin s --algorithm hmac:sha512",
            "import --label l --key-label k --id i --attr-always-authenticate --hierarchy-auth o --userpin u --privkey f --algorithm hmac:sha1 --passin pass:p",
            "link --label l --key-label k --id i --attr-always-authenticate --hierarchy-auth o --userpin u --auth a k.pub k.priv",
            "addcert --label l --key-label k c.pem",
            "objmod --id 1 --key 3 --value x --type str",
            "objdel 1",
            "export --id 1 --format auto --hierarchy-auth o --output-prefix p --userpin u",
            "export --label l --key-label k --format tpm2 --sopin s",
            "export --label l --key-label k --format pem",
        ] {
            let parsed = parse(&format!("tpm2_ptool {line} --path D"));
            assert!(parsed.is_ok(), "{line}: {parsed:?}");
        }
    }

    #[test]
    fn path_stands_before_or_after_the_verb() {
        for line in ["ptool --path /s listtokens", "ptool listtokens --path=/s", "ptool listtokens --path /s"] {
            assert_eq!(parse(line).unwrap().path.as_deref(), Some(std::path::Path::new("/s")), "{line}");
        }
    }

    #[test]
    fn pin_values_of_every_shape_arrive() {
        for (line, expected) in [
            ("ptool verify --label l --userpin=userpin", "userpin"),
            ("ptool verify --label l --userpin userpin", "userpin"),
            ("ptool verify --label l --userpin=", ""),
            ("ptool verify --label l --userpin ", ""),
            ("ptool verify --label l --userpin -", "-"),
            ("ptool verify --label l --userpin=-1234", "-1234"),
        ] {
            let Command::Verify(verify) = parse(line).unwrap().command else { panic!("{line}") };
            assert_eq!(verify.user.userpin.unwrap().0, expected, "{line}");
        }
    }

    #[test]
    fn pins_are_not_in_debug_output() {
        let cli = parse("ptool addtoken --label l --sopin geheim --userpin secret").unwrap();
        let text = format!("{cli:?}");
        assert!(!text.contains("geheim") && !text.contains("secret"), "{text}");
    }

    #[test]
    fn unknown_algorithm_is_answered_with_the_list() {
        let text = parse("ptool addkey --label l --algorithm aes192").unwrap_err().to_string();
        for name in ["rsa1024", "rsa2048", "rsa3072", "rsa4096", "ecc224", "ecc256", "ecc384", "ecc521"] {
            assert!(text.contains(name), "{text}");
        }
    }

    #[test]
    fn contradictions_are_refused() {
        for line in [
            "ptool addtoken --label l --no-userpin --userpin u",
            "ptool addtoken --label l --userpin u --userpin-file f",
            "ptool init --primary-handle 0x81000001 --transient-parent",
            "ptool init --primary-handle 0x40000001",
            "ptool objmod --id 1 --value x",
            "ptool objmod --id 1 --key CKA_LABEL attributes.yaml",
            "ptool config --label l --key tcti --snippet ssh",
            "ptool addkey --label l --algorithm ecc256 --id hex:123",
            "ptool addkey --label l --algorithm ecc256 --id hex:",
            "ptool objdel 1 --id 2",
            "ptool addkey --label l --algorithm ecc256 --pcr-values f",
            "ptool addkey --label l --algorithm ecc256 --pcr-authority k --pcr sha256:1 --pcr-values f",
            "ptool addkey --label l --algorithm ecc256 --pcr-authority k --or-authority m --pcr sha256:1",
            "ptool addkey --label l --algorithm ecc256 --pcr sha256:1 --no-pin --attr-always-authenticate",
            "ptool pcr approve --key k",
            "ptool pcr",
            "ptool addcert --label l --key-id xyz cert.pem",
            "ptool addcert --label l --ca --replace cert.pem",
            "ptool selfsign --label l --subject CN=x --days 0",
            "ptool lockout",
            "ptool shell",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn handles_and_ids_have_the_values_written() {
        let Command::Init(init) = parse("ptool init --primary-handle").unwrap().command else { panic!() };
        assert_eq!(init.primary_handle, Some(HandleOrFile::Handle(0x8100_0001)));
        let Command::Init(init) = parse("ptool init --primary-handle 0x81010002").unwrap().command else { panic!() };
        assert_eq!(init.primary_handle, Some(HandleOrFile::Handle(0x8101_0002)));
        let Command::Init(init) = parse("ptool init --primary-handle=2164260865").unwrap().command else { panic!() };
        assert_eq!(init.primary_handle, Some(HandleOrFile::Handle(0x8100_0001)));
        assert_eq!(parse_id("01"), Ok(KeyId(b"01".to_vec())));
        assert_eq!(parse_id("hex:01fF"), Ok(KeyId(vec![1, 0xFF])));
    }
}
