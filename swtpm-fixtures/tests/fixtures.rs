//! The fixtures themselves: what tests conclude from them is only as good as they are.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use swtpm_fixtures::{ANY, Commands, Fault, NO_RESPONSE, Proxy, RawClient, ResourceManager, SwTpm, leftovers};

const GET_RANDOM: u32 = 0x17b;

fn random(tpm: &mut RawClient) -> std::io::Result<(u32, Vec<u8>)> {
    tpm.command(GET_RANDOM, &[0, 8])
}

/// `TPM2_HashSequenceStart` with SHA-256 and no authorisation: the cheapest transient object.
fn sequence(tpm: &mut RawClient) -> (u32, u32) {
    let (rc, body) = tpm.command(0x186, &[0, 0, 0, 0x0b]).unwrap();
    (rc, handle(&body))
}

/// `TPM2_StartAuthSession`: an unsalted, unbound HMAC session.
fn session(tpm: &mut RawClient) -> (u32, u32) {
    let mut body = vec![0x40, 0, 0, 7, 0x40, 0, 0, 7, 0, 16];
    body.extend([7; 16]);
    body.extend([0, 0, 0, 0, 0x10, 0, 0x0b]);
    let (rc, body) = tpm.command(0x176, &body).unwrap();
    (rc, handle(&body))
}

fn flush(tpm: &mut RawClient, handle: u32) -> u32 {
    tpm.command(0x165, &handle.to_be_bytes()).unwrap().0
}

/// `TPM2_SequenceUpdate` with an empty password: uses the object.
fn update(tpm: &mut RawClient, sequence: u32) -> u32 {
    tpm.command_with_empty_password(0x15c, &[sequence], &[0, 1, 0xaa]).unwrap().0
}

fn handle(body: &[u8]) -> u32 {
    body.get(..4).map_or(0, |word| u32::from_be_bytes(word.try_into().unwrap()))
}

#[test]
fn a_tpm_answers_when_it_is_started_and_is_gone_when_dropped() {
    let tpm = SwTpm::start();
    assert_eq!(tpm.tcti(), format!("swtpm:host=127.0.0.1,port={}", tpm.port()));
    let (rc, body) = random(&mut tpm.connect().unwrap()).unwrap();
    assert_eq!((rc, body.len()), (0, 10));

    let (port, pid, state) = (tpm.port(), tpm.pid().unwrap(), tpm.state_dir());
    assert!(state.join("tpm2-00.permall").exists());
    drop(tpm);
    assert!(RawClient::connect(port).is_err());
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    assert!(!state.exists());
}

#[test]
fn a_panic_ends_the_tpm_too() {
    let (send, receive) = std::sync::mpsc::channel();
    let panicked = std::thread::spawn(move || {
        let tpm = SwTpm::start();
        send.send(tpm.pid().unwrap()).unwrap();
        panic!("as a failing test does");
    });
    let pid = receive.recv().unwrap();
    assert!(panicked.join().is_err());
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn a_tpm_outlives_the_thread_that_started_it() {
    let tpm = std::thread::spawn(SwTpm::start).join().unwrap();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(random(&mut tpm.connect().unwrap()).unwrap().0, 0);
}

#[test]
fn a_tpm_on_unix_sockets() {
    let mut tpm = SwTpm::start_unix();
    assert_eq!(tpm.tcti(), format!("swtpm:path={}", tpm.path().unwrap().display()));
    assert_eq!(random(&mut tpm.connect().unwrap()).unwrap().0, 0);
    tpm.reset_without_startup();
    assert_eq!(random(&mut tpm.connect().unwrap()).unwrap().0, 0x100);
    tpm.restart();
    assert_eq!(random(&mut tpm.connect().unwrap()).unwrap().0, 0);
}

#[test]
fn many_at_once() {
    let threads: Vec<_> = (0..8).map(|_| std::thread::spawn(SwTpm::start)).collect();
    let tpms: Vec<SwTpm> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    for tpm in &tpms {
        assert_eq!(random(&mut tpm.connect().unwrap()).unwrap().0, 0);
    }
}

#[test]
fn a_restart_keeps_the_address_and_loses_the_objects() {
    let mut tpm = SwTpm::start();
    let port = tpm.port();
    let mut client = tpm.connect().unwrap();
    assert_eq!(sequence(&mut client).0, 0);
    tpm.stop();
    assert!(random(&mut client).is_err());
    assert_eq!(tpm.connect().unwrap_err().kind(), ErrorKind::ConnectionRefused);
    tpm.restart();
    assert_eq!(tpm.port(), port);
    assert!(leftovers(&tpm).is_clean());
    tpm.reboot();
    assert_eq!(random(&mut tpm.connect().unwrap()).unwrap().0, 0);
}

#[test]
fn a_reset_without_startup_keeps_connections_open() {
    let tpm = SwTpm::start();
    let mut client = tpm.connect().unwrap();
    tpm.reset_without_startup();
    assert_eq!(random(&mut client).unwrap().0, 0x100);
    assert_eq!(client.command(0x144, &[0, 0]).unwrap().0, 0);
    assert_eq!(random(&mut client).unwrap().0, 0);
}

#[test]
fn a_saved_state_is_the_same_tpm() {
    let mut first = SwTpm::start();
    first.set_lockout(7, 60);
    let saved = tempfile::tempdir().unwrap();
    first.save_state(saved.path());
    let second = SwTpm::with_state(saved.path());
    // TPM_CAP_TPM_PROPERTIES, TPM_PT_MAX_AUTH_FAIL
    let question = [0, 0, 0, 6, 0, 0, 2, 0x0f, 0, 0, 0, 1];
    let (rc, answer) = second.connect().unwrap().command(0x17a, &question).unwrap();
    assert_eq!(rc, 0);
    assert_eq!(answer[answer.len() - 8..], [0, 0, 2, 0x0f, 0, 0, 0, 7]);
    second.end_lockout();
}

#[test]
fn the_proxy_counts_what_is_asked() {
    let tpm = SwTpm::start();
    let proxy = Proxy::start(&tpm);
    {
        let mut client = RawClient::connect(proxy.port()).unwrap();
        random(&mut client).unwrap();
        let (_, made) = sequence(&mut client);
        assert_ne!(flush(&mut client, 0x8000_0001), 0);
        assert_eq!(flush(&mut client, made), 0);
    }
    random(&mut RawClient::connect(proxy.port()).unwrap()).unwrap();

    assert_eq!(proxy.connections(), 2);
    let commands = proxy.mark();
    assert_eq!(commands.to_string(), "GetRandom HashSequenceStart FlushContext(0x1cb) FlushContext GetRandom");
    assert_eq!(commands.count("GetRandom"), 2);
    assert_eq!(commands.failed().len(), 1);
    assert_eq!(commands.0[0].size, 12);
    assert_eq!(commands.0[0].response_size, 20);
    assert_eq!(commands.histogram()[0].1, 2);
    assert_eq!((proxy.mark(), proxy.connections()), (Commands::default(), 0));
}

#[test]
fn the_proxy_ends_a_connection_whose_tpm_went_away() {
    let mut tpm = SwTpm::start();
    let proxy = Proxy::start(&tpm);
    let mut client = RawClient::connect(proxy.port()).unwrap();
    random(&mut client).unwrap();
    tpm.stop();
    assert!(random(&mut client).is_err());
    tpm.restart();
    let mut client = RawClient::connect(proxy.port()).unwrap();
    assert_eq!(random(&mut client).unwrap().0, 0);
    proxy.cut();
    assert!(random(&mut client).is_err());
    let port = proxy.port();
    drop(proxy);
    assert!(RawClient::connect(port).is_err());
}

#[test]
fn faults_that_answer() {
    let tpm = SwTpm::start();
    let proxy = Proxy::start(&tpm);
    let mut client = RawClient::connect(proxy.port()).unwrap();

    proxy.inject(Fault::Respond { code: GET_RANDOM, rc: 0x922, times: 2 });
    assert_eq!(sequence(&mut client).0, 0, "another command passes it by");
    assert_eq!(random(&mut client).unwrap().0, 0x922);
    assert_eq!(random(&mut client).unwrap().0, 0x922);
    assert_eq!(random(&mut client).unwrap().0, 0);

    proxy.inject(Fault::FlipCommandByte { code: GET_RANDOM, offset_from_end: 2 });
    assert_eq!(random(&mut client).unwrap().0, 0x1da, "0x17a: another command, too short");
}

#[test]
fn a_flipped_response_byte_is_the_one_asked_for() {
    let tpm = SwTpm::start();
    let proxy = Proxy::start(&tpm);
    let mut client = RawClient::connect(proxy.port()).unwrap();
    let read_fixed = [0, 0, 0, 6, 0, 0, 1, 0, 0, 0, 0, 1];
    let right = client.command(0x17a, &read_fixed).unwrap().1;
    proxy.inject(Fault::FlipResponseByte { code: 0x17a, offset_from_end: 0 });
    let mut wrong = client.command(0x17a, &read_fixed).unwrap().1;
    assert_ne!(wrong, right);
    *wrong.last_mut().unwrap() ^= 1;
    assert_eq!(wrong, right);
}

#[test]
fn faults_that_end_the_connection() {
    let tpm = SwTpm::start();
    let proxy = Proxy::start(&tpm);
    let made = |proxy: &Proxy| leftovers(&tpm).transient.len() + 10 * proxy.mark().0.len();

    let start = |fault| {
        proxy.inject(fault);
        let mut client = RawClient::connect(proxy.port()).unwrap();
        client.command(0x186, &[0, 0, 0, 0x0b]).unwrap_err().kind()
    };
    assert_eq!(start(Fault::CutBeforeCommand { code: ANY }), ErrorKind::UnexpectedEof);
    assert_eq!(made(&proxy), 10, "the TPM was not asked");
    assert_eq!(start(Fault::CutAfterCommand { code: ANY }), ErrorKind::UnexpectedEof);
    assert_eq!(proxy.peek().0[0].rc, NO_RESPONSE);
    assert_eq!(made(&proxy), 11, "the TPM was asked");
    assert_eq!(start(Fault::TruncateResponse { code: ANY, keep: 11 }), ErrorKind::UnexpectedEof);
    assert_eq!(made(&proxy), 12);
}

#[test]
fn faults_of_form_and_time() {
    let tpm = SwTpm::start();
    let proxy = Proxy::start(&tpm);
    let mut client = RawClient::connect(proxy.port()).unwrap();

    proxy.inject(Fault::Pieces { code: GET_RANDOM, size: 3 });
    assert_eq!(random(&mut client).unwrap().1.len(), 10);

    proxy.inject(Fault::Delay { code: GET_RANDOM, by: Duration::from_millis(50) });
    let start = Instant::now();
    random(&mut client).unwrap();
    assert!(start.elapsed() >= Duration::from_millis(50));

    proxy.delay(Duration::from_millis(30));
    let start = Instant::now();
    random(&mut client).unwrap();
    assert!(start.elapsed() >= Duration::from_millis(30));
    proxy.delay(Duration::ZERO);

    proxy.inject(Fault::Replace { code: GET_RANDOM, bytes: vec![0x80, 1, 0, 0, 0, 10, 0, 0, 9, 0x22] });
    assert_eq!(random(&mut client).unwrap().0, 0x922);
    proxy.inject(Fault::Replace { code: GET_RANDOM, bytes: vec![0x80, 1, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0] });
    assert_eq!(random(&mut client).unwrap_err().kind(), ErrorKind::InvalidData);
    assert!(proxy.pending_faults().is_empty());
}

#[test]
fn a_hanging_client_does_not_hold_the_tpm() {
    let tpm = SwTpm::start();
    let proxy = Proxy::start(&tpm);
    proxy.inject(Fault::Hang { code: GET_RANDOM });
    let mut client = RawClient::connect(proxy.port()).unwrap();
    let hanging = std::thread::spawn(move || random(&mut client).unwrap_err().kind());
    while proxy.peek().is_empty() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut other = RawClient::connect(proxy.port()).unwrap();
    assert_eq!(random(&mut other).unwrap().0, 0);
    assert!(!hanging.is_finished());
    proxy.cut();
    assert_eq!(hanging.join().unwrap(), ErrorKind::UnexpectedEof);
}

#[test]
fn leftovers_are_seen() {
    let tpm = SwTpm::start();
    assert!(leftovers(&tpm).is_clean());
    let mut client = tpm.connect().unwrap();
    let (_, object) = sequence(&mut client);
    let (_, loaded) = session(&mut client);
    let (_, saved) = session(&mut client);
    assert_eq!(client.command(0x162, &saved.to_be_bytes()).unwrap().0, 0);
    drop(client);

    let left = leftovers(&tpm);
    assert_eq!(left.transient, [object]);
    assert_eq!(left.loaded_sessions, [loaded]);
    // The saved handle is listed with the type of a saved session.
    assert_eq!(left.saved_sessions.len(), 1);
    assert_eq!(left.saved_sessions[0] & 0x00ff_ffff, saved & 0x00ff_ffff);
    assert!(left.persistent.is_empty());
    assert!(!left.is_clean());
}

#[test]
fn the_resource_manager_gives_each_client_a_space() {
    let tpm = SwTpm::start();
    let rm = ResourceManager::start(tpm.port());
    let mut one = RawClient::connect(rm.port()).unwrap();
    let mut other = RawClient::connect(rm.port()).unwrap();

    for expected in [0x80ff_ffff, 0x80ff_fffe, 0x80ff_fffd] {
        assert_eq!(sequence(&mut one), (0, expected));
        assert_eq!(sequence(&mut other), (0, expected));
    }
    assert_eq!(sequence(&mut one).0, 0x902, "a fourth object");
    for object in [0x80ff_ffff, 0x80ff_fffe, 0x80ff_fffd] {
        assert_eq!(update(&mut one, object), 0);
        assert_eq!(update(&mut other, object), 0);
    }
    assert_eq!(flush(&mut one, 0x80ff_fffe), 0);
    assert_eq!(update(&mut one, 0x80ff_fffe), 0x18b, "flushed");
    assert_eq!(update(&mut other, 0x80ff_fffe), 0, "the other's is not");
    assert_eq!(sequence(&mut one), (0, 0x80ff_fffe), "the slot is free again");

    // TPM_CAP_HANDLES of transient objects
    let question = [0, 0, 0, 1, 0x80, 0, 0, 0, 0, 0, 0, 20];
    assert_eq!(flush(&mut one, 0x80ff_ffff), 0);
    let (_, listed) = one.command(0x17a, &question).unwrap();
    assert_eq!(listed[5..9], [0, 0, 0, 2], "its own two");
    let (_, listed) = other.command(0x17a, &question).unwrap();
    assert_eq!(listed[5..9], [0, 0, 0, 3], "its own three");
    assert!(leftovers(&tpm).is_clean(), "objects are outside the TPM between commands");
}

#[test]
fn the_resource_manager_flushes_sessions_of_a_client_that_goes() {
    let tpm = SwTpm::start();
    let rm = ResourceManager::start(tpm.port());
    let mut one = RawClient::connect(rm.port()).unwrap();
    let mut other = RawClient::connect(rm.port()).unwrap();
    for _ in 0..3 {
        assert_eq!(session(&mut one).0, 0);
    }
    assert_eq!(session(&mut one).0, 0x903, "a fourth session");
    assert_eq!(session(&mut other).0, 0);
    let left = leftovers(&tpm);
    assert_eq!((left.loaded_sessions.len(), left.saved_sessions.len()), (0, 4));

    drop(one);
    let start = Instant::now();
    while leftovers(&tpm).saved_sessions.len() != 1 {
        assert!(start.elapsed() < Duration::from_secs(5), "sessions of a gone client are flushed");
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(other);
    while !leftovers(&tpm).is_clean() {
        assert!(start.elapsed() < Duration::from_secs(10), "and those of the other");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_chip_is_asked_as_often_as_the_kernel_asks() {
    let tpm = SwTpm::start();
    let proxy = Proxy::start(&tpm);
    let rm = ResourceManager::start(proxy.port());
    let mut client = RawClient::connect(rm.port()).unwrap();
    random(&mut client).unwrap();
    assert_eq!(proxy.mark().to_string(), "GetRandom");
    sequence(&mut client);
    session(&mut client);
    proxy.mark();
    random(&mut client).unwrap();
    assert_eq!(proxy.mark().to_string(), "ContextLoad ContextLoad GetRandom ContextSave FlushContext ContextSave");
    sequence(&mut client);
    proxy.mark();
    random(&mut client).unwrap();
    assert_eq!(proxy.mark().len(), 1 + 3 * 2 + 2);
    assert_eq!(
        rm.mark().names(),
        ["GetRandom", "HashSequenceStart", "StartAuthSession", "GetRandom", "HashSequenceStart", "GetRandom"]
    );
}

#[test]
fn many_clients_of_a_resource_manager() {
    let tpm = SwTpm::start();
    let rm = ResourceManager::start(tpm.port());
    std::thread::scope(|scope| {
        for i in 0..8 {
            let rm = &rm;
            scope.spawn(move || {
                let client =
                    if i % 2 == 0 { RawClient::connect(rm.port()) } else { RawClient::connect_unix(&rm.path()) };
                let mut client = client.unwrap();
                let (rc, object) = sequence(&mut client);
                assert_eq!(rc, 0);
                for _ in 0..20 {
                    assert_eq!(update(&mut client, object), 0);
                }
            });
        }
    });
}
