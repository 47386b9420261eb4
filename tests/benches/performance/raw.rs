//! How many signatures the TPM makes when nothing stands before it: a marshalled command with a password, sent again and again on one
//! connection.

use std::time::{Duration, Instant};

use swtpm_fixtures::{RawClient, SwTpm};
use tests::world::World;

use crate::say;

const ROUNDS: usize = 5;

/// Signatures a second with P-256.
pub(crate) fn measure() {
    let world = World::new();
    let key = RawKey::make(&world.tpm, &P256);
    say("raw", &(0..ROUNDS).map(|_| key.round(&world.tpm, Duration::from_secs(1))).collect::<Vec<_>>());
    key.flush(&world.tpm);
}

struct Bench {
    /// TPMT_PUBLIC of the raw limit's key.
    template: &'static [u8],
    code: u32,
    parameters: fn() -> Vec<u8>,
}

/// fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, sign (TPM 2.0 Part 2, 8.3).
const P256: Bench = Bench {
    template: &[0, 0x23, 0, 0x0b, 0, 4, 4, 0x72, 0, 0, 0, 0x10, 0, 0x10, 0, 3, 0, 0x10, 0, 0, 0, 0],
    code: 0x15d,
    // digest, TPM_ALG_ECDSA with SHA-256, a null ticket
    parameters: || [&[0, 32][..], &[0x5a; 32], &[0, 0x18, 0, 0x0b], &[0x80, 0x24, 0x40, 0, 0, 7, 0, 0]].concat(),
};

const SRK: u32 = 0x8100_0001;

/// A key with an empty auth value, loaded in the TPM for as long as the measurement lasts.
struct RawKey {
    handle: u32,
    command: Vec<u8>,
}

impl RawKey {
    fn make(tpm: &SwTpm, bench: &Bench) -> RawKey {
        let mut connection = tpm.connect().unwrap();
        let public = [&(bench.template.len() as u16).to_be_bytes()[..], bench.template].concat();
        // TPM2_Create: an empty auth value, no data, the template, no outside information, no PCRs
        let parameters = [&[0, 4, 0, 0, 0, 0][..], &public, &[0, 0, 0, 0, 0, 0]].concat();
        let (rc, answer) = connection.command_with_empty_password(0x153, &[SRK], &parameters).unwrap();
        assert_eq!(rc, 0, "TPM2_Create: {rc:#x}");
        let blob = |at: usize| &answer[at..at + 2 + usize::from(u16::from_be_bytes([answer[at], answer[at + 1]]))];
        let private = blob(4);
        let public = blob(4 + private.len());
        let (rc, answer) = connection.command_with_empty_password(0x157, &[SRK], &[private, public].concat()).unwrap();
        assert_eq!(rc, 0, "TPM2_Load: {rc:#x}");
        let handle = u32::from_be_bytes(answer[..4].try_into().unwrap());
        let authorisation = [0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0];
        let body = [&handle.to_be_bytes()[..], &authorisation, &(bench.parameters)()].concat();
        let size = (10 + body.len()) as u32;
        let command = [&[0x80, 2][..], &size.to_be_bytes(), &bench.code.to_be_bytes(), &body].concat();
        RawKey { handle, command }
    }

    fn round(&self, tpm: &SwTpm, round: Duration) -> f64 {
        let mut connection = tpm.connect().unwrap();
        self.once(&mut connection);
        rate(round, || self.once(&mut connection))
    }

    fn once(&self, connection: &mut RawClient) {
        let answer = connection.transact(&self.command).unwrap();
        assert_eq!(answer[6..10], [0; 4], "the TPM refused the raw command");
    }

    fn flush(&self, tpm: &SwTpm) {
        tpm.connect().unwrap().command(0x165, &self.handle.to_be_bytes()).unwrap();
    }
}

fn rate(round: Duration, mut once: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut count = 0_u32;
    while start.elapsed() < round {
        once();
        count += 1;
    }
    f64::from(count) / start.elapsed().as_secs_f64()
}
