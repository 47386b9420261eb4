//! `config --key`: the settings that tpm2_ptool keeps for a token. Here they follow from the token, or are kept elsewhere.

use std::collections::BTreeMap;

use admin::TokenSummary;

use super::{Context, find_token};
use crate::cli::settings::Settings;
use crate::errors::Failure;
use crate::output::{self, note};

pub(super) fn config(context: &Context<'_>, label: &str, options: &Settings) -> Result<(), Failure> {
    let token = find_token(&context.admin()?, label)?;
    let all = of(&token);
    let Some(key) = options.key.as_deref() else { return output::print(context.format, &all) };
    let now = all.get(key).copied();
    let Some(value) = &options.value else {
        return match (now, key) {
            (Some(now), _) => output::print(context.format, &BTreeMap::from([(key, now)])),
            (None, "tcti" | "log-level") => output::print(context.format, &BTreeMap::from([(key, "")])),
            (None, _) => Err(unknown(key)),
        };
    };
    match (key, now) {
        ("log-level", _) => {
            note("the setting log-level is ignored: TPM2_CRYPTOKI_LOG says what is logged");
            Ok(())
        }
        ("pss-sigs-good", _) => {
            note("the setting pss-sigs-good is ignored: PSS signatures are always good here");
            Ok(())
        }
        ("tcti", _) => Err(Failure::usage(
            "a store names no TCTI: who could write it would choose the TPM that gets the PIN",
            "TPM2_CRYPTOKI_TCTI or `tcti` in the configuration file names it.",
        )),
        (_, Some(now)) if truth(value) == Some(now) => Ok(()),
        ("token-init", Some(_)) => Err(Failure::usage(
            "a token is not made uninitialized",
            "`ptool rmtoken` removes it; C_InitToken with the security officer PIN makes it anew, empty.",
        )),
        ("empty-user-pin", Some(_)) => Err(Failure::usage(
            "whether the user has a PIN is not a setting",
            "`ptool changepin` and `ptool initpin` set one; `ptool addtoken --no-userpin` makes a token without.",
        )),
        _ => Err(unknown(key)),
    }
}

/// The settings of a token, as far as they are said by anything.
pub(super) fn of(token: &TokenSummary) -> BTreeMap<&'static str, bool> {
    [
        ("token-init", token.initialized),
        ("empty-user-pin", !token.login_required),
        // Padding is made here and checked, not by the TPM.
        ("pss-sigs-good", true),
    ]
    .into()
}

fn unknown(key: &str) -> Failure {
    Failure::usage(
        format!("there is no setting {key:?}"),
        "There are token-init, empty-user-pin, pss-sigs-good, tcti and log-level.",
    )
}

fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "true" | "t" | "y" | "1" => Some(true),
        "no" | "false" | "f" | "n" | "0" => Some(false),
        _ => None,
    }
}
