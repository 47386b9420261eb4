//! The policy of the user's sealed object: who opens it, and who may replace its authorisation value.

use super::{Policy, PolicyStep};
use crate::error::Result;
use crate::wire::constants::cc;
use crate::wire::public::Name;

/// One of: `user`, which opens the object, where that is not for whoever has the authorisation value; and the two ways to replace
/// that value: knowing it, or knowing the security officer's. These two name the command that they are good for, and open nothing.
pub(crate) fn user_policy(so_name: &Name, user: Option<&Policy>) -> Result<Policy> {
    let change = PolicyStep::CommandCode(cc::OBJECT_CHANGE_AUTH);
    let by_value = Policy::new(vec![PolicyStep::AuthValue, change.clone()])?;
    let by_officer = Policy::new(vec![PolicyStep::Secret { object: so_name.clone() }, change])?;
    let branches = user.cloned().into_iter().chain([by_value, by_officer]).collect();
    Policy::new(vec![PolicyStep::Or(branches)])
}
