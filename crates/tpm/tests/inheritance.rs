//! A child that was forked off has the descriptors of its parent. Alone in its file: it looks at the descriptors of the process.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on must fail")]

mod common;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use common::{Stage, p256, with};
use nix::poll::{PollFd, PollFlags};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use swtpm_fixtures::{SwTpm, leftovers};
use tpm::Options;

#[test]
fn a_child_that_knows_nothing_locks_nobody_out() {
    for swtpm in [SwTpm::start(), SwTpm::start_unix()] {
        let stage = Stage::set(&swtpm, &[p256()]);
        let open = |idle| {
            let before = sockets();
            let tpm = with(&swtpm.tcti(), Options { idle, ..Options::default() });
            stage.sign(&tpm, 0);
            (tpm, inherited(&before))
        };
        let never = Duration::from_secs(100);
        let others_get_in = || {
            let started = Instant::now();
            assert!(leftovers(&swtpm).is_clean());
            assert!(started.elapsed() < Duration::from_secs(5));
        };
        let (tpm, child) = open(never);
        tpm.release();
        others_get_in();
        drop((tpm, child));

        let (tpm, child) = open(never);
        drop(tpm);
        others_get_in();
        drop(child);

        let (tpm, child) = open(Duration::from_millis(200));
        others_get_in();
        drop((tpm, child));

        // Seen from the other side: what a child that knows does to its own is nothing to the parent.
        let (child, parent) = open(never);
        child.abandon();
        drop(child);
        for _ in 0..2 {
            let get_random = [0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x7b, 0, 8];
            assert_eq!(nix::unistd::write(&parent, &get_random).unwrap(), get_random.len());
            nix::poll::poll(&mut [PollFd::new(parent.as_fd(), PollFlags::POLLIN)], 10_000u16).unwrap();
            assert_eq!(nix::unistd::read(&parent, &mut [0; 64]).unwrap(), 20);
        }
    }
}

/// The sockets of this process.
fn sockets() -> BTreeMap<RawFd, String> {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    entries
        .filter_map(|entry| {
            let target = std::fs::read_link(entry.path()).ok()?.to_string_lossy().into_owned();
            let fd = entry.file_name().to_string_lossy().parse().ok()?;
            target.starts_with("socket:").then_some((fd, target))
        })
        .collect()
}

/// A second descriptor of the one socket that was not there before, as a forked child has it.
fn inherited(before: &BTreeMap<RawFd, String>) -> OwnedFd {
    let new: Vec<RawFd> =
        sockets().into_iter().filter(|(fd, target)| before.get(fd) != Some(target)).map(|(fd, _)| fd).collect();
    assert_eq!(new.len(), 1, "{new:?}");
    let process = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    pidfd_getfd(&process, new[0], PidfdGetfdFlags::empty()).unwrap()
}
