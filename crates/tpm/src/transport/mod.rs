//! The way of a command to the TPM and of the response back: bytes, and nothing about what they mean.
//!
//! A [`Transport`] is one connection. It is made by [`open`], used by one thread at a time, and good until its first
//! error: what comes after a lost or late response could not be told from it, so that a connection that failed once refuses
//! everything, and its owner drops it and opens another.
//!
//! It uses nothing of this crate but the ground floor. A response may hold what is secret, and is wiped when it was read.
//!
//! Descriptors are close-on-exec and never 0, 1 or 2, and nothing is done with one that the host has closed and uses itself by now; no signal is raised in the host; an interrupted system call is
//! repeated.

pub(crate) mod conf;
pub(crate) mod descriptors;
mod device;
mod exchange;
mod stream;
#[cfg(feature = "tcti")]
pub(crate) mod tcti;

pub(crate) use exchange::{Transport, TransportError};

use crate::TctiConf;

/// Opens a connection.
pub(crate) fn open(conf: &TctiConf) -> Result<Box<dyn Transport>, TransportError> {
    match conf {
        TctiConf::Device(path) => device::open(path),
        TctiConf::SwtpmTcp { host, port } => Ok(Box::new(stream::tcp(host, *port)?)),
        TctiConf::SwtpmUnix(path) => Ok(Box::new(stream::unix(path)?)),
        TctiConf::Other(text) => open_other(text),
    }
}

#[cfg(feature = "tcti")]
fn open_other(text: &str) -> Result<Box<dyn Transport>, TransportError> {
    tcti::open(text)
}

#[cfg(not(feature = "tcti"))]
fn open_other(text: &str) -> Result<Box<dyn Transport>, TransportError> {
    Err(TransportError::Unsupported(format!(
        "the TCTI {text:?} needs libtss2-tctildr, which this build leaves out (feature tcti); \
         device: and swtpm: are built in"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::time::{Duration, Instant};

    use super::exchange::MAX_RESPONSE;

    use swtpm_fixtures::{Fault, Proxy, ResourceManager, SwTpm};

    /// `TPM2_GetRandom` of 8 bytes; its response has 20.
    pub(super) const GET_RANDOM: [u8; 12] = [0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x7b, 0, 8];
    pub(super) const SECOND: Duration = Duration::from_secs(10);
    const CODE: u32 = 0x17b;

    /// Carries one `GET_RANDOM` and its response.
    pub(super) fn shuttle(client: &mut (impl Read + Write), tpm: &mut (impl Read + Write)) {
        let mut command = [0; 12];
        client.read_exact(&mut command).unwrap();
        tpm.write_all(&command).unwrap();
        let mut response = [0; 20];
        tpm.read_exact(&mut response).unwrap();
        client.write_all(&response).unwrap();
    }

    fn opened(tcti: &str) -> Box<dyn Transport> {
        open(&tcti.parse().unwrap()).unwrap()
    }

    fn refusal(tcti: &str) -> TransportError {
        open(&tcti.parse().unwrap()).map(|_| ()).unwrap_err()
    }

    #[test]
    fn a_kept_connection_answers_again_and_again() {
        for tpm in [SwTpm::start(), SwTpm::start_unix()] {
            let mut transport = opened(&tpm.tcti());
            for _ in 0..100 {
                let response = transport.transact(&GET_RANDOM, SECOND).unwrap();
                assert_eq!(response[..10], [0x80, 1, 0, 0, 0, 20, 0, 0, 0, 0]);
                assert_eq!(response.len(), 20);
            }
            assert!(transport.exclusive());
            assert!(!transport.resource_managed());
            let fd = transport.descriptor().unwrap().fd();
            let flags = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap();
            let flags = flags.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim().to_owned();
            let flags = i32::from_str_radix(&flags, 8).unwrap();
            assert_ne!(flags & nix::fcntl::OFlag::O_CLOEXEC.bits(), 0, "a child of the host must not inherit it");
        }
    }

    #[test]
    fn a_resource_manager_is_shared_and_known_by_its_name() {
        let tpm = SwTpm::start();
        let manager = ResourceManager::start(tpm.port());
        let [mut one, mut other] = [opened(&manager.tcti()), opened(&manager.tcti())];
        for _ in 0..3 {
            for transport in [&mut one, &mut other] {
                assert_eq!(transport.transact(&GET_RANDOM, SECOND).unwrap().len(), 20);
                assert!(transport.resource_managed());
                assert!(!transport.exclusive());
            }
        }
        assert_eq!((manager.connections(), manager.mark().len()), (2, 6));
    }

    #[test]
    fn one_connection_serves_all_commands() {
        let tpm = SwTpm::start();
        let proxy = Proxy::start(&tpm);
        let mut transport = opened(&proxy.tcti());
        for _ in 0..5 {
            transport.transact(&GET_RANDOM, SECOND).unwrap();
        }
        assert_eq!((proxy.connections(), proxy.mark().len()), (1, 5));
    }

    #[test]
    fn a_response_in_pieces_is_put_together() {
        let tpm = SwTpm::start();
        let proxy = Proxy::start(&tpm);
        let mut transport = opened(&proxy.tcti());
        for size in [1, 3, 10, 19] {
            proxy.inject(Fault::Pieces { code: CODE, size });
            assert_eq!(transport.transact(&GET_RANDOM, SECOND).unwrap().len(), 20);
        }
    }

    #[test]
    fn long_responses_up_to_the_bound() {
        let tpm = SwTpm::start();
        let proxy = Proxy::start(&tpm);
        for size in [10, 4095, 4096, 4097, MAX_RESPONSE] {
            let mut bytes = vec![7; size];
            bytes[2..6].copy_from_slice(&u32::try_from(size).unwrap().to_be_bytes());
            proxy.inject(Fault::Replace { code: CODE, bytes: bytes.clone() });
            assert!(*opened(&proxy.tcti()).transact(&GET_RANDOM, SECOND).unwrap() == bytes, "{size}");
        }
    }

    #[test]
    fn a_response_with_a_false_size_is_malformed() {
        let tpm = SwTpm::start();
        let proxy = Proxy::start(&tpm);
        for (size, sent) in [(0, 10), (9, 10), (0x1_0001, 10), (u32::MAX, 4096), (10, 11), (4096, 4096 + 7)] {
            let mut bytes = vec![0; sent];
            bytes[2..6].copy_from_slice(&size.to_be_bytes());
            proxy.inject(Fault::Replace { code: CODE, bytes });
            let mut transport = opened(&proxy.tcti());
            // What comes after the longest read at once is found by the next one.
            let first = transport.transact(&GET_RANDOM, SECOND);
            if sent <= 4096 {
                assert!(matches!(first, Err(TransportError::Malformed(_))), "{size} {first:?}");
                let second = transport.transact(&GET_RANDOM, SECOND);
                assert!(matches!(second, Err(TransportError::Lost(_))), "given up: {second:?}");
            } else {
                assert!(transport.transact(&GET_RANDOM, SECOND).is_err(), "{size}");
            }
        }
    }

    #[test]
    fn a_connection_that_ends_is_lost() {
        let tpm = SwTpm::start();
        let proxy = Proxy::start(&tpm);
        let ends = [
            Fault::CutBeforeCommand { code: CODE },
            Fault::CutAfterCommand { code: CODE },
            Fault::TruncateResponse { code: CODE, keep: 4 },
            Fault::TruncateResponse { code: CODE, keep: 19 },
        ];
        for fault in ends {
            proxy.inject(fault);
            let lost = opened(&proxy.tcti()).transact(&GET_RANDOM, SECOND);
            assert!(matches!(lost, Err(TransportError::Lost(_))), "{lost:?}");
        }
    }

    #[test]
    fn a_hanging_tpm_is_given_up_in_time() {
        let tpm = SwTpm::start();
        let proxy = Proxy::start(&tpm);
        proxy.inject(Fault::Hang { code: CODE });
        let mut transport = opened(&proxy.tcti());
        let patience = Duration::from_millis(60);
        let start = Instant::now();
        assert_eq!(transport.transact(&GET_RANDOM, patience), Err(TransportError::TimedOut(patience)));
        let took = start.elapsed();
        assert!(took >= patience && took < SECOND, "{took:?}");
    }

    #[test]
    fn a_response_that_drips_is_given_up_in_time() {
        let tpm = SwTpm::start();
        let proxy = Proxy::start(&tpm);
        let mut bytes = vec![0; 3000];
        bytes[2..6].copy_from_slice(&3000_u32.to_be_bytes());
        proxy.inject(Fault::Drip { code: CODE, bytes, every: Duration::from_millis(2) });
        let mut transport = opened(&proxy.tcti());
        let patience = Duration::from_millis(60);
        let start = Instant::now();
        assert_eq!(transport.transact(&GET_RANDOM, patience), Err(TransportError::TimedOut(patience)));
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    }

    #[test]
    fn nothing_that_is_answered_makes_it_panic() {
        let tpm = SwTpm::start();
        let proxy = Proxy::start(&tpm);
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = move |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % below as u64).unwrap()
        };
        for _ in 0..150 {
            let mut bytes: Vec<u8> = (0..random(64)).map(|_| random(256) as u8).collect();
            if let Some(size) = bytes.get_mut(2..6) {
                size.copy_from_slice(&(random(70) as u32).to_be_bytes());
            }
            proxy.inject(Fault::Replace { code: CODE, bytes: bytes.clone() });
            match opened(&proxy.tcti()).transact(&GET_RANDOM, Duration::from_millis(10)) {
                Ok(response) => assert_eq!(*response, bytes),
                Err(TransportError::Malformed(_) | TransportError::TimedOut(_) | TransportError::Lost(_)) => {}
                Err(other) => panic!("{other:?}"),
            }
            // On a busy machine the command may still be on its way; the fault is its, not the next one's.
            while !proxy.pending_faults().is_empty() {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    #[test]
    fn a_late_response_is_not_taken_for_the_next_ones() {
        let tpm = SwTpm::start();
        let proxy = Proxy::start(&tpm);
        proxy.inject(Fault::Delay { code: CODE, by: Duration::from_millis(60) });
        let mut transport = opened(&proxy.tcti());
        let late = transport.transact(&GET_RANDOM, Duration::from_millis(5));
        assert!(matches!(late, Err(TransportError::TimedOut(_))));
        std::thread::sleep(Duration::from_millis(100));
        assert!(matches!(transport.transact(&GET_RANDOM, SECOND), Err(TransportError::Lost(_))));
    }

    #[test]
    fn who_is_not_there_is_named() {
        let mut tpm = SwTpm::start();
        tpm.stop();
        let text = refusal(&tpm.tcti()).to_string();
        assert!(text.contains(&format!("nothing listens on 127.0.0.1:{}", tpm.port())), "{text}");
        let text = refusal(&format!("swtpm:port={}", tpm.port())).to_string();
        assert!(text.contains("nothing listens on localhost:"), "{text}");
        let text = refusal("swtpm:path=/nonexistent/socket").to_string();
        assert!(text.contains("there is no socket /nonexistent/socket"), "{text}");
        let mut tpm = SwTpm::start_unix();
        let path = tpm.path().unwrap().to_owned();
        tpm.stop();
        if path.exists() {
            let text = refusal(&tpm.tcti()).to_string();
            assert!(text.contains("nothing listens on"), "{text}");
        }
        let text = refusal(&format!("swtpm:path=/{}", "x".repeat(200))).to_string();
        assert!(text.contains("cannot connect to"), "{text}");
    }
}
