//! The documents: generated tables are those that the code has now (`make docs` writes them anew), and what stands in a block
//! is run by a test.

use std::collections::BTreeSet;

use tests::documents;

fn fresh(file: &str, now: &str) {
    let there = std::fs::read_to_string(documents::root().join("docs").join(file)).unwrap_or_default();
    assert!(there == now, "docs/{file} is not that of the code any more: run `make docs`");
}

#[test]
fn mechanisms() {
    fresh("MECHANISMS.md", &model::docs::mechanisms());
}

#[test]
fn attributes() {
    fresh("ATTRIBUTES.md", &model::docs::attributes());
}

#[test]
fn structure() {
    fresh("STRUCTURE.md", &tests::floors::markdown());
}

#[test]
fn functions() {
    fresh("FUNCTIONS.md", &tpm2_cryptoki::docs::function_table_markdown());
}

#[test]
fn errors() {
    fresh("ERRORS.md", &tpm2_cryptoki::docs::error_table_markdown());
}

/// The package's configuration file has all settings in comments, and the page has a row for each.
#[test]
fn the_packaged_configuration_has_every_setting() {
    let read = |file: &str| std::fs::read_to_string(documents::root().join(file)).unwrap();
    let settings = |text: &str, mark: &str| -> BTreeSet<String> {
        let names = text.lines().filter_map(|line| line.strip_prefix(mark)?.split_once(" = ").map(|(name, _)| name));
        names.map(str::to_owned).collect()
    };
    let page = read("docs/CONFIGURATION.md");
    let example = page.split("```toml").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let known = settings(example, "");
    assert!(known.len() > 8, "{known:?}");
    assert_eq!(settings(&read("cryptoki-module/packaging/config.toml"), "#"), known);
    for name in &known {
        assert!(page.contains(&format!("| `{name}` |")), "{name} has no row");
    }
}

/// Every line of what attackers get names tests that show it, and these exist.
#[test]
fn every_line_about_an_attacker_has_its_test() {
    let text = documents::text("docs/AUTH.md");
    let table = text.split("## Against whom").nth(1).unwrap();
    let lines: Vec<&str> = table
        .lines()
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .skip(2)
        .collect();
    assert!(lines.len() > 8, "the table is there");
    let mut sources = Vec::new();
    let mut left = vec![documents::root()];
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
            let name = entry.file_name().unwrap().to_string_lossy().into_owned();
            if entry.is_dir() && !name.starts_with('.') && name != "target" {
                left.push(entry);
            } else if name.ends_with(".rs") {
                sources.push(std::fs::read_to_string(entry).unwrap());
            }
        }
    }
    for line in lines {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let named: Vec<&str> =
            cells.get(2).map(|cell| cell.split('`').skip(1).step_by(2).collect()).unwrap_or_default();
        assert!(cells.len() == 3 && !named.is_empty(), "{line}");
        for name in named {
            let is_test = format!("#[test]\nfn {name}()");
            let inside = format!("#[test]\n    fn {name}()");
            assert!(sources.iter().any(|s| s.contains(&is_test) || s.contains(&inside)), "there is no test {name}");
        }
    }
}

/// Which test runs the blocks of a document: its file below `tests/`, and a line of it.
const RUN: [(&str, &str, &str); 9] = [
    ("docs/ATTESTATION.md", "tests/pages.rs", "fn attestation()"),
    ("README.md", "tests/pages.rs", "fn readme()"),
    ("docs/BACKUP.md", "tests/", "fn the_page_on_backups_works_as_it_stands()"),
    ("docs/CERTIFICATES.md", "tests/pages.rs", "fn certificates()"),
    ("docs/CONFIGURATION.md", "tests/pages.rs", "fn configuration()"),
    ("docs/IMPORTING.md", "tests/", "fn the_page_on_importing_works_as_it_stands()"),
    ("docs/MIGRATING.md", "tests/", "fn the_page_about_it()"),
    ("docs/POLICIES.md", "tests/pages.rs", "fn policies()"),
    ("docs/RECOVERY.md", "tests/pages.rs", "fn recovery()"),
];

/// Blocks that are neither commands nor files, but shown: the document, the first line of the block, and where it is checked.
const SHOWN: [(&str, &str, &str); 4] = [
    ("docs/AUTH.md", "PIN ──PBKDF2──▶", "a figure"),
    ("docs/AUTH.md", "PolicyOR( PolicyAuthValue", "a formula"),
    ("docs/CONFIGURATION.md", "tcti = \"device:/dev/tpmrm0\"", "tests/pages.rs"),
    ("docs/POLICIES.md", "why: 'of the PCRs", "tests/policies/keys.rs"),
];

/// All documents, by their paths.
fn all() -> BTreeSet<String> {
    let mut all = BTreeSet::from(["README.md".to_owned()]);
    for directory in ["docs", "docs/clients"] {
        let entries = std::fs::read_dir(documents::root().join(directory)).unwrap();
        let names = entries.map(|entry| format!("{directory}/{}", entry.unwrap().file_name().into_string().unwrap()));
        all.extend(names.filter(|name| name.ends_with(".md")));
    }
    assert!(all.len() > 30, "{all:?}");
    all
}

/// Whoever adds a block to a document has it run by a test: as commands, as a file that commands use, or by an entry in the list
/// of those that are shown.
#[test]
fn every_block_is_run() {
    let sources = sources();
    let mut shown: BTreeSet<&(&str, &str, &str)> = BTreeSet::new();
    for name in all() {
        let blocks = documents::blocks(&name);
        let scripts: Vec<&str> =
            blocks.iter().filter(|block| block.language == "sh").map(|block| block.text.as_str()).collect();
        for block in &blocks {
            let place = format!("{name}:{}", block.line);
            let first = block.text.lines().next().unwrap_or_default().trim();
            if let Some(file) = block.file() {
                // OpenSSL is led to it by the environment, and ssh looks there by itself.
                let found = ["openssl.cnf", "~/.ssh/config"].contains(&file);
                assert!(found || scripts.iter().any(|script| script.contains(file)), "{place}: nobody uses {file}");
            } else if block.language != "sh" {
                let entry = SHOWN.iter().find(|(page, begin, _)| *page == name && first.starts_with(begin));
                assert!(entry.is_some(), "{place}: no test runs this block, which begins with {first:?}");
                shown.extend(entry);
            }
        }
        if scripts.is_empty() {
            continue;
        }
        match name.strip_prefix("docs/clients/") {
            Some(page) => {
                let pages = &sources.iter().find(|(file, _)| file.ends_with("interop/pages.rs")).unwrap().1;
                assert!(pages.contains(&format!(": \"{page}\"")), "{name} has no test");
            }
            None => {
                let (_, place, line) =
                    RUN.iter().find(|(page, ..)| *page == name).unwrap_or_else(|| panic!("{name} has no test"));
                let there = sources.iter().any(|(file, text)| file.contains(place) && text.contains(line));
                assert!(there, "{name}: there is no {line} in {place}");
            }
        }
    }
    assert_eq!(shown.len(), SHOWN.len(), "{shown:?}");
}

/// The tests, by their paths.
fn sources() -> Vec<(String, String)> {
    let mut sources = Vec::new();
    let mut directories = vec![documents::root().join("tests/tests")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    sources
}
