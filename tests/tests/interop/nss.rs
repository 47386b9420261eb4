//! NSS: modutil, certutil, and its server and client.

use crate::bench::{Bench, PIN, free_port};
use crate::openssl;

/// Runs a scenario with the NSS of this machine and, in the long run, with that of the tree.
macro_rules! on_both {
    ($($scenario:ident)*) => {
        mod nss_3_87 {
            $(
                #[test]
                fn $scenario() {
                    super::$scenario(&super::bench(super::Bench::here()));
                }
            )*
        }
        #[cfg(feature = "clients")]
        mod nss_3_110 {
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

on_both!(modutil_and_certutil_list certutil_makes_keys_and_certificates selfserv_and_tstclnt_shake_hands
    cmsutil_signs_and_reads_letters);

/// A bench with a database that has the module; its certificates are for everybody to see, which NSS calls friendly.
fn bench(bench: Bench) -> Bench {
    bench.write("token-pin", format!("alpha:{PIN}\n"));
    bench.sh("mkdir db; certutil -N -d sql:db --empty-password
         echo | modutil -dbdir sql:db -add TPM -libfile $MODULE -mechanisms FRIENDLY -force >modutil.log");
    bench
}

fn modutil_and_certutil_list(bench: &Bench) {
    let modules = bench.sh("modutil -dbdir sql:db -list").text();
    assert!(modules.contains("token: alpha") && modules.contains("token: beta"), "{modules}");
    let keys = bench.sh("certutil -K -d sql:db -h alpha -f token-pin").text();
    for label in ["rsa", "rsa3072", "p256", "p384", "p521"] {
        assert!(
            keys.lines().any(|line| line.ends_with(&format!(" {label}")) || line.contains(&format!("alpha:{label}"))),
            "{label}: {keys}"
        );
    }
    bench.sh("echo | modutil -dbdir sql:db -delete TPM -force");
}

fn certutil_makes_keys_and_certificates(bench: &Bench) {
    bench.write("noise", [7; 64]);
    // A certification authority and a server, both with keys that NSS asked the token for.
    for (kind, how) in [("rsa", "-k rsa -g 2048"), ("ec", "-k ec -q secp256r1"), ("ec384", "-k ec -q secp384r1")] {
        bench.sh(&format!(
            "certutil -S -d sql:db -h alpha -f token-pin -z noise -n ca-{kind} -s 'CN=authority {kind}' -x -t CT,, -m 1 -v 1 {how} \
                 -2 >>certutil.log 2>&1 <<'END'
y

y
END
             certutil -S -d sql:db -h alpha -f token-pin -z noise -n leaf-{kind} -s CN=localhost -8 localhost -c alpha:ca-{kind} -t ,, \
                 -m 2 -v 1 {how} >>certutil.log 2>&1
             certutil -L -d sql:db -h alpha -f token-pin -n alpha:ca-{kind} -a >ca-{kind}.crt
             certutil -L -d sql:db -h alpha -f token-pin -n alpha:leaf-{kind} -a >leaf-{kind}.crt
             openssl verify -CAfile ca-{kind}.crt leaf-{kind}.crt"
        ));
    }
    let valid = bench.sh("certutil -V -d sql:db -f token-pin -n alpha:leaf-rsa -u V").text();
    assert!(valid.contains("certificate is valid"), "{valid}");
    // A request for a key that was there before, and its certificate brought back.
    bench.certify("p256");
    bench.sh("certutil -A -d sql:db -h alpha -f token-pin -n brought -t ,, -a -i p256.crt
         certutil -L -d sql:db -h alpha -f token-pin -n alpha:brought -a >back
         openssl x509 -in p256.crt -outform DER | cmp - <(openssl x509 -in back -outform DER)
         certutil -F -d sql:db -f token-pin -n alpha:leaf-ec384
         not certutil -L -d sql:db -h alpha -f token-pin -n alpha:leaf-ec384 2>/dev/null");
}

fn selfserv_and_tstclnt_shake_hands(bench: &Bench) {
    bench.certify_file("visitor");
    bench.write("get", "GET / HTTP/1.0\r\n\r\n");
    for (label, id) in [("rsa", "01"), ("p256", "03"), ("p384", "04")] {
        bench.certify(label);
        bench.sh(&format!(
            "openssl x509 -in {label}.crt -outform DER -out {label}.der
             pkcs11-tool --module $MODULE --token-label alpha --login --pin {PIN} --write-object {label}.der --type cert --id {id} --label {label}"
        ));
        bench.sh("certutil -A -d sql:db -n authority -t CT,, -a -i ca.crt");
        let port = free_port();
        let database = format!("sql:{}", bench.path("db"));
        let (number, name, pin) = (port.to_string(), format!("alpha:{label}"), bench.path("token-pin"));
        let kind = if label == "rsa" { "-n" } else { "-e" };
        let server = bench
            .serve(
                "selfserv",
                "selfserv",
                &["-d", &database, kind, &name, "-p", &number, "-f", &pin, "-r", "-r", "-V", "tls1.2:"],
            )
            .listens_on(port);
        for version in ["1.2", "1.3"] {
            // A client of another kind, and one of NSS that proves itself by a key of the token. The page says that the server took
            // the proof.
            openssl::gets_a_page(bench, &server, port, version, "-cert visitor.crt -key visitor.key");
            let run = bench.try_sh(&format!(
                "tstclnt -d sql:db -h localhost -p {port} -W token-pin -n alpha:{label} -V tls{version}:tls{version} -A get -v 2>&1"
            ));
            assert!(
                run.success() && run.text().contains("HTTP/1.0 200"),
                "{label} {version}: {run:?}\n{}",
                bench.story(&server)
            );
            let nobody = openssl::client(bench, port, version, "-CAfile ca.crt");
            assert!(!nobody.text().contains("HTTP/1.0 200"), "{label} {version}: {nobody:?}");
        }
    }
}

fn cmsutil_signs_and_reads_letters(bench: &Bench) {
    bench.authority();
    bench.sh("certutil -A -d sql:db -n authority -t CT,C,C -a -i ca.crt");
    for (label, id) in [("rsa", "01"), ("p256", "03")] {
        bench.certify(label);
        bench.sh(&format!(
            "openssl x509 -in {label}.crt -outform DER -out {label}.der
             pkcs11-tool --module $MODULE --token-label alpha --login --pin {PIN} --write-object {label}.der --type cert --id {id} --label {label}
             cmsutil -S -d sql:db -f token-pin -N alpha:{label} -G -i letter -o signed
             cmsutil -D -d sql:db -f token-pin -i signed -o opened; cmp opened letter"
        ));
        bench.plain_sh(
            "rm opened; openssl cms -verify -binary -inform DER -in signed -CAfile ca.crt -purpose any -out opened 2>cms.log; cmp opened letter",
        );
    }
    // From OpenSSL to NSS, and from NSS to OpenSSL and back.
    bench.plain_sh("openssl cms -encrypt -binary -aes256 -in letter -outform DER -out sealed rsa.crt");
    bench.sh("rm opened; cmsutil -D -d sql:db -f token-pin -i sealed -o opened; cmp opened letter
         cmsutil -E -d sql:db -f token-pin -r alpha:rsa -i letter -o sealed
         rm opened; cmsutil -D -d sql:db -f token-pin -i sealed -o opened; cmp opened letter");
}
