//! `addkey`.

use admin::{Algorithm, KeyInfo, KeyRequest, Which};
use clap::ValueEnum;
use clap::builder::PossibleValue;
use serde::Serialize;
use token::Error;

use super::export::parent_key;
use super::{Context, find_token, key_user, note_unused_auth, pcr, residence};
use crate::cli::AddKey;
use crate::errors::Failure;
use crate::output::{self, note};
use crate::pins;
use crate::progress::{Done, Progress};

/// As tpm2_ptool prints it.
#[derive(Serialize)]
struct Added {
    action: &'static str,
    /// Where the TPM keeps a copy of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    handle: Option<String>,
    private: Half,
    #[serde(skip_serializing_if = "Option::is_none")]
    public: Option<Half>,
}

#[derive(Serialize)]
struct Half {
    #[serde(rename = "CKA_ID")]
    cka_id: Option<String>,
}

pub(super) fn add(context: &mut Context<'_>, options: &AddKey) -> Result<(), Failure> {
    if !options.persistent {
        note_unused_auth(&options.unused);
    }
    let admin = context.admin()?;
    let token = find_token(&admin, &options.label.label)?;
    let policy = pcr::binding(context, &options.binding, !options.no_pin)?;
    let (pin, pin_name) = key_user(context, &token, &options.user, &options.so)?;
    let name = options.algorithm.to_possible_value();
    let name = name.as_ref().map(PossibleValue::get_name).unwrap_or_default();
    // The token's administration goes by the same names.
    let algorithm: Algorithm = name.parse().map_err(|what: String| Failure::usage(what, ""))?;
    let backup = options.backup.as_deref().map(parent_key).transpose()?;
    let request = KeyRequest {
        label: options.label.label.clone(),
        pin,
        algorithm,
        key_label: options.key_label.clone(),
        id: options.id.clone().map(|id| id.0),
        always_authenticate: options.attr_always_authenticate,
        backup,
    };
    let failed = |error| match error {
        Error::KeySizeRange | Error::CurveNotSupported | Error::MechanismInvalid | Error::TemplateInconsistent(_) => {
            Failure::general(
                format!("this TPM does not make {name} keys"),
                "Nearly every TPM 2.0 makes rsa2048 and ecc256.",
            )
        }
        error => Failure::with_pin(error, pin_name),
    };
    let Some(count) = options.count else {
        let progress =
            algorithm.is_slow().then(|| Progress::start("the TPM is making an RSA key; this can take a minute"));
        let key = admin.add_bound_key(&request, policy.as_ref()).map_err(failed)?;
        drop(progress);
        let mut handle = None;
        if options.persistent {
            let owner = options.unused.hierarchy_auth.as_ref();
            let owner_auth = pins::authorization(pins::OWNER_AUTH, owner, context.around)?;
            let resident = admin.persist(&request.label, &request.pin, &Which::Number(key.private.id), &owner_auth);
            if resident.is_err() {
                note(&format!("the key was made, and has the number {}; the TPM keeps no copy of it", key.private.id));
            }
            handle = Some(format!("{:#010x}", resident.map_err(|error| residence::refused(error, pin_name))?.handle));
        }
        return output::print(context.format, &Added { handle, ..Added::from(key) });
    };
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let done = Done::of(count);
    let progress = Progress::counting("keys", &done);
    let made = admin.add_keys(&request, policy.as_ref(), count, &mut |stored| done.is_now(stored));
    drop(progress);
    if made.is_err() && done.count() > 0 {
        note(&format!("{} of {count} keys were made, and are in the token", done.count()));
    }
    let keys: Vec<Added> = made.map_err(failed)?.into_iter().map(Added::from).collect();
    output::print(context.format, &keys)
}

impl From<KeyInfo> for Added {
    fn from(key: KeyInfo) -> Added {
        Added {
            action: "add",
            handle: None,
            private: Half { cka_id: key.private.cka_id },
            public: key.public.map(|public| Half { cka_id: public.cka_id }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::key::KeyAlgorithm;

    #[test]
    fn algorithms_have_the_names_of_the_administration() {
        let names: Vec<String> = KeyAlgorithm::value_variants()
            .iter()
            .map(|v| v.to_possible_value().unwrap().get_name().to_owned())
            .collect();
        assert_eq!(names, Algorithm::NAMES);
        assert!(names.iter().all(|name| name.parse::<Algorithm>().is_ok()));
    }
}
