//! What tpm2-tools and systemd say to the same policies.

use std::path::PathBuf;

use tests::skip::left_out;
use tests::world::{Run, World};

use crate::machine::*;

#[test]
fn digests_are_those_of_tpm2_tools() {
    let world = world();
    authority(&world, "boss", RSA);
    authority(&world, "boss-ec", EC);
    extend(&world, 10, 1);
    let start = |world: &World| tool(world, "tpm2_startauthsession", &["-S", "s.ctx"]);
    let digest = |run: Run| run.text().trim().to_owned();
    let of = |label: &str| {
        let checks = world.ptool(&["pcr", "check", "--label=t", "--key-label", label, "--output=json"]).text();
        let checks: serde_json::Value = serde_json::from_str(&checks).unwrap();
        checks[0]["digest"].as_str().unwrap().to_owned()
    };
    // swtpm keeps loaded what tpm2-tools leave; each case ends its session.
    let end = |world: &World| drop(tool(world, "tpm2_flushcontext", &["s.ctx"]));

    add_key(&world, "pcr", &["--pcr=sha256:7,10"]);
    start(&world);
    tool(&world, "tpm2_policypcr", &["-S", "s.ctx", "-l", "sha256:7,10"]);
    let run = tool(&world, "tpm2_policyauthvalue", &["-S", "s.ctx", "-L", "out"]);
    let tools = digest(run);
    end(&world);
    assert_eq!(of("pcr"), hex(&world, "out", &tools), "PCR");

    for (name, kind) in [("boss", "rsa"), ("boss-ec", "ecc")] {
        let public = format!("{name}.pub");
        add_key(&world, name, &["--pcr-authority", &public, "--no-pin"]);
        tool(&world, "tpm2_loadexternal", &["-C", "o", "-G", kind, "-u", &public, "-c", "k.ctx", "-n", "k.name"]);
        start(&world);
        std::fs::write(world.path("any.pol"), [0; 32]).unwrap();
        let run = tool(&world, "tpm2_policyauthorize", &["-S", "s.ctx", "-i", "any.pol", "-n", "k.name", "-L", "out"]);
        end(&world);
        assert_eq!(of(name), hex(&world, "out", &digest(run)), "{name}");
        Run::of(world.command("tpm2_flushcontext").args(["-T", &world.tcti(), "-t"])).ok();
    }

    std::fs::write(world.path("other.yaml"), format!("sha256:\n  10: {}\n", "22".repeat(32))).unwrap();
    add_key(&world, "or", &["--pcr=sha256:10", "--pcr-values=now", "--pcr-values=other.yaml", "--no-pin"]);
    start(&world);
    tool(&world, "tpm2_policypcr", &["-S", "s.ctx", "-l", "sha256:10", "-L", "a.pol"]);
    end(&world);
    std::fs::write(world.path("other.bin"), [0x22; 32]).unwrap();
    start(&world);
    tool(&world, "tpm2_policypcr", &["-S", "s.ctx", "-l", "sha256:10", "-f", "other.bin", "-L", "b.pol"]);
    end(&world);
    start(&world);
    let run = tool(&world, "tpm2_policyor", &["-S", "s.ctx", "-l", "sha256:a.pol,b.pol", "-L", "out"]);
    end(&world);
    assert_eq!(of("or"), hex(&world, "out", &digest(run)));
}

/// The digest that a tool wrote into a file; what it printed must not say otherwise.
fn hex(world: &World, file: &str, printed: &str) -> String {
    let bytes = std::fs::read(world.path(file)).unwrap();
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(printed.is_empty() || printed.contains(&digits), "{printed}");
    digits
}

/// `systemd-measure`, where the distribution has it.
fn systemd_measure() -> Option<PathBuf> {
    let places = ["/usr/lib/systemd/systemd-measure", "/lib/systemd/systemd-measure"];
    places.iter().map(PathBuf::from).find(|path| path.exists())
}

#[test]
fn what_systemd_measure_signs_opens_a_key() {
    let Some(measure) = systemd_measure() else {
        return left_out("this machine has no systemd-measure");
    };
    let world = world();
    authority(&world, "boss", RSA);
    for (name, content) in [("linux", "a kernel"), ("osrel", "ID=test\n"), ("cmdline", "root=/dev/vda")] {
        std::fs::write(world.path(name), content).unwrap();
    }
    let image = ["--linux=linux", "--osrel=osrel", "--cmdline=cmdline", "--bank=sha256", "--phase=enter-initrd"];
    let values = Run::of(world.command(&measure).arg("calculate").args(image)).ok().text();
    let mut sign_image = world.command(&measure);
    sign_image.arg("sign").args(image).args(["--private-key=boss.pem", "--public-key=boss.pub"]);
    // It computes the policy in a TPM's trial session.
    sign_image.arg(format!("--tpm2-device={}", world.tcti()));
    let signed = Run::of(&mut sign_image).ok();
    let json = signed.text();

    add_key(&world, "uki", &["--pcr-authority=boss.pub", "--pcr=sha256:11"]);
    std::fs::write(world.path("tpm2-pcr-signature.json"), &json).unwrap();
    refused(&world, "uki");
    measure_image(&world, &[("linux", "a kernel"), ("osrel", "ID=test\n"), ("cmdline", "root=/dev/vda")]);
    let present = world.ptool_ok(&["pcr", "show", "sha256:11"]).text();
    let value = values.lines().last().and_then(|line| line.split('=').nth(1)).unwrap();
    assert!(present.contains(value), "the machine booted that image: {present}{values}");
    sign(&world, "uki").unwrap();
    extend(&world, 11, 1);
    refused(&world, "uki");

    // Our own approval of the same state is the same but for the order of its lines.
    std::fs::write(world.path("values"), &values).unwrap();
    world.ptool_ok(&[
        "pcr",
        "approve",
        "--key=boss.pem",
        "--pcr=sha256:11",
        "--pcr-values=values",
        "--output-file=ours.json",
    ]);
    let ours: serde_json::Value = serde_json::from_slice(&std::fs::read(world.path("ours.json")).unwrap()).unwrap();
    let theirs: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(ours, theirs);
}

/// Measures into PCR 11 as systemd-stub does: for each section its name with the zero byte, then its content; and the boot phase
/// as systemd-pcrphase does.
fn measure_image(world: &World, sections: &[(&str, &str)]) {
    let event = |data: &[u8]| {
        std::fs::write(world.path("event"), data).unwrap();
        Run::of(world.command("tpm2_pcrevent").args(["-T", &world.tcti(), "11", "event"])).ok();
    };
    for (name, content) in sections {
        event(format!(".{name}\0").as_bytes());
        event(content.as_bytes());
    }
    event(b"enter-initrd");
}
