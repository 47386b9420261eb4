//! PKCS #12 as NSS writes it, and with it Firefox: BER, in pieces.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

use std::path::Path;
use std::process::Command;

use base::Secret;
use keyfile::{Error, Key, PublicKey, read, read_public};

fn sh(directory: &Path, line: &str) {
    let output = Command::new("bash").args(["-ec", line]).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{line}: {output:?}");
}

/// Two pairs with a certificate each and one of an authority in a database of NSS's, and files with them, in several ways to
/// encrypt. All have 600,000 rounds, which take their time.
const MAKE: &str = r#"
openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=authority -days 30 2>/dev/null
mkdir db
certutil -N -d sql:db --empty-password
certutil -A -d sql:db -n authority -t C,, -i ca.pem
for name in rsa ec; do
    case $name in
        rsa) openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out $name.key 2>/dev/null ;;
        ec) openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out $name.key ;;
    esac
    openssl pkey -in $name.key -pubout -out $name.pub
    openssl req -new -key $name.key -subj /CN=$name -out $name.csr
    openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -days 30 -out $name.pem 2>/dev/null
    openssl pkcs12 -export -inkey $name.key -in $name.pem -name $name -out $name.p12 -passout pass:abc
    pk12util -i $name.p12 -d sql:db -W abc >/dev/null
done
pk12util -o rsa-default.p12 -n rsa -d sql:db -W abc >/dev/null
pk12util -o ec-old.p12 -n ec -d sql:db -W abc -c "$OLD" -C "$OLD" >/dev/null
pk12util -o ec-bare.p12 -n ec -d sql:db -W abc -C NONE >/dev/null
"#;

#[test]
fn what_firefox_keeps_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    sh(path, &format!("OLD='PKCS #12 V2 PBE With SHA-1 And 3KEY Triple DES-CBC'\n{MAKE}"));
    let passphrase = Secret::copy_from(b"abc");
    for (name, how) in [("rsa", "default"), ("ec", "old"), ("ec", "bare")] {
        let public = read_public(&Secret::new(std::fs::read(path.join(format!("{name}.pub"))).unwrap())).unwrap();
        let file = Secret::new(std::fs::read(path.join(format!("{name}-{how}.p12"))).unwrap());
        assert_eq!(file.expose()[..2], [0x30, 0x80], "it is DER, and this test is none");
        let found = read(&file, Some(&passphrase)).unwrap_or_else(|error| panic!("{name}, {how}: {error}"));
        let Some(Key::Private(key)) = &found.key else { panic!("{name}, {how}: {found:?}") };
        assert_eq!(PublicKey::of(key), public, "{name}, {how}");
        assert_eq!(found.name.as_deref(), Some(name), "{how}");
        assert!(found.certificates[0].is_of(&public), "{name}, {how}");
        assert_eq!(found.certificates.len(), 2, "{name}, {how}: with the authority's");
        for len in (0..file.len()).step_by(97) {
            assert!(read(&Secret::copy_from(&file.expose()[..len]), Some(&passphrase)).is_err());
        }
        if how == "bare" {
            let wrong = Secret::copy_from(b"abd");
            assert_eq!(read(&file, Some(&wrong)).unwrap_err(), Error::PassphraseWrong);
            assert_eq!(read(&file, None).unwrap_err(), Error::PassphraseNeeded);
        }
    }
}
