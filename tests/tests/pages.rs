//! The commands of the documents, run as they stand there: every block of shell lines of a page, in their order, on a machine
//! with a software TPM, whose PINs are in the environment.

use tests::desk::Desk;
use tests::documents;
use tests::product;
use tests::skip::left_out;
use tests::world::{Run, World};

/// The commands of a document, each block by itself.
fn scripts(name: &str) -> Vec<String> {
    let blocks = documents::blocks(name).into_iter().filter(|block| block.language == "sh");
    let scripts: Vec<String> = blocks.map(|block| block.text).collect();
    assert!(!scripts.is_empty(), "{name}");
    scripts
}

/// Runs all blocks of a page. Each must succeed.
fn run(desk: &Desk, name: &str) {
    run_with(desk, name, |block| block);
}

/// The same, after something in them was fitted to the machine.
fn run_with(desk: &Desk, name: &str, fit: impl Fn(String) -> String) {
    desk.write("pin", "user-pin");
    for block in scripts(name).into_iter().map(fit) {
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

/// Runs lines on a machine where root may do what it likes. `None` if the test is not root's.
fn run_as_root(world: &World, name: &str, lines: &str, more: &[(&str, &str)]) -> Option<Run> {
    if !nix::unistd::geteuid().is_root() {
        left_out(&format!("only root can do all that {name} says"));
        return None;
    }
    let tcti = world.tcti();
    let mut command = world.command("unshare");
    command.args(documents::machine(lines, &tcti)).env("TPM2_CRYPTOKI_USERPIN", "user-pin");
    command.env("TPM2_CRYPTOKI_SOPIN", "officer").envs(more.iter().copied());
    let run = Run::of(&mut command);
    assert!(run.success(), "{name}:\n{lines}\n{run:?}\n--- log\n{}", world.log());
    Some(run)
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
fn attestation() {
    let desk = Desk::of(World::certified());
    desk.world.ptool_ok(&["init"]);
    desk.world.ptool_ok(&["addtoken", "--label=mine", "--sopin=officer", "--userpin=user-pin"]);
    run(&desk, "docs/ATTESTATION.md");
    desk.world.assert_clean();
}

#[test]
fn recovery() {
    let desk = desk();
    run(&desk, "docs/RECOVERY.md");
    desk.world.assert_clean();
}

#[test]
fn policies() {
    let desk = desk();
    // Where systemd puts it on a machine whose kernel image is signed by that authority.
    run_with(&desk, "docs/POLICIES.md", |block| block.replace("/run/systemd/tpm2-pcr-public-key.pem", "boss.pub"));
    desk.world.assert_clean();
}

/// The store of a machine, and a configuration file with every setting in it.
#[test]
fn configuration() {
    let world = World::empty().managed();
    let lines = scripts("docs/CONFIGURATION.md").concat()
        + "stat -c '%n %U:%G %a' /etc/tpm2-cryptoki /etc/tpm2-cryptoki/*.sqlite3\n";
    if let Some(run) = run_as_root(&world, "docs/CONFIGURATION.md", &lines, &[]) {
        let expected = "/etc/tpm2-cryptoki root:tss 750\n/etc/tpm2-cryptoki/tpm2_cryptoki.sqlite3 root:tss 640\n";
        assert!(run.text().ends_with(expected), "{run:?}");
    }
    let blocks = documents::blocks("docs/CONFIGURATION.md");
    world.configure(&blocks.iter().find(|block| block.language == "toml").unwrap().text);
    world.ptool_ok(&["init"]);
    world.configure("idle = 1000\n");
    assert!(!world.ptool(&["init"]).success(), "a configuration that nobody reads says nothing");
}

/// From the installation to a key that is bound to the state of the machine. What is installed is what the tests use: building it
/// anew, optimised, takes minutes.
#[test]
fn readme() {
    let world = World::empty().managed();
    let target = world.path("target/release");
    std::fs::create_dir_all(&target).unwrap();
    for (from, name) in [(product::module(), "libtpm2_cryptoki.so"), (product::ptool(), "ptool")] {
        std::fs::copy(from, target.join(name)).unwrap();
    }
    // The authority signs as soon as there is a request; another one has a key already.
    let before = "export PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:$PWD/bin USER=root
        mkdir bin; printf '#!/bin/sh\necho rustc 1.99.0\n' | tee bin/rustc >bin/cargo; chmod 755 bin/*
        openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -subj '/CN=House CA' -days 30 -out ca.crt
        openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out boss.pem
        openssl pkey -in boss.pem -pubout -out boss.pub
        certify() {
            if [ -e web.csr ] && [ ! -e web.crt ]; then
                openssl x509 -req -in web.csr -copy_extensions copy -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -out web.crt
            fi
        }
        trap certify DEBUG
        export SSH_ASKPASS=$PWD/askpass SSH_ASKPASS_REQUIRE=force
        printf '#!/bin/sh\\necho user-pin\\n' >askpass; chmod 700 askpass
        mkdir .ssh; eval \"$(ssh-agent -s)\"\n";
    // What these two blocks say is for a tree, and takes long; it is enough here that there are such targets.
    let (apart, blocks): (Vec<_>, Vec<_>) =
        scripts("README.md").into_iter().partition(|block| block.starts_with("make d"));
    let make =
        Run::of(world.command("make").args(["-n", "-C", documents::root().to_str().unwrap(), "demo", "check", "deb"]));
    let [trial, package] = &apart[..] else { panic!("{apart:?}") };
    assert!(make.success() && trial.starts_with("make demo ") && trial.contains("\nmake check "), "{trial} {make:?}");
    assert!(trial.ends_with("\nptool shell --swtpm   # once it is built: a shell with a software TPM, a token and the module, to try it all\n"));
    assert_eq!(package, "make deb\nsudo apt install ./target/release/tpm2-cryptoki_*.deb\n");
    world.ptool_ok(&["shell", "--swtpm", "--", "ptool", "listtokens"]);
    let tree = documents::root().canonicalize().unwrap();
    let lines = blocks.concat().replace(
        "make build && sudo make install",
        &format!("make -C {0} build && sudo make -C {0} install", tree.display()),
    );
    let after = "grep -x 'module: /usr/local/lib/pkcs11/libtpm2_cryptoki.so' /usr/local/share/p11-kit/modules/tpm2-cryptoki.module
        ssh-add -L | grep ' ssh$'
        id -nG root | grep -w tss
        ptool listobjects --label=mine
        ls /usr/local/share/man/man1/ptool.1 /usr/local/share/bash-completion/completions/ptool \\
            /usr/local/share/zsh/site-functions/_ptool /usr/local/share/fish/vendor_completions.d/ptool.fish\n";
    let flags = format!("-- TARGET={} CARGO=true", world.path("target").display());
    run_as_root(&world, "README.md", &(before.to_owned() + &lines + after), &[("MAKEFLAGS", &flags)]);
}

/// What the page says of exit statuses is what the program's help says.
#[test]
fn statuses() {
    let page = documents::text("docs/PTOOL.md");
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
