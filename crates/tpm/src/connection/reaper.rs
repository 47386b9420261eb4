//! Gives back what is idle, from a thread that lives only while there is something to give back.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use log::warn;
use nix::sys::signal::{SigSet, SigmaskHow};

use crate::connection::pool::Pool;

/// The name of the thread: the one that the module's threads are known by.
const THREAD: &str = "tpm2-cryptoki";

#[derive(Debug, Default)]
struct State {
    /// The last thread started, until it is joined.
    thread: Option<JoinHandle<()>>,
    /// Whether it watches. Where not, it has ended or is about to, and takes no lock any more.
    watching: bool,
    /// How many callers of [`Reaper::stop`] wait for its end.
    stopping: usize,
    /// Whether one of them is joining it.
    joining: bool,
    /// Counts the calls of [`Reaper::wake`], so that a thread about to end notices one that came meanwhile.
    wakes: u64,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// The idle thread of one pool.
#[derive(Debug, Default)]
pub(crate) struct Reaper {
    shared: Arc<Shared>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reaper {
    /// Something is held: makes sure that the thread is there.
    pub(crate) fn wake(&self, pool: &Arc<Pool>) {
        let pool = Arc::downgrade(pool);
        self.watch_by(move || pool.upgrade().and_then(|pool| pool.give_back_idle()));
    }

    /// `give_back` says when to look again, and ends the thread with `None`.
    fn watch_by(&self, give_back: impl Fn() -> Option<Duration> + Send + 'static) {
        let mut state = self.shared.lock();
        state.wakes += 1;
        if state.watching || state.stopping > 0 {
            return;
        }
        if let Some(ended) = state.thread.take() {
            let _ = ended.join();
        }
        let shared = Arc::clone(&self.shared);
        match spawn_without_signals(move || Watch { shared: &shared }.run(&give_back)) {
            Ok(thread) => {
                state.thread = Some(thread);
                state.watching = true;
            }
            Err(error) => warn!("no thread to give back what is idle: {error}"),
        }
    }

    /// Ends the thread, and waits for its end: the code it runs may be unloaded next.
    pub(crate) fn stop(&self) {
        let mut state = self.shared.lock();
        state.stopping += 1;
        if let Some(thread) = state.thread.take() {
            state.joining = true;
            drop(state);
            self.shared.changed.notify_all();
            let _ = thread.join();
            state = self.shared.lock();
            state.joining = false;
            self.shared.changed.notify_all();
        } else {
            let waited = self.shared.changed.wait_while(state, |state| state.joining);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        state.stopping -= 1;
    }
}

/// The host's signals are the host's: none may be delivered to this thread.
fn spawn_without_signals(run: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    let spawned = thread::Builder::new().name(THREAD.into()).spawn(run);
    before.thread_set_mask()?;
    spawned
}

/// What the thread does.
struct Watch<'a> {
    shared: &'a Shared,
}

impl Watch<'_> {
    fn run(self, give_back: &impl Fn() -> Option<Duration>) {
        loop {
            let wakes = self.shared.lock().wakes;
            let next = give_back();
            let mut state = self.shared.lock();
            if state.stopping > 0 {
                state.watching = false;
                return;
            }
            let wait = match next {
                Some(wait) => wait.max(Duration::from_millis(1)),
                None if state.wakes == wakes => {
                    state.watching = false;
                    return;
                }
                None => continue,
            };
            let waited = self.shared.changed.wait_timeout_while(state, wait, |state| state.stopping == 0);
            let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if state.stopping > 0 {
                state.watching = false;
                return;
            }
        }
    }
}

impl Drop for Watch<'_> {
    /// After a panic the next wake starts another thread.
    fn drop(&mut self) {
        if thread::panicking() {
            self.shared.lock().watching = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    fn wait_for_the_end(reaper: &Reaper) {
        while reaper.shared.lock().watching {
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_panic_of_the_thread_is_not_its_last_work() {
        let reaper = Reaper::default();
        let calls = Arc::new(AtomicUsize::new(0));
        for _ in 0..3 {
            let calls = Arc::clone(&calls);
            reaper.watch_by(move || {
                calls.fetch_add(1, Ordering::SeqCst);
                panic!("a defect");
            });
            wait_for_the_end(&reaper);
        }
        assert_eq!(calls.load(Ordering::SeqCst), 3);
        reaper.stop();
    }

    static LEFT: AtomicBool = AtomicBool::new(false);

    /// Takes its time to leave the thread, as the destructors of thread-local variables do.
    struct Leaving;

    impl Drop for Leaving {
        fn drop(&mut self) {
            thread::sleep(Duration::from_millis(150));
            LEFT.store(true, Ordering::SeqCst);
        }
    }

    thread_local! {
        static LEAVING: Leaving = const { Leaving };
    }

    #[test]
    fn a_thread_that_ended_by_itself_is_waited_for() {
        let reaper = Reaper::default();
        for stop in [true, false] {
            LEFT.store(false, Ordering::SeqCst);
            reaper.watch_by(|| LEAVING.with(|_| None));
            wait_for_the_end(&reaper);
            if stop {
                reaper.stop();
            } else {
                reaper.watch_by(|| None);
            }
            assert!(LEFT.load(Ordering::SeqCst), "{stop}");
        }
        reaper.stop();
    }
}
