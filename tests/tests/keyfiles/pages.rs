//! The pages of the documentation, followed line by line.

use std::path::Path;

use crate::machine::{Machine, has_tpm2_openssl};

/// The blocks of shell in a page of the documentation: each says, after `sh`, on which machine it runs.
fn blocks(page: &str) -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(page);
    let text = std::fs::read_to_string(path).unwrap();
    let blocks = text.split("\n```sh").skip(1).map(|rest| {
        let (machine, rest) = rest.split_once('\n').unwrap();
        (machine.trim().to_owned(), rest.split("\n```").next().unwrap().to_owned())
    });
    blocks.collect()
}

fn follows(page: &str) {
    let machine = Machine::new();
    let other = Machine::beside(&machine);
    let blocks = blocks(page);
    assert!(blocks.len() >= 5, "{page}");
    for (place, lines) in blocks {
        let lines = lines.replace("--label mytoken", "--label t");
        match place.as_str() {
            "" => machine.sh(&lines),
            "on the other machine" => other.sh(&lines),
            place => panic!("{page}: where is {place:?}?"),
        };
    }
}

#[test]
fn the_page_on_importing_works_as_it_stands() {
    if has_tpm2_openssl() {
        follows("IMPORTING.md");
    }
}

#[test]
fn the_page_on_backups_works_as_it_stands() {
    follows("BACKUP.md");
}
