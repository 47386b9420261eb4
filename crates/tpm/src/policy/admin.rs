//! The policy of the user's sealed object: who may replace its authorisation value.

use super::digest::PolicyDigest;
use crate::command::{Authorization, Handle};
use crate::connection::{Connection, Protection};
use crate::error::{Error, Result};
use crate::public::Name;
use crate::session::{Entity, Kind};
use crate::wire::Writer;
use crate::wire::constants::cc;

/// The two ways to replace the user's authorisation value: knowing it, or knowing the security officer's.
fn user_branches(so_name: &Name) -> [PolicyDigest; 2] {
    let start = PolicyDigest::new();
    [
        start.auth_value().command_code(cc::OBJECT_CHANGE_AUTH),
        start.secret(so_name).command_code(cc::OBJECT_CHANGE_AUTH),
    ]
}

/// authPolicy of the user's sealed object.
pub(crate) fn user_policy(so_name: &Name) -> Vec<u8> {
    PolicyDigest::or(user_branches(so_name).iter().map(PolicyDigest::as_bytes)).into_bytes()
}

/// PolicyAuthValue, PolicyCommandCode, PolicyOR.
pub(crate) fn satisfy_by_auth_value(
    connection: &mut Connection,
    protection: &mut Protection,
    so_name: &Name,
) -> Result<()> {
    let session = policy_session(protection)?;
    let command = connection.command(cc::POLICY_AUTH_VALUE, vec![Handle::plain(session)], Writer::new())?;
    connection.execute(&command, &mut [])?;
    if let Some(session) = &mut protection.session {
        session.kind = Kind::Policy { auth_value: true };
    }
    finish_user_branch(connection, session, so_name)
}

/// PolicySecret, PolicyCommandCode, PolicyOR.
pub(crate) fn satisfy_by_secret(
    connection: &mut Connection,
    protection: &mut Protection,
    so_handle: &Handle,
    so: Entity<'_>,
    so_protection: &mut Protection,
) -> Result<()> {
    let session = policy_session(protection)?;
    // nonceTPM, cpHashA, policyRef, expiration
    let parameters = Writer::new().tpm2b(&[]).tpm2b(&[]).tpm2b(&[]).u32(0);
    let handles = vec![so_handle.clone(), Handle::plain(session)];
    let command = connection.command(cc::POLICY_SECRET, handles, parameters)?;
    let authorization: Authorization<'_> = so_protection.authorize(so, false, false);
    connection.execute(&command, &mut [authorization])?;
    finish_user_branch(connection, session, so.name)
}

fn finish_user_branch(connection: &mut Connection, session: u32, so_name: &Name) -> Result<()> {
    let session = Handle::plain(session);
    let parameters = Writer::new().u32(cc::OBJECT_CHANGE_AUTH);
    let command = connection.command(cc::POLICY_COMMAND_CODE, vec![session.clone()], parameters)?;
    connection.execute(&command, &mut [])?;
    let branches = user_branches(so_name);
    let count = u32::try_from(branches.len()).map_err(|_| Error::Invalid("too many branches"))?;
    let list = branches.iter().fold(Writer::new().u32(count), |list, branch| list.tpm2b(branch.as_bytes()));
    let command = connection.command(cc::POLICY_OR, vec![session], list)?;
    connection.execute(&command, &mut []).map(drop)
}

fn policy_session(protection: &Protection) -> Result<u32> {
    protection.session.as_ref().map(|session| session.handle).ok_or(Error::Invalid("a policy needs a session"))
}
