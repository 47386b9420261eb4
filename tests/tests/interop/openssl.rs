//! OpenSSL with the token: by the engine of libp11 on this machine, by pkcs11-provider in the trixie tree.

#[cfg(feature = "clients")]
use crate::bench::free_port;
use crate::bench::{Bench, PIN};

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
        for version in ["-tls1_2", "-tls1_3"] {
            let run = bench.plain_sh(&format!(
                "openssl s_client {version} -connect localhost:{port} -CAfile ca.crt </dev/null 2>&1 || true"
            ));
            assert!(
                run.text().contains("Verify return code: 0"),
                "{label} {version}: {run:?}\n{}",
                bench.story(&server)
            );
        }
    }
}
