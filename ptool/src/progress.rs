//! Shows a person who waits that something is going on, how far it is, and for how long.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two changes of the line.
const STEP: Duration = Duration::from_millis(250);

/// A line on standard error that counts seconds, and is gone with this. Where standard error is no terminal there is none.
#[derive(Debug)]
pub(crate) struct Progress(Option<(Sender<()>, JoinHandle<()>)>);

/// How much of something is done. Copies count the same.
#[derive(Clone, Debug)]
pub(crate) struct Done {
    count: Arc<AtomicUsize>,
    of: usize,
}

impl Done {
    /// Nothing yet, of so many.
    pub(crate) fn of(of: usize) -> Done {
        Done { count: Arc::default(), of }
    }

    pub(crate) fn is_now(&self, count: usize) {
        self.count.store(count, Ordering::Relaxed);
    }

    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

impl Progress {
    /// Begins to show `what`.
    pub(crate) fn start(what: &'static str) -> Progress {
        Self::show(move |elapsed| line(what, elapsed))
    }

    /// Begins to show `what`, and how much of it is done.
    pub(crate) fn counting(what: &'static str, done: &Done) -> Progress {
        let done = done.clone();
        Self::show(move |elapsed| line(&format!("{what}: {} of {}", done.count(), done.of), elapsed))
    }

    fn show(line: impl Fn(Duration) -> String + Send + 'static) -> Progress {
        let terminal = io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        if !terminal {
            return Progress(None);
        }
        let (end, ended) = channel();
        let thread = std::thread::spawn(move || {
            let start = Instant::now();
            // Nobody is left to watch when standard error is gone.
            let show = |text: &str| {
                let mut stderr = io::stderr().lock();
                let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
            };
            show(&line(start.elapsed()));
            while ended.recv_timeout(STEP) == Err(RecvTimeoutError::Timeout) {
                show(&line(start.elapsed()));
            }
            // To the beginning of the line, and what stands on it away.
            show("\r\u{1b}[K");
        });
        Progress(Some((end, thread)))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.0.take() {
            drop(end);
            // The line must be gone before anything else is printed; a thread that panicked shows nothing more either.
            let _ = thread.join();
        }
    }
}

fn line(what: &str, elapsed: Duration) -> String {
    match elapsed.as_secs() {
        0 => format!("\rptool: {what} "),
        seconds => format!("\rptool: {what} ({seconds} s) "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_counted_from_the_first() {
        assert_eq!(line("waiting", Duration::from_millis(900)), "\rptool: waiting ");
        assert_eq!(line("waiting", Duration::from_secs(61)), "\rptool: waiting (61 s) ");
        let done = Done::of(300);
        done.clone().is_now(200);
        assert_eq!((done.count(), done.of), (200, 300));
    }

    #[test]
    fn it_ends_when_it_is_dropped() {
        let (end, ended) = channel::<()>();
        let progress = Progress(Some((end, std::thread::spawn(move || assert!(ended.recv().is_err())))));
        drop(progress);
    }
}
