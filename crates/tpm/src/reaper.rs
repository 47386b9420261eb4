//! Gives back what is idle, from a thread that lives only while there is something to give back.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use log::warn;
use nix::sys::signal::{SigSet, SigmaskHow};

use crate::pool::Pool;

#[derive(Debug, Default)]
struct State {
    running: Option<JoinHandle<()>>,
    /// How many callers of [`Reaper::stop`] wait for its end.
    stopping: usize,
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
        let mut state = self.shared.lock();
        state.wakes += 1;
        if state.running.is_some() || state.stopping > 0 {
            return;
        }
        let (shared, pool) = (Arc::clone(&self.shared), Arc::downgrade(pool));
        match spawn_without_signals(move || watch(&shared, &pool)) {
            Ok(handle) => state.running = Some(handle),
            Err(error) => warn!("no thread to give back what is idle: {error}"),
        }
    }

    /// Ends the thread, and waits for its end: the code it runs may be unloaded next.
    pub(crate) fn stop(&self) {
        let handle = {
            let mut state = self.shared.lock();
            state.stopping += 1;
            state.running.take()
        };
        self.shared.changed.notify_all();
        if let Some(handle) = handle {
            let _ = handle.join();
        }
        self.shared.lock().stopping -= 1;
    }
}

/// The host's signals are the host's: none may be delivered to this thread.
fn spawn_without_signals(run: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    let spawned = thread::Builder::new().name("tpm-idle".into()).spawn(run);
    before.thread_set_mask()?;
    spawned
}

fn watch(shared: &Shared, pool: &Weak<Pool>) {
    loop {
        let wakes = shared.lock().wakes;
        let next = pool.upgrade().and_then(|pool| pool.give_back_idle());
        let mut state = shared.lock();
        if state.stopping > 0 {
            return;
        }
        let wait = match next {
            Some(wait) => wait.max(Duration::from_millis(1)),
            None if state.wakes == wakes => {
                state.running = None;
                return;
            }
            None => continue,
        };
        let waited = shared.changed.wait_timeout_while(state, wait, |state| state.stopping == 0);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if state.stopping > 0 {
            return;
        }
    }
}
