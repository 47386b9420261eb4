//! state

pub(crate) mod capabilities;
pub(crate) mod counter;
pub(crate) mod pcr;
pub(crate) mod random;
