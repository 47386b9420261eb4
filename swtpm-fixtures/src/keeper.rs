//! Starts child processes that end when this process ends, however it ends.

use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};

type Request = (Command, Sender<std::io::Result<Child>>);

/// Spawns `program` with `arguments`, to be killed by the kernel when this process dies.
///
/// `configure` sets the rest of the command (standard streams and so on).
pub(crate) fn spawn(
    program: &str,
    arguments: &[String],
    configure: impl FnOnce(&mut Command),
) -> std::io::Result<Child> {
    let mut command = if setpriv() {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", program]);
        command
    } else {
        Command::new(program)
    };
    command.args(arguments);
    configure(&mut command);

    let (reply, answer) = channel();
    keeper().send((command, reply)).expect("the keeper thread lives as long as the process");
    answer.recv().expect("the keeper thread answers each request")
}

/// The kernel sends the parent-death signal when the *thread* that started the child ends. A test's thread
/// ends before a fixture that it shares with others, so that all children are started by one thread that
/// never ends.
fn keeper() -> &'static Sender<Request> {
    static KEEPER: OnceLock<Sender<Request>> = OnceLock::new();
    KEEPER.get_or_init(|| {
        let (sender, requests) = channel::<Request>();
        std::thread::Builder::new()
            .name("swtpm-keeper".into())
            .spawn(move || {
                for (mut command, reply) in requests {
                    let _ = reply.send(command.spawn());
                }
            })
            .expect("a thread");
        sender
    })
}

/// Whether util-linux's `setpriv` is there and knows the parent-death signal.
fn setpriv() -> bool {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    *KNOWN.get_or_init(|| {
        Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "true"])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    })
}
