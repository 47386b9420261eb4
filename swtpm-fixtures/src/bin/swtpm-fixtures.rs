//! Software TPMs for shell scripts: see `swtpm-fixtures help`.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line program")]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use swtpm_fixtures::{ANY, Fault, Proxy, ResourceManager, SwTpm, command_code, leftovers};

const HELP: &str = "\
Software TPMs for shell scripts.

  swtpm-fixtures run [OPTIONS] [--env NAME].. -- COMMAND [ARGUMENT]..
      a TPM for the time of one command, which gets the variables below; then what was asked of the TPM on
      standard error, and the command's exit status
  swtpm-fixtures start [OPTIONS] [--owner PID]
      a TPM in the background, until `quit` or until the process PID is gone; prints the variables for eval
  swtpm-fixtures serve [OPTIONS] [--owner PID]
      the same in the foreground
  swtpm-fixtures REQUEST [ARGUMENT]..
      asks a running one (of $SWTPM_FIXTURES_CONTROL, or --control PATH before the request):
        mark                        what was asked since the last mark
        peek                        the same, and no new mark
        delay MILLISECONDS          each command takes so much longer
        fault KIND COMMAND [..]     KIND: respond COMMAND CODE TIMES, cut-before, cut-after, hang, late COMMAND
                                    MILLISECONDS; COMMAND: as Load, as 0x157, or any
        leftovers                   what the TPM holds
        stop, restart, reboot       the TPM: power off, power cycle, orderly reboot
        lockout TRIES SECONDS       dictionary attack parameters;  end-lockout
        save DIRECTORY              switch the TPM off and copy its state
        quit

OPTIONS
  --rm              a resource manager as /dev/tpmrm0 in front, for many clients at once
  --state DIR       start with a copy of this TPM's state
  --upstream PORT   only a proxy (and resource manager), in front of a TPM that runs already
  --listen PORT     on this port and the next one
  --control PATH    the socket for requests

VARIABLES
  SWTPM_TCTI               TCTI string for this project's module and tools
  SWTPM_TCTI_TCP           TCTI string for everybody else
  SWTPM_FIXTURES_CONTROL   the socket for requests
";

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("swtpm-fixtures: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &[String]) -> Result<ExitCode, Failure> {
    let (verb, rest) = arguments.split_first().ok_or(HELP)?;
    match verb.as_str() {
        "help" | "--help" | "-h" => print!("{HELP}"),
        "run" => return run_command(Options::parse(rest)?),
        "serve" => serve(Options::parse(rest)?)?,
        "start" => start(rest)?,
        "--control" => {
            let (path, request) = rest.split_first().ok_or("--control PATH REQUEST")?;
            print!("{}", ask(Path::new(path), request)?);
        }
        _ => {
            let path = std::env::var_os("SWTPM_FIXTURES_CONTROL").ok_or("SWTPM_FIXTURES_CONTROL is not set")?;
            print!("{}", ask(Path::new(&path), arguments)?);
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Debug, Default)]
struct Options {
    manager: bool,
    state: Option<PathBuf>,
    upstream: Option<u16>,
    listen: Option<u16>,
    control: Option<PathBuf>,
    owner: Option<u32>,
    environment: Vec<String>,
    command: Vec<String>,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Options, Failure> {
        let mut options = Options::default();
        let mut rest = arguments.iter();
        while let Some(name) = rest.next() {
            let mut value = || rest.next().ok_or(format!("{name} needs a value"));
            match name.as_str() {
                "--rm" => options.manager = true,
                "--state" => options.state = Some(value()?.into()),
                "--upstream" => options.upstream = Some(value()?.parse()?),
                "--listen" => options.listen = Some(value()?.parse()?),
                "--control" => options.control = Some(value()?.into()),
                "--owner" => options.owner = Some(value()?.parse()?),
                "--env" => options.environment.push(value()?.clone()),
                "--" => options.command = rest.by_ref().cloned().collect(),
                _ => return Err(format!("unknown option {name}: see swtpm-fixtures help").into()),
            }
        }
        Ok(options)
    }
}

/// What runs for one `run` or `serve`. The fields are in the order in which they must end.
#[derive(Debug)]
struct Stack {
    manager: Option<ResourceManager>,
    proxy: Proxy,
    tpm: Option<SwTpm>,
    control: PathBuf,
    requests: Receiver<(String, UnixStream)>,
    _directory: tempfile::TempDir,
}

impl Stack {
    fn start(options: &Options) -> Result<Stack, Failure> {
        let tpm = match (options.upstream, &options.state) {
            (Some(_), _) => None,
            (None, Some(state)) => Some(SwTpm::with_state(state)),
            (None, None) => Some(SwTpm::start()),
        };
        let upstream = options.upstream.or_else(|| tpm.as_ref().map(SwTpm::port)).ok_or("no TPM")?;
        // What clients connect to listens on the given port.
        let (proxy, manager) = match (options.manager, options.listen) {
            (false, Some(port)) => (Proxy::at(port, upstream)?, None),
            (false, None) => (Proxy::to(upstream), None),
            (true, port) => {
                let proxy = Proxy::to(upstream);
                let manager = match port {
                    Some(port) => ResourceManager::at(port, proxy.port())?,
                    None => ResourceManager::start(proxy.port()),
                };
                (proxy, Some(manager))
            }
        };
        let directory = tempfile::Builder::new().prefix("swtpm-fixtures-").tempdir()?;
        let control = options.control.clone().unwrap_or_else(|| directory.path().join("control"));
        let requests = listen(&control)?;
        Ok(Stack { manager, proxy, tpm, control, requests, _directory: directory })
    }

    fn variables(&self) -> [(&'static str, String); 3] {
        let (tcti, tcp) = match &self.manager {
            Some(manager) => (manager.tcti(), manager.tcti_tcp()),
            None => (self.proxy.tcti(), self.proxy.tcti()),
        };
        [("SWTPM_TCTI", tcti), ("SWTPM_TCTI_TCP", tcp), ("SWTPM_FIXTURES_CONTROL", self.control.display().to_string())]
    }

    /// Answers what has been requested; false after `quit`.
    fn answer(&mut self, within: Duration) -> bool {
        let Ok((request, mut client)) = self.requests.recv_timeout(within) else {
            return true;
        };
        let words: Vec<&str> = request.split_whitespace().collect();
        let answer = match self.perform(&words) {
            Ok(text) => format!("ok\n{text}"),
            Err(error) => format!("error {error}\n"),
        };
        // Who asked and went does not want to know.
        let _ = client.write_all(answer.as_bytes());
        words != ["quit"]
    }

    fn perform(&mut self, words: &[&str]) -> Result<String, Failure> {
        match words {
            ["mark"] => return Ok(self.report(true)),
            ["peek"] => return Ok(self.report(false)),
            ["quit"] => {}
            ["delay", time] => self.proxy.delay(milliseconds(time)?),
            ["fault", rest @ ..] => self.proxy.inject(fault(rest)?),
            ["leftovers"] => return Ok(format!("{:#x?}\n", leftovers(self.own_tpm()?))),
            ["stop"] => self.own_tpm()?.stop(),
            ["restart"] => self.own_tpm()?.restart(),
            ["reboot"] => self.own_tpm()?.reboot(),
            ["lockout", tries, seconds] => self.own_tpm()?.set_lockout(tries.parse()?, seconds.parse()?),
            ["end-lockout"] => self.own_tpm()?.end_lockout(),
            ["save", directory] => self.own_tpm()?.save_state(Path::new(directory)),
            _ => return Err(format!("unknown request {words:?}: see swtpm-fixtures help").into()),
        }
        Ok(String::new())
    }

    fn own_tpm(&mut self) -> Result<&mut SwTpm, Failure> {
        self.tpm.as_mut().ok_or_else(|| "the TPM is not ours".into())
    }

    fn report(&self, mark: bool) -> String {
        let (connections, chip) = (self.proxy.connections(), if mark { self.proxy.mark() } else { self.proxy.peek() });
        let (connections, asked) = match &self.manager {
            Some(manager) => (manager.connections(), if mark { manager.mark() } else { manager.peek() }),
            None => (connections, chip.clone()),
        };
        format!("commands {}\nchip {}\nconnections {connections}\nnames {asked}\n", asked.len(), chip.len())
    }
}

/// A thread that takes requests, one line a connection.
fn listen(control: &Path) -> Result<Receiver<(String, UnixStream)>, Failure> {
    let listener = UnixListener::bind(control).map_err(|error| format!("{}: {error}", control.display()))?;
    let (sender, requests) = channel();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let _ = client.set_read_timeout(Some(Duration::from_secs(5)));
            let mut line = String::new();
            if BufReader::new(&client).read_line(&mut line).is_ok() && sender.send((line, client)).is_err() {
                return;
            }
        }
    });
    Ok(requests)
}

fn ask(control: &Path, request: &[String]) -> Result<String, Failure> {
    let mut stream = UnixStream::connect(control).map_err(|error| format!("{}: {error}", control.display()))?;
    writeln!(stream, "{}", request.join(" "))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.split_once('\n') {
        Some(("ok", text)) => Ok(text.to_owned()),
        Some((error, _)) => Err(error.trim_start_matches("error ").into()),
        None => Err("no answer".into()),
    }
}

fn run_command(options: Options) -> Result<ExitCode, Failure> {
    let mut stack = Stack::start(&options)?;
    let (program, arguments) = options.command.split_first().ok_or("run needs -- COMMAND")?;
    let mut command = Command::new(program);
    command.args(arguments).envs(stack.variables());
    for name in &options.environment {
        command.env(name, &stack.variables()[0].1);
    }
    let mut child = command.spawn().map_err(|error| format!("{program}: {error}"))?;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        stack.answer(Duration::from_millis(20));
    };
    eprint!("{}", stack.report(false));
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

fn serve(options: Options) -> Result<(), Failure> {
    let mut stack = Stack::start(&options)?;
    for (name, value) in stack.variables() {
        println!("export {name}='{}'", value.replace('\'', r"'\''"));
    }
    // An empty line: all is said, and whoever started this need not read on.
    println!();
    let owned = |pid: u32| Path::new(&format!("/proc/{pid}")).exists();
    while stack.answer(Duration::from_millis(200)) && options.owner.is_none_or(owned) {}
    if let Some(control) = &options.control {
        let _ = std::fs::remove_file(control);
    }
    Ok(())
}

/// Starts `serve` as a process of its own and passes on what it says first.
fn start(arguments: &[String]) -> Result<(), Failure> {
    Options::parse(arguments)?;
    let mut child = Command::new(std::env::current_exe()?)
        .arg("serve")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let output = child.stdout.take().ok_or("no output")?;
    let mut said = String::new();
    for line in BufReader::new(output).lines() {
        let line = line?;
        if line.is_empty() {
            print!("{said}");
            return Ok(());
        }
        said.push_str(&line);
        said.push('\n');
    }
    Err("the fixture did not start".into())
}

fn fault(words: &[&str]) -> Result<Fault, Failure> {
    let code = |name: &str| -> Result<u32, Failure> {
        match name {
            "any" => Ok(ANY),
            _ => command_code(name).map_or_else(|| number(name), Ok),
        }
    };
    Ok(match words {
        ["respond", name, rc, times] => Fault::Respond { code: code(name)?, rc: number(rc)?, times: times.parse()? },
        ["cut-before", name] => Fault::CutBeforeCommand { code: code(name)? },
        ["cut-after", name] => Fault::CutAfterCommand { code: code(name)? },
        ["hang", name] => Fault::Hang { code: code(name)? },
        ["late", name, time] => Fault::Delay { code: code(name)?, by: milliseconds(time)? },
        _ => return Err(format!("unknown fault {words:?}: see swtpm-fixtures help").into()),
    })
}

fn number(text: &str) -> Result<u32, Failure> {
    Ok(match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16)?,
        None => text.parse().map_err(|_| format!("{text:?} is neither a command nor a number"))?,
    })
}

fn milliseconds(text: &str) -> Result<Duration, Failure> {
    Ok(Duration::from_millis(text.parse()?))
}
