//! The length protocol of PKCS#11 v3.1 5.2, in one place.

/// Where a call's result goes: nowhere (the caller asks for the length), or into the caller's buffer.
#[derive(Debug)]
pub enum Output<'a> {
    /// The pointer was null: only the length is wanted.
    Length,
    /// The caller's buffer, with the length it said.
    Buffer(&'a mut [u8]),
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Only the length was asked for: nothing written, the operation goes on.
    Length(usize),
    /// The buffer is shorter than `needed`: nothing written, the operation goes on.
    TooSmall {
        /// Bytes that the result has.
        needed: usize,
    },
    /// The result was written: this many bytes.
    Written(usize),
}

impl Output<'_> {
    /// Answers a length query or a buffer shorter than `needed` bytes, before any work is done for the result.
    /// `None`: there is room, do the work.
    #[must_use]
    pub fn refuse(&self, needed: usize) -> Option<Delivery> {
        match self {
            Output::Length => Some(Delivery::Length(needed)),
            Output::Buffer(buffer) if buffer.len() < needed => Some(Delivery::TooSmall { needed }),
            Output::Buffer(_) => None,
        }
    }

    /// Writes `result`, if it fits.
    pub fn deliver(self, result: &[u8]) -> Delivery {
        match self {
            Output::Length => Delivery::Length(result.len()),
            Output::Buffer(buffer) => match buffer.get_mut(..result.len()) {
                Some(room) => {
                    room.copy_from_slice(result);
                    Delivery::Written(result.len())
                }
                None => Delivery::TooSmall { needed: result.len() },
            },
        }
    }

    /// The room the caller gave, in bytes; `None` for a length query.
    #[must_use]
    pub fn room(&self) -> Option<usize> {
        match self {
            Output::Length => None,
            Output::Buffer(buffer) => Some(buffer.len()),
        }
    }
}
