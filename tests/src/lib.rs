//! What the tests of the product share. The product is used from outside only: the module through `dlopen`, the command
//! line as a program.
//!
//! - [`product`]: where the module and `ptool` are.
//! - [`world`]: a software TPM with a counting proxy, a store with tokens and keys, and the environment that leads there.
//! - [`probe`]: a process that has loaded the module and makes the calls a test asks of it, good or hostile; its binary is
//!   `p11probe`, and [`call`] is what the two say to each other.
//! - [`peer`]: the established module in the place of ours.
//! - [`migrant`]: tpm2-pkcs11 beside it, on the same TPM.
//! - [`desk`]: where real programs work; [`sshd`]: one to log in to.
//! - [`documents`]: the documents, block by block.
//! - [`floors`]: what stands on what inside the crates.
//! - [`fuzz`]: random input, random calls, and many processes at once.
//! - [`openssl`]: the other opinion on signatures and ciphertexts; [`math`]: a third one, from the textbook.

#![forbid(unsafe_code)]

pub mod call;
pub mod circles;
pub mod crowd;
pub mod desk;
pub mod documents;
pub mod floors;
mod functions;
pub mod fuzz;
pub mod math;
pub mod migrant;
pub mod names;
pub mod openssl;
pub mod peer;
pub mod probe;
pub mod product;
pub mod signatures;
pub mod skip;
pub mod sshd;
pub mod world;

pub use call::{Argument, Memory, Piece};
pub use names::Ck;
pub use probe::{Attribute, Mechanism, Probe};
pub use world::World;
