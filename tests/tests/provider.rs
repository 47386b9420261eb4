//! OpenSSL 3.5 with pkcs11-provider 1.0, in a Debian trixie tree, with the configuration that users are told to use: every
//! algorithm is asked of the token first (`default_properties = ?provider=pkcs11`), so that whatever OpenSSL does on its way
//! comes to the module as well. What it makes is judged by an OpenSSL that has never heard of the provider.

#[path = "../clients/guest.rs"]
mod guest;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tests::openssl::assert_request_verifies;
use tests::product;
use tests::world::{ALPHA, Run, World};

const PIN: &str = "user-alpha";
const LETTER: &[u8] = b"Dear reader, whoever offers every hash to the token must answer for every hash.\n";

/// No command takes this long unless it hangs.
const SECONDS: &str = "300";

/// A world that programs in the trixie tree see as `/world`.
struct Desk {
    world: World,
    tree: PathBuf,
    /// Every call of the module is logged.
    detailed: bool,
}

impl Desk {
    /// With the tokens of [`World::new`], and the PIN of the first in the file that the configuration names.
    fn new() -> Option<Desk> {
        Desk::of(World::new, PIN)
    }

    fn of(world: impl FnOnce() -> World, pin: &str) -> Option<Desk> {
        let tree = guest::prepared("trixie.sh")?;
        // Several programs at once, as on a machine with a kernel.
        let desk = Desk { world: world().managed(), tree, detailed: false };
        let manager = desk.world.manager.as_ref().expect("it is managed");
        std::fs::hard_link(manager.path(), desk.world.path("tpmrm0")).unwrap();
        desk.write("letter", LETTER);
        // As `echo -n` writes it.
        desk.write("pin", pin);
        let config = std::fs::read_to_string(guest::sources().join("clients/openssl.cnf")).unwrap();
        desk.write("openssl.cnf", config.replace("@ARCH@", std::env::consts::ARCH));
        std::fs::copy(product::module(), desk.world.path("module.so")).unwrap();
        Some(desk)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.world.path(name), content).unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.world.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Leaves `default_properties` out.
    fn be_modest(&self) {
        let config = String::from_utf8(self.read("openssl.cnf")).unwrap();
        self.write("openssl.cnf", config.replace("alg_section = algorithm_sect", ""));
    }

    /// A program in the tree.
    fn guest(&self, program: &str) -> Command {
        let home = self.world.path("").to_str().unwrap().trim_end_matches('/').to_owned();
        let mut command = Command::new(guest::sources().join("scripts/in-tree.sh"));
        let log = if self.detailed { "debug:/world/log" } else { "info:/world/log" };
        command
            .arg(&self.tree)
            .arg(&home)
            .args([SECONDS, program])
            .env_clear()
            .envs(self.world.environment().into_iter().map(|(name, value)| (name, value.replace(&home, "/world"))))
            .env("TPM2_CRYPTOKI_TCTI", "device:/world/tpmrm0")
            .env("TPM2_PKCS11_TCTI", tests::peer::tcti("/world/tpmrm0"))
            .env("TPM2_CRYPTOKI_LOG", log)
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("OPENSSL_CONF", "/world/openssl.cnf")
            .stdin(Stdio::null());
        command
    }

    /// `openssl` in the tree.
    fn try_openssl(&self, arguments: &[&str]) -> Run {
        Run::of(self.guest("openssl").args(arguments))
    }

    /// The same, which must succeed.
    #[track_caller]
    fn openssl(&self, arguments: &[&str]) -> Run {
        let run = self.try_openssl(arguments);
        assert!(run.success(), "openssl {}: {run:?}\n--- log\n{}", arguments.join(" "), self.world.log());
        run
    }

    /// This machine's `openssl`, without the provider.
    #[track_caller]
    fn plain(&self, arguments: &[&str]) -> Run {
        let run = self.try_plain(arguments);
        assert!(run.success(), "openssl without the provider: {}: {run:?}", arguments.join(" "));
        run
    }

    fn try_plain(&self, arguments: &[&str]) -> Run {
        Run::of(self.world.command("openssl").args(arguments))
    }

    /// `openssl dgst -verify` without the provider.
    #[track_caller]
    fn verify(&self, key: &str, hash: &str, options: &[&str]) {
        let mut arguments = vec!["dgst", hash, "-verify", key, "-signature", "signature"];
        arguments.extend(options.iter().flat_map(|option| ["-sigopt", option]));
        arguments.push("letter");
        assert!(self.plain(&arguments).text().contains("Verified OK"));
    }

    /// The public key of a pair as `LABEL.pub`, in PEM; asked of the module by calls that no OpenSSL makes.
    fn public_key(&self, label: &str) -> String {
        let probe = self.world.probe().initialized();
        let session = probe.open_ro(probe.slot_of("alpha"));
        let spki = tests::peer::public_key_info(&probe, session, probe.public_key(session, label));
        let (der, pem) = (format!("{label}.der"), format!("{label}.pub"));
        self.write(&der, spki);
        self.plain(&["pkey", "-pubin", "-inform", "DER", "-in", &der, "-out", &pem]);
        pem
    }

    /// `pkcs11-tool` in the tree.
    #[track_caller]
    fn tool(&self, arguments: &[&str]) -> Run {
        let run = Run::of(self.guest("pkcs11-tool").args(["--module", "/world/module.so"]).args(arguments));
        assert!(run.success(), "pkcs11-tool {}: {run:?}\n--- log\n{}", arguments.join(" "), self.world.log());
        run
    }
}

fn private(label: &str) -> String {
    format!("pkcs11:token=alpha;object={label};type=private")
}

fn public(label: &str) -> String {
    format!("pkcs11:token=alpha;object={label};type=public")
}

/// The lines of the instructions, one after the other, on a machine where nothing was before.
#[test]
fn the_instructions_work_as_they_stand() {
    let Some(desk) = Desk::of(World::empty, "userpin") else { return };
    let path = format!("--path={}", desk.world.store().display());
    desk.world.ptool_ok(&["init", &path]);
    desk.world.ptool_ok(&["addtoken", "--pid=1", "--sopin=adminpin", "--userpin=userpin", "--label=server-tpm", &path]);
    let key = ["--key-label=webserver-key", "--algorithm=rsa2048"];
    desk.world.ptool_ok(&["addkey", "--label=server-tpm", "--userpin=userpin", key[0], key[1], &path]);
    let listed = desk.tool(&["--token-label", "server-tpm", "--login", "--pin", "userpin", "--list-objects"]).text();
    assert!(listed.contains("Private Key Object; RSA"), "{listed}");
    let read = [
        "--login",
        "--pin",
        "userpin",
        "--read-object",
        "--type",
        "pubkey",
        "--label",
        "webserver-key",
        "-o",
        "webserver.pub.der",
    ];
    desk.tool(&[&["--token-label", "server-tpm"], &read[..]].concat());
    let text = desk.plain(&["rsa", "-pubin", "-inform", "DER", "-in", "webserver.pub.der", "-text", "-noout"]).text();
    assert!(text.contains("(2048 bit)"), "{text}");

    let providers = desk.openssl(&["list", "-providers", "-verbose"]).text();
    assert!(providers.contains("name: PKCS#11 Provider") && !providers.contains("inactive"), "{providers}");
    let keys = desk.openssl(&["storeutl", "-provider", "pkcs11", "-noout", "-keys", "pkcs11:"]).text();
    assert!(keys.contains("Total found: 1"), "{keys}");
    let uri = "pkcs11:token=server-tpm;object=webserver-key;type=private";
    let exported = desk.openssl(&["pkey", "-provider", "pkcs11", "-in", uri, "-pubout"]).text();
    desk.write("webserver.pub", &exported);
    desk.openssl(&["dgst", "-sha256", "-provider", "pkcs11", "-sign", uri, "-out", "signature", "letter"]);
    desk.verify("webserver.pub", "-sha256", &[]);
    desk.world.assert_clean();
}

/// What `ptool config --snippet` prints, put into files.
#[test]
fn the_snippets_work_as_they_are_printed() {
    let Some(desk) = Desk::new() else { return };
    let snippet = |program: &str| {
        desk.world.ptool_ok(&["config", "--label=alpha", "--key-label=p256", "--snippet", program]).text()
    };
    let text = snippet("openssl-provider");
    let line = text.lines().find_map(|line| line.strip_prefix("#   openssl ")).unwrap();
    let arguments: Vec<&str> = line.split_whitespace().map(|word| word.trim_matches('\'')).collect();
    // The module and the PIN are elsewhere in the tree, and nobody is there to type it.
    let config = text.replace(product::module().to_str().unwrap(), "/world/module.so").replace(
        "#pkcs11-module-token-pin = file:/etc/ssl/private/tpm-pin",
        "pkcs11-module-token-pin = file:/world/pin",
    );
    desk.write("openssl.cnf", config);
    desk.openssl(&arguments);
    assert_request_verifies(&desk.world, "web.csr");
    desk.write("uri.pem", snippet("uri-pem"));
    desk.openssl(&["req", "-new", "-key", "uri.pem", "-subj", "/CN=other.example", "-out", "other.csr"]);
    assert_request_verifies(&desk.world, "other.csr");
}

#[test]
fn storeutl_lists() {
    let Some(desk) = Desk::new() else { return };
    let count = |kind: &[&str], uri: &str| {
        let run = desk.openssl(&[&["storeutl", "-noout"], kind, &[uri]].concat());
        let said = run.text();
        let total = said.lines().find_map(|line| line.strip_prefix("Total found: "));
        // Where there is nothing, it says nothing else.
        total.map_or(0, |total| total.parse::<usize>().unwrap())
    };
    let keys = ALPHA.keys.len();
    assert_eq!(count(&["-keys"], "pkcs11:token=alpha;type=private"), keys);
    assert_eq!(count(&[], "pkcs11:token=alpha;type=public"), keys);
    assert_eq!(count(&["-certs"], "pkcs11:token=alpha"), 0);
    assert_eq!(count(&["-keys"], "pkcs11:token=alpha;object=p256;type=private"), 1);
    assert_eq!(count(&["-keys"], "pkcs11:token=alpha;id=%01;type=private"), 1);
    assert_eq!(count(&[], "pkcs11:token=alpha;object=p521;type=public"), 1);
    let text = desk.openssl(&["storeutl", "-text", "-noout", &public("p384")]).all();
    assert!(text.contains("secp384r1") || text.contains("P-384"), "{text}");
    // A certificate that the token carries beside its key.
    desk.openssl(&[
        "req",
        "-new",
        "-x509",
        "-key",
        &private("p256"),
        "-subj",
        "/CN=carried",
        "-days",
        "2",
        "-out",
        "certificate",
    ]);
    desk.plain(&["x509", "-in", "certificate", "-outform", "DER", "-out", "certificate.der"]);
    let write = ["--write-object", "certificate.der", "--type", "cert", "--id", "03", "--label", "carried"];
    desk.tool(&[&["--token-label", "alpha", "--login", "--pin", PIN], &write[..]].concat());
    assert_eq!(count(&["-certs"], "pkcs11:token=alpha;type=cert"), 1);
    let pem = desk.openssl(&["storeutl", "-certs", "-out", "carried", "pkcs11:token=alpha;object=carried;type=cert"]);
    assert!(pem.success());
    let fingerprint = |file: &str| desk.plain(&["x509", "-in", file, "-noout", "-fingerprint", "-sha256"]).text();
    assert_eq!(fingerprint("carried"), fingerprint("certificate"));
    desk.world.assert_clean();
}

#[test]
fn pkey_exports_public_keys() {
    let Some(desk) = Desk::new() else { return };
    for key in ALPHA.keys {
        let label = key.label;
        desk.public_key(label);
        let theirs = desk.read(&format!("{label}.der"));
        for from in [&["-in", &private(label)][..], &["-pubin", "-in", &public(label)]] {
            // Of two forms in PEM, the provider chooses another one than OpenSSL itself.
            desk.write("exported", desk.openssl(&[&["pkey", "-pubout"], from].concat()).stdout);
            assert_eq!(desk.plain(&["pkey", "-pubin", "-in", "exported", "-outform", "DER"]).stdout, theirs, "{label}");
        }
        // The key itself is not to be had: what comes out, if anything does, only says where it is.
        let taken = desk.try_openssl(&["pkey", "-in", &private(label)]);
        assert!(
            !taken.all().contains("BEGIN PRIVATE KEY") && !taken.all().contains("BEGIN EC PRIVATE KEY"),
            "{taken:?}"
        );
    }
}

#[test]
fn dgst_signs_and_verifies() {
    let Some(desk) = Desk::new() else { return };
    let pss = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"];
    let cases: [(&str, &str, &[&str]); 9] = [
        ("rsa", "-sha256", &[]),
        ("rsa", "-sha512", &[]),
        ("rsa3072", "-sha1", &[]),
        ("rsa", "-sha256", &pss),
        ("rsa", "-sha384", &pss),
        ("p256", "-sha256", &[]),
        ("p256", "-sha512", &[]),
        ("p384", "-sha256", &[]),
        ("p521", "-sha256", &[]),
    ];
    for (label, hash, options) in cases {
        let key = desk.public_key(label);
        let sign = ["dgst", hash, "-sign", &private(label), "-out", "signature"];
        desk.openssl(&[&sign, options, &["letter"]].concat());
        let judged: Vec<&str> = options.iter().filter(|option| **option != "-sigopt").copied().collect();
        desk.verify(&key, hash, &judged);
        // `dgst -verify` itself ends in a crash of this version of the provider, after the verification: it asks for the same
        // context again, without a key, and the provider does not look.
        let check = |input: &str, name: &str| {
            let verify = [
                "pkeyutl",
                "-verify",
                "-rawin",
                "-digest",
                &hash[1..],
                "-pubin",
                "-inkey",
                name,
                "-sigfile",
                "signature",
            ];
            let options: Vec<&str> = judged.iter().flat_map(|option| ["-pkeyopt", option]).collect();
            desk.try_openssl(&[&verify[..], &["-in", input], &options].concat())
        };
        // By the token's public key, and by one from a file, which the configuration sends to the token too.
        for name in [&public(label), &key] {
            let verified = check("letter", name);
            assert!(
                verified.success() && verified.text().contains("Signature Verified Successfully"),
                "{label} {hash} {options:?} {name}: {verified:?}"
            );
            desk.write("other", b"Dear forger,\n");
            let refused = check("other", name);
            assert!(
                !refused.success() && refused.all().contains("Verification Failure"),
                "{label} {hash} {options:?} {name}: {refused:?}"
            );
        }
    }
    desk.world.assert_clean();
}

#[test]
fn pkeyutl_signs_and_verifies() {
    let Some(desk) = Desk::new() else { return };
    desk.write("digest", desk.plain(&["dgst", "-sha256", "-binary", "letter"]).stdout);
    let pss = ["-pkeyopt", "rsa_padding_mode:pss", "-pkeyopt", "rsa_pss_saltlen:20", "-pkeyopt", "digest:sha256"];
    let cases: [(&str, &[&str]); 6] = [
        ("rsa", &["-pkeyopt", "digest:sha256"]),
        // No digest: the block is what the caller says it is.
        ("rsa", &["-pkeyopt", "rsa_padding_mode:pkcs1"]),
        ("rsa", &pss),
        ("p256", &[]),
        ("p384", &[]),
        ("p521", &[]),
    ];
    for (label, options) in cases {
        let key = desk.public_key(label);
        let sign = ["pkeyutl", "-sign", "-inkey", &private(label), "-in", "digest", "-out", "signature"];
        desk.openssl(&[&sign, options].concat());
        let verify = |name: &str| {
            [&["pkeyutl", "-verify", "-pubin", "-inkey", name, "-in", "digest", "-sigfile", "signature"], options]
                .concat()
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        for name in [&key, &public(label)] {
            let arguments = verify(name);
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let run = if *name == key { desk.plain(&arguments) } else { desk.openssl(&arguments) };
            assert!(run.text().contains("Signature Verified Successfully"), "{label} {options:?} {name}: {run:?}");
        }
    }
    // The input hashed by the command, which takes one mechanism for both where the token has it.
    for label in ["rsa", "p256"] {
        let key = desk.public_key(label);
        desk.openssl(&[
            "pkeyutl",
            "-sign",
            "-rawin",
            "-digest",
            "sha256",
            "-inkey",
            &private(label),
            "-in",
            "letter",
            "-out",
            "signature",
        ]);
        desk.verify(&key, "-sha256", &[]);
    }
}

#[test]
fn pkeyutl_decrypts() {
    let Some(desk) = Desk::new() else { return };
    let oaep = |md: &'static str, mgf: &'static str| {
        vec!["-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", md, "-pkeyopt", mgf]
    };
    let cases: [Vec<&str>; 4] = [
        vec!["-pkeyopt", "rsa_padding_mode:pkcs1"],
        oaep("rsa_oaep_md:sha1", "rsa_mgf1_md:sha1"),
        oaep("rsa_oaep_md:sha256", "rsa_mgf1_md:sha256"),
        oaep("rsa_oaep_md:sha256", "rsa_mgf1_md:sha1"),
    ];
    for label in ["rsa", "rsa3072"] {
        let key = desk.public_key(label);
        for options in &cases {
            let encrypt =
                |name: &'static str| ["pkeyutl", "-encrypt", "-pubin", "-in", "letter", "-out", name, "-inkey"];
            desk.plain(&[&encrypt("by-plain")[..], &[&key], options].concat());
            desk.openssl(&[&encrypt("by-token")[..], &[&public(label)], options].concat());
            // This version of the provider takes a key from a file and then misses its slot: OpenSSL has to be asked itself.
            desk.openssl(&[&encrypt("by-file")[..], &[&key, "-propquery", "provider=default"], options].concat());
            for cipher in ["by-plain", "by-token", "by-file"] {
                let decrypt = ["pkeyutl", "-decrypt", "-inkey", &private(label), "-in", cipher];
                let run = desk.openssl(&[&decrypt, &options[..]].concat());
                assert_eq!(run.stdout, LETTER, "{label} {options:?} {cipher}");
            }
        }
    }
}

/// OAEP as most people write it: without a word about hashes, which OpenSSL takes for SHA-1 and the provider leaves out.
#[test]
fn pkeyutl_decrypts_oaep_with_nothing_said() {
    let Some(desk) = Desk::new() else { return };
    let key = desk.public_key("rsa");
    let encrypt =
        ["pkeyutl", "-encrypt", "-pubin", "-inkey", &key, "-pkeyopt", "rsa_padding_mode:oaep", "-in", "letter"];
    desk.plain(&[&encrypt[..], &["-out", "cipher"]].concat());
    let decrypt = ["pkeyutl", "-decrypt", "-inkey", &private("rsa"), "-pkeyopt", "rsa_padding_mode:oaep"];
    assert_eq!(desk.openssl(&[&decrypt[..], &["-in", "cipher"]].concat()).stdout, LETTER);
}

#[test]
fn pkeyutl_derives() {
    let Some(desk) = Desk::new() else { return };
    for (label, curve) in [("p256", "P-256"), ("p384", "P-384"), ("p521", "P-521")] {
        let key = desk.public_key(label);
        desk.plain(&["genpkey", "-algorithm", "EC", "-pkeyopt", &format!("group:{curve}"), "-out", "peer"]);
        desk.plain(&["pkey", "-in", "peer", "-pubout", "-out", "peer.pub"]);
        let expected = desk.plain(&["pkeyutl", "-derive", "-inkey", "peer", "-peerkey", &key]).stdout;
        let made = desk.openssl(&["pkeyutl", "-derive", "-inkey", &private(label), "-peerkey", "peer.pub"]).stdout;
        assert!(!made.is_empty());
        assert_eq!(made, expected, "{label}");
    }
}

#[test]
fn req_makes_certificates_and_requests() {
    let Some(desk) = Desk::new() else { return };
    for (label, hash) in
        [("rsa", "-sha256"), ("rsa3072", "-sha384"), ("p256", "-sha256"), ("p384", "-sha384"), ("p521", "-sha512")]
    {
        let key = private(label);
        desk.openssl(&[
            "req",
            "-new",
            "-x509",
            hash,
            "-key",
            &key,
            "-subj",
            "/CN=reader",
            "-days",
            "2",
            "-out",
            "certificate",
        ]);
        for verify in [
            desk.plain(&["verify", "-check_ss_sig", "-CAfile", "certificate", "certificate"]),
            desk.openssl(&["verify", "-check_ss_sig", "-CAfile", "certificate", "certificate"]),
        ] {
            assert!(verify.text().contains("certificate: OK"), "{label}: {verify:?}");
        }
        let pem = desk.plain(&["x509", "-in", "certificate", "-noout", "-pubkey"]).stdout;
        assert_eq!(pem, desk.read(&desk.public_key(label)), "{label}");
        desk.openssl(&["req", "-new", hash, "-key", &key, "-subj", "/CN=applicant", "-out", "request"]);
        assert_request_verifies(&desk.world, "request");
    }
    // The token as a certification authority.
    desk.openssl(&[
        "req",
        "-new",
        "-x509",
        "-key",
        &private("p384"),
        "-subj",
        "/CN=authority",
        "-addext",
        "basicConstraints=critical,CA:TRUE",
        "-out",
        "authority",
    ]);
    desk.openssl(&[
        "x509",
        "-req",
        "-in",
        "request",
        "-CA",
        "authority",
        "-CAkey",
        &private("p384"),
        "-days",
        "1",
        "-out",
        "leaf",
    ]);
    assert!(desk.plain(&["verify", "-CAfile", "authority", "leaf"]).text().contains("leaf: OK"));
    desk.plain(&["genpkey", "-algorithm", "EC", "-pkeyopt", "group:P-256", "-out", "file.key"]);
    // And for CMS: signed by the token, and a letter to it.
    desk.openssl(&[
        "req",
        "-new",
        "-x509",
        "-key",
        &private("rsa"),
        "-subj",
        "/CN=reader",
        "-days",
        "2",
        "-out",
        "reader",
    ]);
    desk.openssl(&[
        "cms",
        "-sign",
        "-binary",
        "-nodetach",
        "-in",
        "letter",
        "-signer",
        "reader",
        "-inkey",
        &private("rsa"),
        "-outform",
        "DER",
        "-out",
        "signed",
    ]);
    let opened = desk.plain(&[
        "cms", "-verify", "-binary", "-inform", "DER", "-in", "signed", "-CAfile", "reader", "-purpose", "any",
    ]);
    assert_eq!(opened.stdout, LETTER);
    desk.plain(&[
        "cms", "-encrypt", "-binary", "-aes256", "-in", "letter", "-outform", "DER", "-out", "sealed", "reader",
    ]);
    let read = desk.openssl(&[
        "cms",
        "-decrypt",
        "-binary",
        "-inform",
        "DER",
        "-in",
        "sealed",
        "-recip",
        "reader",
        "-inkey",
        &private("rsa"),
    ]);
    assert_eq!(read.stdout, LETTER);
}

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

#[test]
fn genpkey_makes_keys_on_the_token() {
    let Some(desk) = Desk::new() else { return };
    let cases: [(&str, [&str; 4]); 5] = [
        ("made-rsa", ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]),
        ("made-rsa3072", ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"]),
        ("made-p256", ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]),
        ("made-p384", ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"]),
        ("made-p521", ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"]),
    ];
    for (label, algorithm) in cases {
        let uri = format!("pkcs11_uri:pkcs11:token=alpha;object={label}");
        let how = ["genpkey", "-propquery", "provider=pkcs11", "-out", "made.pem", "-pkeyopt", &uri];
        desk.openssl(&[&how[..], &algorithm].concat());
        let pem = String::from_utf8(desk.read("made.pem")).unwrap();
        assert!(pem.contains("BEGIN PKCS#11 PROVIDER URI"), "{pem}");
        // The file that says where the key is, and the key by its name.
        for key in ["made.pem", &private(label)] {
            desk.openssl(&["dgst", "-sha256", "-sign", key, "-out", "signature", "letter"]);
            desk.verify(&desk.public_key(label), "-sha256", &[]);
        }
    }
    let listed = desk.tool(&["--token-label", "alpha", "--login", "--pin", PIN, "--list-objects"]).text();
    assert_eq!(listed.lines().filter(|line| line.contains("label:") && line.contains("made-")).count(), 10, "{listed}");
    assert!(listed.contains("never extractable"), "{listed}");
}

/// What has nothing to do with the token goes on working under a configuration that asks the token first, and without the TPM as far
/// as no private key is used.
#[test]
fn plain_work_is_not_disturbed() {
    let Some(desk) = Desk::new() else { return };
    desk.plain(&[
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "file.key", "-subj", "/CN=file", "-days", "2",
        "-out", "file.crt",
    ]);
    desk.plain(&["genpkey", "-algorithm", "EC", "-pkeyopt", "group:P-256", "-out", "ec.key"]);
    let big: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    desk.write("big", big);
    desk.world.proxy.mark();
    // OpenSSL may seed its random numbers by the TPM; hashing is not its work.
    let is_at_rest = || {
        let asked = desk.world.proxy.mark();
        assert!(asked.names().iter().all(|name| *name == "GetRandom") && asked.len() < 40, "{asked}");
    };
    for hash in ["-sha1", "-sha224", "-sha256", "-sha384", "-sha512", "-sha3-256", "-md5", "-blake2b512"] {
        let (ours, theirs) = (desk.openssl(&["dgst", "-r", hash, "big"]), desk.plain(&["dgst", "-r", hash, "big"]));
        assert_eq!(ours.text(), theirs.text(), "{hash}");
    }
    is_at_rest();
    let mac = ["dgst", "-r", "-sha256", "-hmac", "a key from the command line", "letter"];
    assert_eq!(desk.openssl(&mac).text(), desk.plain(&mac).text());
    assert!(desk.openssl(&["verify", "-CAfile", "file.crt", "file.crt"]).text().contains("file.crt: OK"));
    desk.openssl(&["x509", "-in", "file.crt", "-noout", "-text"]);
    is_at_rest();
    for key in ["file.key", "ec.key"] {
        desk.plain(&["pkey", "-in", key, "-pubout", "-out", "file.pub"]);
        desk.write("exported", desk.openssl(&["pkey", "-in", key, "-pubout"]).stdout);
        assert_eq!(desk.plain(&["pkey", "-pubin", "-in", "exported"]).stdout, desk.read("file.pub"), "{key}");
        desk.openssl(&["dgst", "-sha256", "-sign", key, "-out", "signature", "letter"]);
        desk.verify("file.pub", "-sha256", &[]);
        let verify = [
            "pkeyutl",
            "-verify",
            "-rawin",
            "-digest",
            "sha256",
            "-pubin",
            "-inkey",
            "file.pub",
            "-sigfile",
            "signature",
        ];
        let verified = desk.openssl(&[&verify[..], &["-in", "letter"]].concat());
        assert!(verified.text().contains("Signature Verified Successfully"), "{key}: {verified:?}");
    }
    assert_eq!(desk.openssl(&["rand", "64"]).stdout.len(), 64);
    let cipher = ["-aes-256-cbc", "-pbkdf2", "-pass", "pass:a word", "-S", "0102030405060708"];
    desk.openssl(&[&["enc", "-in", "letter", "-out", "cipher"], &cipher[..]].concat());
    assert_eq!(desk.plain(&[&["enc", "-d", "-in", "cipher"], &cipher[..]].concat()).stdout, LETTER);
    let kdf = [
        "kdf",
        "-keylen",
        "32",
        "-kdfopt",
        "digest:SHA256",
        "-kdfopt",
        "hexkey:0b0b0b0b",
        "-kdfopt",
        "salt:salt",
        "-kdfopt",
        "info:info",
        "HKDF",
    ];
    assert_eq!(desk.openssl(&kdf).text(), desk.plain(&kdf).text());
    desk.world.assert_clean();
}

/// A PIN that is wrong is said so once, and is not tried until the token is locked.
#[test]
fn a_wrong_pin_is_tried_once_a_command() {
    let Some(desk) = Desk::new() else { return };
    desk.write("pin", "not the PIN");
    desk.world.proxy.mark();
    let run = desk.try_openssl(&["dgst", "-sha256", "-sign", &private("p256"), "-out", "signature", "letter"]);
    assert!(!run.success(), "{run:?}");
    let asked = desk.world.proxy.mark();
    // TPM_RC_AUTH_FAIL of a session, whichever it was.
    let refused = asked.failed().iter().filter(|command| command.name == "Unseal" && command.rc & 0xbf == 0x8e).count();
    assert_eq!(refused, 1, "{asked}");
    assert!(Path::new(&desk.world.path("signature")).metadata().map_or(0, |metadata| metadata.len()) == 0);
    desk.write("pin", PIN);
    desk.openssl(&["dgst", "-sha256", "-sign", &private("p256"), "-out", "signature", "letter"]);
    desk.verify(&desk.public_key("p256"), "-sha256", &[]);
}
