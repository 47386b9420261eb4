//! What the number of a descriptor leads to.
//!
//! A library keeps numbers in a process that is not its own. A host that closes every number above 2, as daemons do, and then opens
//! files and connections of its own, gets the same numbers again. So what a number led to is remembered with it, and whoever is
//! about to use or close it looks first whether it still does. Between the look and the use another thread of the host can
//! close it all the same: nothing in a process can prevent that.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};

/// A number, and the file, device or socket that it led to: all of them have an inode, and that of a socket is its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    fd: RawFd,
    device: u64,
    inode: u64,
}

impl Known {
    /// What the number leads to now; `None` if it leads nowhere.
    #[must_use]
    pub fn of(fd: RawFd) -> Option<Known> {
        if fd < 0 {
            return None;
        }
        // SAFETY: not -1; the descriptor is only asked what it is, by a system call that says so where it is closed.
        let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
        let found = rustix::fs::fstat(borrowed).ok()?;
        Some(Known { fd, device: found.st_dev, inode: found.st_ino })
    }

    /// The number.
    #[must_use]
    pub fn fd(&self) -> RawFd {
        self.fd
    }

    /// Whether the number still leads there.
    #[must_use]
    pub fn stands(&self) -> bool {
        Known::of(self.fd) == Some(*self)
    }
}

/// A descriptor that is closed only if it is still what it was. Dropped by somebody who does not know what the host did, it is left open
/// where it is the host's by now.
#[derive(Debug)]
pub struct Descriptor {
    /// Taken by the drop alone.
    fd: Option<OwnedFd>,
    known: Option<Known>,
    /// Looked at for the use that follows.
    looked: AtomicBool,
}

impl Descriptor {
    /// Remembers what it leads to.
    #[must_use]
    pub fn new(fd: OwnedFd) -> Descriptor {
        Descriptor { known: Known::of(fd.as_raw_fd()), fd: Some(fd), looked: AtomicBool::new(false) }
    }

    /// The descriptor, if it is still what it was.
    #[must_use]
    pub fn get(&self) -> Option<BorrowedFd<'_>> {
        let looked = self.looked.swap(false, Ordering::Relaxed);
        self.fd.as_ref().filter(|_| looked || self.stands()).map(AsFd::as_fd)
    }

    /// The same, and the [`get`](Self::get) that follows at once needs no look of its own.
    #[must_use]
    pub fn look(&self) -> Option<BorrowedFd<'_>> {
        self.looked.store(false, Ordering::Relaxed);
        let found = self.get();
        self.looked.store(found.is_some(), Ordering::Relaxed);
        found
    }

    /// Its number, with what it leads to.
    #[must_use]
    pub fn known(&self) -> Option<Known> {
        self.known
    }

    fn stands(&self) -> bool {
        // Where the system cannot say (as in a sandbox without fstat) it is believed.
        self.known.is_none_or(|known| known.stands())
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        let stands = self.stands();
        if let Some(fd) = self.fd.take()
            && !stands
        {
            // Closed, or somebody else's.
            std::mem::forget(fd);
        }
    }
}

const EMPTY: RawFd = -1;
/// Being filled: whoever looks now, such as a forked child, sees nothing.
const TAKEN: RawFd = -2;

/// Descriptors that are known, in a form that a forked child can read without a lock.
#[derive(Debug)]
pub struct Descriptors<const MOST: usize> {
    slots: [Slot; MOST],
}

#[derive(Debug)]
struct Slot {
    fd: AtomicI32,
    device: AtomicU64,
    inode: AtomicU64,
}

impl Slot {
    const fn empty() -> Slot {
        Slot { fd: AtomicI32::new(EMPTY), device: AtomicU64::new(0), inode: AtomicU64::new(0) }
    }

    fn known(&self) -> Option<Known> {
        let fd = self.fd.load(Ordering::Acquire);
        let known =
            Known { fd, device: self.device.load(Ordering::Relaxed), inode: self.inode.load(Ordering::Relaxed) };
        (fd >= 0).then_some(known)
    }

    fn clear(&self, fd: RawFd) -> bool {
        self.fd.compare_exchange(fd, EMPTY, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

impl<const MOST: usize> Default for Descriptors<MOST> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const MOST: usize> Descriptors<MOST> {
    /// None yet.
    #[must_use]
    pub const fn new() -> Self {
        Descriptors { slots: [const { Slot::empty() }; MOST] }
    }

    /// Whether there was a place for it.
    pub fn add(&self, known: Known) -> bool {
        let free = self
            .slots
            .iter()
            .find(|slot| slot.fd.compare_exchange(EMPTY, TAKEN, Ordering::AcqRel, Ordering::Relaxed).is_ok());
        if let Some(slot) = free {
            slot.device.store(known.device, Ordering::Relaxed);
            slot.inode.store(known.inode, Ordering::Relaxed);
            slot.fd.store(known.fd, Ordering::Release);
        }
        free.is_some()
    }

    /// Whether it was there: if not, [`Descriptors::close_all`] has closed it.
    pub fn remove(&self, known: Known) -> bool {
        self.slots.iter().any(|slot| slot.known() == Some(known) && slot.clear(known.fd))
    }

    /// What is known under a number.
    pub fn find(&self, fd: RawFd) -> Option<Known> {
        self.slots.iter().filter_map(Slot::known).find(|known| known.fd == fd)
    }

    /// Forgets all that is known under a number.
    pub fn forget(&self, fd: RawFd) {
        for slot in &self.slots {
            slot.clear(fd);
        }
    }

    /// Closes those in this process that are still what they were, without a word to the other side. Never blocks.
    pub fn close_all(&self) {
        for slot in &self.slots {
            let Some(known) = slot.known() else { continue };
            if slot.clear(known.fd) && known.stands() {
                close(known.fd);
            }
        }
    }
}

fn close(fd: RawFd) {
    // SAFETY: the number was looked at a moment ago and is ours; nobody else closes it, since it has left the table.
    unsafe { rustix::io::close(fd) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::IntoRawFd;
    use std::os::unix::net::UnixStream;

    /// Puts something else under a number, as a host does that closes it and opens a file of its own.
    fn usurp(fd: RawFd) -> Known {
        let file = tempfile::tempfile().unwrap();
        // SAFETY: the number is open, and this test's; what was there is closed.
        let mut place = std::mem::ManuallyDrop::new(unsafe { std::os::fd::FromRawFd::from_raw_fd(fd) });
        rustix::io::dup2(&file, &mut place).unwrap();
        Known::of(fd).unwrap()
    }

    #[test]
    fn a_known_descriptor_is_closed_and_a_removed_one_is_not() {
        let descriptors = Descriptors::<4>::new();
        let (kept, closed) = UnixStream::pair().unwrap();
        let [kept, closed] = [kept, closed].map(|end| Known::of(end.into_raw_fd()).unwrap());
        assert!(descriptors.add(kept) && descriptors.add(closed));
        assert_eq!(descriptors.find(closed.fd()), Some(closed));
        assert!(descriptors.remove(kept) && !descriptors.remove(kept));
        descriptors.close_all();
        assert!(!descriptors.remove(closed));
        assert!(kept.stands() && !closed.stands());
        close(kept.fd());
    }

    #[test]
    fn what_the_host_put_in_its_place_is_left_alone() {
        let descriptors = Descriptors::<4>::new();
        let (mine, _other) = UnixStream::pair().unwrap();
        let (descriptor, _another) = UnixStream::pair().unwrap();
        let mine = Known::of(mine.into_raw_fd()).unwrap();
        let descriptor = Descriptor::new(descriptor.into());
        assert!(descriptors.add(mine) && descriptor.get().is_some());
        let hosts = [mine.fd(), descriptor.known().unwrap().fd()].map(usurp);
        descriptors.close_all();
        assert_eq!((mine.stands(), descriptor.get().is_some()), (false, false));
        drop(descriptor);
        for host in hosts {
            assert!(host.stands(), "closed what was the host's");
            close(host.fd());
        }
        assert_eq!(Known::of(hosts[0].fd()), None);
        assert_eq!(Known::of(-1), None);
    }

    #[test]
    fn a_full_table_says_so() {
        let descriptors = Descriptors::<1>::new();
        let ends = UnixStream::pair().map(|(a, b)| [a, b]).unwrap();
        let [a, b] = [&ends[0], &ends[1]].map(|end| Known::of(end.as_raw_fd()).unwrap());
        assert!(descriptors.add(a) && !descriptors.add(b));
        descriptors.forget(a.fd());
        assert!(descriptors.add(b) && descriptors.find(a.fd()).is_none());
    }
}
