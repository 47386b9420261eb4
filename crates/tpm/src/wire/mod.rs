//! Marshalling: TPM 2.0 structures are big-endian integers and size-prefixed buffers (Part 2, 4 to 12).
//!
//! It uses errors alone. What is done with the structures is not known here.

pub(crate) mod constants;
pub(crate) mod hash;
pub(crate) mod pcr;
pub(crate) mod public;
mod reader;
pub(crate) mod signature;
pub(crate) mod template;
mod writer;

pub(crate) use reader::Reader;
pub(crate) use writer::Writer;
