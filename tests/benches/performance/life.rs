//! One life of a client, as `ssh` or `curl` has it: started, initialised, logged in, a key found, a signature, the end.

use std::process::Command;
use std::time::Instant;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectClass};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use tests::product;
use tests::world::World;

use crate::{Role, again, say};

const ROUNDS: usize = 15;

/// The module, and a session of the user.
pub(crate) fn logged_in() -> (Pkcs11, Session) {
    let module = Pkcs11::new(product::module()).unwrap();
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    let slots = module.get_slots_with_initialized_token().unwrap();
    let slot = slots.into_iter().find(|slot| module.get_token_info(*slot).unwrap().label() == "alpha").unwrap();
    let session = module.open_ro_session(slot).unwrap();
    session.login(UserType::User, Some(&AuthPin::new("user-alpha".into()))).unwrap();
    (module, session)
}

/// Signs with P-256.
pub(crate) fn signer(session: &Session) -> impl Fn() + '_ {
    let template = [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Label("p256".into())];
    let key = session.find_objects(&template).unwrap()[0];
    move || drop(session.sign(&Mechanism::Ecdsa, key, &[0x5a; 32]).unwrap())
}

/// The whole of it.
pub(crate) fn live() {
    let (module, session) = logged_in();
    signer(&session)();
    drop(session);
    module.finalize().unwrap();
}

/// What `ssh-keygen -D` does.
pub(crate) fn list() {
    let module = Pkcs11::new(product::module()).unwrap();
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    for slot in module.get_slots_with_initialized_token().unwrap() {
        let session = module.open_ro_session(slot).unwrap();
        for key in session.find_objects(&[Attribute::Class(ObjectClass::PUBLIC_KEY)]).unwrap() {
            session.get_attributes(key, &[cryptoki::object::AttributeType::Id]).unwrap();
        }
    }
    module.finalize().unwrap();
}

/// Times, processor times and instructions; and what the chip is asked behind a resource manager.
pub(crate) fn measure() {
    let world = World::new().managed();
    let life = || prepared(&world, Role::LIFE);
    run(life());
    world.proxy.mark();
    run(life());
    say("life-commands", &[world.proxy.mark().len() as f64]);
    let (wall, cpu) = rounds(life);
    say("life-wall", &wall);
    say("life-cpu", &cpu);
    let (wall, _) = rounds(|| prepared(&world, Role::LIST));
    say("list-wall", &wall);
    if let Some(instructions) = instructions(&world) {
        say("life-instructions", &[instructions / 1e6]);
    }
    // A program that does nothing but look at a row of the store.
    if !tests::peer::is_under_test() {
        let file = world.store_file();
        let open = || {
            let conn = rusqlite::Connection::open(&file).unwrap();
            conn.query_row("SELECT label FROM tokens LIMIT 1", [], |row| row.get::<_, String>(0)).unwrap()
        };
        let times = (0..ROUNDS).map(|_| {
            let start = Instant::now();
            open();
            start.elapsed().as_secs_f64() * 1e3
        });
        say("sqlite-wall", &times.collect::<Vec<_>>());
    }
}

fn prepared(world: &World, role: u64) -> Command {
    let mut command = again(&role.to_string());
    command.envs(world.environment()).env("TPM2_CRYPTOKI_MODULE", product::module());
    command
}

fn run(mut command: Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Milliseconds by the clock and by the processor.
fn rounds(command: impl Fn() -> Command) -> (Vec<f64>, Vec<f64>) {
    let round = || {
        let (start, before) = (Instant::now(), cpu_of_children());
        run(command());
        (start.elapsed().as_secs_f64() * 1e3, (cpu_of_children() - before) * 1e3)
    };
    (0..ROUNDS).map(|_| round()).unzip()
}

/// Seconds of processor time of the processes that have ended.
fn cpu_of_children() -> f64 {
    use nix::sys::resource::{UsageWho, getrusage};
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    seconds(usage.user_time()) + seconds(usage.system_time())
}

/// Of one life, counted by valgrind where it is installed. It knows no instructions for SHA and AES: a processor that has them needs fewer.
fn instructions(world: &World) -> Option<f64> {
    let program = prepared(world, Role::LIFE);
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program.get_program());
    for (name, value) in program.get_envs() {
        command.env(name, value?);
    }
    let output = command.output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    text.lines().find_map(|line| line.split_once("Collected :"))?.1.trim().parse().ok()
}
