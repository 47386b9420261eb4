//! TLS 1.3 with the token's keys, at either end.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use tests::world::Run;

use crate::desk::{Desk, private};

/// `openssl s_server` in the tree.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(desk: &Desk, arguments: &[&str]) -> Server {
        let log = std::fs::File::create(desk.world.path("server.log")).unwrap();
        let mut child = desk
            .guest("openssl")
            .args(["s_server", "-www", "-accept", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut server = Server { child, port: 0 };
        let mut said = String::new();
        for line in lines.map_while(Result::ok) {
            if let Some(address) = line.strip_prefix("ACCEPT ") {
                server.port = address.rsplit(':').next().unwrap().trim().parse().unwrap();
                break;
            }
            said += &line;
        }
        let log = || String::from_utf8_lossy(&desk.read("server.log")).into_owned();
        assert_ne!(server.port, 0, "s_server {arguments:?}: {said} {}\n--- log\n{}", log(), desk.world.log());
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn tls_handshakes() {
    let Some(mut desk) = Desk::new() else { return };
    desk.detailed = true;
    shake_hands(&desk);
    // The key schedule as well: what OpenSSL asks of the token first, the token does.
    let derived = desk.world.log().matches("C_DeriveKey: CKR_OK").count();
    assert!(derived > 100, "{derived} derivations");
}

/// The same where only what needs the key is asked of the token.
#[test]
fn tls_handshakes_of_a_modest_configuration() {
    if let Some(desk) = Desk::new() {
        desk.be_modest();
        shake_hands(&desk);
    }
}

fn shake_hands(desk: &Desk) {
    for label in ["rsa", "p256", "p384"] {
        let key = private(label);
        let host = ["-addext", "subjectAltName=DNS:reader.example", "-days", "2", "-out", "certificate"];
        desk.openssl(&[&["req", "-new", "-x509", "-key", &key, "-subj", "/CN=reader.example"], &host[..]].concat());
        let server = Server::start(desk, &["-key", &key, "-cert", "certificate"]);
        let to = format!("127.0.0.1:{}", server.port);
        let client = [
            "s_client",
            "-connect",
            &to,
            "-CAfile",
            "certificate",
            "-verify_return_error",
            "-verify_hostname",
            "reader.example",
        ];
        for (version, option) in [("New, TLSv1.3", "-tls1_3"), ("New, TLSv1.2", "-tls1_2")] {
            let client = [&client[..], &[option]].concat();
            // One client without the provider, one with everything asked of the token first; more than one on the same server.
            for shake in [desk.try_plain(&client), desk.try_openssl(&client), desk.try_plain(&client)] {
                let said = shake.all();
                let server = String::from_utf8_lossy(&desk.read("server.log")).into_owned();
                assert!(
                    shake.success() && said.contains(version) && said.contains("Verify return code: 0 (ok)"),
                    "{label}: {said}\n--- server\n{server}\n--- log\n{}",
                    desk.world.log()
                );
            }
        }
    }
    desk.world.assert_clean();
}

/// The other way round: the client proves itself by a key in the TPM.
#[test]
fn tls_client_keys() {
    if let Some(desk) = Desk::new() {
        prove_clients(&desk);
    }
}

/// The same where only what needs the key is asked of the token.
#[test]
fn tls_client_keys_of_a_modest_configuration() {
    if let Some(desk) = Desk::new() {
        desk.be_modest();
        prove_clients(&desk);
    }
}

fn prove_clients(desk: &Desk) {
    desk.plain(&[
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "group:P-256",
        "-nodes",
        "-keyout",
        "server.key",
        "-subj",
        "/CN=server.example",
        "-days",
        "2",
        "-out",
        "server",
    ]);
    for label in ["rsa", "rsa3072", "p256", "p384", "p521"] {
        let key = private(label);
        desk.openssl(&[
            "req",
            "-new",
            "-x509",
            "-key",
            &key,
            "-subj",
            "/CN=reader",
            "-days",
            "2",
            "-out",
            "certificate",
        ]);
        for version in ["-tls1_3", "-tls1_2"] {
            // A client that the server does not accept gets no page.
            let server = Server::start(
                desk,
                &[
                    "-key",
                    "server.key",
                    "-cert",
                    "server",
                    "-Verify",
                    "1",
                    "-CAfile",
                    "certificate",
                    "-verify_return_error",
                ],
            );
            let to = format!("127.0.0.1:{}", server.port);
            let mut command = desk.guest("sh");
            let get = "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | exec openssl s_client \"$@\"";
            command.args([
                "-c",
                get,
                "sh",
                "-connect",
                &to,
                "-CAfile",
                "server",
                version,
                "-ign_eof",
                "-cert",
                "certificate",
                "-key",
                &key,
            ]);
            let run = Run::of(&mut command);
            let log = String::from_utf8_lossy(&desk.read("server.log")).into_owned();
            assert!(
                run.text().contains("HTTP/1.0 200"),
                "{label} {version}: {run:?}\n--- server\n{log}\n--- log\n{}",
                desk.world.log()
            );
            assert!(run.text().contains("CN=reader"), "{label} {version}: the page names the client: {run:?}");
        }
    }
}
