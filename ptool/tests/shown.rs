//! Everything that this program says to a person stands in a transcript, so that a reviewer has read it: each text in the sources
//! of `ptool` and of the token's administration is looked for there.
//!
//! A text is a string literal of three words or more. What the doctor finds has tests of its own, and the help is clap's.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a failure here is a failed test")]

use std::path::{Path, PathBuf};

/// Where texts stand, below the workspace.
const SOURCES: [&str; 2] = ["ptool/src", "crates/admin/src"];

/// What stands there and is no text of a verb.
const OTHERS: [&str; 2] = ["ptool/src/cli", "crates/admin/src/doctor"];

/// Why a text stands in no transcript.
enum Why {
    /// Another test shows it: a file, and what is in it.
    Shown(&'static str, &'static str),
    /// Nobody can bring it about from outside.
    Never(&'static str),
    /// Nobody is told it.
    Silent(&'static str),
}

use Why::{Never, Shown, Silent};

/// How texts begin that stand in no transcript. One that is shown, or gone, must leave this list.
const EXCEPTIONS: &[(&str, Why)] = &[
    ("the two entries of the {} differ", Shown("ptool/tests/command.rs", "entries of the security officer PIN differ")),
    ("no {} was entered", Shown("ptool/tests/command.rs", "no security officer PIN was entered")),
    ("the answer is too long", Shown("ptool/tests/command.rs", "the answer is too long")),
    ("Nothing was changed.", Shown("ptool/tests/command.rs", "Nothing was changed.")),
    ("nothing was made", Shown("ptool/tests/command.rs", "nothing was made")),
    ("--yes goes on without asking.", Never("it stands below `nothing was made`, which needs a terminal")),
    ("the TPM is making an RSA key", Shown("ptool/tests/command.rs", "this can take a minute")),
    ("one key alone can have the id", Never("the parser refuses --id with --count; other callers are told")),
    ("{} of {count} keys were made", Never("after the first key only a TPM or a disk that fails stops it")),
    ("this TPM does not make {name} keys", Shown("ptool/tests/command.rs", "this TPM does not make rsa4096 keys")),
    (
        "Nearly every TPM 2.0 makes",
        Never("it stands below `this TPM does not make`, which not every software TPM says"),
    ),
    ("the TPM keeps no key for its owner", Shown("ptool/tests/command.rs", "made again at each use")),
    ("If this goes on, restart", Shown("ptool/tests/command.rs", "restart what provides the TPM")),
    ("Nothing was changed; try again.", Shown("ptool/tests/command.rs", "Nothing was changed; try again.")),
    ("a shell with a TPM in software", Shown("ptool/tests/shell.rs", "user PIN 1234")),
    ("the token is {LABEL:?}, with the user PIN", Shown("ptool/tests/shell.rs", "user PIN 1234")),
    ("for example: ptool addkey", Shown("ptool/tests/shell.rs", "user PIN 1234")),
    ("             ssh-keygen -D $MODULE", Shown("ptool/tests/shell.rs", "user PIN 1234")),
    ("{MODULE} is not installed yet", Never("whether it is said depends on what the machine has installed")),
    (
        "the policy of the key has something in it",
        Shown("ptool/tests/foreign_policies.rs", "something in it that is not known here"),
    ),
    ("the policy in the file is not that", Shown("ptool/tests/foreign_policies.rs", "not that of the key")),
    (
        "the policy of the key wants approvals for a policyRef",
        Shown("ptool/tests/foreign_policies.rs", "wants approvals for a policyRef"),
    ),
    ("this TPM cannot check what the authority's key", Never("the software TPM has all curves that are known here")),
    ("from the file of a key", Silent("a comment, which `ptool pcr list` shows")),
    ("{file} was changed while it was read", Never("nobody can be made to write in the very moment")),
    ("its primary key is nowhere", Never("each primary key in a store has a place, or a reason why not")),
    ("`ptool listtokens` shows the tokens", Never("the token is looked for first; it would have to go in between")),
    ("`ptool listobjects` shows the objects", Never("the object is looked for first; it would have to go in between")),
    ("there is no such object, or it is not", Never("the object is looked for first; it would have to go in between")),
    ("a key that works without the PIN cannot", Never("the command line refuses the two options together")),
    ("no PCRs are named, and no authority", Never("without either no policy is asked for")),
    ("only the security officer says what is trusted", Never("--trusted asks for no other PIN")),
    (
        "{error}; the primary key was taken out",
        Never("the disk would have to fail in the very moment, and the TPM too"),
    ),
    ("the key is wrapped already", Never("the tool says before that the key is wrapped for a TPM")),
    ("there is no algorithm", Never("the command line knows the same names, and refuses others")),
    ("a PKCS#11 URI begins with", Never("what does not begin so is the name of a file")),
    ("the signature of the approval is not good", Never("the key would have to fail in the very moment")),
    ("a fingerprint has 32 bytes", Never("SHA-256 makes no other length")),
    ("the certificate cannot be taken apart", Never("what was decoded has its parts")),
    ("the certificate cannot be encoded", Never("it has no more than what was checked before")),
    ("a certificate needs a subject or another name", Never("the tool says before that it has no name")),
    ("certificates are signed with SHA-256", Never("the command line knows no other hash")),
    ("the certificate would be valid", Never("a hundred years are the most that the command line takes")),
    ("the URI cannot be encoded", Never("it has no more than a string in it")),
    ("PKCS#11 Provider URI v1.0", Silent("of the file format of pkcs11-provider")),
    ("PKCS#11 PROVIDER URI", Silent("of the file format of pkcs11-provider")),
    ("tpm2-cryptoki backup 1 ", Silent("what a digest begins with")),
    ("tpm2-pkcs11 token", Silent("what a digest begins with")),
    ("tpm2-pkcs11 object", Silent("what a digest begins with")),
    ("tpm2-cryptoki attestation 1", Silent("what a file with an attestation begins with")),
    ("NEW CERTIFICATE REQUEST", Silent("the label of a PEM block")),
    ("TPM2 CRYPTOKI BACKUP", Silent("the label of a PEM block")),
    ("\n_ptool_by_words()", Silent("a script for the shell, not a text")),
    ("complete -F _ptool_by_words", Silent("a script for the shell, not a text")),
    ("\nswtpm socket", Silent("a script for the shell, not a text")),
];

#[test]
fn every_text_stands_in_a_transcript() {
    let shown = shown_lines();
    let mut missing = Vec::new();
    let mut needed = vec![false; EXCEPTIONS.len()];
    for (file, line, text) in texts() {
        let parts = constant_parts(&text);
        if shown.iter().any(|line| has_in_order(line, &parts)) {
            continue;
        }
        match EXCEPTIONS.iter().position(|(start, _)| text.starts_with(start)) {
            Some(position) => needed[position] = true,
            None => missing.push(format!("{}:{line}: {text}", file.display())),
        }
    }
    assert!(missing.is_empty(), "in no transcript of ptool/tests/transcripts:\n{}", missing.join("\n"));
    let idle: Vec<&str> =
        EXCEPTIONS.iter().zip(&needed).filter(|(_, needed)| !**needed).map(|((text, _), _)| *text).collect();
    assert!(idle.is_empty(), "exceptions that need none: {idle:#?}");
}

#[test]
fn exceptions_give_their_reason() {
    for (text, why) in EXCEPTIONS {
        match why {
            Shown(file, word) => {
                let test =
                    std::fs::read_to_string(workspace().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
                assert!(test.contains(word), "{text:?}: {file} has no {word:?}");
            }
            Never(reason) | Silent(reason) => assert!(reason.len() > 20, "{text:?}"),
        }
    }
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The lines that programs printed.
fn shown_lines() -> Vec<String> {
    let transcripts = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts")).unwrap();
    let texts = transcripts.map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap());
    let lines = texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>());
    let printed: Vec<String> = lines.filter(|line| !line.starts_with(['$', '#', '%'])).collect();
    // YAML doubles the quotes in what it quotes, and a failure is two lines where the token's error is one.
    let quoted = printed.iter().map(|line| line.replace("''", "'"));
    let pairs = printed.windows(2).filter_map(|pair| {
        let advice = pair[1].strip_prefix("!   ")?;
        let (first, rest) = advice.split_at_checked(1)?;
        Some(format!("{}; {}{rest}", pair[0], first.to_lowercase()))
    });
    let all: Vec<String> = quoted.chain(pairs).collect();
    [printed, all].concat()
}

/// Every text in the sources: file, line, what it says.
fn texts() -> Vec<(PathBuf, usize, String)> {
    let mut files = Vec::new();
    for source in SOURCES {
        collect(&workspace().join(source), &mut files);
    }
    let root = workspace();
    files.retain(|file| OTHERS.iter().all(|other| !file.starts_with(root.join(other))));
    assert!(files.len() > 40, "{files:?}");
    files.sort();
    let mut texts = Vec::new();
    for file in files {
        let source = std::fs::read_to_string(&file).unwrap();
        let source = source.split("#[cfg(test)]\nmod ").next().unwrap();
        let name = file.strip_prefix(&root).unwrap().to_owned();
        let found = literals(source).into_iter().filter(|(_, text)| is_text(text));
        texts.extend(found.map(|(line, text)| (name.clone(), line, text)));
    }
    texts
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => collect(&path, files),
            false if path.extension().is_some_and(|extension| extension == "rs") => files.push(path),
            false => {}
        }
    }
}

fn is_text(literal: &str) -> bool {
    let parts = constant_parts(literal).join(" ");
    let words = parts.split(|c: char| !c.is_ascii_alphabetic()).filter(|word| word.len() > 1);
    literal.trim().contains(' ') && words.count() > 2
}

/// A format string without what is put into it.
fn constant_parts(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut inside = false;
    for c in text.chars() {
        match c {
            '{' => {
                inside = true;
                parts.push(String::new());
            }
            '}' => inside = false,
            c if !inside => parts.last_mut().unwrap().push(c),
            _ => {}
        }
    }
    parts.into_iter().map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

fn has_in_order(line: &str, parts: &[String]) -> bool {
    let mut rest = line;
    parts.iter().all(|part| match rest.split_once(part.as_str()) {
        Some((_, after)) => {
            rest = after;
            true
        }
        None => false,
    })
}

/// The string literals of a source file with their lines: not those of comments, attributes and the log.
fn literals(source: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut rest = Rest { source, at: 0 };
    while let Some(c) = rest.peek() {
        if rest.starts_with("//") {
            rest.skip_line();
        } else if rest.starts_with("#[") || rest.starts_with("#![") {
            rest.skip_balanced('[', ']');
        } else if rest.starts_with("log::") {
            rest.skip_balanced('(', ')');
        } else if c == '"' || rest.raw_quote().is_some() {
            let line = rest.line();
            let text = rest.string();
            found.push((line, text));
        } else {
            rest.skip_one(c);
        }
    }
    found
}

struct Rest<'a> {
    source: &'a str,
    at: usize,
}

impl<'a> Rest<'a> {
    fn text(&self) -> &'a str {
        &self.source[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.text().chars().next()
    }

    fn starts_with(&self, prefix: &str) -> bool {
        self.text().starts_with(prefix)
    }

    fn line(&self) -> usize {
        self.source[..self.at].matches('\n').count() + 1
    }

    fn skip_line(&mut self) {
        self.at += self.text().find('\n').unwrap_or(self.text().len());
    }

    /// One character of code: a quoted one whole, and no name half.
    fn skip_one(&mut self, c: char) {
        let text = self.text();
        let quoted = ["'\\''", "'\"'", "'\\\"'", "'{'", "'}'", "'('", "')'", "'['", "']'"];
        if let Some(quoted) = quoted.into_iter().find(|quoted| text.starts_with(quoted)) {
            self.at += quoted.len();
        } else if c.is_ascii_alphanumeric() || c == '_' {
            self.at += text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
            // A byte string is no text, but it has quotes.
        } else {
            self.at += c.len_utf8();
        }
    }

    /// Up to the end of what opens next.
    fn skip_balanced(&mut self, open: char, close: char) {
        let mut depth = 0;
        while let Some(c) = self.peek() {
            if c == '"' {
                self.string();
                continue;
            }
            self.skip_one(c);
            if c == open {
                depth += 1;
            } else if c == close {
                depth -= 1;
                if depth == 0 {
                    return;
                }
            }
        }
    }

    /// What ends the raw string that begins here.
    fn raw_quote(&self) -> Option<String> {
        let hashes = self.text().strip_prefix('r')?;
        let count = hashes.find(|c| c != '#')?;
        hashes[count..].starts_with('"').then(|| format!("\"{}", "#".repeat(count)))
    }

    fn string(&mut self) -> String {
        if let Some(end) = self.raw_quote() {
            let text = &self.text()[end.len() + 1..];
            let len = text.find(&end).unwrap();
            self.at += end.len() + 1 + len + end.len();
            return text[..len].to_owned();
        }
        let mut value = String::new();
        let mut chars = self.text().char_indices().skip(1).peekable();
        while let Some((position, c)) = chars.next() {
            match c {
                '"' => {
                    self.at += position + 1;
                    return value;
                }
                '\\' => match chars.next().unwrap().1 {
                    '\n' => while chars.next_if(|(_, c)| c.is_whitespace()).is_some() {},
                    'n' => value.push('\n'),
                    escaped => value.push(escaped),
                },
                c => value.push(c),
            }
        }
        panic!("a string without an end in line {}", self.line());
    }
}

#[test]
fn texts_are_found_in_sources() {
    let source = r##"
        //! "no comment of three words"
        #[expect(dead_code, reason = "no attribute of three words")]
        fn f<'a>(c: char) {
            log::warn!("nothing that is (only) logged: {x}");
            let quoted = ('"', '\'', b"no bytes");
            Failure::usage("a first text here", format!("and {} \"second\" text, \
                                                         of two lines", x));
            let raw = r#"raw "text" it is"#;
        }
    "##;
    let texts: Vec<_> = literals(source).into_iter().filter(|(_, text)| is_text(text)).collect();
    let expected = [(7, "a first text here"), (7, "and {} \"second\" text, of two lines"), (9, "raw \"text\" it is")];
    assert_eq!(texts, expected.map(|(line, text)| (line, text.to_owned())));
    assert!(has_in_order("! ptool: and X \"second\" text, of two lines", &constant_parts(expected[1].1)));
    assert!(!has_in_order("! ptool: and X \"third\" text", &constant_parts(expected[1].1)));
}
