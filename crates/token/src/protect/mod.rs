//! protect

pub(crate) mod approvals;
pub(crate) mod codes;
pub mod parent;
pub(crate) mod policy;
