//! A TPM that answers with what is in the input, whatever it is asked. The specimens are what a real one answered.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::Secret;
use base::curve::{Curve, EcPublic};
use base::digest::Hash;
use swtpm_fixtures::{RawClient, SwTpm};
use tpm::{
    CipherMode, DecryptScheme, Direction, Error, Key, KeyMaterial, KeyTemplate, Options, PcrSelection, Primary,
    PrimaryRequest, SealRequest, SignScheme, Tpm, Wrapped,
};

use super::mutate::answers;
use super::readers::Reader;

/// What answers now.
enum Mind {
    /// Asks a real one, and remembers.
    Record { tpm: RawClient, heard: Vec<u8> },
    /// Says these, then hangs up.
    Replay(std::vec::IntoIter<Vec<u8>>),
}

type Shared = Arc<Mutex<Mind>>;

type Operation = fn(&Tpm, &Stage) -> Result<(), Error>;

/// What the TPM is asked for, each from its beginning.
const OPERATIONS: &[Operation] = &[
    |tpm, _| tpm.capabilities().map(drop),
    |tpm, _| tpm.rsa_sizes().and(tpm.lockout()).map(drop),
    |tpm, _| tpm.random(&mut [0; 40]),
    |tpm, _| tpm.storage_primary(&PrimaryRequest::default()).map(drop),
    |tpm, _| tpm.list_persistent().map(drop),
    |tpm, stage| tpm.check_primary(&stage.primary),
    |tpm, _| tpm.pcr_banks().map(drop),
    |tpm, _| tpm.pcr_read(&PcrSelection::all(Hash::Sha256)?).map(drop),
    |tpm, stage| tpm.unseal(&stage.primary, &stage.blobs[1], &secret(2), None).map(drop),
    |tpm, stage| tpm.create_key(&stage.primary, &KeyTemplate::Ecc { curve: Curve::P256 }, &secret(9), None).map(drop),
    |tpm, stage| stage.with_key(2, |key| tpm.sign(key, Hash::Sha256, &[7; 32], SignScheme::Ecdsa).map(drop)),
    |tpm, stage| stage.with_key(3, |key| tpm.rsa_decrypt(key, DecryptScheme::Raw, &[1; 128]).map(drop)),
    |tpm, stage| stage.with_key(3, |key| tpm.sign(key, Hash::Sha256, &[7; 32], SignScheme::RsaPss).map(drop)),
    |tpm, stage| {
        stage.with_key(4, |key| {
            tpm.encrypt_decrypt(key, CipherMode::Cbc, &[3; 16], &[5; 64], Direction::Encrypt, 1024).map(drop)
        })
    },
    |tpm, stage| stage.with_key(5, |key| tpm.hmac(key, Hash::Sha256, &[5; 1500]).map(drop)),
    |tpm, stage| stage.with_key(2, |key| tpm.ecdh_z(key, &somebody()).map(drop)),
    |tpm, stage| tpm.change_auth(&stage.primary, &stage.blobs[0], &secret(1), &secret(8)).map(drop),
    |tpm, stage| {
        let so = stage.blobs[0].name()?;
        tpm.change_user_auth(&stage.primary, &stage.blobs[1], &so, None, &secret(2), &secret(8)).map(drop)
    },
    |tpm, stage| {
        tpm.reset_user_auth(&stage.primary, &stage.blobs[1], &stage.blobs[0], None, &secret(1), &secret(8)).map(drop)
    },
    |tpm, _| {
        let (counter, _) = tpm.define_counter(None, &Secret::zeroed(0))?;
        tpm.read_counter(&counter)?;
        tpm.increment_counter(None, &counter, &Secret::zeroed(0))?;
        tpm.remove_counter(None, &counter, &Secret::zeroed(0))
    },
    |tpm, _| tpm.public_of(0x8100_0001).map(drop),
    |tpm, stage| tpm.import_key(&stage.primary, &KeyMaterial::Aes { key: secret(3) }, &secret(9), None).map(drop),
    |tpm, stage| tpm.can_load(&stage.primary, &stage.blobs[2]).map(drop),
];

fn secret(byte: u8) -> Secret {
    Secret::copy_from(&[byte; 32])
}

fn somebody() -> EcPublic {
    EcPublic::of_private(Curve::P256, &secret(7)).unwrap()
}

/// What the operations are about.
struct Stage {
    primary: Primary,
    /// The security officer's and the user's seal; keys of P-256, RSA, AES, HMAC.
    blobs: Vec<Wrapped>,
}

impl Stage {
    fn with_key<T>(&self, index: usize, then: impl FnOnce(&Key<'_>) -> Result<T, Error>) -> Result<T, Error> {
        let wrapped = &self.blobs[index];
        let key =
            Key { primary: &self.primary, wrapped, name: &wrapped.name()?, auth: &secret(index as u8), policy: None };
        then(&key)
    }
}

/// The stage as it is kept beside a finding: what the TPM said of its primary, and the blobs.
type Kept = (Vec<u8>, Vec<(Vec<u8>, Vec<u8>)>);

pub(super) struct Answers {
    shared: Shared,
    socket: PathBuf,
    stage: Stage,
    specimens: Vec<Vec<u8>>,
}

/// Where the stage is kept, in the directory of the reader.
pub(super) const STAGE: &str = "stage.json";

impl Answers {
    pub(super) fn new(place: &Path) -> Answers {
        let socket = place.join("tpm");
        let shared = Arc::new(Mutex::new(Mind::Replay(Vec::new().into_iter())));
        serve(UnixListener::bind(&socket).unwrap(), Arc::clone(&shared));
        let kept = place.join(STAGE);
        if let Ok(bytes) = std::fs::read(&kept) {
            let (said, blobs): Kept = serde_json::from_slice(&bytes).unwrap();
            *shared.lock().unwrap() = Mind::Replay(answers(&said).into_iter());
            let primary = at(&socket, true, REPLAYED).storage_primary(&PrimaryRequest::default()).unwrap();
            let blobs = blobs.into_iter().map(|(public, private)| Wrapped { public, private }).collect();
            return Answers { shared, socket, stage: Stage { primary, blobs }, specimens: Vec::new() };
        }
        let swtpm = SwTpm::start();
        *shared.lock().unwrap() = Mind::Record { tpm: swtpm.connect().unwrap(), heard: Vec::new() };
        let stage = set(&at(&socket, true, RECORDED));
        let mut answers = Answers { shared, socket, stage, specimens: Vec::new() };
        answers.heard();
        at(&answers.socket, true, RECORDED).storage_primary(&PrimaryRequest::default()).unwrap();
        let blobs = answers.stage.blobs.iter().map(|blob| (blob.public.clone(), blob.private.clone())).collect();
        let kept_stage: Kept = (answers.heard(), blobs);
        std::fs::write(kept, serde_json::to_vec(&kept_stage).unwrap()).unwrap();
        for (index, operation) in OPERATIONS.iter().enumerate() {
            for protected in [false, true] {
                let tpm = at(&answers.socket, protected, RECORDED);
                operation(&tpm, &answers.stage).unwrap_or_else(|error| panic!("operation {index}: {error}"));
                tpm.release();
                let first = (index << 1) as u8 | u8::from(protected);
                let heard = answers.heard();
                answers.specimens.push([&[first][..], &heard].concat());
            }
        }
        answers
    }

    fn heard(&self) -> Vec<u8> {
        match &mut *self.shared.lock().unwrap() {
            Mind::Record { heard, .. } => std::mem::take(heard),
            Mind::Replay(_) => Vec::new(),
        }
    }
}

impl Reader for Answers {
    fn specimens(&self) -> Vec<Vec<u8>> {
        self.specimens.clone()
    }

    fn read(&mut self, input: &[u8]) -> String {
        let Some((first, said)) = input.split_first() else { return "nothing".to_owned() };
        let index = usize::from(first >> 1) % OPERATIONS.len();
        *self.shared.lock().unwrap() = Mind::Replay(answers(said).into_iter());
        let tpm = at(&self.socket, first & 1 == 1, REPLAYED);
        let outcome = OPERATIONS[index](&tpm, &self.stage);
        tpm.release();
        let outcome: String = format!("{outcome:?}").chars().filter(|c| !c.is_ascii_digit()).take(80).collect();
        format!("{index} {outcome}")
    }
}

fn set(tpm: &Tpm) -> Stage {
    let primary = tpm.storage_primary(&PrimaryRequest::default()).unwrap();
    let (so_auth, user_auth, data) = (secret(1), secret(2), secret(3));
    let (so, user) = tpm
        .create_pin_objects(
            &primary,
            SealRequest { auth: &so_auth, data: &data },
            SealRequest { auth: &user_auth, data: &data },
            None,
        )
        .unwrap();
    let templates = [
        KeyTemplate::Ecc { curve: Curve::P256 },
        KeyTemplate::Rsa { bits: 1024, exponent: 0 },
        KeyTemplate::Aes { bits: 128 },
        KeyTemplate::Hmac { hash: None },
    ];
    let keys = templates
        .iter()
        .zip(2..)
        .map(|(template, byte)| tpm.create_key(&primary, template, &secret(byte), None).unwrap());
    let blobs = [so, user].into_iter().chain(keys).collect();
    // Its first use of an object under lockout protection is answered with TPM_RC_RETRY.
    let stage = Stage { primary, blobs };
    tpm.unseal(&stage.primary, &stage.blobs[1], &secret(2), None).unwrap();
    tpm.release();
    stage
}

/// A real TPM takes as long as it takes; the other has its answer ready, or none.
const RECORDED: Duration = Duration::from_secs(120);
const REPLAYED: Duration = Duration::from_millis(200);

fn at(socket: &Path, protected: bool, deadline: Duration) -> Tpm {
    let options = Options {
        bus_protection: protected,
        threads: false,
        idle: Duration::from_secs(1000),
        patience: Duration::ZERO,
        deadline,
        keygen_deadline: deadline,
    };
    Tpm::new(format!("swtpm:path={}", socket.display()).parse().unwrap(), options)
}

fn serve(listener: UnixListener, shared: Shared) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = converse(&mut stream.unwrap(), &shared);
        }
    });
}

fn converse(stream: &mut UnixStream, shared: &Shared) -> std::io::Result<()> {
    loop {
        let mut command = vec![0; 10];
        stream.read_exact(&mut command)?;
        let size = u32::from_be_bytes([command[2], command[3], command[4], command[5]]) as usize;
        command.resize(size, 0);
        stream.read_exact(&mut command[10..])?;
        let answer = match &mut *shared.lock().unwrap() {
            Mind::Record { tpm, heard } => {
                let answer = tpm.transact(&command)?;
                heard.extend(&answer);
                answer
            }
            Mind::Replay(frames) => match frames.next() {
                Some(answer) => answer,
                None => return Ok(()),
            },
        };
        stream.write_all(&answer)?;
        // Who waits for more than there is would wait until the deadline.
        if answer.get(2..6) != Some(&(answer.len() as u32).to_be_bytes()[..]) {
            return Ok(());
        }
    }
}
