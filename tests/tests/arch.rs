//! The walls of the house: who may import whom, where `unsafe` and return values may stand, and how long a file may be.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::circles::Imports;
use tests::floors::{HOUSES, imports};

/// A shipped crate: its directory, which of the project's crates it may import, and what it may not import from anywhere.
struct Room {
    package: &'static str,
    path: &'static str,
    ours: &'static [&'static str],
    never: &'static [&'static str],
}

const ROOMS: &[Room] = &[
    Room {
        package: "base",
        path: "crates/base",
        ours: &[],
        never: &["rusqlite", "tss-esapi", "pkcs11-sys", "serde_json", "log"],
    },
    Room {
        package: "keyfile",
        path: "crates/keyfile",
        ours: &["base"],
        never: &["rusqlite", "tss-esapi", "pkcs11-sys", "serde_json", "log", "libc", "rustix"],
    },
    Room {
        package: "model",
        path: "crates/model",
        ours: &["base"],
        never: &["rusqlite", "tss-esapi", "libc", "rustix"],
    },
    Room { package: "tpm", path: "crates/tpm", ours: &["base"], never: &["rusqlite", "pkcs11-sys"] },
    Room { package: "store-schema", path: "store-schema", ours: &[], never: &["pkcs11-sys", "tss-esapi"] },
    Room {
        package: "store",
        path: "crates/store",
        ours: &["base", "store-schema"],
        never: &["pkcs11-sys", "tss-esapi", "libc"],
    },
    Room {
        package: "token",
        path: "crates/token",
        ours: &["base", "model", "tpm", "store"],
        // Certificates and their like are made by administration.
        never: &["rusqlite", "tss-esapi", "pkcs11-sys", "libc", "x509-cert"],
    },
    Room {
        package: "admin",
        path: "crates/admin",
        ours: &["base", "model", "tpm", "store", "token"],
        never: &["rusqlite", "tss-esapi", "pkcs11-sys", "libc", "clap"],
    },
    Room {
        package: "cryptoki-module",
        path: "cryptoki-module",
        // base for its Secret: a PIN is one from the moment it is read.
        ours: &["token", "model", "base"],
        never: &["rusqlite", "tss-esapi", "clap", "x509-cert"],
    },
    Room {
        package: "ptool",
        path: "ptool",
        ours: &["admin", "token", "model", "keyfile", "base"],
        never: &["rusqlite", "tss-esapi", "pkcs11-sys", "libc"],
    },
];

/// Members that do not ship.
const WORKSHOP: &[&str] = &["swtpm-fixtures", "tests"];

/// The files in which `unsafe` may stand.
const UNSAFE: &[&str] = &[
    "cryptoki-module/src/published.rs",
    "cryptoki-module/src/raw.rs",
    "crates/base/src/descriptors.rs",
    "crates/store/src/descriptors.rs",
    "crates/tpm/src/transport/tcti.rs",
];

/// What the C library returns in memory of its own `malloc`, or the standard library by one of these. A program may bring another
/// `malloc`, and where it loads the module with `RTLD_DEEPBIND` our `free` is still the C library's.
const ALLOCATE_FOR_US: &[&str] = &[
    "canonicalize",
    "canonicalize_file_name",
    "realpath",
    "getcwd",
    "get_current_dir_name",
    "getline",
    "getdelim",
    "strdup",
    "strndup",
    "wcsdup",
    "asprintf",
    "vasprintf",
    "scandir",
    "open_memstream",
    "open_wmemstream",
    "tempnam",
];

/// The file in which return values are assigned.
const RETURN_VALUES: &str = "cryptoki-module/src/rv.rs";

/// The file in which those are declared that the C header does not have.
const NEW_RETURN_VALUES: &str = "crates/model/src/v3_2.rs";

const MOST_LINES: usize = 600;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Direct dependencies of each member, without those of tests.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let packages = metadata["packages"].as_array().unwrap().iter().map(|package| {
        let dependencies = package["dependencies"].as_array().unwrap().iter();
        let shipped =
            dependencies.filter(|dependency| dependency["kind"] != "dev").map(|dependency| text(&dependency["name"]));
        (text(&package["name"]), shipped.collect())
    });
    packages.collect()
}

#[test]
fn every_member_has_its_room() {
    let members: Vec<String> = dependencies().into_keys().collect();
    let mut known: Vec<&str> = ROOMS.iter().map(|room| room.package).chain(WORKSHOP.iter().copied()).collect();
    known.sort_unstable();
    assert_eq!(members, known);
}

#[test]
fn imports_keep_to_the_plan() {
    let imports = dependencies();
    let ours: BTreeSet<&str> = imports.keys().map(String::as_str).collect();
    let mut faults = Vec::new();
    for room in ROOMS {
        for import in &imports[room.package] {
            let wrong = if ours.contains(import.as_str()) {
                !room.ours.contains(&import.as_str())
            } else {
                room.never.contains(&import.as_str())
            };
            if wrong {
                faults.push(format!("{} imports {import}", room.package));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

/// The code of a crate's files by their paths below `src`.
fn code_of(package: &str) -> BTreeMap<String, String> {
    let source = format!("crates/{package}/src/");
    sources()
        .into_iter()
        .filter(|(path, _)| !path.ends_with("/tests.rs"))
        .filter_map(|(path, text)| Some((path.strip_prefix(&source)?.to_owned(), code(without_unit_tests(&text)))))
        .collect()
}

/// Who reads a file has to know what it imports: in a large circle that is everything.
#[test]
fn circles_are_small() {
    for house in HOUSES {
        let mut imports = Imports::of(&code_of(house.package));
        imports.forget(house.upwards);
        let large: Vec<_> = imports.circles().into_iter().filter(|circle| circle.len() > 3).collect();
        assert!(large.is_empty(), "{}: {large:#?}", house.package);
    }
}

/// Inside a crate a floor imports those below it. What is listed as an exception must be there.
#[test]
fn imports_run_downwards() {
    for house in HOUSES {
        let files = code_of(house.package);
        let floor = |name: &str| house.floors.iter().position(|(floor, _)| *floor == name);
        let mut upwards = BTreeSet::new();
        for (file, import) in imports(&files) {
            let own = file.split('/').next().unwrap_or_default().trim_end_matches(".rs");
            let (Some(own), Some(other)) = (floor(own), floor(&import)) else {
                panic!("{}: {file} imports {import}, and one of them has no floor", house.package);
            };
            if other > own {
                upwards.insert((file, import));
            }
        }
        let known = house.upwards.iter().map(|(file, floor)| ((*file).to_owned(), (*floor).to_owned())).collect();
        assert_eq!(upwards, known, "{}: imports upwards, and those that are known", house.package);
    }
}

#[test]
fn unsafe_stands_in_five_files() {
    let mut faults = Vec::new();
    let mut found = BTreeSet::new();
    for (path, source) in sources() {
        if words(&code(&source)).any(|word| word == "unsafe") {
            found.insert(path.clone());
            if !UNSAFE.contains(&path.as_str()) {
                faults.push(path);
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
    assert_eq!(found, UNSAFE.iter().map(|file| (*file).to_owned()).collect());
}

#[test]
fn the_compiler_forbids_unsafe_elsewhere() {
    for room in ROOMS {
        let root = ["src/lib.rs", "src/main.rs"].map(|name| root().join(room.path).join(name));
        let source = root.iter().find_map(|path| std::fs::read_to_string(path).ok()).unwrap();
        let source = code(&source);
        if UNSAFE.iter().any(|file| file.starts_with(room.path)) {
            assert!(!source.contains("allow(unsafe_code"), "{}: the whole crate may be unsafe", room.package);
        } else {
            assert!(source.contains("#![forbid(unsafe_code)]"), "{}", room.package);
        }
    }
    for file in UNSAFE {
        let source = std::fs::read_to_string(root().join(file)).unwrap();
        let blocks = code(&source).matches("unsafe {").count();
        let reasons = source.matches("SAFETY:").count();
        assert!(reasons > 0 && blocks > 0, "{file}: {blocks} unsafe blocks, {reasons} reasons");
    }
}

#[test]
fn return_values_are_assigned_in_one_file() {
    for (path, source) in sources() {
        let assigned = words(&code(without_unit_tests(&source))).any(|word| word.starts_with("CKR_"));
        assert_eq!(assigned, [RETURN_VALUES, NEW_RETURN_VALUES].contains(&path.as_str()), "{path}");
    }
}

/// In what the module links: its own sources, and what the shared object asks the C library for.
#[test]
fn nothing_comes_in_memory_of_the_hosts_allocator() {
    let linked = ["base", "model", "tpm", "store", "store-schema", "token", "cryptoki-module"];
    let rooms: Vec<String> = linked
        .iter()
        .map(|package| {
            ROOMS.iter().find(|room| room.package == *package).map(|room| format!("{}/src/", room.path)).unwrap()
        })
        .collect();
    for (path, source) in sources().into_iter().filter(|(path, _)| rooms.iter().any(|room| path.starts_with(room))) {
        let code = code(without_unit_tests(&source));
        let found: Vec<&str> = words(&code).filter(|word| ALLOCATE_FOR_US.contains(word)).collect();
        assert!(found.is_empty(), "{path}: {found:?}");
    }
    let names = Command::new("nm").args(["-D", "--undefined-only"]).arg(tests::product::module()).output().unwrap();
    assert!(names.status.success(), "{names:?}");
    let names = String::from_utf8(names.stdout).unwrap();
    let asked = names.lines().filter_map(|line| line.split_whitespace().last()?.split('@').next());
    let found: Vec<&str> = asked.filter(|name| ALLOCATE_FOR_US.contains(name)).collect();
    // The standard library's: the first is for backtraces, which the hook for panics never asks for, and the second fills a buffer of the
    // caller's, as it does for SQLite.
    let known: Vec<&str> = found.iter().copied().filter(|name| !matches!(*name, "realpath" | "getcwd")).collect();
    assert!(known.is_empty() && found.contains(&"getcwd"), "{found:?}");
}

#[test]
fn below_the_token_no_word_of_the_c_interface() {
    for (path, source) in sources() {
        if !["crates/tpm/", "crates/store/", "crates/base/", "crates/keyfile/", "store-schema/"]
            .iter()
            .any(|room| path.starts_with(room))
        {
            continue;
        }
        let source = code(&source);
        let foreign: Vec<&str> = words(&source)
            .filter(|word| ["CK_", "CKA_", "CKM_", "CKO_", "CKK_", "CKF_"].iter().any(|p| word.starts_with(p)))
            .collect();
        assert!(foreign.is_empty(), "{path}: {foreign:?}");
    }
}

#[test]
fn files_are_of_one_subject_and_short() {
    let long: Vec<String> = sources()
        .into_iter()
        .map(|(path, source)| (path, without_unit_tests(&source).lines().count()))
        .chain(workshop().into_iter().map(|(path, source)| (path, source.lines().count())))
        .filter(|(_, lines)| *lines > MOST_LINES)
        .map(|(path, lines)| format!("{path}: {lines} lines"))
        .collect();
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn every_file_says_what_it_is() {
    let all = sources().into_iter().chain(workshop());
    let silent: Vec<String> = all.filter(|(_, source)| !source.starts_with("//!")).map(|(path, _)| path).collect();
    assert!(silent.is_empty(), "{silent:#?}");
}

/// The sources that ship, by their path below the root.
fn sources() -> Vec<(String, String)> {
    let found = below(ROOMS.iter().map(|room| root().join(room.path).join("src")).collect());
    assert!(found.len() > 50, "only {} files found", found.len());
    found
}

/// Those that do not ship: tests of the crates, and the members that are for tests.
fn workshop() -> Vec<(String, String)> {
    let tests = ROOMS.iter().map(|room| root().join(room.path).join("tests"));
    let rooms = WORKSHOP
        .iter()
        .flat_map(|member| ["src", "tests", "benches", "clients"].map(|directory| root().join(member).join(directory)));
    let found = below(tests.chain(rooms).filter(|directory| directory.is_dir()).collect());
    assert!(found.len() > 100, "only {} files found", found.len());
    found
}

fn below(mut directories: Vec<PathBuf>) -> Vec<(String, String)> {
    let root = root();
    let mut found = Vec::new();
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                found.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found
}

/// The file up to its unit tests, which stand last.
fn without_unit_tests(source: &str) -> &str {
    source.find("\n#[cfg(test)]\nmod ").map_or(source, |end| &source[..end])
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_')
}

/// Rust source without its comments and the contents of its strings.
fn code(source: &str) -> String {
    let mut out = String::new();
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        let skip = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            comment_len(rest)
        } else if let Some(len) = raw_string_len(rest, out.chars().last()) {
            len
        } else if c == '"' {
            quoted_len(rest, '"')
        } else if c == '\'' && is_char_literal(rest) {
            quoted_len(rest, '\'')
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        out.push(' ');
        rest = &rest[skip..];
    }
    out
}

fn comment_len(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

fn raw_string_len(text: &str, before: Option<char>) -> Option<usize> {
    if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
        return None;
    }
    let start = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let hashes = start.len() - start.trim_start_matches('#').len();
    let body = start[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let close = body.find(&end)?;
    Some(text.len() - body.len() + close + end.len())
}

fn quoted_len(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// `'a'` or `'\n'`, and not the lifetime `'a`.
fn is_char_literal(text: &str) -> bool {
    let mut chars = text.chars().skip(1);
    match chars.next() {
        Some('\\') => true,
        Some(_) => chars.next() == Some('\''),
        None => false,
    }
}

#[test]
fn the_reader_of_sources_reads() {
    let source = "let a = \"unsafe\\\" {\"; // unsafe\n/* unsafe /* unsafe */ unsafe */ let b: &'static str = r#\"unsafe \" \"#; \
                  let c = '\"'; unsafe_code; fn f<'a>(c: char) { c == '\\'' } b\"unsafe\" br\"unsafe\" unsafe { x }";
    let code = code(source);
    let found: Vec<&str> = words(&code).filter(|word| word.contains("unsafe")).collect();
    assert_eq!(found, ["unsafe_code", "unsafe"]);
}
