//! The raw descriptors of open connections, in a form a forked child can close without taking a lock.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicI32, Ordering};

/// More connections than this are never open at once.
const SLOTS: usize = 32;
const EMPTY: i32 = -1;

/// The descriptors of one [`Tpm`](crate::Tpm).
#[derive(Debug)]
pub(crate) struct Descriptors {
    slots: [AtomicI32; SLOTS],
}

impl Descriptors {
    pub(crate) fn new() -> Descriptors {
        Descriptors { slots: std::array::from_fn(|_| AtomicI32::new(EMPTY)) }
    }

    /// Whether there was a place for it.
    pub(crate) fn add(&self, fd: RawFd) -> bool {
        self.replace(EMPTY, fd)
    }

    /// Whether it was there: if not, [`Descriptors::close_all`] has closed it.
    pub(crate) fn remove(&self, fd: RawFd) -> bool {
        self.replace(fd, EMPTY)
    }

    fn replace(&self, old: RawFd, new: RawFd) -> bool {
        self.slots.iter().any(|slot| slot.compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed).is_ok())
    }

    /// Closes them all in this process, without a word to the other side. Never blocks.
    pub(crate) fn close_all(&self) {
        for slot in &self.slots {
            let fd = slot.swap(EMPTY, Ordering::AcqRel);
            if fd != EMPTY {
                // A failing close leaves nothing to do: the descriptor is gone either way.
                let _ = nix::unistd::close(fd);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::IntoRawFd;

    #[test]
    fn a_registered_descriptor_is_closed_and_a_removed_one_is_not() {
        let descriptors = Descriptors::new();
        let (kept, closed) = std::os::unix::net::UnixStream::pair().unwrap();
        let (kept, closed) = (kept.into_raw_fd(), closed.into_raw_fd());
        assert!(descriptors.add(kept) && descriptors.add(closed));
        assert!(descriptors.remove(kept) && !descriptors.remove(kept));
        descriptors.close_all();
        assert!(!descriptors.remove(closed));
        assert!(nix::unistd::close(kept).is_ok());
    }
}
