//! For hosts that forbid threads. Alone in its file: it looks at the threads of the process.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on must fail")]

mod common;

use std::time::Duration;

use common::{Stage, assert_becomes_clean, counted, p256, secret, with};
use swtpm_fixtures::{ResourceManager, leftovers};
use tpm::Options;

#[test]
fn no_thread_is_started_where_threads_are_forbidden() {
    let (swtpm, proxy) = counted();
    let stage = Stage::set(&swtpm, &[p256(), p256()]);
    let options = Options { threads: false, idle: Duration::from_millis(20), ..Options::default() };

    let tpm = with(&proxy.tcti(), options.clone());
    let others_get_in = || assert!(leftovers(&swtpm).is_clean());
    for _ in 0..2 {
        stage.login(&tpm);
        assert_eq!(proxy.mark().to_string(), "StartAuthSession Load Unseal FlushContext");
        others_get_in();
        stage.sign(&tpm, 0);
        assert_eq!(proxy.mark().to_string(), "Load StartAuthSession Sign FlushContext FlushContext");
        others_get_in();
        tpm.random(&mut [0; 8]).unwrap();
        tpm.check_primary(&stage.primary).unwrap();
        others_get_in();
        tpm.create_key(&stage.primary, &p256(), &secret(7), None).unwrap();
        others_get_in();
        tpm.unseal(&stage.primary, &stage.user, &secret(77), None).unwrap_err();
        others_get_in();
        proxy.mark();
    }
    assert!(!has_thread());
    drop(tpm);

    let manager = ResourceManager::start(proxy.port());
    let tpm = with(&manager.tcti(), options);
    stage.login(&tpm);
    stage.sign(&tpm, 0);
    std::thread::sleep(Duration::from_millis(100));
    manager.mark();
    stage.sign(&tpm, 0);
    assert_eq!(manager.mark().to_string(), "Sign", "it is kept");
    assert!(!has_thread());
    tpm.release();
    assert_becomes_clean(&swtpm);
    stage.sign(&tpm, 1);
    drop(tpm);
    assert_becomes_clean(&swtpm);
}

/// A thread bears its name a moment after it was started.
fn has_thread() -> bool {
    std::thread::sleep(Duration::from_millis(50));
    let is_ours = |entry: std::fs::DirEntry| {
        std::fs::read_to_string(entry.path().join("comm")).is_ok_and(|name| name.trim() == "tpm2-cryptoki")
    };
    std::fs::read_dir("/proc/self/task").unwrap().flatten().any(is_ours)
}
