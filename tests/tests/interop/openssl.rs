//! OpenSSL with the token: by the engine of libp11 on this machine, by pkcs11-provider in the trixie tree.

use tests::world::Run;

use crate::bench::{Bench, PIN, Server, free_port};
use crate::guest;

/// The URI of a private key.
pub(crate) fn private(label: &str) -> String {
    format!("pkcs11:token=alpha;object={label};type=private")
}

/// Makes `openssl.cnf` with the engine, initialised from the start and with the PIN, and uses it from now on.
pub(crate) fn engine(bench: &mut Bench) {
    let (module, libraries) = (bench.module(), bench.libraries());
    bench.write(
        "openssl.cnf",
        format!(
            "openssl_conf = openssl_init\n[openssl_init]\nengines = engine_sect\n[engine_sect]\npkcs11 = pkcs11_sect\n\
             [pkcs11_sect]\nengine_id = pkcs11\ndynamic_path = {libraries}/engines-3/pkcs11.so\nMODULE_PATH = {module}\n\
             PIN = {PIN}\ninit = 1\n[req]\ndistinguished_name = dn\n[dn]\n"
        ),
    );
    let config = bench.path("openssl.cnf");
    bench.set("OPENSSL_CONF", &config);
}

/// Makes `openssl.cnf` with the provider and the PIN's file, and uses it from now on.
pub(crate) fn provider(bench: &mut Bench) {
    let (module, pin) = (bench.module(), bench.path("pin"));
    bench.write(
        "openssl.cnf",
        format!(
            "openssl_conf = openssl_init\n[openssl_init]\nproviders = provider_sect\n[provider_sect]\ndefault = default_sect\n\
             pkcs11 = pkcs11_sect\n[default_sect]\nactivate = 1\n[pkcs11_sect]\npkcs11-module-path = {module}\n\
             pkcs11-module-token-pin = file:{pin}\npkcs11-module-encode-provider-uri-to-pem = true\nactivate = 1\n\
             [req]\ndistinguished_name = dn\n[dn]\n"
        ),
    );
    let config = bench.path("openssl.cnf");
    bench.set("OPENSSL_CONF", &config);
}

/// In the provider's section: hashes are not the token's business. Without it, a client that breaks off its handshake in TLS 1.2
/// leaves a hash behind that was begun and not finished; the provider gives that session to the next handshake, which fails.
pub(crate) const NO_DIGESTS: &str = "pkcs11-module-block-operations = digest";

/// Makes `openssl.cnf` with the provider and the PIN's file, with whatever OpenSSL needs asked of the token first, and uses it from
/// now on; this line is in the provider's section too.
pub(crate) fn provider_asked_first(bench: &mut Bench, line: &str) {
    let config = std::fs::read_to_string(guest::sources().join("clients/openssl.cnf")).unwrap();
    let config = config.replace("@ARCH@", std::env::consts::ARCH).replace("/world/module.so", &bench.module());
    bench.write("openssl.cnf", config.replace("[pkcs11_sect]\n", &format!("[pkcs11_sect]\n{line}\n")));
    let config = bench.path("openssl.cnf");
    bench.set("OPENSSL_CONF", &config);
}

/// Writes `LABEL.pem`, a file that says where the private key is.
pub(crate) fn write_uri_file(bench: &Bench, label: &str) {
    bench.write(
        "uri.cnf",
        format!(
            "asn1 = SEQUENCE:uri\n[uri]\nversion = VISIBLESTRING:PKCS\\#11 Provider URI v1.0\nuri = UTF8String:{}\n",
            private(label).replace(';', "\\;")
        ),
    );
    bench.plain_sh(&format!(
        "openssl asn1parse -genconf uri.cnf -noout -out uri.der
         {{ echo '-----BEGIN PKCS#11 PROVIDER URI-----'; openssl base64 -in uri.der; echo '-----END PKCS#11 PROVIDER URI-----'; }} >{label}.pem"
    ));
}

/// A client that knows nothing of the token, and what it said: `options` are for `openssl s_client`.
pub(crate) fn client(bench: &Bench, port: u16, version: &str, options: &str) -> Run {
    let version = version.replace('.', "_");
    let line = format!(
        "printf 'GET /page HTTP/1.0\\r\\n\\r\\n' | openssl s_client -tls{version} -connect localhost:{port} -verify_return_error \
         -verify_hostname localhost -ign_eof {options} 2>&1"
    );
    Run::of(bench.world.command("bash").args(["-c", &line]).env("OPENSSL_CONF", "/dev/null"))
}

/// Such a client gets a page in this version of TLS, from a server that has proved itself by a certificate of the authority. Only
/// all of it says so: to a server that closes the connection at once, `s_client` says that the verification went well.
#[track_caller]
pub(crate) fn gets_a_page(bench: &Bench, server: &Server, port: u16, version: &str, options: &str) {
    let run = client(bench, port, version, &format!("-CAfile ca.crt {options}"));
    let said = run.text();
    let shaken = said.contains(&format!("New, TLSv{version}")) && said.contains("Verify return code: 0 (ok)");
    let page = said.contains("HTTP/1.0 200") || said.contains("HTTP/1.1 200");
    assert!(run.success() && shaken && page, "TLS {version}: {run:?}\n{}", bench.story(server));
}

/// `openssl s_server` with a key in a file, `server.key`, that lets in whom the authority knows.
#[cfg(feature = "clients")]
pub(crate) fn strict_server(bench: &Bench, port: u16) -> Server {
    bench.certify_file("server");
    let number = port.to_string();
    let paths = ["server.key", "server.crt", "ca.crt"].map(|name| bench.path(name));
    let mut arguments = vec!["s_server", "-www", "-accept", &number, "-Verify", "1", "-verify_return_error"];
    arguments.extend(["-key", &paths[0], "-cert", &paths[1], "-CAfile", &paths[2]]);
    bench.serve("s_server", "openssl", &arguments).listens_on(port)
}

/// The ways to give a PIN, each on a configuration that has none.
#[test]
fn provider_takes_pins_from_uris() {
    let Some(mut bench) = Bench::trixie() else { return };
    provider(&mut bench);
    let config = bench.text("openssl.cnf");
    bench.write(
        "openssl.cnf",
        config.lines().filter(|line| !line.contains("token-pin")).map(|line| format!("{line}\n")).collect::<String>(),
    );
    bench.public_key("p256");
    let pin = bench.path("pin");
    for how in [format!("pin-value={PIN}"), format!("pin-source=file:{pin}")] {
        bench.sh(&format!("openssl dgst -sha256 -sign '{};{how}' -out signature letter", private("p256")));
        bench.plain_sh("openssl dgst -sha256 -verify p256.pub -signature signature letter");
    }
    let none = bench.try_sh(&format!("openssl dgst -sha256 -sign '{}' -out signature letter", private("p256")));
    assert!(!none.success(), "{none:?}");
}

/// A file that says where the key is, in the place of a file with the key.
#[test]
fn provider_takes_files_with_uris() {
    let Some(mut bench) = Bench::trixie() else { return };
    provider(&mut bench);
    for label in ["rsa", "p256"] {
        bench.public_key(label);
        write_uri_file(&bench, label);
        // Written by hand, and as the provider writes it.
        bench.sh(&format!(
            "openssl pkey -in '{}' -out written.pem; grep 'PKCS#11 PROVIDER URI' written.pem",
            private(label)
        ));
        for file in [format!("{label}.pem"), "written.pem".to_owned()] {
            bench.sh(&format!("openssl dgst -sha256 -sign {file} -out signature letter"));
            bench.plain_sh(&format!("openssl dgst -sha256 -verify {label}.pub -signature signature letter"));
        }
    }
}

/// Letters to a certificate, and from it: RSA decrypts, EC agrees on a key.
fn cms(bench: &Bench, key: impl Fn(&str) -> String) {
    for label in ["rsa", "p256", "p384"] {
        bench.certify(label);
        bench
            .plain_sh(&format!("openssl cms -encrypt -binary -aes256 -in letter -outform DER -out sealed {label}.crt"));
        bench.sh(&format!(
            "openssl cms -decrypt -binary -inform DER -in sealed -recip {label}.crt {0} -out opened; cmp opened letter
             openssl cms -sign -binary -nodetach -in letter -signer {label}.crt {0} -outform DER -out signed",
            key(label)
        ));
        bench.plain_sh(
            "openssl cms -verify -binary -inform DER -in signed -CAfile ca.crt -purpose any -out opened 2>cms.log; cmp opened letter",
        );
    }
}

#[test]
fn provider_reads_and_signs_letters() {
    let Some(mut bench) = Bench::trixie() else { return };
    provider(&mut bench);
    cms(&bench, |label| format!("-inkey '{}'", private(label)));
}

#[test]
fn provider_asked_first_reads_and_signs_letters() {
    let Some(mut bench) = Bench::trixie() else { return };
    provider_asked_first(&mut bench, "");
    cms(&bench, |label| format!("-inkey '{}'", private(label)));
}

/// Clients that do not like the server's certificate end their handshakes in the middle; the next ones are served all the same.
#[test]
fn provider_asked_first_serves_after_broken_handshakes() {
    let Some(mut bench) = Bench::trixie() else { return };
    provider_asked_first(&mut bench, NO_DIGESTS);
    bench.certify_file("stranger");
    bench.plain_sh("openssl req -x509 -new -key stranger.key -subj /CN=stranger -days 2 -out stranger.crt");
    for label in ["rsa", "p256", "p384"] {
        bench.certify(label);
        let port = free_port();
        let (number, key, certificate) = (port.to_string(), private(label), bench.path(&format!("{label}.crt")));
        let arguments = ["s_server", "-www", "-accept", &number, "-key", &key, "-cert", &certificate];
        let server = bench.serve("s_server", "openssl", &arguments).listens_on(port);
        for version in ["1.2", "1.3", "1.2"] {
            gets_a_page(&bench, &server, port, version, "");
            for _ in 0..2 {
                let run = client(&bench, port, version, "-CAfile stranger.crt");
                assert!(!run.success() && run.text().contains("unable to get local issuer certificate"), "{run:?}");
            }
            for _ in 0..3 {
                gets_a_page(&bench, &server, port, version, "");
            }
        }
    }
}

/// As the page on the provider says: where keys alone are asked of the token, handshakes leave nothing in the store, whatever the client
/// agrees by. With the token asked first they do, and so do not where the server may only read the store.
#[cfg(feature = "clients")]
#[test]
fn provider_leaves_nothing_of_handshakes() {
    let Some(mut bench) = Bench::trixie() else { return };
    let label = "p256";
    bench.certify(label);
    let objects = |bench: &Bench| {
        let probe = bench.world.probe().initialized();
        let session = probe.open_ro(probe.slot_of("alpha"));
        probe.login(session, pkcs11_sys::CKU_USER, PIN).unwrap();
        probe.find(session, &[]).unwrap().len()
    };
    for first in [false, true] {
        if first {
            provider_asked_first(&mut bench, NO_DIGESTS);
        } else {
            provider(&mut bench);
        }
        let port = free_port();
        let (number, key, certificate) = (port.to_string(), private(label), bench.path(&format!("{label}.crt")));
        let arguments = ["s_server", "-www", "-accept", &number, "-key", &key, "-cert", &certificate];
        let server = bench.serve("s_server", "openssl", &arguments).listens_on(port);
        let before = objects(&bench);
        // The first is what they agree by; the curve of the certificate must be among them.
        for group in if first { &["P-256"][..] } else { &["P-256", "X25519:P-256", "P-384:P-256"] } {
            for version in ["1.2", "1.3"] {
                gets_a_page(&bench, &server, port, version, &format!("-groups {group}"));
            }
        }
        assert_eq!(objects(&bench), before + if first { 4 } else { 0 }, "the page says otherwise");
    }
}

#[cfg(feature = "clients")]
#[test]
fn engine_reads_and_signs_letters() {
    let mut bench = Bench::here();
    engine(&mut bench);
    cms(&bench, |label| format!("-engine pkcs11 -keyform engine -inkey '{}'", private(label)));
}

#[cfg(feature = "clients")]
#[test]
fn engine_agrees_on_keys_and_takes_pins_from_uris() {
    let mut bench = Bench::here();
    engine(&mut bench);
    for (label, curve) in [("p256", "P-256"), ("p384", "P-384"), ("p521", "P-521")] {
        bench.public_key(label);
        bench.plain_sh(&format!(
            "openssl genpkey -algorithm EC -pkeyopt group:{curve} -out peer; openssl pkey -in peer -pubout -out peer.pub
             openssl pkeyutl -derive -inkey peer -peerkey {label}.pub -out theirs"
        ));
        bench.sh(&format!(
            "openssl pkeyutl -derive -engine pkcs11 -keyform engine -inkey '{}' -peerform PEM -peerkey peer.pub -out ours; cmp ours theirs",
            private(label)
        ));
    }
    let config = bench.text("openssl.cnf").replace(&format!("PIN = {PIN}\n"), "").replace("init = 1", "init = 0");
    bench.write("openssl.cnf", config);
    let pin = bench.path("pin");
    for how in [format!("pin-value={PIN}"), format!("pin-source=file:{pin}")] {
        bench.sh(&format!(
            "openssl dgst -sha256 -engine pkcs11 -keyform engine -sign '{};{how}' -out signature letter",
            private("p256")
        ));
        bench.plain_sh("openssl dgst -sha256 -verify p256.pub -signature signature letter");
    }
}

/// A certification authority by the engine, and TLS with a certificate of its.
#[cfg(feature = "clients")]
#[test]
fn engine_certifies_and_shakes_hands() {
    let mut bench = Bench::here();
    engine(&mut bench);
    for label in ["rsa", "p256", "p384"] {
        let key = private(label);
        bench.sh(&format!(
            "openssl req -new -x509 -engine pkcs11 -keyform engine -key '{0}' -subj /CN=authority -addext basicConstraints=critical,CA:TRUE \
                 -days 2 -out root.crt
             openssl req -new -engine pkcs11 -keyform engine -key '{1}' -subj /CN=localhost -out leaf.req
             openssl x509 -req -in leaf.req -engine pkcs11 -CAkeyform engine -CAkey '{0}' -CA root.crt -days 1 -out leaf.crt
             openssl verify -CAfile root.crt leaf.crt",
            key,
            private("rsa3072")
        ));
        bench.certify(label);
        let port = free_port();
        let (number, certificate) = (port.to_string(), bench.path(&format!("{label}.crt")));
        let arguments = [
            "s_server",
            "-www",
            "-accept",
            &number,
            "-engine",
            "pkcs11",
            "-keyform",
            "engine",
            "-key",
            &key,
            "-cert",
            &certificate,
        ];
        let server = bench.serve("s_server", "openssl", &arguments).listens_on(port);
        for version in ["1.2", "1.3"] {
            gets_a_page(&bench, &server, port, version, "");
        }
    }
}

/// The commands that take a key by itself.
#[cfg(feature = "clients")]
#[test]
fn engine_pkey_and_pkeyutl() {
    let mut bench = Bench::here();
    engine(&mut bench);
    for (label, hash) in
        [("rsa", "sha256"), ("rsa3072", "sha512"), ("p256", "sha256"), ("p384", "sha384"), ("p521", "sha512")]
    {
        bench.public_key(label);
        bench.sh(&format!(
            "openssl pkey -engine pkcs11 -inform engine -in '{0}' -pubout -out exported
             openssl pkey -engine pkcs11 -inform engine -pubin -in 'pkcs11:token=alpha;object={label};type=public' -pubout -out public
             cmp public exported
             openssl dgst -{hash} -binary -out digest letter
             openssl pkeyutl -sign -engine pkcs11 -keyform engine -inkey '{0}' -in digest -pkeyopt digest:{hash} -out signature
             openssl pkeyutl -verify -engine pkcs11 -keyform engine -pubin -inkey 'pkcs11:token=alpha;object={label};type=public' -in digest \
                 -pkeyopt digest:{hash} -sigfile signature",
            private(label)
        ));
        bench.plain_sh(&format!(
            "cmp <(openssl pkey -pubin -in exported -outform DER) <(openssl pkey -pubin -in {label}.pub -outform DER)
             openssl pkeyutl -verify -pubin -inkey {label}.pub -in digest -pkeyopt digest:{hash} -sigfile signature"
        ));
    }
    for padding in ["pkcs1", "oaep"] {
        bench.plain_sh(&format!(
            "openssl pkeyutl -encrypt -pubin -inkey rsa.pub -in letter -pkeyopt rsa_padding_mode:{padding} -out cipher"
        ));
        bench.sh(&format!(
            "openssl pkeyutl -decrypt -engine pkcs11 -keyform engine -inkey '{}' -in cipher -pkeyopt rsa_padding_mode:{padding} -out plain
             cmp plain letter",
            private("rsa")
        ));
    }
}

/// A client that proves itself by a key of the token.
#[cfg(feature = "clients")]
#[test]
fn engine_client_keys() {
    let mut bench = Bench::here();
    let labels = ["rsa", "rsa3072", "p256", "p384", "p521"];
    for label in labels {
        bench.certify(label);
    }
    let port = free_port();
    let server = strict_server(&bench, port);
    engine(&mut bench);
    for label in labels {
        for version in ["1_2", "1_3"] {
            let ask = |key: &str| {
                bench.try_sh(&format!(
                    "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | openssl s_client -tls{version} -connect localhost:{port} -CAfile ca.crt \
                     -verify_return_error -ign_eof -cert {label}.crt {key} 2>&1"
                ))
            };
            let run = ask(&format!("-engine pkcs11 -keyform engine -key '{}'", private(label)));
            let said = run.text();
            assert!(
                run.success() && said.contains("HTTP/1.0 200") && said.contains("Client certificate"),
                "{label} {version}: {run:?}\n{}",
                bench.story(&server)
            );
        }
    }
    let nobody = client(&bench, port, "1.3", "-CAfile ca.crt");
    assert!(!nobody.text().contains("HTTP/1.0 200"), "{nobody:?}");
}
