//! The pages of `docs/clients`: what stands there is run, in the order in which it stands there.
//!
//! A block in ```` ```sh ```` is commands; one with `name=FILE` is a file, in the directory where the commands run or below `~`.
//! Other words say where a block is for: `bookworm`, `trixie` or `forky`, and without any all of them; `root` for a machine where root may
//! do as it likes; `user` for somebody who is not root; `python` for where python-pkcs11 is. What root does comes after the
//! other commands, and what a user does comes last. A page runs in the trixie or forky tree as well if it has a block for it.

use std::os::unix::fs::PermissionsExt;

use tests::documents::{self, Block};
use tests::product;
use tests::skip::left_out;
use tests::world::{Run, World};

use crate::bench::{Bench, PIN, end_of, free_port};
use crate::guest;

/// Where the pages say that the module is.
const MODULE: &str = "/usr/lib/x86_64-linux-gnu/pkcs11/libtpm2_cryptoki.so";
/// And where it is by `make install`.
const OTHER_MODULE: &str = "/usr/local/lib/pkcs11/libtpm2_cryptoki.so";
/// The PIN of their token.
const PAGE_PIN: &str = "user-pin";
/// This machine, and the trees; each is made by the script of its name.
const PLACES: [&str; 3] = ["bookworm", "trixie", "forky"];

macro_rules! pages {
    ($($name:ident: $page:literal),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                run($page);
            }
        )*
    };
}

pages! {
    bind: "bind.md", haproxy: "haproxy.md", readme: "README.md", openssh: "openssh.md", git: "git.md", openssl_provider: "openssl-provider.md",
    openssl_engine: "openssl-engine.md", nginx: "nginx.md", apache: "apache.md", curl: "curl.md", stunnel: "stunnel.md",
    openvpn: "openvpn.md", gnutls: "gnutls.md", p11_kit: "p11-kit.md", nss: "nss.md", java: "java.md", python: "python.md",
    go: "go.md", gnupg: "gnupg.md", opensc: "opensc.md",
}

fn run(page: &str) {
    if tests::peer::is_under_test() {
        eprintln!("SKIPPED: the pages are about another module");
        return;
    }
    let blocks = blocks(page);
    let is_for = |word: &str| blocks.iter().any(|block| block.says(word));
    let [here, trees @ ..] = PLACES;
    let in_tree = |block: &Block| trees.iter().any(|tree| block.says(tree));
    let plain = blocks.iter().any(|block| block.language == "sh" && !in_tree(block));
    let only_tree = blocks.iter().any(in_tree) && !is_for(here);
    if plain && !only_tree {
        follow(page, &blocks, Bench::of(World::empty(), None), here);
    }
    for place in trees.into_iter().filter(|tree| is_for(tree)) {
        let Some(tree) = guest::prepared(&format!("{place}.sh")) else { return };
        follow(page, &blocks, Bench::of(World::empty(), Some(tree)), place);
    }
}

fn blocks(page: &str) -> Vec<Block> {
    let blocks = documents::blocks(&format!("docs/clients/{page}"));
    assert!(!blocks.is_empty(), "{page}");
    blocks
}

/// Does what the page says, where the page's token is.
fn follow(page: &str, blocks: &[Block], mut bench: Bench, place: &str) {
    let (port, behind) = (free_port().to_string(), free_port().to_string());
    bench.write("tpm-pin", PAGE_PIN);
    std::fs::copy(product::ptool(), bench.world.path("ptool")).unwrap();
    // That page is the one that says how to come by store and token.
    if page != "README.md" {
        bench.world.ptool_ok(&["init"]);
        bench.world.ptool_ok(&["addtoken", "--label=mine", "--sopin=officer", &format!("--userpin={PAGE_PIN}")]);
    }
    bench.write_program("askpass", format!("#!/bin/sh\necho {PAGE_PIN}\n"));
    // Who is at this desk.
    bench.write(".gitconfig", "[user]\n\tname = Me\n\temail = me@example.org\n");
    helpers(&bench);
    let home = bench.home();
    let path = format!("{home}:{}:/usr/sbin:/usr/bin:/sbin:/bin", product::ptool().parent().unwrap().display());
    for (name, value) in [
        ("TPM2_CRYPTOKI_USERPIN", PAGE_PIN),
        ("TPM2_CRYPTOKI_SOPIN", "officer"),
        ("GNUTLS_PIN", PAGE_PIN),
        ("SSH_ASKPASS", &bench.path("askpass")),
        ("SSH_ASKPASS_REQUIRE", "force"),
        ("PATH", &path),
        ("SERVER_PORT", &port),
        ("BEHIND_PORT", &behind),
    ] {
        bench.set(name, value);
    }
    std::fs::set_permissions(bench.world.path("config.toml"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let module = bench.module();
    let fit = |text: &str| {
        text.replace(MODULE, &module)
            .replace(OTHER_MODULE, &module)
            .replace("/etc/ssl/private", &home)
            .replace("/etc/ssl/certs", &home)
            .replace("8443", &port)
            .replace("8080", &behind)
            .replace("ssh-agent -s", &format!("ssh-agent -s -P '{home}/*'"))
    };
    let has_place = |block: &Block| PLACES.iter().any(|place| block.says(place));
    let blocks: Vec<&Block> = blocks.iter().filter(|block| block.says(place) || !has_place(block)).collect();
    // What other pages say about openssl.cnf.
    if !blocks.iter().any(|block| block.file() == Some("openssl.cnf")) {
        let other = if bench.is_tree() { "openssl-provider.md" } else { "nginx.md" };
        let config = self::blocks(other).into_iter().find(|block| block.file() == Some("openssl.cnf")).unwrap();
        bench.write("openssl.cnf", fit(&config.text));
    }
    if blocks.iter().any(|block| has_place(block)) && !page.starts_with("openssl") {
        let config = bench.path("openssl.cnf");
        bench.set("OPENSSL_CONF", &config);
    }
    let (mut anybody, mut root, mut user) = (String::new(), String::new(), String::new());
    for block in blocks {
        if let Some(name) = block.file() {
            let name = name.trim_start_matches("~/");
            std::fs::create_dir_all(bench.world.path(name).parent().unwrap()).unwrap();
            bench.write(name, fit(&block.text));
            continue;
        }
        assert_eq!(block.language, "sh", "{page}:{}", block.line);
        if block.says("python") {
            let Some(python) = guest::prepared("python.sh") else { return };
            let path = format!("{}:{path}", python.parent().unwrap().display());
            bench.set("PATH", &path);
        }
        let script = match () {
            () if block.says("root") => &mut root,
            () if block.says("user") => &mut user,
            () => &mut anybody,
        };
        *script += &fit(&block.text);
    }
    let check = |script: &str, run: Run| {
        let logs = bench.text("error.log");
        assert!(run.success(), "{page}:\n{script}\n{run:?}\n--- log\n{}\n{logs}", end_of(&bench.world.log()));
    };
    // -x says which line it was. What a page starts and leaves to its reader ends with the page: where root may say so (in the
    // tree it is so anyway), with the first process of its namespace.
    let lines = ["bash", "-euxo", "pipefail", "-c", &anybody];
    let own = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
    if nix::unistd::geteuid().is_root() && !bench.is_tree() {
        check(&anybody, bench.run("unshare", &[&own[..], &lines].concat()));
    } else {
        check(&anybody, bench.run(lines[0], &lines[1..]));
    }
    if !root.is_empty() && !bench.is_tree() {
        if nix::unistd::geteuid().is_root() {
            let tcti = format!("device:{}", bench.path("tpmrm0"));
            check(&root, bench.run("unshare", &documents::machine(&root, &tcti)));
        } else {
            left_out(&format!("only root can do all that {page} says"));
        }
    }
    if !user.is_empty() {
        std::fs::set_permissions(bench.world.path(""), std::fs::Permissions::from_mode(0o777)).unwrap();
        let lines = if nix::unistd::geteuid().is_root() {
            bench.sh(&format!("cp -L {module} module.so; mv module.so {module}; chown -R 65534 \"$TPM2_CRYPTOKI_STORE\" .; chmod 644 config.toml"));
            vec!["--reuid=65534", "--regid=65534", "--clear-groups", "bash", "-euxo", "pipefail", "-c", &user]
        } else {
            vec!["bash", "-euxo", "pipefail", "-c", &user]
        };
        check(&user, bench.run("setpriv", &lines));
    }
}

/// What the pages take from others, and say so.
///
/// - `./certify LABEL` is the authority: it makes `LABEL.der`.
/// - `./server CERTIFICATE` is a server that asks for that certificate.
/// - `./behind` is a web server behind a tunnel.
/// - `./host FILE` is another host, `far.example`, that lets in whose public keys are in the file, and that ssh knows; or, if
///   the file is `sshd_config`, the same with those lines in its configuration.
/// - `./gateway` is a server of OpenVPN that lets in whom `ca.crt` knows.
/// - `./type SOCKET` types the PIN where OpenVPN asks for it.
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
    bench.write_program(
        "behind",
        "#!/bin/bash\nset -euo pipefail\nmkdir behind-nginx\ncat >behind.conf <<END\nuser root;\npid $PWD/behind-nginx/pid;\n\
         error_log $PWD/behind-nginx/log;\nevents { }\nhttp {\naccess_log off;\n\
         server { listen 127.0.0.1:$BEHIND_PORT; location / { return 200 \"served\\n\"; } }\n}\nEND\n\
         OPENSSL_CONF=/dev/null nginx -g 'daemon off;' -c $PWD/behind.conf >/dev/null 2>&1 &\n\
         until (exec 3<>/dev/tcp/127.0.0.1/$BEHIND_PORT) 2>/dev/null; do sleep 0.1; done\n",
    );
    bench.write_program(
        "host",
        "#!/bin/bash\nset -euo pipefail\n[ ! -e /run/sshd.pid ] || kill $(cat /run/sshd.pid)\n\
         while (exec 3<>/dev/tcp/127.0.0.1/22) 2>/dev/null; do sleep 0.1; done\n\
         grep -q far.example /etc/hosts || echo 127.0.0.1 far.example >>/etc/hosts\n\
         cat >/etc/ssh/sshd_config <<END\nListenAddress 127.0.0.1\nAuthorizedKeysFile $PWD/authorized_keys\nStrictModes no\nUsePAM no\n\
         PermitRootLogin yes\nAuthenticationMethods publickey\nEND\n\
         if [ \"$1\" = sshd_config ]; then cat sshd_config >>/etc/ssh/sshd_config\nelse\n\
         [ \"$1\" = authorized_keys ] || cat \"$1\" >authorized_keys\n\
         rm -f /etc/ssh/ssh_host_*\nssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key\n\
         mkdir -p -m 700 ~/.ssh\necho \"far.example $(cat /etc/ssh/ssh_host_ed25519_key.pub)\" >~/.ssh/known_hosts\nfi\n\
         usermod -p '*' root\n/usr/sbin/sshd -E $PWD/error.log\n\
         until (exec 3<>/dev/tcp/127.0.0.1/22) 2>/dev/null; do sleep 0.1; done\n",
    );
    bench.write_program(
        "gateway",
        "#!/bin/bash\nset -euo pipefail\n\
         openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout gateway.key -subj /CN=gateway -out gateway.req 2>/dev/null\n\
         openssl x509 -req -in gateway.req -CA ca.crt -CAkey ca.key -days 1 -out gateway.crt 2>/dev/null\n\
         openvpn --dev null --proto tcp-server --local 127.0.0.1 --port 1194 --tls-server --dh none --ca ca.crt --cert gateway.crt \
         --key gateway.key --verb 3 --cipher AES-256-GCM >gateway.log 2>&1 &\n\
         echo 127.0.0.1 vpn.example >>/etc/hosts\nuntil grep -q 'Listening for incoming TCP' gateway.log; do sleep 0.1; done\n",
    );
    bench.write_program(
        "type",
        format!(
            "#!/usr/bin/python3\nimport socket, sys, time\nwhile True:\n try:\n  s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); break\n \
             except OSError: time.sleep(0.05)\nf = s.makefile('rw')\nfor line in f:\n if line.startswith('>PASSWORD:Need'):\n  \
             f.write('password \"%s\" {PAGE_PIN}\\n' % line.split(\"'\")[1]); f.flush()\n if line.startswith('SUCCESS'): break\n"
        ),
    );
    assert_ne!(PIN, PAGE_PIN);
}
