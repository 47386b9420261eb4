//! What sessions may keep in memory: their objects, and searches that are held open. Whoever asks for more than there is gets a
//! refusal, and not the host the end of its memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What is free of an amount of memory, in bytes.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    left: Arc<AtomicUsize>,
    most: usize,
}

/// A part of it, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    left: Arc<AtomicUsize>,
    bytes: usize,
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        Self { left: Arc::new(AtomicUsize::new(bytes)), most: bytes }
    }

    /// `None` if less is left.
    pub(crate) fn take(&self, bytes: usize) -> Option<Share> {
        let taken = self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(bytes));
        taken.is_ok().then(|| Share { left: Arc::clone(&self.left), bytes })
    }

    /// The same for what must be possible where nothing else is held: then as much as there is.
    pub(crate) fn take_or_all(&self, bytes: usize) -> Option<Share> {
        self.take(bytes).or_else(|| self.take(self.most))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.left.fetch_add(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_comes_back() {
        let budget = Budget::new(10);
        let seven = budget.take(7).unwrap();
        assert!(budget.take(4).is_none() && budget.take_or_all(4).is_none());
        let three = budget.take(3).unwrap();
        assert!(budget.take(1).is_none());
        drop((seven, three));
        let all = budget.take_or_all(1000).unwrap();
        assert!(budget.take(1).is_none());
        drop(all);
        assert!(budget.take(10).is_some());
    }
}
