//! The commands of the documents, run as they stand there: every block of shell lines of a page, in their order, on a machine
//! with a software TPM, whose PINs are in the environment.

use std::path::Path;

use tests::desk::Desk;
use tests::product;
use tests::world::{Run, World};

fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The blocks marked as shell lines.
fn blocks(page: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut rest = page;
    while let Some((_, from)) = rest.split_once("```sh\n") {
        let (block, after) = from.split_once("```").expect("the end of the block");
        blocks.push(block.to_owned());
        rest = after;
    }
    assert!(!blocks.is_empty());
    blocks
}

/// Runs all blocks of a page. Each must succeed.
fn run(desk: &Desk, name: &str) {
    desk.write("pin", "user-pin");
    for block in blocks(&page(name)) {
        let mut command = desk.world.command("sh");
        command
            .args(["-exc", &block])
            .env("MODULE", product::module())
            .env("PIN_FILE", desk.world.path("pin"))
            .env("TPM2_CRYPTOKI_USERPIN", "user-pin")
            .env("TPM2_CRYPTOKI_SOPIN", "officer");
        let run = Run::of(&mut command);
        assert!(run.success(), "{name}:\n{block}\n{run:?}\n--- log\n{}", desk.world.log());
    }
}

/// A machine with a store and an empty token `mine`.
fn desk() -> Desk {
    let desk = Desk::of(World::empty());
    desk.world.ptool_ok(&["init"]);
    desk.world.ptool_ok(&["addtoken", "--label=mine", "--sopin=officer", "--userpin=user-pin"]);
    desk
}

#[test]
fn certificates() {
    let desk = desk();
    run(&desk, "docs/CERTIFICATES.md");
    desk.world.assert_clean();
}

#[test]
fn recovery() {
    let desk = desk();
    run(&desk, "docs/RECOVERY.md");
    desk.world.assert_clean();
}

/// What the page says of exit statuses is what the program's help says.
#[test]
fn statuses() {
    let page = page("docs/PTOOL.md");
    let help = Desk::of(World::empty()).world.ptool_ok(&["help"]).text();
    for status in
        ["0 done", "1 failed", "2 wrong usage", "3 PIN wrong or locked", "4 TPM unreachable", "5 store missing"]
    {
        assert!(help.contains(status), "{status}: {help}");
    }
    for status in 0..=5 {
        assert!(page.contains(&format!("\n| {status} | ")), "{status}");
    }
}
