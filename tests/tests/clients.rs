//! Real programs: OpenSC's pkcs11-tool, OpenSSL with the pkcs11 engine, GnuTLS, p11-kit.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tests::desk::{Desk, LETTER, PIN};
use tests::product;
use tests::world::{ALPHA, Run, World};

#[test]
fn pkcs11_tool_lists() {
    let desk = Desk::new();
    let connections = || (desk.world.proxy.connections(), desk.world.proxy.mark().len());
    let run = desk.tool(&["--list-slots"]);
    for word in ["alpha", "beta", "open", "uninitialized", "PIN initialized", "login required"] {
        assert!(run.text().contains(word), "{word}: {run:?}");
    }
    let info = desk.tool(&["--show-info"]).text();
    assert!(info.contains("Manufacturer     tpm2-cryptoki"), "{info}");
    let mechanisms = desk.tool(&["--list-mechanisms"]).text();
    for name in ["RSA-PKCS-PSS, ", "ECDSA-SHA256, ", "RSA-PKCS-OAEP, ", "RSA-PKCS-KEY-PAIR-GEN"] {
        assert!(mechanisms.contains(name), "{name}: {mechanisms}");
    }
    let public = desk.tool(&["--list-objects"]).text();
    assert_eq!(public.matches("Public Key Object").count(), ALPHA.keys.len(), "{public}");
    assert_eq!(connections(), (0, 0), "all of it without the TPM");
    let all = desk.tool(&["--list-objects", "--login", "--pin", PIN]).text();
    assert_eq!(all.matches("Private Key Object").count(), ALPHA.keys.len(), "{all}");
    let wrong = desk.any_tool(&["--list-objects", "--login", "--pin", "wrong-pin"]);
    assert!(!wrong.success() && wrong.all().contains("CKR_PIN_INCORRECT"), "{wrong:?}");
    let interfaces =
        Run::of(desk.world.command("pkcs11-tool").arg("--module").arg(product::module()).arg("--list-interfaces"));
    assert!(
        interfaces.text().contains("version: 3.0") && interfaces.text().contains("version: 2.40"),
        "{interfaces:?}"
    );
}

#[test]
fn pkcs11_tool_signs_by_every_mechanism() {
    let desk = Desk::new();
    let sign = |id: &str, mechanism: &str, input: &str, more: &[&str]| {
        let mut arguments =
            vec!["--login", "--pin", PIN, "--sign", "--id", id, "-m", mechanism, "-i", input, "-o", "signature"];
        arguments.extend(more);
        desk.tool(&arguments);
    };
    let verify = |key: &str, hash: &str, options: &[&str]| {
        let hash = format!("-{hash}");
        let mut arguments = vec!["dgst", &hash, "-verify", key, "-keyform", "DER", "-signature", "signature"];
        arguments.extend(options.iter().flat_map(|option| ["-sigopt", option]));
        arguments.push("letter");
        assert!(desk.openssl(&arguments).text().contains("Verified OK"));
    };
    let rsa = desk.public_key("rsa");
    let pss = ["rsa_padding_mode:pss", "rsa_pss_saltlen:digest"];
    for (hash, upper) in
        [("sha1", "SHA1"), ("sha224", "SHA224"), ("sha256", "SHA256"), ("sha384", "SHA384"), ("sha512", "SHA512")]
    {
        sign("01", &format!("{upper}-RSA-PKCS"), "letter", &[]);
        verify(&rsa, hash, &[]);
        sign("01", &format!("{upper}-RSA-PKCS-PSS"), "letter", &[]);
        verify(&rsa, hash, &pss);
        desk.write("digest", desk.digest(hash));
        let of = if upper == "SHA1" { "SHA-1" } else { upper };
        sign("01", "RSA-PKCS-PSS", "digest", &["--hash-algorithm", of, "--mgf", &format!("MGF1-{upper}")]);
        verify(&rsa, hash, &pss);
        for (key, id) in [("p256", "03"), ("p384", "04"), ("p521", "05")] {
            sign(id, &format!("ECDSA-{upper}"), "letter", &["--signature-format", "openssl"]);
            verify(&desk.public_key(key), hash, &[]);
        }
    }
    // A DigestInfo, padded by the module; and a whole block, padded here.
    let info =
        [&b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20"[..], &desk.digest("sha256")]
            .concat();
    desk.write("info", &info);
    sign("01", "RSA-PKCS", "info", &[]);
    verify(&rsa, "sha256", &[]);
    desk.write("block", [&[0, 1][..], &vec![0xff; 256 - 3 - info.len()], &[0], &info].concat());
    sign("01", "RSA-X-509", "block", &[]);
    verify(&rsa, "sha256", &[]);
    for (key, id, hash) in
        [("p256", "03", "sha256"), ("p384", "04", "sha384"), ("p521", "05", "sha512"), ("p256", "03", "sha512")]
    {
        desk.write("digest", desk.digest(hash));
        sign(id, "ECDSA", "digest", &["--signature-format", "openssl"]);
        verify(&desk.public_key(key), hash, &[]);
    }
    let verified = desk.tool(&[
        "--verify",
        "--id",
        "03",
        "-m",
        "ECDSA",
        "-i",
        "digest",
        "--signature-file",
        "signature",
        "--signature-format",
        "openssl",
    ]);
    assert!(verified.text().contains("Signature is valid"), "{verified:?}");
}

#[test]
fn pkcs11_tool_decrypts() {
    let desk = Desk::new();
    let key = desk.public_key("rsa");
    let encrypt = |options: &[&str]| {
        let mut arguments =
            vec!["pkeyutl", "-encrypt", "-pubin", "-inkey", &key, "-keyform", "DER", "-in", "letter", "-out", "cipher"];
        arguments.extend(options.iter().flat_map(|option| ["-pkeyopt", option]));
        desk.openssl(&arguments);
    };
    let decrypt = |mechanism: &str, more: &[&str]| {
        let _ = std::fs::remove_file(desk.world.path("plain"));
        let mut arguments =
            vec!["--login", "--pin", PIN, "--decrypt", "--id", "01", "-m", mechanism, "-i", "cipher", "-o", "plain"];
        arguments.extend(more);
        desk.tool(&arguments);
        desk.read("plain")
    };
    encrypt(&["rsa_padding_mode:pkcs1"]);
    assert_eq!(decrypt("RSA-PKCS", &[]), LETTER);
    let block = decrypt("RSA-X-509", &[]);
    assert!(block.starts_with(&[0, 2]) && block.ends_with(LETTER));
    for (hash, upper) in [("sha1", "SHA-1"), ("sha256", "SHA256"), ("sha512", "SHA512")] {
        encrypt(&["rsa_padding_mode:oaep", &format!("rsa_oaep_md:{hash}"), &format!("rsa_mgf1_md:{hash}")]);
        let mgf = format!("MGF1-{}", upper.replace('-', ""));
        assert_eq!(decrypt("RSA-PKCS-OAEP", &["--hash-algorithm", upper, "--mgf", &mgf]), LETTER);
    }
}

#[test]
fn pkcs11_tool_makes_and_deletes_keys() {
    let desk = Desk::new();
    for (kind, id) in [("rsa:2048", "a1"), ("EC:prime256v1", "a2"), ("EC:secp384r1", "a3"), ("EC:secp521r1", "a4")] {
        desk.tool(&[
            "--login",
            "--pin",
            PIN,
            "--keypairgen",
            "--key-type",
            kind,
            "--id",
            id,
            "--label",
            "made",
            "--usage-sign",
        ]);
        let mechanism = if kind.starts_with("rsa") { "SHA256-RSA-PKCS" } else { "ECDSA-SHA256" };
        desk.tool(&["--login", "--pin", PIN, "--sign", "--id", id, "-m", mechanism, "-i", "letter", "-o", "signature"]);
        // Its exit status is 0 for a wrong signature too.
        let verify = ["--verify", "--id", id, "-m", mechanism, "-i", "letter", "--signature-file", "signature"];
        let verified = desk.tool(&verify);
        assert!(verified.all().contains("Signature is valid"), "{kind}: {verified:?}");
        for half in ["privkey", "pubkey"] {
            desk.tool(&["--login", "--pin", PIN, "--delete-object", "--type", half, "--id", id]);
        }
    }
    let objects = desk.tool(&["--login", "--pin", PIN, "--list-objects"]).text();
    assert!(!objects.contains("made"), "{objects}");
    assert_eq!(desk.tool(&["--generate-random", "100"]).stdout.len(), 100);
}

#[test]
fn pkcs11_tool_makes_a_token() {
    let desk = Desk::new();
    let tool = |arguments: &[&str]| {
        let mut command = desk.world.command("pkcs11-tool");
        Run::of(command.arg("--module").arg(product::module()).args(arguments)).ok()
    };
    tool(&["--init-token", "--slot", "4", "--label", "made", "--so-pin", "officer"]);
    tool(&[
        "--token-label",
        "made",
        "--init-pin",
        "--login",
        "--login-type",
        "so",
        "--so-pin",
        "officer",
        "--pin",
        "user-pin",
    ]);
    tool(&["--token-label", "made", "--login", "--pin", "user-pin", "--change-pin", "--new-pin", "other-pin"]);
    tool(&[
        "--token-label",
        "made",
        "--login",
        "--pin",
        "other-pin",
        "--keypairgen",
        "--key-type",
        "EC:prime256v1",
        "--id",
        "01",
    ]);
    tool(&[
        "--token-label",
        "made",
        "--login",
        "--pin",
        "other-pin",
        "--sign",
        "--id",
        "01",
        "-m",
        "ECDSA-SHA256",
        "-i",
        "letter",
        "-o",
        "signature",
    ]);
    let verified = tool(&[
        "--token-label",
        "made",
        "--verify",
        "--id",
        "01",
        "-m",
        "ECDSA-SHA256",
        "-i",
        "letter",
        "--signature-file",
        "signature",
    ]);
    assert!(verified.all().contains("Signature is valid"), "{verified:?}");
}

#[test]
fn pkcs11_tool_tests() {
    let desk = Desk::new();
    let run = desk.any_tool(&["--login", "--pin", PIN, "--test"]);
    let said = run.all();
    assert!(run.success() && said.contains("No errors"), "{said}\n--- log\n{}", desk.world.log());
    let fork = desk.any_tool(&["--login", "--pin", PIN, "--test-fork"]);
    assert!(fork.success(), "{fork:?}");
}

#[test]
fn openssl_engine() {
    // OpenSSL ends without a word to the module: what it held is the resource manager's to give back.
    let desk = Desk::of(World::new().managed());
    let module = product::module().display().to_string();
    desk.write(
        "openssl.cnf",
        format!(
            "openssl_conf = init\n[init]\nengines = engines\n[engines]\npkcs11 = engine\n[engine]\nengine_id = pkcs11\n\
             dynamic_path = /usr/lib/x86_64-linux-gnu/engines-3/pkcs11.so\nMODULE_PATH = {module}\ninit = 0\n\
             [req]\ndistinguished_name = dn\n[dn]\n"
        ),
    );
    assert!(
        Path::new("/usr/lib/x86_64-linux-gnu/engines-3/pkcs11.so").exists(),
        "apt-get install libengine-pkcs11-openssl"
    );
    let openssl = |arguments: &[&str]| {
        let mut command = desk.world.command("openssl");
        let run = Run::of(command.args(arguments).env("OPENSSL_CONF", desk.world.path("openssl.cnf")));
        assert!(run.success(), "openssl {arguments:?}: {run:?}\n--- log\n{}", desk.world.log());
        run
    };
    for (label, hash) in [("rsa", "sha256"), ("p256", "sha256"), ("p384", "sha384"), ("p521", "sha512")] {
        let uri = format!("pkcs11:token=alpha;object={label};type=private;pin-value={PIN}");
        let option = format!("-{hash}");
        openssl(&[
            "dgst",
            &option,
            "-engine",
            "pkcs11",
            "-keyform",
            "engine",
            "-sign",
            &uri,
            "-out",
            "signature",
            "letter",
        ]);
        let key = desk.public_key(label);
        let verify = ["dgst", &option, "-verify", &key, "-keyform", "DER", "-signature", "signature", "letter"];
        assert!(desk.openssl(&verify).text().contains("Verified OK"));
        // The public half, by the engine too.
        let public = format!("pkcs11:token=alpha;object={label};type=public");
        let verify = [
            "dgst",
            &option,
            "-engine",
            "pkcs11",
            "-keyform",
            "engine",
            "-verify",
            &public,
            "-signature",
            "signature",
            "letter",
        ];
        assert!(openssl(&verify).text().contains("Verified OK"));

        let request = [
            "req",
            "-new",
            "-x509",
            "-engine",
            "pkcs11",
            "-keyform",
            "engine",
            "-key",
            &uri,
            "-subj",
            "/CN=reader",
            "-days",
            "2",
            "-out",
            "certificate",
        ];
        openssl(&request);
        let checked = desk.openssl(&["verify", "-CAfile", "certificate", "certificate"]);
        assert!(checked.text().contains("OK"), "{checked:?}");
    }
    let uri = format!("pkcs11:token=alpha;object=rsa;type=private;pin-value={PIN}");
    let pss = [
        "dgst",
        "-sha384",
        "-engine",
        "pkcs11",
        "-keyform",
        "engine",
        "-sign",
        &uri,
        "-sigopt",
        "rsa_padding_mode:pss",
        "-sigopt",
        "rsa_pss_saltlen:digest",
        "-out",
        "signature",
        "letter",
    ];
    openssl(&pss);
    let verify = [
        "dgst",
        "-sha384",
        "-verify",
        "rsa.pub",
        "-keyform",
        "DER",
        "-sigopt",
        "rsa_padding_mode:pss",
        "-signature",
        "signature",
        "letter",
    ];
    assert!(desk.openssl(&verify).text().contains("Verified OK"));
    desk.openssl(&[
        "pkeyutl",
        "-encrypt",
        "-pubin",
        "-inkey",
        "rsa.pub",
        "-keyform",
        "DER",
        "-in",
        "letter",
        "-out",
        "cipher",
        "-pkeyopt",
        "rsa_padding_mode:oaep",
    ]);
    let decrypt = [
        "pkeyutl",
        "-decrypt",
        "-engine",
        "pkcs11",
        "-keyform",
        "engine",
        "-inkey",
        &uri,
        "-in",
        "cipher",
        "-pkeyopt",
        "rsa_padding_mode:oaep",
    ];
    assert_eq!(openssl(&decrypt).stdout, LETTER);
}

#[test]
fn gnutls_p11tool() {
    let desk = Desk::new();
    let p11tool = |arguments: &[&str]| {
        let mut command = desk.world.command("p11tool");
        let run = Run::of(command.arg("--provider").arg(product::module()).args(arguments).env("GNUTLS_PIN", PIN));
        assert!(run.success(), "p11tool {arguments:?}: {run:?}\n--- log\n{}", desk.world.log());
        run.all()
    };
    // Without a file to write to it would sleep for three seconds before it prints.
    p11tool(&["--batch", "--outfile=tokens", "--list-token-urls"]);
    let tokens = String::from_utf8(desk.read("tokens")).unwrap();
    assert!(tokens.contains("token=alpha") && tokens.contains("token=beta"), "{tokens}");
    p11tool(&["--batch", "--login", "--outfile=all", "--list-all", "pkcs11:token=alpha"]);
    let all = String::from_utf8(desk.read("all")).unwrap();
    for key in ALPHA.keys {
        assert!(
            all.contains(&format!("object={};type=private", key.label))
                && all.contains(&format!("object={};type=public", key.label)),
            "{all}"
        );
    }
    for label in ["rsa", "p256", "p384", "p521"] {
        let said =
            p11tool(&["--batch", "--login", "--test-sign", &format!("pkcs11:token=alpha;object={label};type=private")]);
        assert!(said.contains("ok"), "{said}");
        p11tool(&[
            "--batch",
            "--login",
            "--outfile=exported",
            "--export-pubkey",
            &format!("pkcs11:token=alpha;object={label};type=public"),
        ]);
        let name = desk.public_key(label);
        let pem = desk.openssl(&["pkey", "-pubin", "-inform", "DER", "-in", &name]).text();
        let exported = String::from_utf8(desk.read("exported")).unwrap();
        assert!(exported.contains(pem.trim()), "{label}: {exported} is not {pem}");
    }
}

#[test]
fn p11_kit_lists_the_module() {
    // p11-kit has no user configuration for root: then it is somebody else, for whom there is no store and one empty slot.
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let module = dir.path().join("libtpm2_cryptoki.so");
    std::fs::copy(product::module(), &module).unwrap();
    std::fs::set_permissions(&module, std::fs::Permissions::from_mode(0o755)).unwrap();
    let modules = dir.path().join(".config/pkcs11/modules");
    std::fs::create_dir_all(&modules).unwrap();
    std::fs::write(modules.join("tpm2-cryptoki.module"), format!("module: {}\ncritical: no\n", module.display()))
        .unwrap();
    let mut command = if nix::unistd::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "p11-kit"]);
        command
    } else {
        Command::new("p11-kit")
    };
    let run = Run::of(command.arg("list-modules").env_clear().env("PATH", "/usr/bin:/bin").env("HOME", dir.path()));
    let text = run.text();
    for word in ["tpm2-cryptoki: ", "library-manufacturer: tpm2-cryptoki", "model: TPM 2.0"] {
        assert!(text.contains(word), "{word}: {run:?}");
    }
}

/// What runs until it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn p11_kit_serves_the_module_to_others() {
    let client = Path::new("/usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-client.so");
    assert!(client.exists(), "apt-get install p11-kit-modules");
    let desk = Desk::of(World::new().managed());
    let socket = desk.world.path("p11-kit");
    let server = Command::new("p11-kit")
        .args(["server", "--foreground", "--name"])
        .arg(&socket)
        .arg("--provider")
        .arg(product::module())
        .arg("pkcs11:token=alpha")
        .env_clear()
        .envs(desk.world.environment())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let _server = Running(server);
    let start = Instant::now();
    while !socket.exists() {
        assert!(start.elapsed() < Duration::from_secs(10), "p11-kit server does not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    // The server forks for each of its clients.
    let key = desk.public_key("rsa");
    std::thread::scope(|scope| {
        for number in 0..3 {
            let (desk, socket, key) = (&desk, &socket, &key);
            scope.spawn(move || {
                let signature = format!("signature-{number}");
                let mut tool = desk.world.command("pkcs11-tool");
                tool.arg("--module").arg(client).args([
                    "--token-label",
                    "alpha",
                    "--login",
                    "--pin",
                    PIN,
                    "--sign",
                    "--id",
                    "01",
                ]);
                tool.args(["-m", "SHA256-RSA-PKCS", "-i", "letter", "-o", &signature]);
                Run::of(tool.env("P11_KIT_SERVER_ADDRESS", format!("unix:path={}", socket.display()))).ok();
                let verify = ["dgst", "-sha256", "-verify", key, "-keyform", "DER", "-signature", &signature, "letter"];
                assert!(desk.openssl(&verify).text().contains("Verified OK"));
            });
        }
    });
}
