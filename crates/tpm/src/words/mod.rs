//! What errors speak of: names, response codes, selections of PCRs.
//!
//! It uses nothing of this crate. How these are marshalled is known above.

mod name;
mod pcr;
mod rc;

pub use name::Name;
pub use pcr::PcrSelection;
pub(crate) use pcr::{bank_name, write_list};
pub use rc::ResponseCode;
