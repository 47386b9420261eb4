//! Programs that have one scenario or two: curl, stunnel, BIND, OpenVPN, strongSwan's pki, GnuPG's smart card daemon, Go.

use crate::bench::{Bench, PIN, free_port};
use crate::{guest, openssl};

#[test]
fn curl_engine_client_certificate() {
    let mut bench = Bench::here();
    for label in ["rsa", "p256"] {
        bench.certify(label);
    }
    let port = free_port();
    let server = openssl::strict_server(&bench, port);
    openssl::engine(&mut bench);
    for label in ["rsa", "p256"] {
        let run = bench.try_sh(&format!(
            "curl -sS --cacert ca.crt --engine pkcs11 --key-type ENG --key '{}' --cert {label}.crt https://localhost:{port}/",
            openssl::private(label)
        ));
        assert!(
            run.success() && run.text().contains("Client certificate"),
            "{label}: {run:?}\n{}",
            bench.story(&server)
        );
        let stranger = bench.try_sh(&format!("curl -sS --cacert ca.crt https://localhost:{port}/"));
        assert!(!stranger.success(), "{stranger:?}");
    }
}

#[test]
fn curl_provider_client_certificate() {
    let Some(mut bench) = Bench::trixie() else { return };
    for label in ["rsa", "p256"] {
        bench.certify(label);
        openssl::write_uri_file(&bench, label);
    }
    let port = free_port();
    let server = openssl::strict_server(&bench, port);
    openssl::provider(&mut bench);
    for label in ["rsa", "p256"] {
        // By a URI, curl asks a provider that has not read the configuration: the environment tells it about the module.
        let uri = format!("--key-type PROV --key '{};pin-value={PIN}'", openssl::private(label));
        for key in [format!("--key {label}.pem"), uri] {
            let run = bench.try_sh(&format!(
                "PKCS11_PROVIDER_MODULE=$MODULE curl -sS --cacert ca.crt {key} --cert {label}.crt https://localhost:{port}/"
            ));
            assert!(
                run.success() && run.text().contains("Client certificate"),
                "{key}: {run:?}\n{}",
                bench.story(&server)
            );
        }
    }
}

/// As the snippet says: keys that are there, RSA and EC, sign a zone, and the configuration of `named` is one.
#[test]
fn bind_signs_zones() {
    let Some(mut bench) = Bench::forky() else { return };
    openssl::provider(&mut bench);
    bench.write(
        "example.zone",
        "$TTL 60\n@ IN SOA ns.example. me.example. 1 7200 3600 9600 3600\n@ IN NS ns.example.\nns IN A 192.0.2.1\n",
    );
    for (label, algorithm) in [("rsa", "RSASHA256"), ("p256", "ECDSAP256SHA256"), ("p384", "ECDSAP384SHA384")] {
        let pasted = bench.world.ptool_ok(&["config", "--label=alpha", "--key-label", label, "--snippet=bind"]).text();
        let typed = pasted.lines().filter_map(|line| line.strip_prefix("//")).map(str::trim);
        let line = typed.into_iter().find(|line| line.starts_with("dnssec-keyfromlabel ")).unwrap();
        let line = line.replace("ECDSAP256SHA256", algorithm).replace(" example.org", "");
        let home = bench.home();
        bench.write(
            "named.conf",
            format!(
                "{}\nzone \"example\" {{ type primary; file \"{home}/example.zone\"; dnssec-policy \"in-tpm\"; inline-signing yes; }};\n",
                pasted.replace("/var/lib/bind", &home)
            ),
        );
        bench.sh(&format!(
            "rm -f Kexample.*
             named-checkconf named.conf
             {line} -f KSK example
             {line} -y example
             dnssec-signzone -z -S -o example -f example.signed example.zone
             OPENSSL_CONF=/dev/null dnssec-verify -z -o example example.signed"
        ));
    }
}

#[test]
fn stunnel_engine() {
    let mut bench = Bench::here();
    openssl::engine(&mut bench);
    let (module, pin) = (bench.module(), PIN);
    let engine =
        format!("engine = pkcs11\nengineCtrl = MODULE_PATH:{module}\nengineCtrl = PIN:{pin}\nengineCtrl = INIT\n");
    stunnel(&bench, &engine, |label| format!("engineId = pkcs11\nkey = {}\n", openssl::private(label)));
}

#[test]
fn stunnel_provider() {
    let Some(mut bench) = Bench::trixie() else { return };
    openssl::provider(&mut bench);
    let home = bench.home();
    stunnel(&bench, "", |label| format!("key = {home}/{label}.pem\n"));
}

/// stunnel in front of a web server that says one word.
fn stunnel(bench: &Bench, top: &str, key: impl Fn(&str) -> String) {
    let home = bench.home();
    let back = free_port();
    bench.write("back.py", format!(
        "import http.server\nclass Page(http.server.BaseHTTPRequestHandler):\n def do_GET(self):\n  self.send_response(200); \
         self.send_header('Content-Length', '7'); self.end_headers(); self.wfile.write(b'behind\\n')\n \
         def log_message(self, *a): pass\nhttp.server.ThreadingHTTPServer(('127.0.0.1', {back}), Page).serve_forever()\n"));
    let _back = PlainServer::start(bench, back);
    let mut config = format!("foreground = yes\npid =\n{top}");
    let ports: Vec<(&str, u16)> = ["rsa", "p256"].into_iter().map(|label| (label, free_port())).collect();
    for (label, port) in &ports {
        bench.certify(label);
        openssl::write_uri_file(bench, label);
        config += &format!(
            "[{label}]\naccept = 127.0.0.1:{port}\nconnect = 127.0.0.1:{back}\ncert = {home}/{label}.crt\n{}",
            key(label)
        );
    }
    bench.write("stunnel.conf", config);
    let server = bench.serve("stunnel", "stunnel4", &[&bench.path("stunnel.conf")]).listens_on(ports[1].1);
    for (label, port) in &ports {
        let run = tests::world::Run::of(
            bench
                .world
                .command("curl")
                .env("OPENSSL_CONF", "/dev/null")
                .args(["-sS", "--cacert", "ca.crt", "--parallel", "--parallel-max", "4"])
                .arg(format!("https://localhost:{port}/[1-20]")),
        );
        assert!(
            run.success() && run.text().matches("behind").count() == 20,
            "{label}: {run:?}\n{}",
            bench.story(&server)
        );
    }
}

/// A web server of this machine, behind the tunnel.
struct PlainServer(std::process::Child);

impl PlainServer {
    fn start(bench: &Bench, port: u16) -> PlainServer {
        let child = std::process::Command::new("python3").arg(bench.world.path("back.py")).spawn().unwrap();
        let server = PlainServer(child);
        crate::bench::wait_until(
            || "no server behind the tunnel".to_owned(),
            || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok(),
        );
        server
    }
}

impl Drop for PlainServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Puts the certificate of a key beside it.
fn store_certificate(bench: &Bench, label: &str, id: &str) {
    bench.certify(label);
    bench.sh(&format!(
        "openssl x509 -in {label}.crt -outform DER -out {label}.der
         pkcs11-tool --module $MODULE --token-label alpha --login --pin {PIN} --write-object {label}.der --type cert --id {id} --label {label}"
    ));
}

/// Clients that prove themselves by keys of the token; their PIN is asked for on the management socket.
#[test]
fn openvpn_client() {
    let bench = Bench::here();
    bench.certify_file("server");
    for (label, id) in [("rsa", "01"), ("p256", "03")] {
        store_certificate(&bench, label, id);
    }
    let listed = bench.sh("openvpn --show-pkcs11-ids $MODULE").text();
    let ids: Vec<&str> =
        listed.lines().filter_map(|line| line.trim().strip_prefix("Serialized id:")).map(str::trim).collect();
    assert_eq!(ids.len(), 2, "{listed}");
    for id in ids {
        connect(&bench, id);
    }
}

/// OpenVPN's client and its server, by the key of the token that has this id.
fn connect(bench: &Bench, id: &str) {
    let port = free_port();
    let server = bench.serve(
        "openvpn-server",
        "openvpn",
        &[
            "--dev",
            "null",
            "--proto",
            "tcp-server",
            "--local",
            "127.0.0.1",
            "--port",
            &port.to_string(),
            "--tls-server",
            "--dh",
            "none",
            "--ca",
            "ca.crt",
            "--cert",
            "server.crt",
            "--key",
            "server.key",
            "--verb",
            "3",
            "--cipher",
            "AES-256-GCM",
        ],
    );
    crate::bench::wait_until(
        || bench.story(&server),
        || server.said().contains("Listening for incoming TCP connection"),
    );
    bench.write(
        "pin.py",
        "import socket, sys, time\nwhile True:\n try:\n  s = socket.socket(socket.AF_UNIX); s.connect('management'); break\n except OSError: \
         time.sleep(0.05)\nf = s.makefile('rw')\nf.write('hold release\\n'); f.flush()\nfor line in f:\n print(line, flush=True)\n if line.startswith('>PASSWORD:Need'):\n  \
         name = line.split(\"'\")[1]\n  f.write('password \"%s\" %s\\n' % (name, sys.argv[1])); f.flush()\n",
    );
    let _ = std::fs::remove_file(bench.world.path("management"));
    let client = bench.serve(
        "openvpn-client",
        "sh",
        &[
            "-c",
            "python3 pin.py \"$3\" & exec openvpn --dev null --proto tcp-client --remote 127.0.0.1 $1 --tls-client --ca ca.crt \
             --pkcs11-providers $MODULE --pkcs11-id \"$2\" --management management unix --management-query-passwords --management-hold \
             --verb 3 --cipher AES-256-GCM",
            "sh",
            &port.to_string(),
            id,
            PIN,
        ],
    );
    crate::bench::wait_until(
        || format!("{id}: {}\n{}", bench.story(&client), server.said()),
        || client.said().contains("Initialization Sequence Completed") && server.said().contains("VERIFY OK"),
    );
}

#[test]
fn strongswan_pki() {
    let mut bench = Bench::here();
    let module = bench.module();
    bench.write(
        "strongswan.conf",
        format!(
            "pki {{\n load = pkcs11 pem pkcs1 pkcs8 x509 pubkey random nonce sha1 sha2 gmp openssl\n plugins {{ pkcs11 {{\n  load_certs = no\n  \
             modules {{ tpm {{ path = {module}\n os_locking = no\n }} }}\n }} }}\n}}\n"
        ),
    );
    // It asks on a terminal, and only what is typed after the question counts.
    bench.write(
        "terminal.py",
        format!(
            "import os, pty, sys\npid, tty = pty.fork()\nif pid == 0: os.execvp(sys.argv[1], sys.argv[1:])\nsaid = b''\nwhile True:\n try: \
             piece = os.read(tty, 1000)\n except OSError: break\n if not piece: break\n said += piece\n if said.rstrip().endswith(b'PIN:'): \
             os.write(tty, b'{PIN}\\n'); said = b''\nprint(said.decode())\nsys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
        ),
    );
    let config = bench.path("strongswan.conf");
    bench.set("STRONGSWAN_CONF", &config);
    for (kind, id) in [("rsa", "01"), ("ecdsa", "03")] {
        let make = format!(
            "pki --self --keyid 0x{id} --type {kind} --ca --dn CN=authority --lifetime 2 --outform pem >{kind}.out"
        );
        bench.write("make", make);
        bench.sh("python3 terminal.py sh make");
        bench.plain_sh(&format!(
            "sed -n '/BEGIN/,/END/p' {kind}.out >{kind}.crt; openssl verify -check_ss_sig -CAfile {kind}.crt {kind}.crt"
        ));
        // A request by the key; and the key as an authority, of which the request is the first to get a certificate.
        bench.write(
            "make",
            format!(
                "set -e; pki --req --keyid 0x{id} --type {kind} --dn CN=leaf --outform pem >{kind}.req
                 pki --issue --in {kind}.req --type pkcs10 --cakeyid 0x{id} --cacert {kind}.crt --lifetime 1 --outform pem >{kind}.issued"
            ),
        );
        bench.sh("python3 terminal.py sh make");
        bench.plain_sh(&format!(
            "openssl req -in {kind}.req -verify -noout 2>&1 | grep 'verify OK'; openssl verify -CAfile {kind}.crt {kind}.issued"
        ));
    }
}

/// The agent of GnuPG with its smart card daemon for PKCS#11: what is on the token, and letters of gpgsm, signed and read.
#[test]
fn gnupg_smart_card_daemon() {
    let mut bench = Bench::here();
    store_certificate(&bench, "rsa", "01");
    std::fs::create_dir(bench.world.path("gnupg")).unwrap();
    bench.write_program(
        "pinentry",
        format!("#!/bin/sh\necho OK\nwhile read -r word rest; do\n case $word in\n GETPIN) echo 'D {PIN}'; echo OK;;\n BYE) echo OK; exit;;\n *) echo OK;;\n esac\ndone\n"),
    );
    let (pinentry, module) = (bench.path("pinentry"), bench.module());
    bench.write(
        "gnupg/gpg-agent.conf",
        format!("scdaemon-program /usr/bin/gnupg-pkcs11-scd\npinentry-program {pinentry}\nallow-mark-trusted\n"),
    );
    bench.write("gnupg/gnupg-pkcs11-scd.conf", format!("providers tpm\nprovider-tpm-library {module}\n"));
    bench.write("gnupg/gpgsm.conf", "disable-crl-checks\n");
    let home = bench.path("gnupg");
    bench.set("GNUPGHOME", &home);
    let run = bench.sh("chmod 700 gnupg
         gpgsm --import ca.crt 2>&1
         fingerprint=$(openssl x509 -in ca.crt -noout -fingerprint -sha1 | cut -d= -f2)
         echo \"$fingerprint S relax\" >gnupg/trustlist.txt
         gpg-connect-agent 'SCD LEARN --force' /bye
         gpgsm --learn-card 2>&1
         gpgsm --list-secret-keys 2>&1
         gpgsm --batch --local-user localhost --armor --detach-sign -o letter.sig letter 2>&1
         gpgsm --verify letter.sig letter 2>&1
         gpgsm --batch --recipient localhost --encrypt -o letter.sealed letter 2>&1
         gpgsm --batch --decrypt -o letter.opened letter.sealed 2>&1
         cmp letter.opened letter
         gpgconf --kill all");
    assert!(run.text().contains("Good signature"), "{run:?}");
}

#[test]
fn go_signs_in_goroutines() {
    let bench = Bench::here();
    let source = guest::sources().join("clients/go/main.go");
    let run = bench.sh(&format!(
        "export GO111MODULE=off GOPATH=/usr/share/gocode GOCACHE=$PWD/go-cache GOFLAGS=
         go build -o client '{}' && ./client $MODULE {PIN}",
        source.display()
    ));
    assert_eq!(run.text(), "done\n");
}
