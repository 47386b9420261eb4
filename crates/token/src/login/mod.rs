//! login

pub(crate) mod adopted;
pub(crate) mod pins;
pub(crate) mod unlock;
