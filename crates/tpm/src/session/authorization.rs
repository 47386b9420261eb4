//! Authorisation sessions (TPM 2.0 Part 1, 19.6): their keys, nonces and HMACs. Pure computations.

use base::Secret;
use base::digest::Hash;

use crate::session::crypto::{concat, kdfa, trim_auth};
use crate::wire::public::Name;

/// The hash of every session.
pub(crate) const SESSION_HASH: Hash = Hash::Sha256;
/// Bytes of nonceCaller.
pub(crate) const NONCE_LEN: usize = 32;
/// Authorisation values of this length are taken for random, so that a session may draw its secrecy from one.
pub(crate) const STRONG_AUTH: usize = 32;

/// What a session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Hmac,
    /// A policy session; `auth_value` when TPM2_PolicyAuthValue was run in it.
    Policy {
        auth_value: bool,
    },
}

impl Kind {
    /// A policy session as it starts.
    pub(crate) const POLICY: Kind = Kind::Policy { auth_value: false };
}

/// The object an authorisation is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entity<'a> {
    pub(crate) name: &'a Name,
    pub(crate) auth: &'a Secret,
}

/// A session loaded in the TPM.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) handle: u32,
    pub(crate) kind: Kind,
    pub(crate) nonce_tpm: Vec<u8>,
    key: Secret,
    /// The object it is bound to, with the authorisation value that went into its key.
    bound: Option<(Name, Secret)>,
    salted_to: Option<Name>,
    /// Whether it is to end with the next key operation, because keeping it would cost a command to end it.
    pub(crate) last_use_next: bool,
    /// Whether a policy was begun in it, and not used up by a command.
    pub(crate) begun: bool,
    /// Whether the TPM has taken a command with it: we have the same key and nonces.
    pub(crate) proven: bool,
    /// Whether a command with it was refused, so that it is not used for another operation.
    pub(crate) suspect: bool,
    /// Cleared when a command ended it.
    pub(crate) alive: bool,
}

impl Session {
    /// A session just started. `bound` is the object it is bound to, with its authorisation value;
    /// `salt` goes with the name of the key it was encrypted to.
    pub(crate) fn new(
        handle: u32,
        kind: Kind,
        nonce_caller: &[u8],
        nonce_tpm: &[u8],
        bound: Option<Entity<'_>>,
        salt: Option<(&Name, &Secret)>,
    ) -> Session {
        let auth = bound.map_or(&[][..], |entity| trim_auth(entity.auth.expose()));
        let salt_bytes = salt.map_or(&[][..], |(_, salt)| salt.expose());
        let key = session_key(auth, salt_bytes, nonce_tpm, nonce_caller, bound.is_some() || salt.is_some());
        Session {
            handle,
            kind,
            nonce_tpm: nonce_tpm.to_vec(),
            key,
            bound: bound.map(|entity| (entity.name.clone(), entity.auth.clone())),
            salted_to: salt.map(|(name, _)| name.clone()),
            last_use_next: false,
            begun: false,
            proven: false,
            suspect: false,
            alive: true,
        }
    }

    /// Whether it has a secret of its own, beside the authorisation value of what it authorises.
    pub(crate) fn has_key(&self) -> bool {
        !self.key.is_empty()
    }

    /// Whether it was salted to the key of this name.
    pub(crate) fn is_salted_to(&self, name: &Name) -> bool {
        self.salted_to.as_ref() == Some(name)
    }

    /// The key of the HMACs when it authorises `entity` (Part 1, 19.6.5); empty means: no HMAC at all.
    pub(crate) fn hmac_key(&self, entity: Option<Entity<'_>>) -> Secret {
        let Some(entity) = entity else { return self.key.clone() };
        let with_auth = match self.kind {
            // The value that the session was bound with is in its key already. Another value is wrong, and must not be
            // taken for right because the session once had the right one.
            Kind::Hmac => !self.bound.as_ref().is_some_and(|(name, auth)| name == entity.name && auth == entity.auth),
            Kind::Policy { auth_value } => auth_value,
        };
        if with_auth { concat(self.key.expose(), trim_auth(entity.auth.expose())) } else { self.key.clone() }
    }

    /// sessionValue, from which the key of the parameter encryption is derived (Part 1, 21.2): the authorisation value
    /// of the authorised object always belongs to it, whatever kind of session it is.
    pub(crate) fn cipher_value(&self, entity: Option<Entity<'_>>) -> Secret {
        match entity {
            Some(entity) => concat(self.key.expose(), trim_auth(entity.auth.expose())),
            None => self.key.clone(),
        }
    }
}

/// sessionKey (Part 1, 19.6.8): empty for a session neither bound nor salted.
fn session_key(auth: &[u8], salt: &[u8], nonce_tpm: &[u8], nonce_caller: &[u8], keyed: bool) -> Secret {
    if !keyed {
        return Secret::zeroed(0);
    }
    let bits = u32::try_from(SESSION_HASH.len() * 8).unwrap_or_default();
    kdfa(SESSION_HASH, concat(auth, salt).expose(), "ATH", nonce_tpm, nonce_caller, bits)
}

/// The HMAC of a command or response (Part 1, 19.6.5): pHash, the newer and the older nonce, the nonces of other sessions that
/// encrypt (first session of a command only), the attributes.
pub(crate) fn authorization_hmac(
    key: &Secret,
    p_hash: &[u8],
    nonce_newer: &[u8],
    nonce_older: &[u8],
    nonce_decrypt: &[u8],
    nonce_encrypt: &[u8],
    attributes: u8,
) -> Secret {
    SESSION_HASH.hmac(key.expose(), &[p_hash, nonce_newer, nonce_older, nonce_decrypt, nonce_encrypt, &[attributes]])
}
