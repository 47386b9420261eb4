//! The command line as data: options, subcommands and their help, and nothing else.
//!
//! This file depends on clap and the standard library alone, so that the manual page and the shell completions can be made
//! from it. Option names are those of tpm2_ptool, so that scripts written for it go on working.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

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

    /// How results are printed: YAML as tpm2_ptool has it, JSON with the same keys, or text for people
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Format::Yaml, global = true,
          help_heading = "Common options")]
    pub(crate) output: Format,

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
}

/// `init`
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Authorization of the TPM's owner hierarchy: text, hex:..., file:PATH or `-` [default: empty]
    #[arg(long, value_name = "AUTH", alias = "owner-auth")]
    pub(crate) hierarchy_auth: Option<Hidden>,

    /// Authorization of the primary key: text, hex:..., file:PATH or `-` [default: empty]
    #[arg(long, value_name = "AUTH")]
    pub(crate) primary_auth: Option<Hidden>,

    /// Adopt the storage key at this persistent handle, or keep the new one there [default: 0x81000001, or the first
    /// free one after it]
    #[arg(long, value_name = "HANDLE", num_args = 0..=1, default_missing_value = "0x81000001",
          value_parser = parse_handle, conflicts_with = "transient_parent")]
    pub(crate) primary_handle: Option<u32>,

    /// Keep no primary key in the TPM, and make it again at each use, which takes time
    #[arg(long, value_enum, value_name = "TEMPLATE", num_args = 0..=1, default_missing_value = "tss2-engine-key")]
    pub(crate) transient_parent: Option<ParentTemplate>,
}

/// The templates of a primary key that is made again at each use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ParentTemplate {
    Tss2EngineKey,
}

/// `addtoken`
#[derive(Debug, Args)]
pub(crate) struct AddToken {
    /// The primary key the token lives under, as listprimaries numbers them [default: the first]
    #[arg(long, value_name = "ID")]
    pub(crate) pid: Option<i64>,

    #[command(flatten)]
    pub(crate) label: TokenLabel,

    #[command(flatten)]
    pub(crate) so: SoPin,

    #[command(flatten)]
    pub(crate) user: UserPin,

    /// Make a token whose keys need no PIN, for unattended use
    #[arg(long, conflicts_with_all = ["userpin", "userpin_file"])]
    pub(crate) no_userpin: bool,

    /// Accepted for scripts written for tpm2_ptool; adding a token needs no owner authorization
    #[arg(long, value_name = "AUTH", alias = "owner-auth", hide = true)]
    pub(crate) hierarchy_auth: Option<Hidden>,
}

/// `addkey`
#[derive(Debug, Args)]
pub(crate) struct AddKey {
    #[command(flatten)]
    pub(crate) label: TokenLabel,

    /// The kind of key
    #[arg(long, value_enum, value_name = "ALGORITHM")]
    pub(crate) algorithm: KeyAlgorithm,

    /// CKA_LABEL of the new objects [default: a number]
    #[arg(long, value_name = "LABEL")]
    pub(crate) key_label: Option<String>,

    /// CKA_ID of the new objects: text, or hex:... for bytes [default: random]
    #[arg(long, value_name = "ID", value_parser = parse_id)]
    pub(crate) id: Option<KeyId>,

    /// Ask for the PIN again before each private key operation (CKA_ALWAYS_AUTHENTICATE)
    #[arg(long)]
    pub(crate) attr_always_authenticate: bool,

    #[command(flatten)]
    pub(crate) user: UserPin,

    #[command(flatten)]
    pub(crate) so: SoPin,

    /// Accepted for scripts written for tpm2_ptool; making a key needs no owner authorization
    #[arg(long, value_name = "AUTH", alias = "owner-auth", hide = true)]
    pub(crate) hierarchy_auth: Option<Hidden>,
}

/// The kinds of key `addkey` makes, under tpm2_ptool's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeyAlgorithm {
    Rsa1024,
    Rsa2048,
    Rsa3072,
    Rsa4096,
    Ecc256,
    Ecc384,
    Ecc521,
}

/// `initpin`
#[derive(Debug, Args)]
pub(crate) struct InitPin {
    #[command(flatten)]
    pub(crate) label: TokenLabel,

    #[command(flatten)]
    pub(crate) so: SoPin,

    #[command(flatten)]
    pub(crate) user: UserPin,
}

/// `changepin`
#[derive(Debug, Args)]
pub(crate) struct ChangePin {
    #[command(flatten)]
    pub(crate) label: TokenLabel,

    /// Whose PIN to change
    #[arg(long, value_enum, value_name = "WHO", default_value_t = Who::User)]
    pub(crate) user: Who,

    /// The PIN as it is now; `-` reads a line from standard input
    #[arg(long, value_name = "PIN", conflicts_with = "old_file")]
    pub(crate) old: Option<Hidden>,

    /// File that holds the PIN as it is now
    #[arg(long, value_name = "FILE")]
    pub(crate) old_file: Option<PathBuf>,

    /// The new PIN; `-` reads a line from standard input
    #[arg(long, value_name = "PIN", conflicts_with = "new_file")]
    pub(crate) new: Option<Hidden>,

    /// File that holds the new PIN
    #[arg(long, value_name = "FILE")]
    pub(crate) new_file: Option<PathBuf>,
}

/// The two users of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Who {
    /// The security officer
    So,
    /// The user of the keys
    User,
}

/// `listtokens`
#[derive(Debug, Args)]
pub(crate) struct ListTokens {
    /// Only the tokens under this primary key, as listprimaries numbers them
    #[arg(long, value_name = "ID")]
    pub(crate) pid: Option<i64>,
}

/// `verify`
#[derive(Debug, Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    pub(crate) label: TokenLabel,

    #[command(flatten)]
    pub(crate) so: SoPin,

    #[command(flatten)]
    pub(crate) user: UserPin,
}

/// `objdel`
#[derive(Debug, Args)]
pub(crate) struct RemoveObject {
    /// The object, as listobjects numbers them
    #[arg(value_name = "ID", required_unless_present = "id_option", conflicts_with = "id_option")]
    pub(crate) id: Option<i64>,

    /// The same as an option
    #[arg(long = "id", id = "id_option", value_name = "ID", hide = true)]
    pub(crate) id_option: Option<i64>,
}

/// Names the token a verb is about.
#[derive(Debug, Args)]
pub(crate) struct TokenLabel {
    /// Label of the token
    #[arg(long = "label", value_name = "LABEL", id = "label")]
    pub(crate) label: String,
}

/// Where the user PIN comes from, as far as the command line says.
#[derive(Debug, Args)]
pub(crate) struct UserPin {
    /// User PIN; `-` reads a line from standard input
    #[arg(long, value_name = "PIN", conflicts_with = "userpin_file")]
    pub(crate) userpin: Option<Hidden>,

    /// File that holds the user PIN
    #[arg(long, value_name = "FILE")]
    pub(crate) userpin_file: Option<PathBuf>,
}

/// Where the security officer PIN comes from, as far as the command line says.
#[derive(Debug, Args)]
pub(crate) struct SoPin {
    /// Security officer PIN; `-` reads a line from standard input
    #[arg(long, value_name = "PIN", conflicts_with = "sopin_file")]
    pub(crate) sopin: Option<Hidden>,

    /// File that holds the security officer PIN
    #[arg(long, value_name = "FILE")]
    pub(crate) sopin_file: Option<PathBuf>,
}

/// An option value that is never printed.
#[derive(Clone)]
pub(crate) struct Hidden(pub(crate) OsString);

impl From<OsString> for Hidden {
    fn from(value: OsString) -> Hidden {
        Hidden(value)
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden(..)")
    }
}

/// The bytes of a CKA_ID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyId(pub(crate) Vec<u8>);

fn parse_handle(text: &str) -> Result<u32, String> {
    let number = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    match number {
        Ok(handle) if handle >> 24 == 0x81 => Ok(handle),
        Ok(_) => Err("a persistent handle is 0x81000000 to 0x81FFFFFF".into()),
        Err(_) => Err("expected a persistent handle such as 0x81000001".into()),
    }
}

/// Plain text stands for its bytes, as with tpm2_ptool; the prefix gives access to the ids other tools make.
fn parse_id(text: &str) -> Result<KeyId, String> {
    let bytes = match text.strip_prefix("hex:") {
        Some(digits) => {
            decode_hex(digits.as_bytes()).ok_or("expected an even number of hexadecimal digits after hex:")?
        }
        None => text.as_bytes().to_vec(),
    };
    match bytes.is_empty() {
        true => Err("the id is empty".into()),
        false => Ok(KeyId(bytes)),
    }
}

/// The bytes that pairs of hexadecimal digits stand for; None for anything else.
pub(crate) fn decode_hex(digits: &[u8]) -> Option<Vec<u8>> {
    let nibble = |digit: &u8| char::from(*digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    digits
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => Some(nibble(high)? << 4 | nibble(low)?),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
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
        let text = parse("ptool addkey --label l --algorithm aes128").unwrap_err().to_string();
        for name in ["rsa1024", "rsa2048", "rsa3072", "rsa4096", "ecc256", "ecc384", "ecc521"] {
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
            "ptool init --primary-handle key.ctx",
            "ptool addkey --label l --algorithm ecc256 --id hex:123",
            "ptool addkey --label l --algorithm ecc256 --id hex:",
            "ptool objdel",
            "ptool objdel 1 --id 2",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn handles_and_ids_have_the_values_written() {
        let Command::Init(init) = parse("ptool init --primary-handle").unwrap().command else { panic!() };
        assert_eq!(init.primary_handle, Some(0x8100_0001));
        let Command::Init(init) = parse("ptool init --primary-handle 0x81010002").unwrap().command else { panic!() };
        assert_eq!(init.primary_handle, Some(0x8101_0002));
        let Command::Init(init) = parse("ptool init --primary-handle=2164260865").unwrap().command else { panic!() };
        assert_eq!(init.primary_handle, Some(0x8100_0001));
        assert_eq!(parse_id("01"), Ok(KeyId(b"01".to_vec())));
        assert_eq!(parse_id("hex:01fF"), Ok(KeyId(vec![1, 0xFF])));
    }
}
