//! protect

pub(crate) mod approvals;
pub(crate) mod codes;
pub(crate) mod parent;
pub(crate) mod policy;
