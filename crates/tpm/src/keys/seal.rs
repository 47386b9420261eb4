//! Objects made under the storage primary, and the sealed data objects that guard a token's PINs.

use base::Secret;
use base::curve::EcPublic;

use crate::connection::primary::{Primary, load_parameters};
use crate::connection::{Connection, Protection};
use crate::error::{Error, Result};
use crate::policy::{self, Choice, Means, Policy, PolicyUse, SecretProof};
use crate::session::authorization::{Entity, Kind};
use crate::session::command::{Authorization, Command, Handle, SessionUse};
use crate::wire::Writer;
use crate::wire::constants::cc;
use crate::wire::public::{NAME_HASH, Name, Parameters, PublicArea, Wrapped, curve_from_id};
use crate::wire::template::{self, Sealed};
use crate::words::ResponseCode;

/// MAX_SYM_DATA: bytes that can be sealed.
const MAX_DATA: usize = 128;

/// What to seal, and under which authorisation value.
#[derive(Clone, Copy, Debug)]
pub struct SealRequest<'a> {
    /// The authorisation value: at most 32 bytes.
    pub auth: &'a Secret,
    /// The data: 1 to 128 bytes.
    pub data: &'a Secret,
}

/// An authorisation value is at most as long as the object's nameAlg.
pub(crate) fn check_auth(auth: &Secret) -> Result<()> {
    if auth.len() > NAME_HASH.len() {
        return Err(Error::Invalid("an authorisation value has at most 32 bytes"));
    }
    Ok(())
}

/// What opens the user's sealed object, where the right authorisation value is not enough.
#[derive(Clone, Copy, Debug)]
pub struct UserPolicy<'a> {
    /// The policy that the object was made with, and its approvals.
    pub policy: PolicyUse<'a>,
    /// The name of the security officer's object.
    pub so_name: &'a Name,
}

/// The security officer's object and the user's, whose authorisation value the security officer may replace. With a policy the
/// user's is opened by that only: where the value is to be needed as well, that is a step of it.
/// StartAuthSession, Create, Create.
pub(crate) fn create_pin_objects(
    connection: &mut Connection,
    primary: &Primary,
    so: SealRequest<'_>,
    user: SealRequest<'_>,
    policy: Option<&Policy>,
) -> Result<(Wrapped, Wrapped)> {
    for request in [so, user] {
        check_auth(request.auth)?;
        if request.data.is_empty() || request.data.len() > MAX_DATA {
            return Err(Error::Invalid("1 to 128 bytes can be sealed"));
        }
    }
    let protection = connection.salted(primary)?;
    connection.with(protection, |connection, protection| {
        let so_area = template::seal(Sealed::Value)?;
        let so_object = create(connection, primary, &so_area, so.auth, Some(so.data), protection)?;
        let whole = policy::user_policy(&so_object.name()?, policy)?;
        protection.keep = false;
        let user_area = template::seal(match policy {
            None => Sealed::AdminPolicy(whole.digest()),
            Some(_) => Sealed::Policy(whole.digest()),
        })?;
        let user_object = create(connection, primary, &user_area, user.auth, Some(user.data), protection)?;
        Ok((so_object, user_object))
    })
}

/// One of the two PIN objects: the security officer's, or that of the user of an officer whose object has this name.
/// StartAuthSession, Create.
pub(crate) fn create_pin_object(
    connection: &mut Connection,
    primary: &Primary,
    so_name: Option<&Name>,
    request: SealRequest<'_>,
) -> Result<Wrapped> {
    check_auth(request.auth)?;
    if request.data.is_empty() || request.data.len() > MAX_DATA {
        return Err(Error::Invalid("1 to 128 bytes can be sealed"));
    }
    let policy = so_name.map(|so_name| policy::user_policy(so_name, None)).transpose()?;
    let area = template::seal(policy.as_ref().map_or(Sealed::Value, |policy| Sealed::AdminPolicy(policy.digest())))?;
    let protection = connection.salted(primary)?;
    connection.with(protection, |connection, protection| {
        protection.keep = false;
        create(connection, primary, &area, request.auth, Some(request.data), protection)
    })
}

/// TPM2_Create of `template` with an authorisation value and, for a sealed object, data.
pub(crate) fn create(
    connection: &mut Connection,
    primary: &Primary,
    template: &PublicArea,
    auth: &Secret,
    data: Option<&Secret>,
    protection: &mut Protection,
) -> Result<Wrapped> {
    create_with_ticket(connection, primary, template, auth, data, protection).map(|(wrapped, _)| wrapped)
}

/// The same, with what the response says besides: TPM2B_CREATION_DATA, the TPM2B_DIGEST of it, and TPMT_TK_CREATION.
pub(crate) fn create_with_ticket(
    connection: &mut Connection,
    primary: &Primary,
    template: &PublicArea,
    auth: &Secret,
    data: Option<&Secret>,
    protection: &mut Protection,
) -> Result<(Wrapped, Vec<u8>)> {
    let sensitive = Writer::new().tpm2b(auth.expose()).tpm2b(data.map_or(&[], Secret::expose)).finish()?;
    let parameters = Writer::new().tpm2b(&sensitive).bytes(&template.marshal()?).tpm2b(&[]).u32(0).finish()?;
    let command = Command {
        code: cc::CREATE,
        handles: vec![connection.parent(primary)?],
        parameters,
        returns_handle: false,
        deadline: connection.options().keygen_deadline,
    };
    let parent = Entity { name: primary.name(), auth: &primary.auth };
    let response = match connection.execute(&command, &mut [protection.authorize(parent, true, false)]) {
        Ok(response) => response,
        Err(error) => return Err(explain_create(connection, primary, error)),
    };
    let mut reader = response.reader();
    let private = reader.tpm2b()?;
    let area = reader.tpm2b()?;
    check_created(template, &PublicArea::parse_area(area)?)?;
    let wrapped = Wrapped {
        public: Writer::new().tpm2b(area).finish()?.to_vec(),
        private: Writer::new().tpm2b(private).finish()?.to_vec(),
    };
    Ok((wrapped, reader.rest().to_vec()))
}

pub(crate) fn explain_create(connection: &mut Connection, primary: &Primary, error: Error) -> Error {
    match error {
        Error::AuthFailed => connection.explain_parent(primary, error),
        Error::Response(code) if code.is_handle(ResponseCode::HANDLE, 1) => connection.explain_parent(primary, error),
        Error::Response(code)
            if matches!(
                code.base(),
                ResponseCode::VALUE
                    | ResponseCode::KEY
                    | ResponseCode::KEY_SIZE
                    | ResponseCode::CURVE
                    | ResponseCode::RANGE
                    | ResponseCode::HASH
                    | ResponseCode::SCHEME
                    | ResponseCode::SYMMETRIC
            ) =>
        {
            Error::Unsupported(format!("this TPM has no such objects: {code}"))
        }
        error => error,
    }
}

/// The object made is the one asked for, and its public key is one.
fn check_created(template: &PublicArea, created: &PublicArea) -> Result<()> {
    let wrong = Error::Malformed("the created object is not the one asked for");
    let same = template.name_alg == created.name_alg
        && template.attributes == created.attributes
        && template.auth_policy == created.auth_policy;
    let right = match (&template.parameters, &created.parameters) {
        (
            Parameters::Rsa { symmetric, scheme, bits, .. },
            Parameters::Rsa { symmetric: made_symmetric, scheme: made_scheme, bits: made_bits, modulus, .. },
        ) => {
            (symmetric, scheme, bits) == (made_symmetric, made_scheme, made_bits)
                && template.rsa().map(|(_, exponent)| exponent) == created.rsa().map(|(_, exponent)| exponent)
                && modulus.len() == usize::from(*bits) / 8
                && modulus.first().is_some_and(|byte| byte & 0x80 != 0)
        }
        (
            Parameters::Ecc { symmetric, scheme, curve, .. },
            Parameters::Ecc { symmetric: made_symmetric, scheme: made_scheme, curve: made_curve, x, y, .. },
        ) => {
            (symmetric, scheme, curve) == (made_symmetric, made_scheme, made_curve)
                && curve_from_id(*curve).is_some_and(|curve| EcPublic::new(curve, x, y).is_ok())
        }
        (Parameters::KeyedHash { scheme, .. }, Parameters::KeyedHash { scheme: made_scheme, .. }) => {
            scheme == made_scheme
        }
        (Parameters::SymCipher { symmetric, .. }, Parameters::SymCipher { symmetric: made_symmetric, .. }) => {
            symmetric == made_symmetric
        }
        _ => false,
    };
    if same && right { Ok(()) } else { Err(wrong) }
}

/// StartAuthSession, Load, Unseal, FlushContext.
pub(crate) fn unseal(
    connection: &mut Connection,
    primary: &Primary,
    object: &Wrapped,
    name: &Name,
    auth: &Secret,
) -> Result<Secret> {
    let managed = connection.is_managed()?;
    let protection = connection.salted(primary)?;
    connection.with(protection, |connection, protection| {
        if let Some(session) = &mut protection.session {
            session.last_use_next |= !managed;
        }
        let handle = connection.load(primary, &object.public, &object.private, name, protection.session.as_mut())?;
        // There is place for one session: this one, unless a longer-lived one is there. A resource manager's chip has
        // to swap a held session around each command: that costs it more than a new one for the key.
        protection.keep = !managed && !connection.holds_session() && !connection.gives_back_at_once();
        let command = connection.command(cc::UNSEAL, vec![handle], Writer::new())?;
        let entity = Entity { name, auth };
        let response = connection.execute(&command, &mut [protection.authorize(entity, false, true)])?;
        let mut reader = response.reader();
        let data = Secret::copy_from(reader.tpm2b()?);
        reader.finish()?;
        Ok(data)
    })
}

/// By a policy, LoadExternal, VerifySignature, FlushContext for an approval not seen before; Load, StartAuthSession, the commands
/// of the policy, PolicyOR, Unseal, FlushContext.
pub(crate) fn unseal_by_policy(
    connection: &mut Connection,
    primary: &Primary,
    (object, name): (&Wrapped, &Name),
    auth: &Secret,
    user: UserPolicy<'_>,
) -> Result<Secret> {
    let whole = whole_policy(object, user.so_name, Some(user.policy.policy))?;
    let approvals = user.policy.approvals;
    let mut choice = Choice::new(PolicyUse { policy: &whole, approvals }, &Means::user(cc::UNSEAL))?;
    choice.prepare(connection)?;
    let handle = load_seal(connection, primary, object, name)?;
    let protection = policy_protection(connection, primary)?;
    connection.with_temporary(protection, |connection, protection| {
        loop {
            let unsealed = choice.satisfy(connection, protection, None).and_then(|()| {
                protection.keep = false;
                let command = connection.command(cc::UNSEAL, vec![handle.clone()], Writer::new())?;
                let encrypt = connection.options().bus_protection;
                connection.execute(&command, &mut [protection.authorize(Entity { name, auth }, false, encrypt)])
            });
            match unsealed {
                Ok(response) => {
                    let mut reader = response.reader();
                    let data = Secret::copy_from(reader.tpm2b()?);
                    reader.finish()?;
                    choice.succeeded(connection, protection);
                    return Ok(data);
                }
                Err(error) => {
                    // The session is of this operation: it is never in doubt.
                    choice.again(connection, error, false)?;
                    choice.prepare(connection)?;
                }
            }
        }
    })
}

/// The whole policy of the user's object. That of the object must be the same: what is asked of a person had better not depend
/// on what somebody wrote into the store.
fn whole_policy(object: &Wrapped, so_name: &Name, policy: Option<&Policy>) -> Result<Policy> {
    let whole = policy::user_policy(so_name, policy)?;
    if object.public_area()?.auth_policy() != whole.digest() {
        return Err(Error::NameMismatch);
    }
    Ok(whole)
}

/// Load; StartAuthSession before it where the primary has an authorisation value.
fn load_seal(connection: &mut Connection, primary: &Primary, object: &Wrapped, name: &Name) -> Result<Handle> {
    let parent = if primary.auth.is_empty() { Protection::none() } else { connection.salted(primary)? };
    connection.with(parent, |connection, parent| {
        connection.load(primary, &object.public, &object.private, name, parent.session.as_mut())
    })
}

/// A policy session fit for a value that can be guessed.
fn policy_protection(connection: &mut Connection, primary: &Primary) -> Result<Protection> {
    if connection.options().bus_protection {
        connection.start_salted(primary, Kind::POLICY).map(Protection::new)
    } else {
        connection.start_policy().map(Protection::new)
    }
}

/// Checks, before anything is sent, what an unseal or a change is asked of.
pub(crate) fn check_seal(object: &Wrapped, auths: &[&Secret]) -> Result<Name> {
    for auth in auths {
        check_auth(auth)?;
    }
    let area = object.public_area()?;
    if !matches!(area.parameters, Parameters::KeyedHash { .. }) {
        return Err(Error::Invalid("the object is not a sealed data object"));
    }
    load_parameters(&object.public, &object.private)?;
    area.name()
}

/// With its own authorisation value: StartAuthSession, Load, ObjectChangeAuth, FlushContext.
pub(crate) fn change_auth(
    connection: &mut Connection,
    primary: &Primary,
    object: &Wrapped,
    name: &Name,
    old: &Secret,
    new: &Secret,
) -> Result<Vec<u8>> {
    let protection = connection.salted(primary)?;
    connection.with(protection, |connection, protection| {
        let handle = connection.load(primary, &object.public, &object.private, name, protection.session.as_mut())?;
        protection.keep = false;
        let command = object_change_auth(connection, primary, handle, new)?;
        let authorization = protection.authorize(Entity { name, auth: old }, true, false);
        changed(connection, &command, &mut [authorization])
    })
}

/// By the policy that asks for the value: StartAuthSession, Load, PolicyAuthValue, PolicyCommandCode, PolicyOR, ObjectChangeAuth,
/// FlushContext; one more StartAuthSession (and FlushContext) where the primary has an authorisation value.
pub(crate) fn change_user_auth(
    connection: &mut Connection,
    primary: &Primary,
    (object, name): (&Wrapped, &Name),
    so_name: &Name,
    policy: Option<&Policy>,
    old: &Secret,
    new: &Secret,
) -> Result<Vec<u8>> {
    let whole = whole_policy(object, so_name, policy)?;
    let means = Means { command: Some(cc::OBJECT_CHANGE_AUTH), by_name: true, auth_value: true, secret: None };
    let mut choice = Choice::new(PolicyUse { policy: &whole, approvals: &[] }, &means)?;
    choice.prepare(connection)?;
    let handle = load_seal(connection, primary, object, name)?;
    let session = connection.start_salted(primary, Kind::POLICY)?;
    connection.with_temporary(Protection::new(session), |connection, protection| {
        choice.satisfy(connection, protection, None)?;
        protection.keep = false;
        let command = object_change_auth(connection, primary, handle, new)?;
        let authorization = protection.authorize(Entity { name, auth: old }, true, false);
        changed(connection, &command, &mut [authorization])
    })
}

/// By the policy that asks for the security officer: StartAuthSession, Load, Load, StartAuthSession, GetRandom, PolicySecret,
/// PolicyCommandCode, PolicyOR, ObjectChangeAuth, FlushContext, FlushContext. The authorisation value that is replaced is unknown,
/// and would belong to the encryption key of the policy session: the new one is therefore encrypted by the other session.
///
/// Nothing of that policy speaks of what the command does. A session of which only the TPM and we know the key is what ties the
/// officer's word to our command; that it is such a session, and not one that somebody put in its place, it proves before the word
/// is given (GetRandom), and the word names the nonce it has since. A hash of the command's parameters in the word (cpHash) would not do: they are
/// encrypted when they are hashed, and whoever repeats them without the session that encrypts knows the value they then are.
pub(crate) fn reset_user_auth(
    connection: &mut Connection,
    primary: &Primary,
    (user_object, user_name): (&Wrapped, &Name),
    (so_object, so_name): (&Wrapped, &Name),
    policy: Option<&Policy>,
    so_auth: &Secret,
    new: &Secret,
) -> Result<Vec<u8>> {
    let whole = whole_policy(user_object, so_name, policy)?;
    let means =
        Means { command: Some(cc::OBJECT_CHANGE_AUTH), by_name: true, auth_value: false, secret: Some(so_name) };
    let mut choice = Choice::new(PolicyUse { policy: &whole, approvals: &[] }, &means)?;
    choice.prepare(connection)?;
    let protection = connection.salted(primary)?;
    connection.with_temporary(protection, |connection, protection| {
        let so_handle =
            connection.load(primary, &so_object.public, &so_object.private, so_name, protection.session.as_mut())?;
        let user_handle = connection.load(
            primary,
            &user_object.public,
            &user_object.private,
            user_name,
            protection.session.as_mut(),
        )?;
        let by_policy = policy_protection(connection, primary)?;
        connection.with_temporary(by_policy, |connection, by_policy| {
            prove(connection, by_policy)?;
            let entity = Entity { name: so_name, auth: so_auth };
            let proof = SecretProof { handle: &so_handle, entity, protection: &mut *protection };
            choice.satisfy(connection, by_policy, Some(proof))?;
            by_policy.keep = false;
            let command = object_change_auth(connection, primary, user_handle, new)?;
            let nothing = Secret::zeroed(0);
            let by_session = by_policy.authorize(Entity { name: user_name, auth: &nothing }, false, false);
            match &mut protection.session {
                None => changed(connection, &command, &mut [by_session]),
                Some(session) => {
                    let encrypting = SessionUse { session, entity: None, keep: false, decrypt: true, encrypt: false };
                    changed(connection, &command, &mut [by_session, Authorization::Session(encrypting)])
                }
            }
        })
    })
}

/// The session, if it has a key, shows that the TPM has the same; its nonce is then one that no other session ever has. GetRandom.
pub(crate) fn prove(connection: &mut Connection, protection: &mut Protection) -> Result<()> {
    let keep = protection.keep;
    let Some(session) = protection.session.as_mut().filter(|session| session.has_key()) else { return Ok(()) };
    let command = connection.command(cc::GET_RANDOM, Vec::new(), Writer::new().u16(1))?;
    let proof = SessionUse { session, entity: None, keep, decrypt: false, encrypt: true };
    connection.execute(&command, &mut [Authorization::Session(proof)]).map(drop)
}

fn object_change_auth(connection: &mut Connection, primary: &Primary, object: Handle, new: &Secret) -> Result<Command> {
    let parent = connection.parent(primary)?;
    connection.command(cc::OBJECT_CHANGE_AUTH, vec![object, parent], Writer::new().tpm2b(new.expose()))
}

/// The new TPM2B_PRIVATE.
fn changed(
    connection: &mut Connection,
    command: &Command,
    authorizations: &mut [Authorization<'_>],
) -> Result<Vec<u8>> {
    let response = connection.execute(command, authorizations)?;
    let mut reader = response.reader();
    let private = Writer::new().tpm2b(reader.tpm2b()?).finish()?.to_vec();
    reader.finish()?;
    Ok(private)
}
