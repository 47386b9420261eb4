//! `config --snippet`: what to paste into the configuration of another program, for this token.

use std::path::{Path, PathBuf};

use admin::doctor::{MODULE, find_module};
use admin::{KeyReference, KeySelector};
use keyfile::PublicKey;

use super::export::openssh;
use super::{Context, find_token, settings};
use crate::cli::snippet::{Config, Program};
use crate::errors::Failure;
use crate::output::{self, note};

/// Where `make install` puts the module.
const INSTALLED: &str = "/usr/local/lib/pkcs11";

pub(super) fn config(context: &Context<'_>, options: &Config) -> Result<(), Failure> {
    let Some(program) = options.snippet.snippet else {
        return settings::config(context, &options.label.label, &options.settings);
    };
    let admin = context.admin()?;
    let label = find_token(&admin, &options.label.label)?.label;
    let token = admin.token_reference(&label)?;
    let which = KeySelector {
        label: options.snippet.key.key_label.clone(),
        id: options.snippet.key.id.as_ref().map(|id| id.0.clone()),
    };
    let key = match program.names_a_key() {
        true => Some(admin.key_reference(&label, &which)?),
        false => {
            if which != KeySelector::default() {
                note("--key-label and --id make no difference here: the program sees all keys of the token");
            }
            None
        }
    };
    let text = match (program, &key) {
        (Program::Uri, Some(key)) => format!("{}\n", key.uri),
        (Program::UriPem, Some(key)) => key.uri_pem.clone(),
        _ => {
            let uri = key.as_ref().map_or(token.uri.as_str(), |key| &key.uri);
            let ssh = match &key {
                Some(key) if program.template().contains("@SSH_SHELL@") => ssh_line(key)?,
                _ => String::new(),
            };
            let values = [
                ("@MODULE@", module().display().to_string()),
                ("@TOKEN_URI@", token.uri.clone()),
                ("@KEY_URI@", uri.to_owned()),
                // Both halves.
                ("@PAIR_URI@", uri.replace(";type=private", "")),
                ("@SLOT@", token.slot.to_string()),
                ("@TOKEN_SHELL@", quoted(&label)),
                ("@SSH_SHELL@", quoted(&format!("key::{ssh}"))),
            ];
            filled(program.template(), &values)
        }
    };
    output::print_text(&text)
}

impl Program {
    /// Whether one key is meant; the others see all of the token's.
    fn names_a_key(self) -> bool {
        !matches!(self, Program::Ssh | Program::P11Kit | Program::Java | Program::Nss)
    }

    fn template(self) -> &'static str {
        match self {
            Program::Ssh => include_str!("../snippets/ssh.txt"),
            Program::OpensslProvider => include_str!("../snippets/openssl-provider.txt"),
            Program::OpensslEngine => include_str!("../snippets/openssl-engine.txt"),
            Program::Nginx => include_str!("../snippets/nginx.txt"),
            Program::Apache => include_str!("../snippets/apache.txt"),
            Program::Haproxy => include_str!("../snippets/haproxy.txt"),
            Program::Bind => include_str!("../snippets/bind.txt"),
            Program::P11Kit => include_str!("../snippets/p11-kit.txt"),
            Program::Java => include_str!("../snippets/java.txt"),
            Program::Gnutls => include_str!("../snippets/gnutls.txt"),
            Program::Nss => include_str!("../snippets/nss.txt"),
            Program::Git => include_str!("../snippets/git.txt"),
            Program::Uri | Program::UriPem => "",
        }
    }
}

/// The public key as a line of `authorized_keys`.
fn ssh_line(key: &KeyReference) -> Result<String, Failure> {
    let public = PublicKey::from_spki(&key.public).map_err(|error| Failure::general(error.to_string(), ""))?;
    openssh(&public, key.label.as_deref().unwrap_or_default())
}

/// The template with the values in their places. In one go: a value that looks like a place is none.
fn filled(template: &str, values: &[(&str, String)]) -> String {
    let mut text = String::new();
    let mut rest = template;
    while let Some((at, (name, value))) =
        values.iter().filter_map(|place| Some((rest.find(place.0)?, place))).min_by_key(|(at, _)| *at)
    {
        text.push_str(rest.get(..at).unwrap_or_default());
        text.push_str(value);
        rest = rest.get(at + name.len()..).unwrap_or_default();
    }
    text + rest
}

/// The installed module; where it will be, if it is not installed yet.
pub(super) fn module() -> PathBuf {
    find_module(Path::new("/"), std::env::current_exe().ok().as_deref()).unwrap_or_else(|| {
        let path = Path::new(INSTALLED).join(MODULE);
        note(&format!("{MODULE} is not installed yet; its path is that of `make install`"));
        path
    })
}

/// One word for a shell, on one line: some of them stand in comments, and a label is what anybody made it.
fn quoted(text: &str) -> String {
    let text = text.replace(char::is_control, "?");
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn every_placeholder_is_known_and_names_what_it_needs() {
        for program in Program::value_variants() {
            let template = program.template();
            let known =
                ["@MODULE@", "@TOKEN_URI@", "@KEY_URI@", "@PAIR_URI@", "@SLOT@", "@TOKEN_SHELL@", "@SSH_SHELL@"];
            let rest = known.iter().fold(template.to_owned(), |text, name| text.replace(name, ""));
            assert!(!rest.contains('@'), "{program:?}: {rest}");
            let of_key = ["@KEY_URI@", "@PAIR_URI@", "@SSH_SHELL@"];
            let key = of_key.iter().any(|name| template.contains(name)) || template.is_empty();
            assert_eq!(key, program.names_a_key(), "{program:?}");
        }
    }

    #[test]
    fn values_are_put_in_once() {
        let values = [("@A@", "<@B@>".to_owned()), ("@B@", "b".to_owned())];
        assert_eq!(filled("@B@ @A@ @C@ @A@", &values), "b <@B@> @C@ <@B@>");
        assert_eq!(filled("", &values), "");
    }

    #[test]
    fn shells_get_one_word() {
        assert_eq!(quoted("it's mine"), r"'it'\''s mine'");
        assert_eq!(quoted("mine\nreboot"), "'mine?reboot'");
    }
}
