//! The thread that gives back what is idle. Alone in its file: it looks at the threads of the process.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on must fail")]

mod common;

use std::time::Duration;

use common::{Stage, p256, with};
use swtpm_fixtures::SwTpm;
use tpm::Options;

#[test]
fn no_thread_outlives_a_release() {
    let swtpm = SwTpm::start();
    let stage = Stage::set(&swtpm, &[p256()]);
    let tpm = with(&swtpm.tcti(), Options { idle: Duration::from_secs(60), ..Options::default() });
    for _ in 0..3 {
        stage.sign(&tpm, 0);
        assert!(thread_comes());
        tpm.release();
        assert!(!has_idle_thread());
    }
    stage.sign(&tpm, 0);
    drop(tpm);
    assert!(!has_idle_thread());
    let tpm = with(&swtpm.tcti(), Options { idle: Duration::from_millis(20), ..Options::default() });
    stage.sign(&tpm, 0);
    assert!(thread_comes());
    while has_idle_thread() {
        std::thread::sleep(Duration::from_millis(5));
    }
    stage.sign(&tpm, 0);
}

/// A thread bears its name a moment after it was started.
fn thread_comes() -> bool {
    (0..1000).any(|_| {
        std::thread::sleep(Duration::from_millis(1));
        has_idle_thread()
    })
}

fn has_idle_thread() -> bool {
    let is_idle = |entry: std::fs::DirEntry| {
        std::fs::read_to_string(entry.path().join("comm")).is_ok_and(|name| name.trim() == "tpm2-cryptoki")
    };
    std::fs::read_dir("/proc/self/task").unwrap().flatten().any(is_idle)
}
