//! Signatures a second, of threads and of processes; and what ciphers do with a key in memory.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::Attribute;
use tests::product;
use tests::world::World;

use crate::life::{logged_in, signer};
use crate::{Role, again, say};

const ROUNDS: usize = 5;
const SECONDS: f64 = 1.0;

/// Signs in so many threads, and says how many signatures a second that makes.
pub(crate) fn sign(threads: usize, seconds: f64) {
    let (module, session) = logged_in();
    let slot = session.get_session_info().unwrap().slot_id();
    let count = || {
        let session = module.open_ro_session(slot).unwrap();
        let once = signer(&session);
        once();
        once();
        let (start, mut count) = (Instant::now(), 0_u32);
        while start.elapsed() < Duration::from_secs_f64(seconds) {
            once();
            count += 1;
        }
        f64::from(count) / start.elapsed().as_secs_f64()
    };
    let total: f64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(count)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    println!("{total}");
    drop(session);
    module.finalize().unwrap();
}

/// Alone on a TPM, and behind a resource manager.
pub(crate) fn measure(ours: bool) {
    if ours {
        let world = World::new();
        say("sign-alone", &(0..ROUNDS).map(|_| processes(&world, 1, 1, true)).collect::<Vec<_>>());
        say("sign-alone-8", &(0..ROUNDS).map(|_| processes(&world, 1, 8, true)).collect::<Vec<_>>());
    }
    let world = World::new().managed();
    for (name, programs, threads) in [("sign-1", 1, 1), ("sign-8-threads", 1, 8), ("sign-8-processes", 8, 1)] {
        say(name, &(0..ROUNDS).map(|_| processes(&world, programs, threads, false)).collect::<Vec<_>>());
    }
    if ours {
        world.ptool_ok(&["persist", "--label", "alpha", "--key-label", "p256", "--userpin", "user-alpha"]);
        say("sign-persistent", &(0..ROUNDS).map(|_| processes(&world, 1, 1, false)).collect::<Vec<_>>());
    }
}

fn processes(world: &World, programs: usize, threads: usize, direct: bool) -> f64 {
    let start = |_| {
        let mut command: Command = again(&format!("{} {threads} {}", Role::SIGN, (SECONDS * 1e3) as u64));
        command.envs(world.environment()).env("TPM2_CRYPTOKI_MODULE", product::module()).stdout(Stdio::piped());
        if direct {
            // Without the proxy, which would cost time of its own.
            command.env("TPM2_CRYPTOKI_TCTI", world.tpm.tcti());
        }
        command.spawn().unwrap()
    };
    let children: Vec<_> = (0..programs).map(start).collect();
    children
        .into_iter()
        .map(|child| {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap().trim().parse::<f64>().unwrap()
        })
        .sum()
}

/// Megabytes a second of AES-128 with a session key, and of OpenSSL.
pub(crate) fn ciphers() {
    let world = World::new();
    for (name, value) in world.environment() {
        // SAFETY: nobody reads the environment meanwhile: the threads of the fixtures do not.
        unsafe { std::env::set_var(name, value) };
    }
    let (_module, session) = logged_in();
    let template =
        [Attribute::Token(false), Attribute::ValueLen(16.into()), Attribute::Encrypt(true), Attribute::Decrypt(true)];
    let key = session.generate_key(&Mechanism::AesKeyGen, &template).unwrap();
    let data = vec![7; 1 << 20];
    let rate = |work: &dyn Fn()| {
        work();
        let (start, mut bytes) = (Instant::now(), 0);
        while start.elapsed() < Duration::from_millis(500) {
            work();
            bytes += data.len();
        }
        bytes as f64 / start.elapsed().as_secs_f64() / 1e6
    };
    let rates = |work: &dyn Fn()| (0..ROUNDS).map(|_| rate(work)).collect::<Vec<_>>();
    let cbc = Mechanism::AesCbc([1; 16]);
    say("aes-cbc-decrypt", &rates(&|| drop(session.decrypt(&cbc, key, &data).unwrap())));
    say(
        "aes-gcm",
        &rates(&|| {
            let mut iv = [1; 12];
            let gcm = Mechanism::AesGcm(GcmParams::new(&mut iv, &[], 128.into()).unwrap());
            session.encrypt(&gcm, key, &data).unwrap();
        }),
    );
    for (name, cipher, decrypt) in [("openssl-cbc-decrypt", "aes-128-cbc", true), ("openssl-gcm", "aes-128-gcm", false)]
    {
        let mut command = Command::new("openssl");
        command.args(["speed", "-mr", "-seconds", "1", "-bytes", "1048576", "-evp", cipher]);
        if decrypt {
            command.arg("-decrypt");
        }
        let rate = || {
            let text = String::from_utf8(command.output().unwrap().stdout).unwrap();
            let line = text.lines().find(|line| line.starts_with("+F:")).unwrap();
            line.rsplit(':').next().unwrap().parse::<f64>().unwrap() / 1e6
        };
        say(name, &std::iter::repeat_with(rate).take(3).collect::<Vec<_>>());
    }
}
