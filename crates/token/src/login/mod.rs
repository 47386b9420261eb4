//! PINs and who is logged in: seals opened and made, tokens that come over from tpm2-pkcs11, approvals looked up.
//!
//! It acts on tokens and their rows, and uses any floor below: objects, slots, protection. Nothing below knows how a PIN becomes a key.

pub(crate) mod adopted;
pub(crate) mod approvals;
pub(crate) mod pins;
pub(crate) mod unlock;
mod wrong;
