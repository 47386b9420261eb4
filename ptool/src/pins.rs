//! Where PINs and authorizations come from: the command line, files, the environment, credentials, a prompt.
//!
//! Every copy made here is wiped. Those that the system and the parser of the command line keep of an argument, or of the
//! environment, are not; this is why files and the prompt exist.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use base::Secret;

use crate::cli::import::Passphrase;
use crate::cli::{Hidden, SoPin, UserPin, Who, decode_hex};
use crate::errors::Failure;
use crate::output::note;
use crate::terminal;

/// More than any PIN or authorization can be; a longer file is a mistake, such as a key file.
const LONGEST: usize = 4096;

/// One secret, and what it is called wherever it may come from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject {
    /// In prompts and messages.
    pub(crate) name: &'static str,
    option: &'static str,
    variable: Option<&'static str>,
    credential: Option<&'static str>,
}

pub(crate) const USER_PIN: Subject = Subject {
    name: "user PIN",
    option: "--userpin",
    variable: Some("TPM2_CRYPTOKI_USERPIN"),
    credential: Some("tpm2-cryptoki.userpin"),
};

pub(crate) const SO_PIN: Subject = Subject {
    name: "security officer PIN",
    option: "--sopin",
    variable: Some("TPM2_CRYPTOKI_SOPIN"),
    credential: Some("tpm2-cryptoki.sopin"),
};

pub(crate) const OWNER_AUTH: Subject =
    Subject { name: "owner authorization", option: "--hierarchy-auth", variable: None, credential: None };

pub(crate) const ENDORSEMENT_AUTH: Subject =
    Subject { name: "endorsement authorization", option: "--ek-auth", variable: None, credential: None };

pub(crate) const PRIMARY_AUTH: Subject =
    Subject { name: "authorization of the primary key", option: "--primary-auth", variable: None, credential: None };

pub(crate) const KEY_AUTH: Subject =
    Subject { name: "authorization of the key", option: "--auth", variable: None, credential: None };

const PASSPHRASE: Subject = Subject {
    name: "passphrase",
    option: "--passin",
    variable: Some("TPM2_CRYPTOKI_PASSPHRASE"),
    credential: Some("tpm2-cryptoki.passphrase"),
};

/// Of a file that is about to be written.
const NEW_PASSPHRASE: Subject = Subject { option: "--passout", ..PASSPHRASE };

pub(crate) const LOCKOUT_AUTH: Subject =
    Subject { name: "lockout authorization", option: "--lockout-auth", variable: None, credential: None };

/// The PIN that `changepin` replaces: the same PIN as elsewhere, under another option.
pub(crate) fn old_pin(who: Who) -> Subject {
    match who {
        Who::User => Subject { option: "--old", ..USER_PIN },
        Who::So => Subject { option: "--old", ..SO_PIN },
    }
}

/// The PIN that `changepin` sets. The environment and the credentials hold the present one.
pub(crate) fn new_pin(who: Who) -> Subject {
    let name = match who {
        Who::User => "new user PIN",
        Who::So => "new security officer PIN",
    };
    Subject { name, option: "--new", variable: None, credential: None }
}

/// What the command line says about one PIN.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Given<'a> {
    pub(crate) argument: Option<&'a Hidden>,
    pub(crate) file: Option<&'a Path>,
}

impl Given<'_> {
    /// Whether the command line names this PIN at all.
    pub(crate) fn is_some(&self) -> bool {
        self.argument.is_some() || self.file.is_some()
    }
}

impl<'a> From<&'a UserPin> for Given<'a> {
    fn from(options: &'a UserPin) -> Given<'a> {
        Given { argument: options.userpin.as_ref(), file: options.userpin_file.as_deref() }
    }
}

impl<'a> From<&'a SoPin> for Given<'a> {
    fn from(options: &'a SoPin) -> Given<'a> {
        Given { argument: options.sopin.as_ref(), file: options.sopin_file.as_deref() }
    }
}

/// What a process finds around it; replaced in tests.
pub(crate) trait Surroundings {
    /// An environment variable.
    fn variable(&self, name: &str) -> Option<OsString>;
    /// Whether standard input is a terminal, where a PIN must not be echoed.
    fn stdin_is_terminal(&self) -> bool;
    /// One line of standard input without its end; None when there is no more input.
    fn stdin_line(&mut self) -> io::Result<Option<Secret>>;
    /// Asks on the terminal, without echo. Fails when there is no terminal.
    fn prompt(&mut self, question: &str) -> io::Result<Secret>;
}

/// The running process.
#[derive(Debug)]
pub(crate) struct Process;

impl Surroundings for Process {
    fn variable(&self, name: &str) -> Option<OsString> {
        std::env::var_os(name)
    }

    fn stdin_is_terminal(&self) -> bool {
        io::stdin().is_terminal()
    }

    fn stdin_line(&mut self) -> io::Result<Option<Secret>> {
        let stdin = io::stdin();
        read_line(|byte| Ok(rustix::io::read(stdin.as_fd(), byte)?))
    }

    fn prompt(&mut self, question: &str) -> io::Result<Secret> {
        terminal::ask(question)
    }
}

/// A PIN that exists already: from any source, and the prompt asks once.
pub(crate) fn current(subject: Subject, given: Given<'_>, around: &mut dyn Surroundings) -> Result<Secret, Failure> {
    match provided(subject, given, around)? {
        Some(pin) => Ok(pin),
        None => ask(subject, &capitalized(subject.name), around),
    }
}

/// A PIN to be set: from any source, and the prompt asks twice.
pub(crate) fn chosen(subject: Subject, given: Given<'_>, around: &mut dyn Surroundings) -> Result<Secret, Failure> {
    if let Some(pin) = provided(subject, given, around)? {
        return Ok(pin);
    }
    let first = ask(subject, &capitalized(subject.name), around)?;
    if first.is_empty() {
        return Err(Failure::usage(format!("the {} is empty", subject.name), "Nothing was changed."));
    }
    match ask(subject, &format!("{} again", capitalized(subject.name)), around)? == first {
        true => Ok(first),
        false => Err(Failure::usage(format!("the two entries of the {} differ", subject.name), "Nothing was changed.")),
    }
}

/// A PIN from a source that does not ask; None when no source has one.
pub(crate) fn provided(
    subject: Subject,
    given: Given<'_>,
    around: &mut dyn Surroundings,
) -> Result<Option<Secret>, Failure> {
    if let Some(Hidden(argument)) = given.argument {
        return match argument.as_bytes() {
            b"-" => from_stdin(subject, around).map(Some),
            bytes => Ok(Some(Secret::copy_from(bytes))),
        };
    }
    if let Some(path) = given.file {
        return match path == Path::new("-") {
            true => from_stdin(subject, around).map(Some),
            false => from_file(subject, path, Exposure::Noted).map(Some),
        };
    }
    if let Some((name, value)) = subject.variable.and_then(|name| Some((name, around.variable(name)?))) {
        return not_empty(subject, name, Secret::new(value.into_vec())).map(Some);
    }
    match credential_path(subject, around) {
        Some(path) if path.exists() => from_file(subject, &path, Exposure::Trusted).map(Some),
        _ => Ok(None),
    }
}

/// An authorization value in the notation of tpm2-tools: text, `str:`, `hex:`, `file:`; `-` is standard input, and nothing
/// is the empty authorization.
pub(crate) fn authorization(
    subject: Subject,
    argument: Option<&Hidden>,
    around: &mut dyn Surroundings,
) -> Result<Secret, Failure> {
    let Some(Hidden(argument)) = argument else {
        return Ok(Secret::zeroed(0));
    };
    let bytes = argument.as_bytes();
    if bytes == b"-" || bytes == b"file:-" {
        return from_stdin(subject, around);
    }
    if let Some(path) = bytes.strip_prefix(b"file:") {
        return from_file(subject, &PathBuf::from(OsString::from_vec(path.to_vec())), Exposure::Noted);
    }
    if let Some(digits) = bytes.strip_prefix(b"hex:") {
        return decode_hex(digits).map(Secret::new).ok_or_else(|| {
            Failure::usage(
                format!("the {} is not hexadecimal", subject.name),
                "Give an even number of hexadecimal digits after hex:.",
            )
        });
    }
    if bytes.starts_with(b"session:") || bytes.starts_with(b"pcr:") {
        return Err(Failure::usage(
            format!("{} cannot be a session or a policy", subject.option),
            "Give the authorization itself: text, hex:..., file:PATH or `-`.",
        ));
    }
    Ok(Secret::copy_from(bytes.strip_prefix(b"str:").unwrap_or(bytes)))
}

/// The passphrase of a file that exists.
pub(crate) fn passphrase(options: &Passphrase, file: &str, around: &mut dyn Surroundings) -> Result<Secret, Failure> {
    match passphrase_given(options, around)? {
        Some(passphrase) => Ok(passphrase),
        None => ask(PASSPHRASE, &format!("Passphrase of {file}"), around),
    }
}

/// The passphrase of a file that is about to be written: the prompt asks twice.
pub(crate) fn new_passphrase(options: &Passphrase, around: &mut dyn Surroundings) -> Result<Secret, Failure> {
    match passphrase_given(options, around)? {
        Some(passphrase) => Ok(passphrase),
        None => chosen(NEW_PASSPHRASE, Given::default(), around),
    }
}

/// A passphrase from a source that does not ask.
pub(crate) fn passphrase_given(options: &Passphrase, around: &mut dyn Surroundings) -> Result<Option<Secret>, Failure> {
    let Some(Hidden(source)) = &options.passin else {
        return provided(PASSPHRASE, Given { argument: None, file: options.passphrase_file.as_deref() }, around);
    };
    let source = source.as_bytes();
    if let Some(text) = source.strip_prefix(b"pass:") {
        return Ok(Some(Secret::copy_from(text)));
    }
    if let Some(path) = source.strip_prefix(b"file:") {
        let path = PathBuf::from(OsString::from_vec(path.to_vec()));
        return from_file(PASSPHRASE, &path, Exposure::Noted).map(Some);
    }
    if source == b"stdin" || source == b"-" {
        return from_stdin(PASSPHRASE, around).map(Some);
    }
    let variable = source.strip_prefix(b"env:").and_then(|name| std::str::from_utf8(name).ok());
    match variable.map(|name| (name, around.variable(name))) {
        Some((name, Some(value))) => not_empty(PASSPHRASE, name, Secret::new(value.into_vec())).map(Some),
        Some((name, None)) => Err(Failure::usage(
            format!("there is no environment variable {name}"),
            "--passin env:NAME takes the passphrase from it.",
        )),
        None => Err(Failure::usage("--passin names no source", "Give pass:TEXT, env:VARIABLE, file:FILE or stdin.")),
    }
}

/// The file systemd made for this process, if the service has such a credential.
fn credential_path(subject: Subject, around: &dyn Surroundings) -> Option<PathBuf> {
    let directory = around.variable("CREDENTIALS_DIRECTORY").filter(|directory| !directory.is_empty())?;
    Some(Path::new(&directory).join(subject.credential?))
}

/// Whether a file's permissions are this program's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exposure {
    Noted,
    Trusted,
}

fn from_file(subject: Subject, path: &Path, exposure: Exposure) -> Result<Secret, Failure> {
    let failed = |error: io::Error| {
        Failure::general(
            format!("the {} cannot be read from {}: {error}", subject.name, path.display()),
            "Name a file that this user may read and that holds nothing else.",
        )
    };
    let mut file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if exposure == Exposure::Noted && metadata.is_file() && metadata.mode() & 0o004 != 0 {
        note(&format!("every user of this machine can read {} (chmod 600 would change that)", path.display()));
    }
    let mut content = read_up_to(LONGEST + 1, |buffer| file.read(buffer)).map_err(failed)?;
    if content.len() > LONGEST {
        return Err(failed(io::Error::other("it is too long for a PIN")));
    }
    strip_newline(&mut content);
    not_empty(subject, &path.display().to_string(), content)
}

fn from_stdin(subject: Subject, around: &mut dyn Surroundings) -> Result<Secret, Failure> {
    if around.stdin_is_terminal() {
        return ask(subject, &capitalized(subject.name), around);
    }
    match around.stdin_line() {
        Ok(Some(line)) => not_empty(subject, "standard input", line),
        Ok(None) => Err(Failure::usage(
            format!("standard input ended before the {}", subject.name),
            match subject.option {
                "--old" | "--new" => "Each `-` takes one line; the old PIN comes before the new one.",
                "--sopin" | "--userpin" => "Each `-` takes one line; of two PINs, the security officer's comes first.",
                _ => "One line is wanted there.",
            },
        )),
        Err(error) => Err(Failure::general(
            format!("the {} cannot be read from standard input: {error}", subject.name),
            "Each `-` takes one line of at most 4096 bytes.",
        )),
    }
}

/// An empty file or variable is a secret that failed to arrive, never the wish for a token without PIN.
fn not_empty(subject: Subject, source: &str, secret: Secret) -> Result<Secret, Failure> {
    match secret.is_empty() {
        true => Err(Failure::usage(
            format!("the {} from {source} is empty", subject.name),
            "Fill it, or give the PIN in another way.",
        )),
        false => Ok(secret),
    }
}

fn ask(subject: Subject, question: &str, around: &mut dyn Surroundings) -> Result<Secret, Failure> {
    around.prompt(&format!("{question}: ")).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::Interrupted => {
            Failure::general(format!("no {} was entered", subject.name), "Nothing was changed.")
        }
        io::ErrorKind::InvalidData => {
            Failure::usage(format!("the {} cannot be read: {error}", subject.name), "Nothing was changed.")
        }
        _ => no_terminal(subject),
    })
}

fn no_terminal(subject: Subject) -> Failure {
    let option = subject.option;
    // The notation of openssl, and of tpm2_ptool.
    let has_source = matches!(option, "--passin" | "--passout");
    let mut ways = match has_source {
        true => format!("Give --passphrase-file FILE, {option} stdin (a line of standard input)"),
        false => format!("Give {option}-file FILE, {option} - (a line of standard input)"),
    };
    if let Some(variable) = subject.variable {
        ways.push_str(&format!(", the environment variable {variable}"));
    }
    if let Some(credential) = subject.credential {
        ways.push_str(&format!(", the systemd credential {credential}"));
    }
    ways.push_str(&match has_source {
        true => format!(" or {option} pass:TEXT."),
        false => format!(" or {option} PIN."),
    });
    Failure::usage(format!("no {} was given, and there is no terminal to ask on", subject.name), ways)
}

fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// Reads byte by byte: what follows the line belongs to the next reader, and no buffer keeps a copy.
fn read_line(mut read: impl FnMut(&mut [u8]) -> io::Result<usize>) -> io::Result<Option<Secret>> {
    let mut line = Secret::zeroed(LONGEST + 1);
    let mut length = 0;
    while let Some(byte) = line.expose_mut().get_mut(length..=length) {
        match read(byte) {
            Ok(0) if length == 0 => return Ok(None),
            Ok(0) => break,
            Ok(_) if byte == b"\n" => {
                length += 1;
                break;
            }
            Ok(_) => length += 1,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let mut line = Secret::copy_from(line.expose().get(..length).unwrap_or_default());
    strip_newline(&mut line);
    match line.len() > LONGEST {
        true => Err(io::Error::other("the line is too long for a PIN")),
        false => Ok(Some(line)),
    }
}

fn read_up_to(limit: usize, mut read: impl FnMut(&mut [u8]) -> io::Result<usize>) -> io::Result<Secret> {
    let mut content = Secret::zeroed(limit);
    let mut length = 0;
    while let Some(rest) = content.expose_mut().get_mut(length..).filter(|rest| !rest.is_empty()) {
        match read(rest) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Secret::copy_from(content.expose().get(..length).unwrap_or_default()))
}

/// Removes one end of line, as an editor or `echo` leaves it.
fn strip_newline(secret: &mut Secret) {
    let bytes = secret.expose();
    let kept = bytes.strip_suffix(b"\r\n").or_else(|| bytes.strip_suffix(b"\n")).unwrap_or(bytes);
    if kept.len() < bytes.len() {
        *secret = Secret::copy_from(kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::collections::VecDeque;

    #[derive(Default)]
    struct Fake {
        variables: HashMap<&'static str, OsString>,
        stdin: VecDeque<&'static str>,
        stdin_is_terminal: bool,
        answers: Option<VecDeque<&'static str>>,
        questions: Vec<String>,
    }

    impl Surroundings for Fake {
        fn variable(&self, name: &str) -> Option<OsString> {
            self.variables.get(name).cloned()
        }

        fn stdin_is_terminal(&self) -> bool {
            self.stdin_is_terminal
        }

        fn stdin_line(&mut self) -> io::Result<Option<Secret>> {
            Ok(self.stdin.pop_front().map(|line| Secret::copy_from(line.as_bytes())))
        }

        fn prompt(&mut self, question: &str) -> io::Result<Secret> {
            self.questions.push(question.to_owned());
            let answers = self.answers.as_mut().ok_or(io::ErrorKind::NotFound)?;
            let answer = answers.pop_front().ok_or(io::ErrorKind::UnexpectedEof)?;
            Ok(Secret::copy_from(answer.as_bytes()))
        }
    }

    fn hidden(text: &str) -> Hidden {
        Hidden(text.into())
    }

    fn file(content: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        file
    }

    fn value(secret: Result<Secret, Failure>) -> String {
        String::from_utf8(secret.unwrap().expose().to_vec()).unwrap()
    }

    #[test]
    fn sources_are_taken_in_order() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("tpm2-cryptoki.userpin"), "credential\n").unwrap();
        let pin_file = file(b"from file\n");
        let argument = hidden("argument");
        let mut around = Fake { answers: Some(["prompt"].into()), ..Fake::default() };

        assert_eq!(value(current(USER_PIN, Given::default(), &mut around)), "prompt");
        assert_eq!(around.questions, ["User PIN: "]);

        around.variables.insert("CREDENTIALS_DIRECTORY", directory.path().into());
        assert_eq!(value(current(USER_PIN, Given::default(), &mut around)), "credential");

        around.variables.insert("TPM2_CRYPTOKI_USERPIN", "environment".into());
        assert_eq!(value(current(USER_PIN, Given::default(), &mut around)), "environment");

        let given = Given { argument: None, file: Some(pin_file.path()) };
        assert_eq!(value(current(USER_PIN, given, &mut around)), "from file");

        let given = Given { argument: Some(&argument), file: None };
        assert_eq!(value(current(USER_PIN, given, &mut around)), "argument");
        assert_eq!(around.questions.len(), 1);
    }

    #[test]
    fn the_officer_pin_is_never_taken_for_the_user_pin() {
        let mut around = Fake::default();
        around.variables.insert("TPM2_CRYPTOKI_SOPIN", "officer".into());
        assert!(provided(USER_PIN, Given::default(), &mut around).unwrap().is_none());
        assert_eq!(value(current(SO_PIN, Given::default(), &mut around)), "officer");
        assert_eq!(value(current(old_pin(Who::So), Given::default(), &mut around)), "officer");
        assert!(provided(new_pin(Who::So), Given::default(), &mut around).unwrap().is_none());
    }

    #[test]
    fn dash_reads_lines_in_turn() {
        let dash = hidden("-");
        let given = Given { argument: Some(&dash), file: None };
        let mut around = Fake { stdin: ["officer", "user"].into(), ..Fake::default() };
        assert_eq!(value(current(SO_PIN, given, &mut around)), "officer");
        assert_eq!(value(current(USER_PIN, Given { argument: None, file: Some(Path::new("-")) }, &mut around)), "user");
        let failure = current(USER_PIN, given, &mut around).unwrap_err();
        assert!(failure.to_string().contains("standard input ended"), "{failure}");
    }

    #[test]
    fn dash_on_a_terminal_does_not_echo() {
        let dash = hidden("-");
        let given = Given { argument: Some(&dash), file: None };
        let mut around = Fake {
            stdin: ["echoed"].into(),
            stdin_is_terminal: true,
            answers: Some(["asked"].into()),
            ..Fake::default()
        };
        assert_eq!(value(current(USER_PIN, given, &mut around)), "asked");
    }

    #[test]
    fn a_new_pin_is_asked_twice() {
        let mut around = Fake { answers: Some(["one", "one"].into()), ..Fake::default() };
        assert_eq!(value(chosen(new_pin(Who::User), Given::default(), &mut around)), "one");
        assert_eq!(around.questions, ["New user PIN: ", "New user PIN again: "]);

        around.answers = Some(["one", "two"].into());
        let failure = chosen(SO_PIN, Given::default(), &mut around).unwrap_err();
        assert!(failure.to_string().contains("differ"), "{failure}");

        around.answers = Some([""].into());
        let failure = chosen(SO_PIN, Given::default(), &mut around).unwrap_err();
        assert!(failure.to_string().contains("empty"), "{failure}");
    }

    #[test]
    fn without_a_terminal_the_ways_are_named() {
        let text = current(USER_PIN, Given::default(), &mut Fake::default()).unwrap_err().to_string();
        for way in ["--userpin-file", "--userpin -", "TPM2_CRYPTOKI_USERPIN", "tpm2-cryptoki.userpin", "--userpin PIN"]
        {
            assert!(text.contains(way), "{way}: {text}");
        }
    }

    #[test]
    fn an_empty_argument_is_a_choice_and_an_empty_source_a_mistake() {
        let empty = hidden("");
        let given = Given { argument: Some(&empty), file: None };
        assert_eq!(value(current(USER_PIN, given, &mut Fake::default())), "");

        let pin_file = file(b"\n");
        let given = Given { argument: None, file: Some(pin_file.path()) };
        assert!(current(USER_PIN, given, &mut Fake::default()).unwrap_err().to_string().contains("is empty"));

        let mut around = Fake::default();
        around.variables.insert("TPM2_CRYPTOKI_USERPIN", "".into());
        assert!(current(USER_PIN, Given::default(), &mut around).unwrap_err().to_string().contains("is empty"));
    }

    #[test]
    fn one_newline_is_stripped_from_a_file() {
        for (content, expected) in [
            ("pin", "pin"),
            ("pin\n", "pin"),
            ("pin\r\n", "pin"),
            ("pin\n\n", "pin\n"),
            (" pin ", " pin "),
            ("a\nb\n", "a\nb"),
        ] {
            let pin_file = file(content.as_bytes());
            let given = Given { argument: None, file: Some(pin_file.path()) };
            assert_eq!(value(current(USER_PIN, given, &mut Fake::default())), expected, "{content:?}");
        }
    }

    #[test]
    fn files_that_hold_no_pin_are_refused() {
        let long = file(&[b'x'; LONGEST + 1]);
        let given = Given { argument: None, file: Some(long.path()) };
        assert!(current(USER_PIN, given, &mut Fake::default()).unwrap_err().to_string().contains("too long"));
        let given = Given { argument: None, file: Some(Path::new("/nonexistent/pin")) };
        assert!(current(USER_PIN, given, &mut Fake::default()).unwrap_err().to_string().contains("/nonexistent/pin"));
    }

    #[test]
    fn a_line_leaves_the_rest_unread() {
        let input = b"first\nsecond\r\n\nlast";
        let mut position = 0;
        let mut next = || {
            read_line(|buffer| {
                let Some(byte) = input.get(position) else { return Ok(0) };
                buffer[0] = *byte;
                position += 1;
                Ok(1)
            })
            .unwrap()
            .map(|line| line.expose().to_vec())
        };
        assert_eq!(next().as_deref(), Some(&b"first"[..]));
        assert_eq!(next().as_deref(), Some(&b"second"[..]));
        assert_eq!(next().as_deref(), Some(&b""[..]));
        assert_eq!(next().as_deref(), Some(&b"last"[..]));
        assert_eq!(next(), None);
    }

    #[test]
    fn an_endless_line_ends() {
        let endless = |buffer: &mut [u8]| {
            buffer.fill(b'x');
            Ok(buffer.len())
        };
        assert!(read_line(endless).is_err());
        assert_eq!(read_up_to(7, endless).unwrap().len(), 7);
    }

    #[test]
    fn authorizations_are_written_as_in_tpm2_tools() {
        let auth_file = file(b"in file\n");
        let named = format!("file:{}", auth_file.path().display());
        let mut around = Fake { stdin: ["line", "again"].into(), ..Fake::default() };
        for (argument, expected) in [
            ("", ""),
            ("owner", "owner"),
            ("str:hex:00", "hex:00"),
            ("hex:6f77", "ow"),
            (named.as_str(), "in file"),
            ("-", "line"),
            ("file:-", "again"),
        ] {
            assert_eq!(value(authorization(OWNER_AUTH, Some(&hidden(argument)), &mut around)), expected, "{argument}");
        }
        assert_eq!(value(authorization(PRIMARY_AUTH, None, &mut around)), "");
        for refused in ["hex:0", "hex:zz", "session:s.ctx", "pcr:sha256:0", "file:/nonexistent"] {
            assert!(authorization(OWNER_AUTH, Some(&hidden(refused)), &mut around).is_err(), "{refused}");
        }
    }
}
