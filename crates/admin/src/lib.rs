//! What an administrator does around tokens: the verbs of the command line, by the same rules as the module.
#![forbid(unsafe_code)]

mod approve;
pub mod attest;
mod backup;
mod certificate;
pub mod doctor;
mod export;
mod import;
mod key;
mod link;
mod list;
pub mod lockout;
mod migrate;
mod object;
mod parent;
mod pcr_values;
mod policy;
mod provision;
mod rebuild;
mod reference;
mod residence;
mod session;
mod store;
mod uri;
mod verify;
mod x509;

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use ::store::Store;
use base::Secret;
use model::{ObjectHandle, UserType};
use serde::Serialize;

pub use self::store::Destroyed;
pub use approve::{ApprovalInfo, ApproveRequest, Approver};
pub use backup::{BackupFile, RestoreRequest};
pub use certificate::{CertificateInfo, CertificatePlan, Issued, KeySelector, SignatureChoice, SigningKey};
pub use export::{ExportedKey, Which};
pub use import::{CertificateParts, ForeignKey, ImportRequest, Imported, KeyPurpose, WrappedKey};
pub use key::{Algorithm, KeyInfo, KeyRequest};
pub use link::{KeyFilePolicy, LinkRequest, TpmObject};
pub use list::{PrimaryInfo, TokenSummary};
pub use migrate::{MigrateReport, MigrateRequest, MigratedObject, MigratedToken, Outcome, handle_of_reference};
pub use object::{Attribute, Change, Shown, Spelling, attribute_named, parse_changes};
pub use parent::{ParentKey, StorageKey, wrap};
pub use policy::{PcrReport, PcrSource, PolicyCheck, PolicyRequest, PublicSource, check_pcrs};
pub use provision::{InitRequest, PrimaryTemplate};
pub use reference::{KeyReference, TokenReference};
pub use residence::Resident;
pub use session::Pin;
pub use uri::KeyUri;
pub use verify::{VerifiedObject, VerifyReport};

pub use crate::x509::{AltName, KeyUsageName, Profile, Purpose, Subject};

use token::Config;
use token::Library;
use token::info::ObjectSummary;
use token::manage::Token;
use token::{Error, Result};

/// How a primary came into the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Action {
    /// It was made in the TPM.
    Created,
    /// It was in the TPM already and is used as it is.
    Adopted,
    /// The store had it already.
    Existing,
}

/// Administration of one store.
#[derive(Debug)]
pub struct Admin {
    library: Library,
}

impl Admin {
    /// Opens an existing store. The TPM is not touched.
    ///
    /// # Errors
    /// [`Error::Store`] if there is no store, or it cannot be used.
    pub fn open(config: Config) -> Result<Self> {
        // What may not be looked at is another matter, which opening it tells.
        if is_absent(&config.store_file()) {
            return Err(Error::Store(format!(
                "{}: there is no store; make one with `ptool init`",
                config.store_file().display()
            )));
        }
        Ok(Self { library: Library::open(config)? })
    }

    /// Removes a token with everything in it. Its keys are gone for ever.
    ///
    /// # Errors
    /// [`Error::ArgumentsBad`] if there is no such token.
    pub fn remove_token(&self, label: &str) -> Result<TokenSummary> {
        let token = self.token(label)?;
        let summary = self.summary(&token)?;
        self.take_all_out(&token, &Secret::zeroed(0)).map_err(left_in_tpm)?;
        self.library.writer()?.remove_token(token.id)?;
        self.library.changed();
        Ok(summary)
    }

    /// The objects of a token, private ones too: their labels and public halves are readable without PIN. One by one: not all are in memory at
    /// once.
    ///
    /// # Errors
    /// [`Error::ArgumentsBad`] if there is no such token.
    pub fn each_object(&self, label: &str, mut use_: impl FnMut(ObjectSummary)) -> Result<()> {
        self.token(label)?.each_object(|object| use_(object.summary()))
    }

    /// All of these.
    ///
    /// # Errors
    /// [`Error::ArgumentsBad`] if there is no such token.
    pub fn objects(&self, label: &str) -> Result<Vec<ObjectSummary>> {
        let mut summaries = Vec::new();
        self.each_object(label, |summary| summaries.push(summary))?;
        Ok(summaries)
    }

    /// Removes one object by its number. The other half of a key pair stays.
    ///
    /// # Errors
    /// [`Error::ArgumentsBad`] if there is no such object.
    pub fn remove_object(&self, id: i64) -> Result<Vec<i64>> {
        let store = self.library.writer()?;
        let row = store.object(id)?;
        let row = row.ok_or(Error::ArgumentsBad("there is no object with this number; see `ptool listobjects`"))?;
        if let Some(token) = self.library.tokens().into_iter().find(|token| token.id == row.token_id)
            && let Some(object) = token.stored_object(ObjectHandle(id.cast_unsigned()))?
        {
            self.take_out(&token, &object, &Secret::zeroed(0)).map_err(left_in_tpm)?;
        }
        store.remove_object(id)?;
        drop(store);
        self.library.changed();
        Ok(vec![id])
    }

    /// Changes the PIN of the user or of the security officer.
    ///
    /// # Errors
    /// [`Error::PinIncorrect`], [`Error::PinLocked`], [`Error::PinLenRange`].
    pub fn change_pin(&self, label: &str, user: UserType, old: &Secret, new: &Secret) -> Result<()> {
        let token = self.token(label)?;
        match user {
            UserType::So => self.library.change_so_pin(&token, old, new),
            UserType::User | UserType::ContextSpecific => self.library.change_user_pin(&token, old, new),
        }
    }

    /// Sets a new user PIN with the security officer's.
    ///
    /// # Errors
    /// [`Error::PinIncorrect`], [`Error::PinLocked`], [`Error::PinLenRange`].
    pub fn init_pin(&self, label: &str, so_pin: &Secret, new: &Secret) -> Result<()> {
        let token = self.token(label)?;
        self.library.reset_pin(&token, so_pin, new)
    }

    fn token(&self, label: &str) -> Result<Arc<Token>> {
        let found = self.library.tokens().into_iter().find(|token| token.row().label == label);
        found.ok_or(Error::ArgumentsBad("there is no token with this label; see `ptool listtokens`"))
    }

    fn reader(&self) -> Result<Store> {
        Ok(Store::open(&self.library.config().store_file(), ::store::OpenMode::ReadOnly)?)
    }
}

/// What is removed from the store alone would stay in the TPM, where nobody finds it again.
fn left_in_tpm(error: Error) -> Error {
    match error {
        Error::HierarchyAuth(_) => Error::ArgumentsBad(
            "the TPM keeps a copy of the key, and its owner has an authorization; take it out first: `ptool unpersist --hierarchy-auth`",
        ),
        error => error,
    }
}

/// Is there surely no such file? One in a directory that may not be entered might be there.
fn is_absent(file: &Path) -> bool {
    std::fs::metadata(file).is_err_and(|error| matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory))
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.library.close();
    }
}
