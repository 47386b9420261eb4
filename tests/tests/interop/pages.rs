//! The pages of `docs/clients`: what stands there is run, in the order in which it stands there.
//!
//! A block in ```` ```sh ```` is commands, one in ```` ```ini name=FILE ```` is a file; every other block is only shown. A word after `sh` says
//! where it is for: `bookworm` or `trixie`, or nothing for both, `user` for somebody who is not root, `python` for where python-pkcs11 is.
//! A page runs in the trixie tree as well if it has a block for it.

use std::os::unix::fs::PermissionsExt;

use tests::product;
use tests::world::World;

use crate::bench::{Bench, PIN, end_of, free_port};
use crate::guest;

/// Where the pages say that the module is.
const MODULE: &str = "/usr/lib/x86_64-linux-gnu/pkcs11/libtpm2_cryptoki.so";
/// The PIN of their token.
const PAGE_PIN: &str = "user-pin";

macro_rules! pages {
    ($($name:ident: $page:literal),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                run($page);
            }
        )*

        /// Every page has its test.
        #[test]
        fn no_page_is_forgotten() {
            let known = [$($page),*];
            for entry in std::fs::read_dir(guest::sources().join("../docs/clients")).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                assert!(known.contains(&name.as_str()) || text_of(&name).iter().all(|block| block.language == "text"), "{name}");
            }
        }
    };
}

pages! {
    openssh: "openssh.md", git: "git.md", openssl_provider: "openssl-provider.md", openssl_engine: "openssl-engine.md", nginx: "nginx.md",
    apache: "apache.md", curl: "curl.md", openvpn: "openvpn.md", gnutls: "gnutls.md", p11_kit: "p11-kit.md", nss: "nss.md", java: "java.md",
    python: "python.md", gnupg: "gnupg.md", opensc: "opensc.md",
}

/// A block between fences.
struct Block {
    language: String,
    word: String,
    text: String,
}

fn text_of(page: &str) -> Vec<Block> {
    let text = std::fs::read_to_string(guest::sources().join("../docs/clients").join(page)).unwrap();
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for line in text.lines() {
        match (line.strip_prefix("```"), open.as_mut()) {
            (Some(info), None) => {
                let (language, word) = info.split_once(' ').unwrap_or((info, ""));
                open = Some(Block { language: language.to_owned(), word: word.to_owned(), text: String::new() });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => block.text += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "{page}: a block does not end");
    assert!(!blocks.is_empty() || page == "README.md", "{page}");
    blocks
}

fn run(page: &str) {
    if tests::peer::is_under_test() {
        eprintln!("SKIPPED: the pages are about another module");
        return;
    }
    let blocks = text_of(page);
    let is_for = |word: &str| blocks.iter().any(|block| block.word == word);
    let plain = blocks.iter().any(|block| block.language == "sh" && block.word != "trixie");
    let only_tree = is_for("trixie") && !is_for("bookworm");
    if plain && !only_tree {
        follow(page, &blocks, Bench::of(World::empty(), None));
    }
    if is_for("trixie") {
        let Some(tree) = guest::prepared("trixie.sh") else { return };
        follow(page, &blocks, Bench::of(World::empty(), Some(tree)));
    }
}

/// Does what the page says, where the page's token is.
fn follow(page: &str, blocks: &[Block], mut bench: Bench) {
    let port = free_port().to_string();
    bench.write("tpm-pin", PAGE_PIN);
    std::fs::copy(product::ptool(), bench.world.path("ptool")).unwrap();
    bench.world.ptool_ok(&["init"]);
    bench.world.ptool_ok(&["addtoken", "--label=mine", "--sopin=officer", &format!("--userpin={PAGE_PIN}")]);
    bench.write_program("askpass", format!("#!/bin/sh\necho {PAGE_PIN}\n"));
    helpers(&bench);
    let home = bench.home();
    let path = format!("{home}:{}:/usr/sbin:/usr/bin:/sbin:/bin", product::ptool().parent().unwrap().display());
    for (name, value) in [
        ("TPM2_CRYPTOKI_USERPIN", PAGE_PIN),
        ("GNUTLS_PIN", PAGE_PIN),
        ("SSH_ASKPASS", &bench.path("askpass")),
        ("SSH_ASKPASS_REQUIRE", "force"),
        ("PATH", &path),
        ("SERVER_PORT", &port),
    ] {
        bench.set(name, value);
    }
    std::fs::set_permissions(bench.world.path("config.toml"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let module = bench.module();
    let fit = |text: &str| {
        text.replace(MODULE, &module)
            .replace("/etc/ssl/private", &home)
            .replace("8443", &port)
            .replace("ssh-agent -s", &format!("ssh-agent -s -P '{home}/*'"))
    };
    // What other pages say about openssl.cnf.
    if !blocks.iter().any(|block| block.word == "name=openssl.cnf") {
        let other = if bench.is_tree() { "openssl-provider.md" } else { "openssl-engine.md" };
        let config = text_of(other).into_iter().find(|block| block.word == "name=openssl.cnf").unwrap();
        bench.write("openssl.cnf", fit(&config.text).replace("init = 0", &format!("PIN = {PAGE_PIN}\ninit = 1")));
        if blocks.iter().any(|block| ["bookworm", "trixie"].contains(&block.word.as_str())) {
            let config = bench.path("openssl.cnf");
            bench.set("OPENSSL_CONF", &config);
        }
    }
    let mut script = String::new();
    let mut as_user = String::new();
    for block in blocks {
        let here = match block.word.as_str() {
            "bookworm" => !bench.is_tree(),
            "trixie" => bench.is_tree(),
            _ => true,
        };
        match block.language.as_str() {
            "ini" => bench.write(block.word.strip_prefix("name=").expect("a file has a name"), fit(&block.text)),
            "sh" if block.word == "user" => as_user += &fit(&block.text),
            "sh" if block.word == "python" => {
                let Some(python) = guest::prepared("python.sh") else { return };
                let path = format!("{}:{path}", python.parent().unwrap().display());
                bench.set("PATH", &path);
                script += &fit(&block.text);
            }
            "sh" if here => script += &fit(&block.text),
            "sh" | "text" => {}
            other => panic!("{page}: a block in {other}"),
        }
    }
    let check = |run: tests::world::Run| {
        let logs = bench.text("error.log");
        assert!(run.success(), "{page}:\n{script}\n{run:?}\n--- log\n{}\n{logs}", end_of(&bench.world.log()));
    };
    // -x says which line it was.
    check(bench.run("bash", &["-euxo", "pipefail", "-c", &script]));
    if !as_user.is_empty() {
        std::fs::set_permissions(bench.world.path(""), std::fs::Permissions::from_mode(0o777)).unwrap();
        let lines = if nix::unistd::geteuid().is_root() {
            bench.sh(&format!("cp -L {module} module.so; mv module.so {module}; chown -R 65534 \"$TPM2_CRYPTOKI_STORE\" .; chmod 644 config.toml"));
            vec!["--reuid=65534", "--regid=65534", "--clear-groups", "bash", "-euxo", "pipefail", "-c", &as_user]
        } else {
            vec!["bash", "-euxo", "pipefail", "-c", &as_user]
        };
        check(bench.run("setpriv", &lines));
    }
}

/// What the pages take from others: `./certify LABEL` makes `LABEL.der`, and `./server CERTIFICATE` is a server that asks for it.
fn helpers(bench: &Bench) {
    bench.authority();
    bench.write_program(
        "certify",
        "#!/bin/bash\nset -euo pipefail\npkcs11-tool --module $MODULE --token-label mine --read-object --type pubkey --label \"$1\" -o \"$1.key\" >/dev/null\n\
         openssl pkey -pubin -inform DER -in \"$1.key\" -out \"$1.pub\"\n\
         openssl x509 -req -in request -CA ca.crt -CAkey ca.key -days 1 -force_pubkey \"$1.pub\" -outform DER -out \"$1.der\" 2>/dev/null\n",
    );
    bench.write_program(
        "server",
        "#!/bin/bash\nset -euo pipefail\nexport OPENSSL_CONF=/dev/null\n\
         openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout server.key -out server.crt -days 1 -subj /CN=localhost \
         -addext subjectAltName=DNS:localhost 2>/dev/null\n\
         openssl s_server -www -accept $SERVER_PORT -key server.key -cert server.crt -Verify 1 -verify_return_error -CAfile \"$1\" >server.log 2>&1 &\n\
         until (exec 3<>/dev/tcp/127.0.0.1/$SERVER_PORT) 2>/dev/null; do sleep 0.1; done\n",
    );
    assert_ne!(PIN, PAGE_PIN);
}
