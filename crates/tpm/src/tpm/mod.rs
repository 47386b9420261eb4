//! The door: one TPM, shared by all threads of a process.
//!
//! It uses every floor below. Each method takes a connection of the pool, and says how many commands it costs.

mod attestation;
mod duplicate;
mod external;
mod recovery;

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base::Secret;
use base::curve::EcPublic;
use base::digest::Hash;
use log::{debug, warn};

use crate::connection::pool::{Pool, Shared, lock};
use crate::connection::primary::Primary;
use crate::connection::reaper::Reaper;
use crate::connection::{Connection, Options, Repeat};
use crate::error::{Error, Result};
use crate::keys::cipher::{self, CipherMode};
use crate::keys::ecdh;
use crate::keys::hmac;
use crate::keys::import::{self, KeyMaterial};
use crate::keys::load;
use crate::keys::modes::CipherModes;
use crate::keys::primary::{self, PrimaryRequest};
use crate::keys::residence;
use crate::keys::seal::{self, SealRequest, UserPolicy};
use crate::keys::sign::{self, DecryptScheme, Key, SignScheme};
use crate::keys::trial::{self, RsaWays};
use crate::policy::{self, AuthorityKey, Policy, PolicyUse};
use crate::session::crypto::Direction;
use crate::state::capabilities::{self, Capabilities, Lockout};
use crate::state::counter::{self, Counter};
use crate::state::pcr;
use crate::state::random;
use crate::transport::conf::TctiConf;
use crate::wire::pcr::{PcrSelection, PcrValues};
use crate::wire::public::{Name, Wrapped};
use crate::wire::signature::Signature;
use crate::wire::template::KeyTemplate;

/// A TPM. Nothing is opened before the first call that needs it; all methods may be called from any thread.
///
/// A number of commands in the description of a method is the most it takes when nothing goes wrong. For a key with a policy,
/// those of the policy come before each: one for a step, two for PolicyAuthorize with an approval that was used before, three more
/// for one that was not.
#[derive(Debug)]
pub struct Tpm {
    pool: Arc<Pool>,
    /// Starts threads; `None` where that is forbidden.
    reaper: Option<Reaper>,
    abandoned: AtomicBool,
}

impl Tpm {
    /// A TPM that is not connected yet.
    pub fn new(conf: TctiConf, options: Options) -> Tpm {
        let reaper = options.threads.then(Reaper::default);
        Tpm { pool: Arc::new(Pool::new(conf, options)), reaper, abandoned: AtomicBool::new(false) }
    }

    /// What the TPM can do. Four commands.
    pub fn capabilities(&self) -> Result<Capabilities> {
        self.general(Repeat::Safe, capabilities::capabilities)
    }

    /// Sizes of the RSA keys that the TPM makes, in bits, ascending. Four commands; up to eight where it has no TPM2_TestParms.
    pub fn rsa_sizes(&self) -> Result<Vec<u16>> {
        self.general(Repeat::Safe, trial::rsa_sizes)
    }

    /// Sizes of the AES keys that the TPM makes, in bits, ascending. Three commands; up to six where it has no TPM2_TestParms.
    pub fn aes_sizes(&self) -> Result<Vec<u16>> {
        self.general(Repeat::Safe, trial::aes_sizes)
    }

    /// How the TPM uses RSA keys, found by trying with a key of 2048 bits that is no secret; `None` where it does not take that. Three
    /// commands; one more for each hash and scheme where raw RSA is refused.
    pub fn rsa_ways(&self, capabilities: &Capabilities) -> Result<Option<RsaWays>> {
        self.general(Repeat::Safe, |connection| trial::rsa_ways(connection, capabilities))
    }

    /// The state of the dictionary-attack protection. One command.
    pub fn lockout(&self) -> Result<Lockout> {
        self.general(Repeat::Safe, capabilities::lockout)
    }

    /// Fills `out` with random bytes of TPM and operating system. One command.
    pub fn random(&self, out: &mut [u8]) -> Result<()> {
        self.general(Repeat::Safe, |connection| random::fill(connection, out))
    }

    /// Stirs the TPM's random generator by what the caller has. One command.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where the TPM does not have the command.
    pub fn stir_random(&self, seed: &[u8]) -> Result<()> {
        self.general(Repeat::Safe, |connection| random::stir(connection, seed))
    }

    /// Finds or makes the storage primary. One command when it is there, else four: ReadPublic, CreatePrimary, EvictControl,
    /// FlushContext. When the usual handle is taken by something else, the primary is also looked for at all others: four more, and one for
    /// each. Three more to try an authorisation value.
    pub fn storage_primary(&self, request: &PrimaryRequest) -> Result<Primary> {
        self.general(Repeat::Never, |connection| primary::storage_primary(connection, request))
    }

    /// All persistent handles. One command.
    pub fn list_persistent(&self) -> Result<Vec<u32>> {
        self.general(Repeat::Safe, primary::list_persistent)
    }

    /// Removes a persistent primary from the TPM. Two commands. Everything under it becomes useless. What else is at its handle
    /// stays: [`Error::WrongPrimary`].
    pub fn evict(&self, primary: &Primary, owner_auth: &Secret) -> Result<()> {
        self.general(Repeat::Never, |connection| primary::evict(connection, primary, owner_auth))
    }

    /// Whether the pinned primary is where it should be. One command.
    pub fn check_primary(&self, primary: &Primary) -> Result<()> {
        self.general(Repeat::Safe, |connection| crate::connection::primary::check(connection, primary))
    }

    /// The PCRs that this TPM has, a selection for each bank. One command.
    pub fn pcr_banks(&self) -> Result<Vec<PcrSelection>> {
        self.general(Repeat::Safe, pcr::banks)
    }

    /// The present values of PCRs, all of one moment. A command for each eight of them.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where the TPM does not have the bank.
    pub fn pcr_read(&self, selection: &PcrSelection) -> Result<PcrValues> {
        self.general(Repeat::Safe, |connection| pcr::read(connection, selection))
    }

    /// The same, proved by the TPM that has this primary to be its own answer: for what is decided or signed by it. Two commands more.
    ///
    /// # Errors
    /// Those of [`Tpm::pcr_read`]; [`Error::ResponseHmac`] for somebody else's answer.
    pub fn pcr_read_proved(&self, primary: &Primary, selection: &PcrSelection) -> Result<PcrValues> {
        self.session(Repeat::Safe, |connection| pcr::read_proved(connection, selection, primary))
    }

    /// Whether the present PCRs satisfy a policy, as far as it is about PCRs: [`Error::PolicyNotMet`] if not. A command for each
    /// eight of them.
    pub fn check_policy(&self, policy: &PolicyUse<'_>) -> Result<()> {
        self.general(Repeat::Safe, |connection| policy::check(connection, policy))
    }

    /// Whether this TPM can check what the authority signs: a policy that names one with another kind of key is never satisfied. Two
    /// commands.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if it cannot.
    pub fn check_authority(&self, key: &AuthorityKey) -> Result<()> {
        self.general(Repeat::Safe, |connection| policy::check_authority(connection, key))
    }

    /// Makes a counter at a free NV index. Gives it with its first value, which is above that of any counter that was removed. Four
    /// commands; two more with a primary, which the answers are proved by and the owner's value is protected to, and with an owner's value
    /// alone. Where they fail half-way, the counter is removed again.
    pub fn define_counter(&self, primary: Option<&Primary>, owner_auth: &Secret) -> Result<(Counter, u64)> {
        let mut made = None;
        let result =
            self.session(Repeat::Never, |connection| counter::define(connection, primary, owner_auth, &mut made));
        if let (Err(_), Some(counter)) = (&result, &made) {
            let undone =
                self.session(Repeat::Never, |connection| counter::undo(connection, primary, counter, owner_auth));
            if let Err(error) = undone {
                warn!("NV index {:#010x}: a counter that nobody uses stays there: {error}", counter.index());
            }
        }
        result
    }

    /// The value of a counter. One command; one more where the connection has not seen the counter yet.
    ///
    /// # Errors
    /// [`Error::CounterMissing`]
    pub fn read_counter(&self, counter: &Counter) -> Result<u64> {
        self.general(Repeat::Safe, |connection| counter::read(connection, counter))
    }

    /// Counts by one, which makes void what is bound to the value before, and gives the new value. Two commands; one more where
    /// the connection has not seen the counter yet, and two where the owner has an authorisation value.
    ///
    /// # Errors
    /// [`Error::CounterMissing`]; [`Error::HierarchyAuth`] for a wrong value of the owner.
    pub fn increment_counter(&self, primary: Option<&Primary>, counter: &Counter, owner_auth: &Secret) -> Result<u64> {
        self.session(Repeat::Never, |connection| counter::increment(connection, primary, counter, owner_auth))
    }

    /// Removes a counter: what is bound to it is void for ever. What stands at its index instead stays. Two commands; two more where the
    /// owner has an authorisation value.
    ///
    /// # Errors
    /// As [`Tpm::increment_counter`].
    pub fn remove_counter(&self, primary: Option<&Primary>, counter: &Counter, owner_auth: &Secret) -> Result<()> {
        self.session(Repeat::Never, |connection| counter::remove(connection, primary, counter, owner_auth))
    }

    /// Makes the security officer's and the user's sealed object: (SO, user). With a policy, only that opens the user's: a step
    /// of it must ask for the authorisation value if that is to be needed as well. Three commands.
    pub fn create_pin_objects(
        &self,
        primary: &Primary,
        so: SealRequest<'_>,
        user: SealRequest<'_>,
        policy: Option<&Policy>,
    ) -> Result<(Wrapped, Wrapped)> {
        self.session(Repeat::Safe, |connection| seal::create_pin_objects(connection, primary, so, user, policy))
    }

    /// Makes one of the two: the security officer's or, with the name of that one, the user's. Two commands.
    pub fn create_pin_object(
        &self,
        primary: &Primary,
        so_name: Option<&Name>,
        request: SealRequest<'_>,
    ) -> Result<Wrapped> {
        self.session(Repeat::Safe, |connection| seal::create_pin_object(connection, primary, so_name, request))
    }

    /// What is sealed in `object`. Four commands; their session serves the next operation. With a policy, five and those of the
    /// policy: PolicyPCR, PolicyAuthValue, PolicyOR for literal PCRs and a PIN.
    pub fn unseal(
        &self,
        primary: &Primary,
        object: &Wrapped,
        auth: &Secret,
        policy: Option<UserPolicy<'_>>,
    ) -> Result<Secret> {
        let name = seal::check_seal(object, &[auth])?;
        self.session(Repeat::Safe, |connection| match policy {
            None => seal::unseal(connection, primary, object, &name, auth),
            Some(policy) => seal::unseal_by_policy(connection, primary, (object, &name), auth, policy),
        })
    }

    /// Replaces the authorisation value of an object without a policy, such as the security officer's. Returns its new
    /// TPM2B_PRIVATE; the old one stays good for the old value. Four commands.
    pub fn change_auth(&self, primary: &Primary, object: &Wrapped, old: &Secret, new: &Secret) -> Result<Vec<u8>> {
        let name = seal::check_seal(object, &[old, new])?;
        self.session(Repeat::Never, |connection| seal::change_auth(connection, primary, object, &name, old, new))
    }

    /// Replaces the user's authorisation value, knowing it. Returns the new TPM2B_PRIVATE. `policy` is the one the object was made
    /// with; it need not be met. Seven commands.
    pub fn change_user_auth(
        &self,
        primary: &Primary,
        user: &Wrapped,
        so_name: &Name,
        policy: Option<&Policy>,
        old: &Secret,
        new: &Secret,
    ) -> Result<Vec<u8>> {
        let name = seal::check_seal(user, &[old, new])?;
        self.session(Repeat::Never, |connection| {
            seal::change_user_auth(connection, primary, (user, &name), so_name, policy, old, new)
        })
    }

    /// Replaces the user's authorisation value, knowing the security officer's. Returns the new TPM2B_PRIVATE. `policy` is the one
    /// the object was made with; it need not be met. Eleven commands.
    pub fn reset_user_auth(
        &self,
        primary: &Primary,
        user: &Wrapped,
        so: &Wrapped,
        policy: Option<&Policy>,
        so_auth: &Secret,
        new: &Secret,
    ) -> Result<Vec<u8>> {
        let name = seal::check_seal(user, &[new])?;
        let so_name = seal::check_seal(so, &[so_auth])?;
        self.session(Repeat::Never, |connection| {
            seal::reset_user_auth(connection, primary, (user, &name), (so, &so_name), policy, so_auth, new)
        })
    }

    /// Makes a key with the given authorisation value; with a policy, only that allows its use. Two commands, one when a session
    /// is held.
    pub fn create_key(
        &self,
        primary: &Primary,
        template: &KeyTemplate,
        auth: &Secret,
        policy: Option<&Policy>,
    ) -> Result<Wrapped> {
        self.create_keys(primary, template, &[auth], policy)?.pop().ok_or(Error::Malformed("no key was made"))
    }

    /// The same for several keys, one for each authorisation value: one command for each, and one for the session.
    pub fn create_keys(
        &self,
        primary: &Primary,
        template: &KeyTemplate,
        auths: &[&Secret],
        policy: Option<&Policy>,
    ) -> Result<Vec<Wrapped>> {
        self.session(Repeat::Safe, |connection| load::create_keys(connection, primary, *template, auths, policy))
    }

    /// Takes over a key that was made elsewhere, with the given authorisation value; with a policy, only that allows its use. Material that is no key is refused before
    /// anything is sent, and nothing of it is ever in clear on the bus, with bus protection or without. One command; two where
    /// the primary has an authorisation value and no session is held.
    pub fn import_key(
        &self,
        primary: &Primary,
        material: &KeyMaterial,
        auth: &Secret,
        policy: Option<&Policy>,
    ) -> Result<Wrapped> {
        let object = import::check(material, auth, policy)?;
        self.session(Repeat::Safe, |connection| import::import_key(connection, primary, &object))
    }

    /// Signs a digest. Three commands the first time, then one.
    pub fn sign(&self, key: &Key<'_>, hash: Hash, digest: &[u8], scheme: SignScheme) -> Result<Signature> {
        self.key(key.name, |connection| sign::sign(connection, key, hash, digest, scheme))
    }

    /// Decrypts with an RSA key; a raw result is as long as the modulus. Three commands the first time, then one.
    pub fn rsa_decrypt(&self, key: &Key<'_>, scheme: DecryptScheme<'_>, cipher: &[u8]) -> Result<Secret> {
        self.key(key.name, |connection| sign::rsa_decrypt(connection, key, scheme, cipher))
    }

    /// Encrypts or decrypts with an AES key. `iv` is as long as a block, and empty for ECB. Returns the result, as long as the
    /// data, and what to continue from as the next `iv`: empty for ECB, and after data that do not end with a block, which
    /// cannot be continued.
    ///
    /// `input_buffer` is what the TPM takes at once ([`Capabilities::input_buffer`]); no more than
    /// [`INPUT_BUFFER`](crate::INPUT_BUFFER) is used. Two commands the first time, and one for each buffer of data; for OFB the
    /// buffers are one block smaller.
    pub fn encrypt_decrypt(
        &self,
        key: &Key<'_>,
        mode: CipherMode,
        iv: &[u8],
        data: &[u8],
        direction: Direction,
        input_buffer: usize,
    ) -> Result<(Secret, Vec<u8>)> {
        self.encrypt_decrypt_among(CipherModes::ALL, key, mode, iv, data, direction, input_buffer)
    }

    /// The same on a TPM that has these modes as its own: others are made of them, at a block less for each buffer and, for chains,
    /// twice the commands.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for what cannot be made ([`CipherModes::can`]).
    #[allow(clippy::too_many_arguments, reason = "those of the mode, and what there is")]
    pub fn encrypt_decrypt_among(
        &self,
        modes: CipherModes,
        key: &Key<'_>,
        mode: CipherMode,
        iv: &[u8],
        data: &[u8],
        direction: Direction,
        input_buffer: usize,
    ) -> Result<(Secret, Vec<u8>)> {
        let planned = cipher::check(key, (mode, modes), iv, data, direction, input_buffer)?;
        if data.is_empty() {
            return Ok((Secret::zeroed(0), iv.to_vec()));
        }
        self.key(key.name, |connection| cipher::encrypt_decrypt(connection, key, planned, iv, data, direction))
    }

    /// HMAC of `data` under a key of the TPM. Three commands the first time, then one; for more than
    /// [`INPUT_BUFFER`](crate::INPUT_BUFFER) bytes, one for each such buffer and one more.
    pub fn hmac(&self, key: &Key<'_>, hash: Hash, data: &[u8]) -> Result<Secret> {
        let hash_id = hmac::check(key, hash)?;
        self.key(key.name, |connection| hmac::hmac(connection, key, (hash, hash_id), data))
    }

    /// The shared secret Z of an elliptic curve key and somebody's point on its curve: the x coordinate of their product, as long
    /// as the field. Three commands the first time, then one.
    pub fn ecdh_z(&self, key: &Key<'_>, point: &EcPublic) -> Result<Secret> {
        ecdh::check(key, point)?;
        self.key(key.name, |connection| ecdh::ecdh_z(connection, key, point))
    }

    /// Tells the names of objects that are ours, because it is us who have their blobs. A process that ends without
    /// [`Tpm::release`] leaves what it had loaded in a TPM without a resource manager, which has room for three or so: when
    /// there is none left, loaded objects with these names are flushed. All others are somebody else's, and never touched.
    ///
    /// Names are added to those told before. A storage primary is not ours alone: everybody who derives it from the same
    /// template has it under the same name.
    pub fn claim(&self, names: impl IntoIterator<Item = Name>) {
        if !self.abandoned.load(Ordering::Acquire) {
            self.pool.claim(names);
        }
    }

    /// Tells the keys of a token in the same way, by a question that is asked when there is no room left. A token has one
    /// question: another takes its place. It is asked while the connection is in use, and must not need one.
    pub fn claim_keys(&self, token: i64, owns: impl Fn(&Name) -> bool + Send + Sync + 'static) {
        if !self.abandoned.load(Ordering::Acquire) {
            self.pool.claim_keys(token, Box::new(owns));
        }
    }

    /// Keeps a copy of a key in the TPM, at a persistent handle, which it returns. Four commands; one more where the owner or the primary has an
    /// authorisation value.
    ///
    /// # Errors
    /// [`Error::PersistenceRefused`], [`Error::HierarchyAuth`].
    pub fn persist_key(&self, key: &Key<'_>, owner_auth: &Secret) -> Result<u32> {
        self.session(Repeat::Never, |connection| residence::persist(connection, key, owner_auth))
    }

    /// Takes such a copy out, and says whether it was there: what else is at the handle stays. Two commands; one more where the owner has an
    /// authorisation value, which is protected to the primary.
    ///
    /// # Errors
    /// [`Error::HierarchyAuth`].
    pub fn evict_key(&self, handle: u32, name: &Name, primary: &Primary, owner_auth: &Secret) -> Result<bool> {
        self.session(Repeat::Never, |connection| residence::evict(connection, (handle, name), primary, owner_auth))
    }

    /// Flushes a key that will not be used again, if it is loaded.
    pub fn forget(&self, name: &Name) {
        let Ok(_guard) = self.enter() else { return };
        if let Err(error) = self.pool.forget(name) {
            debug!("{name} was not flushed: {error}");
        }
    }

    /// Gives back all that is held in the TPM, and closes. It is opened again when it is needed.
    pub fn release(&self) {
        let Ok(_guard) = self.enter() else { return };
        if let Some(reaper) = &self.reaper {
            reaper.stop();
        }
        self.pool.give_back();
    }

    /// For the child after a fork: closes the descriptors without a word to the TPM. Takes no lock. The object then refuses
    /// everything, and keeps its memory when it is dropped.
    ///
    /// A child that never calls it holds the descriptors until it ends or executes a program. It does not keep others from a
    /// TPM behind a socket once the parent has closed its connection, which ends it for both; a device stays open.
    pub fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
        self.pool.abandon();
    }

    pub(crate) fn general<T>(&self, repeat: Repeat, operation: impl FnMut(&mut Connection) -> Result<T>) -> Result<T> {
        let _guard = self.enter()?;
        self.run(self.pool.general(), repeat, operation)
    }

    /// What may be done a second time, in a session.
    pub(crate) fn in_session<T>(&self, operation: impl FnMut(&mut Connection) -> Result<T>) -> Result<T> {
        self.session(Repeat::Safe, operation)
    }

    fn session<T>(&self, repeat: Repeat, operation: impl FnMut(&mut Connection) -> Result<T>) -> Result<T> {
        let _guard = self.enter()?;
        self.run(self.pool.for_session()?, repeat, operation)
    }

    fn key<T>(&self, name: &Name, operation: impl FnMut(&mut Connection) -> Result<T>) -> Result<T> {
        let _guard = self.enter()?;
        self.run(self.pool.for_key(name)?, Repeat::SafeWithRightAuth, operation)
    }

    fn run<T>(
        &self,
        connection: Shared,
        repeat: Repeat,
        operation: impl FnMut(&mut Connection) -> Result<T>,
    ) -> Result<T> {
        let result = lock(&connection).run(repeat, operation);
        drop(connection);
        if let Some(reaper) = &self.reaper {
            reaper.wake(&self.pool);
        }
        result
    }

    fn enter(&self) -> Result<Entered> {
        if self.abandoned.load(Ordering::Acquire) {
            return Err(Error::NotThere("the connection belongs to the process that forked".into()));
        }
        Entered::new()
    }
}

impl Drop for Tpm {
    fn drop(&mut self) {
        if self.abandoned.load(Ordering::Acquire) {
            // The descriptors are closed, and may be somebody else's by now: nothing may close them again.
            std::mem::forget(Arc::clone(&self.pool));
            // So is the thread: there is none here to be joined or detached.
            std::mem::forget(self.reaper.take());
            return;
        }
        self.release();
    }
}

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Marks this thread as being inside this crate. A TCTI that is somebody else's code may call the host, and the host us:
/// waiting for our own lock would then be for ever.
#[derive(Debug)]
struct Entered;

impl Entered {
    fn new() -> Result<Entered> {
        // A thread that is ending has no thread-local storage, and is not inside anything.
        match INSIDE.try_with(|inside| inside.replace(true)) {
            Ok(true) => Err(Error::Reentered),
            Ok(false) | Err(_) => Ok(Entered),
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let _ = INSIDE.try_with(|inside| inside.set(false));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_is_inside_is_not_let_in_again() {
        let tpm = Tpm::new("swtpm:port=1".parse().unwrap(), Options::default());
        let inside = Entered::new().unwrap();
        assert_eq!(tpm.random(&mut [0; 4]), Err(Error::Reentered));
        tpm.release();
        drop(inside);
        assert!(matches!(tpm.random(&mut [0; 4]), Err(Error::NotThere(_))));
    }

    #[test]
    fn it_may_be_shared_and_sent() {
        fn both<T: Send + Sync>() {}
        both::<Tpm>();
    }
}
