//! What this process knows of others that want the TPM's places for sessions, and how it waits for one.
//!
//! A TPM has some 64 places for sessions, saved ones included, for all programs together. While there are fewer left than are
//! wanted, a session is worth keeping no longer than for one operation: then everybody has a turn.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// How long a sign of a crowd is believed.
const BELIEVED: Duration = Duration::from_secs(5);
/// A TPM gives the lowest number that is free: with this one, half of the 64 places that the PC Client profile asks for are taken.
const HALF_FULL: u32 = 32;
const FIRST_PAUSE: Duration = Duration::from_millis(2);

/// Answers are slow when they take so many times as long as the fastest, and longer than this.
const SLOWER: u32 = 16;
const SLOW: Duration = Duration::from_millis(50);
/// So many of them in a row are no accident.
const SLOW_IN_A_ROW: u32 = 4;
/// How long no second look is taken at what slow answers come from.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Whether there is a crowd. Shared by all connections of a [`Tpm`](crate::Tpm).
#[derive(Debug, Default)]
pub(crate) struct Crowd {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    seen: Option<Instant>,
    fastest: Option<Duration>,
    slow: u32,
    looked: Option<Instant>,
}

impl Crowd {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody had to wait.
    pub(super) fn notice(&self) {
        self.lock().seen = Some(Instant::now());
    }

    /// An answer took so long: who holds a session meets nobody who waits for one, but the queue before the TPM.
    pub(super) fn notice_answer(&self, took: Duration) {
        let mut state = self.lock();
        let fastest = state.fastest.map_or(took, |fastest| fastest.min(took));
        state.fastest = Some(fastest);
        let slow = took > SLOW && took > fastest * SLOWER;
        state.slow = if slow { state.slow.saturating_add(1) } else { 0 };
    }

    /// Whether a held session should end with its next use for the sake of the number that the one after it will have.
    pub(super) fn wants_a_look(&self) -> bool {
        let mut state = self.lock();
        let looked = state.looked.is_some_and(|looked| looked.elapsed() < LOOK_AGAIN);
        let wants = state.slow >= SLOW_IN_A_ROW && !looked;
        if wants {
            (state.looked, state.slow) = (Some(Instant::now()), 0);
        }
        wants
    }

    /// The handle of a session just started tells how many others there are.
    pub(super) fn notice_handle(&self, handle: u32) {
        if handle & 0x00ff_ffff >= HALF_FULL {
            self.notice();
        }
    }

    pub(super) fn is_there(&self) -> bool {
        self.lock().seen.is_some_and(|seen| seen.elapsed() < BELIEVED)
    }
}

/// Growing pauses, each a little different from everybody else's.
#[derive(Debug)]
pub(crate) struct Pauses {
    started: Instant,
    next: Duration,
    longest: Duration,
}

impl Pauses {
    pub(crate) fn up_to(longest: Duration) -> Pauses {
        Pauses { started: Instant::now(), next: FIRST_PAUSE, longest }
    }

    /// Sleeps; false, and at once, when that would take longer than `patience` in all.
    pub(crate) fn pause(&mut self, patience: Duration) -> bool {
        if self.started.elapsed() + self.next > patience {
            return false;
        }
        let nanos = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |now| now.subsec_nanos());
        let half = self.next / 2;
        thread::sleep(half + half.mul_f64(f64::from(nanos % 1024) / 1024.0));
        self.next = (self.next * 2).min(self.longest);
        true
    }

    pub(super) fn is_first(&self) -> bool {
        self.next == FIRST_PAUSE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_is_seen_by_the_number_of_a_session() {
        let crowd = Crowd::default();
        for handle in [0x0200_0000, 0x0200_001f, 0x0300_0000] {
            crowd.notice_handle(handle);
            assert!(!crowd.is_there(), "{handle:#x}");
        }
        crowd.notice_handle(0x0200_0020);
        assert!(crowd.is_there());
    }

    #[test]
    fn slow_answers_in_a_row_are_worth_one_look() {
        let crowd = Crowd::default();
        let answers = |ms: &[u64]| ms.iter().for_each(|ms| crowd.notice_answer(Duration::from_millis(*ms)));
        answers(&[2, 500, 500, 500, 2, 500, 500, 500]);
        assert!(!crowd.wants_a_look(), "accidents");
        answers(&[500]);
        assert!(crowd.wants_a_look());
        answers(&[500; 8]);
        assert!(!crowd.wants_a_look(), "once is enough for a while");
        // A TPM that is always slow has no queue before it.
        let crowd = Crowd::default();
        (0..20).for_each(|_| crowd.notice_answer(Duration::from_millis(400)));
        assert!(!crowd.wants_a_look());
    }

    #[test]
    fn pauses_grow_and_end() {
        let patience = Duration::from_millis(60);
        let mut pauses = Pauses::up_to(Duration::from_millis(8));
        let start = Instant::now();
        let mut count = 0;
        while pauses.pause(patience) {
            count += 1;
        }
        assert!(start.elapsed() < patience * 10 && (4..=30).contains(&count), "{count}");
    }
}
