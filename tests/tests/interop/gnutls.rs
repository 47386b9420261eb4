//! GnuTLS: p11tool, certtool, and its server and client.

use crate::bench::{Bench, PIN, free_port};
use crate::openssl;

/// The token, and one of its keys.
const TOKEN: &str = "pkcs11:token=alpha";

/// Runs a scenario with the GnuTLS of this machine and, in the long run, with that of the tree.
macro_rules! on_both {
    ($($scenario:ident)*) => {
        mod gnutls_3_7 {
            $(
                #[test]
                fn $scenario() {
                    super::$scenario(&super::bench(super::Bench::here()));
                }
            )*
        }
        #[cfg(feature = "clients")]
        mod gnutls_3_8 {
            $(
                #[test]
                fn $scenario() {
                    let Some(bench) = super::Bench::trixie() else { return };
                    super::$scenario(&super::bench(bench));
                }
            )*
        }
    };
}

on_both!(p11tool_lists_generates_writes_and_exports p11tool_exports_chains_and_marks_trust p11tool_initialises_tokens
    certtool_makes_certificates server_and_client_shake_hands);

/// A bench on which GnuTLS finds the module and the PIN. No other module of the machine is loaded.
fn bench(mut bench: Bench) -> Bench {
    bench.set("GNUTLS_PIN", PIN);
    bench.set("GNUTLS_SO_PIN", "so-alpha");
    // Without a file to write to, p11tool sleeps for some seconds before it prints.
    bench.write_program(
        "p11",
        "#!/bin/sh\nrm -f out; p11tool --provider $MODULE --batch --outfile=out \"$@\" 2>err || { cat err; exit 1; }\n[ ! -e out ] || cat out\n",
    );
    bench
}

fn p11tool_lists_generates_writes_and_exports(bench: &Bench) {
    let tokens = bench.sh("./p11 --list-token-urls").text();
    assert!(["token=alpha", "token=beta"].iter().all(|token| tokens.contains(token)), "{tokens}");
    let public = bench.sh(&format!("./p11 --list-all --only-urls '{TOKEN}'")).text();
    assert_eq!(public.matches("type=public").count(), 5, "{public}");
    let private = bench.sh(&format!("./p11 --login --list-privkeys --only-urls '{TOKEN}'")).text();
    assert_eq!(private.matches("type=private").count(), 5, "{private}");

    for (label, how) in [
        ("new-rsa", "rsa --bits=2048"),
        ("new-p256", "ecdsa --curve=secp256r1"),
        ("new-p384", "ecdsa --curve=secp384r1"),
    ] {
        bench.sh(&format!(
            "./p11 --login --generate-privkey={how} --label={label} --outfile={label}.pub '{TOKEN}'
             ./p11 --login --export-pubkey '{TOKEN};object={label};type=private' >{label}.pub
             openssl pkey -pubin -in {label}.pub -noout
             ./p11 --login --test-sign '{TOKEN};object={label};type=private'"
        ));
    }
    bench.sh(&format!(
        "./p11 --login --sign-params=RSA-PSS --hash=SHA256 --test-sign '{TOKEN};object=new-rsa;type=private'
         ./p11 --login --delete '{TOKEN};object=new-p384;type=private'
         ./p11 --login --delete '{TOKEN};object=new-p384;type=public'
         ./p11 --list-all '{TOKEN}' >all; not grep new-p384 all"
    ));

    // A certificate beside its key, its chain, and keys that were made elsewhere.
    bench.certify("p256");
    bench.sh(&format!(
        "./p11 --login --write --load-certificate=p256.crt --label=p256 --id=03 '{TOKEN}'
         ./p11 --login --write --load-certificate=ca.crt --label=authority '{TOKEN}'
         ./p11 --export '{TOKEN};object=p256;type=cert' >back
         openssl x509 -in p256.crt -outform DER | cmp - <(openssl x509 -in back -outform DER)
         openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out file.key 2>/dev/null
         ./p11 --login --write --load-privkey=file.key --label=brought '{TOKEN}'
         ./p11 --login --test-sign '{TOKEN};object=brought;type=private'"
    ));
}

/// The chain of a certificate is on the token too, and its end is trusted because the security officer says so.
fn p11tool_exports_chains_and_marks_trust(bench: &Bench) {
    bench.certify("p384");
    bench.sh(&format!(
        "./p11 --login --write --load-certificate=p384.crt --label=p384 --id=04 '{TOKEN}'
         ./p11 --so-login --write --load-certificate=ca.crt --label=authority --mark-ca --mark-trusted '{TOKEN}'
         ./p11 --login --export-chain '{TOKEN};object=p384;type=cert' >chain"
    ));
    let count = bench.text("chain").matches("BEGIN CERTIFICATE").count();
    assert_eq!(count, 2, "{}", bench.text("chain"));
    bench.sh("csplit -s -f part chain '/BEGIN CERTIFICATE/' '{*}'
         for pair in 'part01 p384.crt' 'part02 ca.crt'; do set -- $pair; cmp <(openssl x509 -in $1 -outform DER) <(openssl x509 -in $2 -outform DER); done");
    let flags = bench.sh(&format!("./p11 --list-all-trusted '{TOKEN}'")).text();
    assert!(flags.contains("authority") && flags.contains("CKA_TRUSTED") && !flags.contains("object=p384"), "{flags}");
    // A user has no say in it.
    bench.sh(&format!(
        "not ./p11 --login --write --load-certificate=ca.crt --label=mine --mark-ca --mark-trusted '{TOKEN}' >refused
         ./p11 --list-all-trusted '{TOKEN}' >trusted; not grep object=mine trusted"
    ));
}

fn p11tool_initialises_tokens(bench: &Bench) {
    // The slot that has no token yet is the one with no label; p11tool does not list it.
    bench.sh("export GNUTLS_SO_PIN=officer-pin GNUTLS_PIN=user-pin
         ./p11 --initialize --label=made --set-so-pin=officer-pin 'pkcs11:token='
         ./p11 --initialize-pin --set-pin=user-pin 'pkcs11:token=made'
         ./p11 --login --generate-privkey=ecdsa --curve=secp256r1 --label=key 'pkcs11:token=made'
         ./p11 --login --test-sign 'pkcs11:token=made;object=key;type=private'");
}

fn certtool_makes_certificates(bench: &Bench) {
    bench.write("template", "cn = reader\nexpiration_days = 2\nca\ncert_signing_key\nsigning_key\n");
    bench.write("leaf", "cn = leaf\nexpiration_days = 1\nsigning_key\n");
    for label in ["rsa", "p256", "p384", "p521"] {
        let key = format!("{TOKEN};object={label};type=private");
        bench.sh(&format!(
            "certtool --provider $MODULE --generate-self-signed --load-privkey '{key}' --template template --outfile self 2>err
             openssl verify -check_ss_sig -CAfile self self
             certtool --provider $MODULE --generate-request --load-privkey '{key}' --template leaf --outfile request 2>err
             openssl req -in request -verify -noout 2>&1 | grep 'verify OK'
             openssl genpkey -algorithm EC -pkeyopt group:P-256 -out leaf.key
             openssl pkey -in leaf.key -pubout -out leaf.pub
             certtool --provider $MODULE --generate-certificate --load-pubkey leaf.pub --load-ca-certificate self \
                 --load-ca-privkey '{key}' --template leaf --outfile leaf.crt 2>err
             openssl verify -CAfile self leaf.crt"
        ));
    }
}

fn server_and_client_shake_hands(bench: &Bench) {
    bench.certify_file("visitor");
    bench.plain_sh(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout stranger.key -out stranger.crt -subj /CN=stranger 2>ca.log",
    );
    for label in ["rsa", "p256", "p384"] {
        bench.certify(label);
        let port = free_port();
        let key = format!("{TOKEN};object={label};type=private");
        let (cert, ca, number) = (bench.path(&format!("{label}.crt")), bench.path("ca.crt"), port.to_string());
        let module = bench.module();
        let server = bench
            .serve(
                "gnutls-serv",
                "gnutls-serv",
                &[
                    "--provider",
                    &module,
                    "--x509keyfile",
                    &key,
                    "--x509certfile",
                    &cert,
                    "--x509cafile",
                    &ca,
                    "--require-client-cert",
                    "--verify-client-cert",
                    "--port",
                    &number,
                    "--http",
                ],
            )
            .listens_on(port);
        for version in ["1.3", "1.2"] {
            // Both prove themselves by the same key. That the server takes the client's proof is seen by its page only: in TLS 1.3 the
            // client's handshake is over before.
            let ask = |cert: &str, key: &str| {
                bench.try_sh(&format!(
                    "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | gnutls-cli --provider $MODULE --x509keyfile '{key}' --x509certfile {cert}.crt \
                     --x509cafile ca.crt --priority NORMAL:-VERS-ALL:+VERS-TLS{version} --port {port} localhost"
                ))
            };
            let run = ask(label, &key);
            let said = run.all();
            assert!(
                run.success() && said.contains(&format!("(TLS{version}-X.509)")) && said.contains("HTTP/1.0 200"),
                "{label} {version}: {run:?}\n{}",
                bench.story(&server)
            );
            let stranger = ask("stranger", "stranger.key");
            assert!(!stranger.success() && !stranger.all().contains("HTTP/1.0 200"), "{label} {version}: {stranger:?}");
            openssl::gets_a_page(bench, &server, port, version, "-cert visitor.crt -key visitor.key");
        }
    }
}
