//! `listprimaries`, `listtokens` and `listobjects`: no PIN, no TPM, only what is public.

use admin::{PrimaryInfo, PrimaryTemplate, TokenSummary};
use serde::Serialize;
use token::info::ObjectSummary;

use super::{Context, find_token};
use crate::errors::Failure;
use crate::output;

#[derive(Serialize)]
struct Primary {
    algorithm: String,
    config: Place,
    handle: Option<String>,
    hierarchy: &'static str,
    id: i64,
    name: String,
    /// tpm2_ptool prints the authorization of the primary key here. It is a secret, so that the key stands with no value.
    objauth: &'static str,
    tokens: usize,
}

/// Where it is, in the words of tpm2_ptool.
#[derive(Serialize)]
struct Place {
    #[serde(rename = "template-name", skip_serializing_if = "Option::is_none")]
    template_name: Option<&'static str>,
    transient: bool,
}

impl From<PrimaryInfo> for Primary {
    fn from(primary: PrimaryInfo) -> Primary {
        Primary {
            algorithm: primary.algorithm,
            config: Place {
                template_name: primary.template.map(|template| match template {
                    PrimaryTemplate::Srk => "srk",
                    PrimaryTemplate::Engine => "tss2-engine-key",
                    PrimaryTemplate::Rsa => "tpm2-tools-default",
                    PrimaryTemplate::Ecc => "tpm2-tools-ecc-default",
                }),
                transient: primary.handle.is_none(),
            },
            handle: primary.handle.map(|handle| format!("{handle:#010x}")),
            // The store has primary keys of the owner hierarchy only; `o` is its name in tpm2-tools.
            hierarchy: "o",
            id: primary.id,
            name: primary.name,
            objauth: "",
            tokens: primary.tokens,
        }
    }
}

#[derive(Serialize)]
struct Token {
    id: i64,
    initialized: bool,
    keys: usize,
    label: String,
    login_required: bool,
    pid: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<String>,
    serial: String,
    slot: u64,
}

impl From<TokenSummary> for Token {
    fn from(token: TokenSummary) -> Token {
        Token {
            id: token.id,
            initialized: token.initialized,
            keys: token.keys,
            label: token.label,
            login_required: token.login_required,
            pid: token.primary,
            policy: token.policy,
            serial: token.serial,
            slot: token.slot,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
struct Object {
    cka_class: String,
    cka_id: Option<String>,
    cka_key_type: Option<String>,
    cka_label: Option<String>,
    /// Of keys in the TPM: can they be brought to a recovery key?
    #[serde(rename = "backup", skip_serializing_if = "Option::is_none")]
    backup: Option<bool>,
    #[serde(rename = "id")]
    id: i64,
    /// Where the TPM keeps a copy of the key.
    #[serde(rename = "persistent", skip_serializing_if = "Option::is_none")]
    persistent: Option<String>,
    #[serde(rename = "policy", skip_serializing_if = "Option::is_none")]
    policy: Option<String>,
}

impl From<ObjectSummary> for Object {
    fn from(object: ObjectSummary) -> Object {
        Object {
            cka_class: object.class,
            cka_id: object.cka_id,
            cka_key_type: object.key_type,
            cka_label: object.label,
            backup: object.backup,
            id: object.id,
            persistent: object.persistent.map(|handle| format!("{handle:#010x}")),
            policy: object.policy,
        }
    }
}

pub(super) fn primaries(context: &Context<'_>) -> Result<(), Failure> {
    let primaries: Vec<Primary> = context.admin()?.primaries()?.into_iter().map(Primary::from).collect();
    output::print(context.format, &primaries)
}

pub(super) fn tokens(context: &Context<'_>, pid: Option<i64>) -> Result<(), Failure> {
    let tokens: Vec<Token> = context.admin()?.tokens(pid)?.into_iter().map(Token::from).collect();
    output::print(context.format, &tokens)
}

pub(super) fn objects(context: &Context<'_>, label: &str) -> Result<(), Failure> {
    let admin = context.admin()?;
    find_token(&admin, label)?;
    let mut list = output::List::new(context.format);
    admin.each_object(label, |object| list.add(&Object::from(object)))?;
    list.end()
}
