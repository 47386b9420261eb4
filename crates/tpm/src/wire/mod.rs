//! Marshalling: TPM 2.0 structures are big-endian integers and size-prefixed buffers (Part 2, 4 to 12).

pub(crate) mod constants;
mod reader;
mod writer;

pub(crate) use reader::Reader;
pub(crate) use writer::Writer;
