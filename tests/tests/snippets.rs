//! `ptool config --snippet`: what it prints, given to the program it is for, as it is.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use tests::desk::{Desk, PIN};
use tests::openssl::assert_request_verifies;
use tests::product;
use tests::world::{Run, World};

/// A token whose names must be quoted everywhere, with one key and its certificate.
fn desk() -> Desk {
    let desk = Desk::of(World::empty().managed());
    let world = &desk.world;
    let login = ["--label=it's mine", "--userpin", PIN];
    world.ptool_ok(&["init"]);
    world.ptool_ok(&["addtoken", login[0], login[1], login[2], "--sopin=officer"]);
    world.ptool_ok(&["addkey", login[0], login[1], login[2], "--algorithm=ecc256", "--key-label=web key"]);
    let certificate = ["--subject=CN=localhost", "--store", "--out=web.crt"];
    world.ptool_ok(&[&["selfsign"], &login[..], &certificate].concat());
    desk.write("pin", PIN);
    desk
}

fn snippet(desk: &Desk, program: &str) -> String {
    desk.world.ptool_ok(&["config", "--label=it's mine", "--snippet", program]).text()
}

/// Runs shell lines, which must succeed.
fn shell(desk: &Desk, lines: &str) -> Run {
    let run = Run::of(desk.world.command("sh").args(["-ec", lines]));
    assert!(run.success(), "{lines}: {run:?}\n--- log\n{}", desk.world.log());
    run
}

/// The lines in a snippet's remarks that are to be typed.
fn example<'a>(text: &'a str, begins: &str) -> &'a str {
    let typed = text.lines().filter_map(|line| line.strip_prefix('#')).map(str::trim);
    typed.into_iter().find(|line| line.starts_with(begins)).unwrap_or_else(|| panic!("{begins}: {text}"))
}

#[test]
fn ssh_reads_its_configuration() {
    let desk = desk();
    let text = snippet(&desk, "ssh");
    desk.write("ssh_config", &text);
    let read = desk.run("ssh", &["-G", "-F", "ssh_config", "anywhere"]).text();
    assert!(read.contains(&format!("pkcs11provider {}", product::module().display())), "{read}");
    assert!(shell(&desk, example(&text, "ssh-keygen -D")).text().contains("ecdsa-sha2-nistp256"));
}

#[test]
fn openssl_signs_by_the_engine() {
    let desk = desk();
    let text = snippet(&desk, "openssl-engine");
    desk.write("openssl.cnf", &text);
    let line = example(&text, "openssl req").replace("type=private", "type=private;pin-source=file:pin");
    shell(&desk, &format!("OPENSSL_CONF=openssl.cnf {line}"));
    assert_request_verifies(&desk.world, "web.csr");
}

#[test]
fn nginx_takes_the_key_from_the_engine() {
    let desk = desk();
    // As the remarks say for servers.
    let engine =
        snippet(&desk, "openssl-engine").replace("#PIN = ...", &format!("PIN = {PIN}")).replace("init = 0", "init = 1");
    desk.write("openssl.cnf", engine);
    let text = snippet(&desk, "nginx");
    let key = example(&text, "ssl_certificate_key \"engine:");
    let variables: String = text.lines().filter(|line| line.starts_with("env ")).collect();
    let home = desk.world.path("").display().to_string();
    desk.write(
        "nginx.conf",
        format!(
            "{variables}\nerror_log stderr;\npid {home}nginx.pid;\nevents {{}}\nhttp {{ access_log off; server {{\n\
             listen 127.0.0.1:1 ssl; ssl_certificate {home}web.crt;\n{key}\n}} }}\n"
        ),
    );
    let lines = format!("OPENSSL_CONF={home}openssl.cnf nginx -t -p {home} -c {home}nginx.conf");
    let run = Run::of(desk.world.command("sh").args(["-ec", &lines]));
    // Without root it may not write where its packages say; but the key is loaded by then.
    assert!(run.stderr.contains("syntax is ok"), "{run:?}\n--- log\n{}", desk.world.log());
}

#[test]
fn apache_and_nginx_are_told_the_key_by_its_uri() {
    let desk = desk();
    let uri = snippet(&desk, "uri");
    assert_eq!(uri, "pkcs11:token=it%27s%20mine;object=web%20key;type=private\n");
    assert!(snippet(&desk, "apache").contains(&format!("SSLCertificateKeyFile \"{}\"", uri.trim())));
    assert!(snippet(&desk, "nginx").contains(&format!("\"store:{}\"", uri.trim())));
    desk.write("uri.pem", snippet(&desk, "uri-pem"));
    let parsed = desk.openssl(&["asn1parse", "-in", "uri.pem"]).text();
    assert!(parsed.contains("VISIBLESTRING     :PKCS#11 Provider URI v1.0"), "{parsed}");
    assert!(parsed.contains(&format!("UTF8STRING        :{}", uri.trim())), "{parsed}");
}

#[test]
fn p11_kit_reads_its_file() {
    let desk = desk();
    // p11-kit has no user configuration for root: then it is somebody else, who must be let in, and who has no token.
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let module = dir.path().join("libtpm2_cryptoki.so");
    std::fs::copy(product::module(), &module).unwrap();
    let modules = dir.path().join(".config/pkcs11/modules");
    std::fs::create_dir_all(&modules).unwrap();
    let text = snippet(&desk, "p11-kit");
    let here = text.replace(product::module().to_str().unwrap(), module.to_str().unwrap());
    assert_ne!(here, text);
    std::fs::write(modules.join("tpm2-cryptoki.module"), here).unwrap();
    let mut command = if nix::unistd::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "p11-kit"]);
        command
    } else {
        Command::new("p11-kit")
    };
    let run = Run::of(command.arg("list-modules").env_clear().env("PATH", "/usr/bin:/bin").env("HOME", dir.path()));
    assert!(run.text().contains("library-manufacturer: tpm2-cryptoki"), "{run:?}");
}

#[test]
fn gnutls_lists_the_token() {
    let desk = desk();
    let run = shell(&desk, &format!("export GNUTLS_PIN={PIN}\n{}", snippet(&desk, "gnutls")));
    assert!(run.text().contains("Label: web key") && run.text().contains("type=cert"), "{run:?}");
}

#[test]
fn nss_enters_the_module() {
    let desk = desk();
    let text = snippet(&desk, "nss");
    shell(&desk, &text);
    let listed = desk.run("modutil", &["-dbdir", "sql:.pki/nssdb", "-list", "tpm2-cryptoki"]).text();
    assert!(listed.contains("Token Name: it's mine"), "{listed}");
    let keys = shell(&desk, &format!("{} -f pin", example(&text, "certutil -K")));
    assert!(keys.text().contains("web key"), "{keys:?}");
}

#[test]
fn java_lists_the_key() {
    let desk = desk();
    let text = snippet(&desk, "java");
    desk.write("tpm.cfg", &text);
    let listed = shell(&desk, &format!("{} -storepass {PIN}", example(&text, "keytool"))).text();
    assert!(listed.contains("web key, PrivateKeyEntry"), "{listed}");
}

#[test]
fn git_signs_commits() {
    let desk = desk();
    desk.write("askpass", format!("#!/bin/sh\necho {PIN}\n"));
    std::fs::set_permissions(desk.world.path("askpass"), std::fs::Permissions::from_mode(0o700)).unwrap();
    let lines = format!(
        "export SSH_ASKPASS=$PWD/askpass SSH_ASKPASS_REQUIRE=force GIT_CONFIG_NOSYSTEM=1\n\
         eval \"$(ssh-agent -P '*')\" >/dev/null\ntrap 'kill $SSH_AGENT_PID' EXIT\n\
         {}\n\
         git init -q repository\ncd repository\ngit config user.email eva@web.example\ngit config user.name Eva\n\
         git commit -q --allow-empty -m first\n\
         echo \"eva@web.example $(git config user.signingKey | sed 's/^key:://')\" >../signers\n\
         git -c gpg.ssh.allowedSignersFile=\"$HOME/signers\" verify-commit HEAD\n",
        snippet(&desk, "git")
    );
    let run = shell(&desk, &lines);
    assert!(run.all().contains("Good \"git\" signature for eva@web.example"), "{run:?}");
}

#[test]
fn a_key_is_named_only_if_it_is_clear_which() {
    let desk = Desk::new();
    let vague = desk.world.ptool(&["config", "--label=alpha", "--snippet=uri"]);
    assert!(!vague.success() && vague.stderr.contains("not clear which"), "{vague:?}");
    let named = desk.world.ptool_ok(&["config", "--label=alpha", "--snippet=uri", "--key-label=p384"]);
    assert_eq!(named.text(), "pkcs11:token=alpha;object=p384;type=private\n");
    // What shows all keys of a token needs no choice.
    desk.world.ptool_ok(&["config", "--label=alpha", "--snippet=ssh"]);
    assert_eq!(desk.world.proxy.mark().len(), 0, "none of it asks the TPM");
}
