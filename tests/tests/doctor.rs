//! `ptool doctor` and `ptool lockout`, on machines with something wrong. What is wrong is brought about by tpm2-tools.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;
use tests::desk::{Desk, PIN};
use tests::world::{Run, World};

/// A directory in the place of `/`: nothing of this machine is looked at.
fn root(desk: &Desk) -> String {
    let root = desk.world.path("root");
    std::fs::create_dir_all(&root).unwrap();
    root.to_str().unwrap().to_owned()
}

fn doctor(desk: &Desk, arguments: &[&str]) -> (Run, Vec<Value>) {
    let root = root(desk);
    let run = desk.world.ptool(&[&["doctor", "--root", &root, "--output=json"], arguments].concat());
    let findings = serde_json::from_slice(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:?}"));
    (run, findings)
}

/// The findings about a subject, with their level.
fn about<'a>(findings: &'a [Value], subject: &str) -> Vec<(&'a str, &'a str)> {
    let of = |finding: &'a Value, key: &str| finding[key].as_str().unwrap();
    findings
        .iter()
        .filter(|finding| finding["subject"] == subject)
        .map(|finding| (of(finding, "level"), of(finding, "finding")))
        .collect()
}

fn failures(findings: &[Value]) -> Vec<&Value> {
    findings.iter().filter(|finding| finding["level"] == "fail").collect()
}

/// A command of tpm2-tools on the world's TPM.
fn tool(desk: &Desk, program: &str, arguments: &[&str]) {
    let mut command = desk.world.command(program);
    command
        .args(arguments)
        .env("TPM2TOOLS_TCTI", format!("swtpm:host=127.0.0.1,port={}", desk.world.tpm.port()))
        .env("TSS2_LOG", "all+none");
    let run = Run::of(&mut command);
    assert!(run.success(), "{program} {arguments:?}: {run:?}");
}

#[test]
fn a_healthy_machine_has_no_failures() {
    let desk = Desk::new();
    let (run, findings) = doctor(&desk, &[]);
    assert_eq!((run.status, failures(&findings).len()), (Some(0), 0), "{run:?}");
    assert_eq!(about(&findings, "token").len(), 3, "{findings:#?}");
    assert!(about(&findings, "token")[0].1.contains("5 keys load"), "{findings:#?}");
    // One line each, and in words, unless another form is asked for.
    let root = root(&desk);
    let run = desk.world.ptool_ok(&["doctor", "--root", &root]);
    assert_eq!(run.text().lines().count(), findings.len(), "{run:?}");
    assert!(run.text().lines().all(|line| line.starts_with("ok ") || line.starts_with("warn ")), "{run:?}");
    assert!(!run.text().contains('\u{1b}'), "no colours in a pipe");
    desk.world.assert_clean();
}

/// A key of the token works, for a program.
fn assert_signs(desk: &Desk) {
    desk.tool(&[
        "--login",
        "--pin",
        PIN,
        "--sign",
        "--mechanism=ECDSA-SHA256",
        "--id=03",
        "-i",
        "letter",
        "-o",
        "signature",
    ]);
}

#[test]
fn an_evicted_primary_is_made_again() {
    let desk = Desk::new();
    tool(&desk, "tpm2_evictcontrol", &["-Q", "-C", "o", "-c", "0x81000001"]);
    let (run, findings) = doctor(&desk, &[]);
    assert_eq!(run.status, Some(1), "{run:?}");
    assert_eq!(failures(&findings).len(), 1 + 3, "the primary, and the tokens on it: {findings:#?}");
    assert!(failures(&findings).iter().all(|finding| finding["advice"].as_str().unwrap().contains("doctor --repair")));
    let broken = desk.world.ptool(&["addkey", "--label=alpha", "--userpin", PIN, "--algorithm=ecc256"]);
    assert_eq!(broken.status, Some(4), "{broken:?}");

    let (run, findings) = doctor(&desk, &["--repair"]);
    assert_eq!(run.status, Some(0), "{run:?}");
    assert!(about(&findings, "primary")[0].1.contains("0x81000001 now"), "{findings:#?}");
    assert_signs(&desk);
    assert_eq!(doctor(&desk, &[]).0.status, Some(0));
    desk.world.assert_clean();
}

#[test]
fn a_primary_whose_place_is_taken_gets_another() {
    let desk = Desk::new();
    tool(&desk, "tpm2_evictcontrol", &["-Q", "-C", "o", "-c", "0x81000001"]);
    tool(&desk, "tpm2_createprimary", &["-Q", "-C", "o", "-G", "rsa", "-c", "other.ctx"]);
    tool(&desk, "tpm2_evictcontrol", &["-Q", "-C", "o", "-c", "other.ctx", "0x81000001"]);
    tool(&desk, "tpm2_flushcontext", &["-Q", "--transient-object"]);
    let (run, findings) = doctor(&desk, &["--repair"]);
    assert_eq!(run.status, Some(0), "{run:?}");
    assert!(about(&findings, "primary")[0].1.contains("0x81000002 now"), "{findings:#?}");
    assert_signs(&desk);
    // Whoever's the other key is, it is still there.
    tool(&desk, "tpm2_readpublic", &["-Q", "-c", "0x81000001"]);
}

#[test]
fn the_owners_authorization_is_needed_and_asked_for() {
    let desk = Desk::new();
    tool(&desk, "tpm2_evictcontrol", &["-Q", "-C", "o", "-c", "0x81000001"]);
    tool(&desk, "tpm2_changeauth", &["-c", "owner", "chef"]);
    let (run, findings) = doctor(&desk, &["--repair"]);
    assert_eq!(run.status, Some(1), "{run:?}");
    let primary = failures(&findings).into_iter().find(|finding| finding["subject"] == "primary").unwrap();
    assert!(primary["advice"].as_str().unwrap().contains("--hierarchy-auth"), "{primary}");
    let (run, _) = doctor(&desk, &["--repair", "--hierarchy-auth=chef"]);
    assert_eq!(run.status, Some(0), "{run:?}");
    assert_eq!(desk.world.ptool(&["verify", "--label=alpha", "--userpin", PIN]).status, Some(0));
    desk.world.assert_clean();
}

#[test]
fn a_cleared_tpm_is_recognised_and_the_lost_tokens_are_named() {
    let desk = Desk::new();
    tool(&desk, "tpm2_clear", &["-Q", "-c", "p"]);
    for arguments in [&[][..], &["--repair"]] {
        let (run, findings) = doctor(&desk, arguments);
        assert_eq!(run.status, Some(1), "{run:?}");
        let lost = about(&findings, "token");
        for (token, keys) in [("alpha", "5 keys"), ("beta", "2 keys"), ("open", "1 key:")] {
            let named = |(level, text): &(&str, &str)| {
                *level == "fail" && text.contains(&format!("\"{token}\" is lost")) && text.contains(keys)
            };
            assert!(lost.iter().any(named), "{token}: {findings:#?}");
        }
    }
    desk.world.assert_clean();
}

/// As docs/RECOVERY.md says it; also if the lost token is kept, for its certificates.
#[test]
fn after_a_clear_one_begins_anew() {
    for kept in [false, true] {
        let desk = Desk::new();
        let lost = desk.world.ptool_ok(&["srk"]).text();
        tool(&desk, "tpm2_clear", &["-Q", "-c", "p"]);
        let run = desk.world.ptool(&["srk"]);
        assert_eq!(run.status, Some(4), "what is wrapped for a key that is gone can never be opened: {run:?}");
        if !kept {
            for token in ["alpha", "beta", "open"] {
                desk.world.ptool_ok(&["rmtoken", "--label", token]);
            }
        }
        desk.world.ptool_ok(&["init"]);
        desk.world.ptool_ok(&["addtoken", "--label=anew", "--sopin=officer", "--userpin=user1"]);
        desk.world.ptool_ok(&["addkey", "--label=anew", "--userpin=user1", "--algorithm=ecc256"]);
        let (run, findings) = doctor(&desk, &[]);
        assert_eq!(run.status, Some(i32::from(kept)), "{findings:#?}");
        let primaries: Vec<&str> = about(&findings, "primary").iter().map(|(level, _)| *level).collect();
        assert_eq!(primaries, [if kept { "fail" } else { "warn" }, "ok"], "{findings:#?}");
        let found = desk.world.ptool_ok(&["srk"]).text();
        assert_ne!(found, lost);
        desk.write("srk.pem", &found);
        tool(&desk, "tpm2_readpublic", &["-Q", "-c", "0x81000001", "-f", "pem", "-o", "theirs.pem"]);
        let theirs = std::fs::read_to_string(desk.world.path("theirs.pem")).unwrap();
        assert_eq!(found.split("-----").nth(2).map(str::trim), theirs.split("-----").nth(2).map(str::trim));
        let slot = desk.world.ptool_ok(&["listprimaries", "--output=json"]).text();
        assert_eq!(slot.matches("\"id\"").count(), 2, "{slot}");
        for (pid, good) in [("1", false), ("2", true)] {
            assert_eq!(desk.world.ptool(&["addemptytoken", "--pid", pid]).success(), good, "{pid}");
        }
        // What is lost goes without the key that is at its handle now.
        desk.world.ptool_ok(&["destroy", "--pid=1", "--yes"]);
        assert_eq!(doctor(&desk, &[]).0.status, Some(0));
        assert_eq!(desk.world.ptool(&["verify", "--label=anew", "--userpin=user1"]).status, Some(0));
        desk.world.assert_clean();
    }
}

#[test]
fn rsa_primaries_of_other_tools_are_made_again_too() {
    let desk = Desk::of(World::empty());
    tool(&desk, "tpm2_createprimary", &["-Q", "-C", "o", "-G", "rsa2048", "-c", "p.ctx"]);
    tool(&desk, "tpm2_evictcontrol", &["-Q", "-C", "o", "-c", "p.ctx", "0x81000005"]);
    tool(&desk, "tpm2_flushcontext", &["-Q", "--transient-object"]);
    desk.world.ptool_ok(&["init", "--primary-handle=0x81000005"]);
    desk.world.ptool_ok(&["addtoken", "--label=t", "--sopin=officer", "--userpin=user1"]);
    desk.world.ptool_ok(&["addkey", "--label=t", "--userpin=user1", "--algorithm=ecc256"]);
    tool(&desk, "tpm2_evictcontrol", &["-Q", "-C", "o", "-c", "0x81000005"]);
    assert_eq!(doctor(&desk, &[]).0.status, Some(1));
    let (run, _) = doctor(&desk, &["--repair"]);
    assert_eq!(run.status, Some(0), "{run:?}");
    desk.world.ptool_ok(&["verify", "--label=t", "--userpin=user1"]);
}

#[test]
fn each_altered_or_damaged_key_is_named() {
    let desk = Desk::new();
    let database = rusqlite::Connection::open(desk.world.store_file()).unwrap();
    database
        .execute("UPDATE objects SET label = CAST('mallory' AS BLOB) WHERE label = CAST('p256' AS BLOB)", [])
        .unwrap();
    let blob = "UPDATE objects SET tpm_private = (SELECT tpm_private FROM objects WHERE label = CAST('rsa-b' AS BLOB) \
                AND tpm_private IS NOT NULL) WHERE label = CAST('rsa' AS BLOB) AND tpm_private IS NOT NULL";
    assert_eq!(database.execute(blob, []).unwrap(), 1);
    drop(database);
    // Without a PIN the TPM says which blob is not that of its key; with it, the codes of all rows are checked.
    let (run, findings) = doctor(&desk, &["--label=alpha"]);
    assert_eq!(run.status, Some(1), "{run:?}");
    assert_eq!(about(&findings, "key").len(), 1, "{findings:#?}");
    assert!(about(&findings, "key")[0].1.contains("\"rsa\" in \"alpha\""), "{findings:#?}");
    let (_, findings) = doctor(&desk, &["--label=alpha", "--userpin", PIN]);
    assert!(about(&findings, "object").len() >= 2, "{findings:#?}");
    desk.world.assert_clean();
}

#[test]
fn without_a_tpm_or_a_store_or_a_configuration_the_rest_is_looked_at() {
    let desk = Desk::new();
    let root = root(&desk);
    let with = |name: &str, value: &str| {
        let mut command = desk.world.command(tests::product::ptool());
        let run = Run::of(command.args(["doctor", "--root", &root, "--output=json"]).env(name, value));
        assert_eq!(run.status, Some(1), "{name}: {run:?}");
        serde_json::from_slice::<Vec<Value>>(&run.stdout).unwrap()
    };
    let findings = with("TPM2_CRYPTOKI_TCTI", "swtpm:host=127.0.0.1,port=1");
    assert_eq!(about(&findings, "tpm")[0].0, "fail", "{findings:#?}");
    assert_eq!(about(&findings, "store")[0].0, "ok", "{findings:#?}");
    let findings = with("TPM2_CRYPTOKI_TCTI", "swtpm:colour=red");
    assert_eq!(about(&findings, "tcti")[0].0, "fail", "{findings:#?}");
    let findings = with("TPM2_CRYPTOKI_STORE", "/nowhere");
    assert!(about(&findings, "store")[0].1.contains("/nowhere"), "{findings:#?}");
    assert_eq!(about(&findings, "tpm")[0].0, "ok", "{findings:#?}");
    desk.world.configure("bus-protektion = \"on\"\n");
    let (run, findings) = doctor(&desk, &[]);
    assert_eq!(run.status, Some(1), "{run:?}");
    assert!(about(&findings, "configuration")[0].1.contains("bus-protektion"), "{findings:#?}");
    assert!(!about(&findings, "module").is_empty());
}

#[test]
fn device_nodes_are_looked_at_and_not_opened() {
    let desk = Desk::new();
    let root = root(&desk);
    let look = |files: &[&str], tcti: &str| {
        for file in files {
            let path = std::path::Path::new(&root).join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            // Nobody can open this for reading and writing but root, and root is not asked.
            std::fs::write(&path, if file.ends_with("major") { "1\n" } else { "" }).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        let mut command = desk.world.command(tests::product::ptool());
        // A device that no machine has: what is opened in the end is this path, and not one below the root.
        command.args(["doctor", "--root", &root, "--output=json"]).env("TPM2_CRYPTOKI_TCTI", tcti);
        let run = Run::of(&mut command);
        let findings: Vec<Value> = serde_json::from_slice(&run.stdout).unwrap();
        findings
    };
    let missing = look(&[], "device:/dev/tpmrm4711");
    assert_eq!(about(&missing, "device")[0].0, "fail", "{missing:#?}");
    assert!(about(&missing, "tpm")[0].1.contains("/dev/tpmrm4711"), "{missing:#?}");
    let managed = look(&["dev/tpmrm4711"], "device:/dev/tpmrm4711");
    assert_eq!(about(&managed, "device")[0].0, "ok", "{managed:#?}");
    assert_eq!(about(&managed, "resource manager")[0].0, "ok", "{managed:#?}");
    let bare = look(&["dev/tpm4711"], "device:/dev/tpm4711");
    assert_eq!(about(&bare, "resource manager")[0].0, "warn", "{bare:#?}");
    let old = look(&["sys/class/tpm/tpm0/tpm_version_major"], "device:/dev/tpm4711");
    assert!(about(&old, "device")[0].1.contains("TPM 1.2"), "{old:#?}");
}

#[test]
fn a_store_that_others_can_write_is_named() {
    let desk = Desk::new();
    std::fs::set_permissions(desk.world.store_file(), std::fs::Permissions::from_mode(0o666)).unwrap();
    let (run, findings) = doctor(&desk, &[]);
    assert_eq!(run.status, Some(1), "{run:?}");
    assert!(about(&findings, "store")[0].1.contains("can be written by everybody"), "{findings:#?}");
}

#[test]
fn linked_keys_are_looked_for_where_they_are() {
    let desk = Desk::new();
    tool(&desk, "tpm2_createprimary", &["-Q", "-C", "o", "-G", "rsa2048", "-c", "p.ctx"]);
    tool(&desk, "tpm2_evictcontrol", &["-Q", "-C", "o", "-c", "p.ctx", "0x81000020"]);
    tool(&desk, "tpm2_flushcontext", &["-Q", "--transient-object"]);
    tool(&desk, "tpm2_create", &["-Q", "-C", "0x81000020", "-G", "ecc256", "-u", "k.pub", "-r", "k.priv"]);
    tool(&desk, "tpm2_load", &["-Q", "-C", "0x81000020", "-u", "k.pub", "-r", "k.priv", "-c", "k.ctx"]);
    tool(&desk, "tpm2_evictcontrol", &["-Q", "-C", "o", "-c", "k.ctx", "0x81000021"]);
    tool(&desk, "tpm2_flushcontext", &["-Q", "--transient-object"]);
    let link = |what: &[&str]| {
        desk.world.ptool_ok(&[&["link", "--label=alpha", "--userpin", PIN], what].concat());
    };
    link(&["k.pub", "k.priv", "--parent=0x81000020", "--key-label=blob"]);
    link(&["0x81000021", "--key-label=persistent"]);
    let (run, findings) = doctor(&desk, &["--label=alpha"]);
    assert_eq!(run.status, Some(0), "{run:?}");
    assert!(about(&findings, "token")[0].1.contains("7 keys load"), "{findings:#?}");

    for handle in ["0x81000020", "0x81000021"] {
        tool(&desk, "tpm2_evictcontrol", &["-Q", "-C", "o", "-c", handle]);
    }
    let (run, findings) = doctor(&desk, &["--label=alpha"]);
    assert_eq!(run.status, Some(1), "{run:?}");
    let lost = about(&findings, "key");
    assert_eq!(lost.len(), 2, "{findings:#?}");
    assert!(lost[0].1.contains("\"blob\"") && lost[1].1.contains("\"persistent\""), "{lost:?}");
    assert!(failures(&findings).iter().all(|finding| finding["advice"].as_str().unwrap().contains("linked")));
    desk.world.assert_clean();
}

#[test]
fn a_key_that_waits_for_another_state_is_named() {
    let desk = Desk::new();
    let login = ["--label=alpha", "--userpin", PIN];
    let bound = ["--algorithm=ecc256", "--key-label=bound", "--pcr=sha256:10", "--yes"];
    desk.world.ptool_ok(&[&["addkey"], &login[..], &bound].concat());
    let (run, findings) = doctor(&desk, &["--label=alpha"]);
    assert_eq!(run.status, Some(0), "{run:?}");
    assert!(about(&findings, "policy").is_empty(), "{findings:#?}");
    tool(&desk, "tpm2_pcrextend", &["10:sha256=0000000000000000000000000000000000000000000000000000000000000001"]);
    let (run, findings) = doctor(&desk, &["--label=alpha"]);
    assert_eq!(run.status, Some(1), "{run:?}");
    let [(level, text)] = about(&findings, "policy")[..] else { panic!("{findings:#?}") };
    assert!(level == "fail" && text.contains("\"bound\"") && text.contains("10"), "{text}");
}

#[test]
fn certificates_that_end_soon_are_named() {
    let desk = Desk::new();
    let login = ["--label=alpha", "--userpin", PIN];
    for (key, days) in [("p256", "7"), ("p384", "31")] {
        let out = format!("--out={key}.crt");
        let options = ["--key-label", key, "--subject=CN=web.example", "--days", days, "--store", &out];
        desk.world.ptool_ok(&[&["selfsign"], &login[..], &options].concat());
    }
    let (run, findings) = doctor(&desk, &[]);
    assert_eq!(run.status, Some(0), "{run:?}");
    let [(level, text)] = about(&findings, "certificate")[..] else { panic!("{findings:#?}") };
    // A second may have begun meanwhile, or not.
    let days = ["ends in 6 days", "ends in 7 days"].iter().any(|days| text.contains(days));
    assert!(level == "warn" && text.contains("\"p256\"") && days, "{text}");
}

#[test]
fn a_lockout_is_shown_and_ended() {
    let desk = Desk::new();
    let world = &desk.world;
    let state = |arguments: &[&str]| {
        let run = world.ptool_ok(&[&["lockout"], arguments, &["--output=json"]].concat());
        serde_json::from_slice::<Value>(&run.stdout).unwrap()
    };
    world.tpm.set_lockout(3, 1000);
    // All wrong ones go to the TPM.
    world.configure("wrong-pins = 0\n");
    let before = state(&["status"]);
    assert_eq!((&before["locked"], &before["tries_left"]), (&false.into(), &3.into()), "{before}");
    world.ptool(&["verify", "--label=alpha", "--userpin=wrong"]);
    assert_eq!(state(&["status"])["tries_left"], 2);
    for _ in 0..2 {
        world.ptool(&["verify", "--label=alpha", "--userpin=wrong"]);
    }
    assert_eq!(state(&["status"])["locked"], true);
    let (run, findings) = doctor(&desk, &[]);
    assert_eq!((run.status, about(&findings, "lockout")[0].0), (Some(1), "fail"), "{run:?}");
    let locked = world.ptool(&["verify", "--label=alpha", "--userpin", PIN]);
    assert!(locked.status == Some(3) && locked.stderr.contains("ptool lockout reset"), "{locked:?}");

    tool(&desk, "tpm2_changeauth", &["-c", "lockout", "hush"]);
    world.proxy.mark();
    let after = state(&["reset", "--lockout-auth=hush"]);
    assert_eq!((&after["locked"], &after["failed_tries"]), (&false.into(), &0.into()), "{after}");
    let commands = world.proxy.mark();
    assert!(commands.len() <= 4, "{commands:?}");
    world.ptool_ok(&["verify", "--label=alpha", "--userpin", PIN]);

    // A wrong authorization locks the lockout hierarchy: both answers say so.
    let wrong = world.ptool(&["lockout", "reset", "--lockout-auth=wrong"]);
    assert!(wrong.status == Some(3) && wrong.stderr.contains("lockout_recovery_seconds"), "{wrong:?}");
    let right = world.ptool(&["lockout", "reset", "--lockout-auth=hush"]);
    assert!(right.status == Some(3) && right.stderr.contains("takes no lockout authorization now"), "{right:?}");
    desk.world.assert_clean();
}

#[test]
fn a_lockout_can_be_ended_without_a_store() {
    let desk = Desk::of(World::empty());
    tool(&desk, "tpm2_changeauth", &["-c", "lockout", "hush"]);
    desk.world.ptool_ok(&["lockout", "reset", "--lockout-auth=hush"]);
    desk.world.assert_clean();
}

/// What protects such a token's rows needs no PIN to be checked.
#[test]
fn an_altered_row_of_a_token_without_pin_is_named() {
    let desk = Desk::new();
    let (run, findings) = doctor(&desk, &["--label=open"]);
    assert_eq!(run.status, Some(0), "{run:?}");
    assert!(about(&findings, "token")[0].1.contains("no row was altered"), "{findings:#?}");
    let database = rusqlite::Connection::open(desk.world.store_file()).unwrap();
    let sql = "UPDATE objects SET label = CAST('mallory' AS BLOB) WHERE label = CAST('p256-o' AS BLOB)";
    assert_eq!(database.execute(sql, []).unwrap(), 2);
    drop(database);
    let (run, findings) = doctor(&desk, &["--label=open"]);
    assert_eq!(run.status, Some(1), "{run:?}");
    assert_eq!(about(&findings, "object").len(), 2, "{findings:#?}");
}

/// A TPM that says that it is an Infineon with this firmware.
fn pretend(world: &World, major: u8, minor: u8) {
    let capability = swtpm_fixtures::command_code("GetCapability").unwrap();
    world.proxy.interpose(move |command, upstream| {
        let mut response = upstream.transact(command);
        // Of a list of properties: TPM_PT_MANUFACTURER and TPM_PT_FIRMWARE_VERSION_1, each before its value.
        for (property, value) in [(0x105_u32, *b"IFX\0"), (0x10b, [0, major, 0, minor])] {
            let place = response.windows(4).position(|bytes| bytes == property.to_be_bytes());
            if let Some(at) = place.filter(|_| command[6..10] == capability.to_be_bytes()) {
                response[at + 4..at + 8].copy_from_slice(&value);
            }
        }
        response
    });
}

/// Firmware that is known to fail is named, and what it fails on is not asked of it.
#[test]
fn known_bad_firmware_is_named_and_spared() {
    for (minor, is_bad) in [(40, true), (85, false)] {
        let world = World::empty();
        pretend(&world, 7, minor);
        world.ptool_ok(&["init"]);
        world.ptool_ok(&["addtoken", "--pid=1", "--label=t", "--sopin=officer", "--userpin=user-pin"]);
        let root = world.path("root");
        std::fs::create_dir_all(&root).unwrap();
        let run = world.ptool(&["doctor", "--root", root.to_str().unwrap()]);
        assert_eq!(run.text().contains("tpm2-tss/issues/1700"), is_bad, "{run:?}");
        world.proxy.mark();
        let run = world.ptool(&["initpin", "--label=t", "--sopin=officer", "--userpin=another"]);
        assert_eq!(run.success(), !is_bad, "{run:?}");
        assert_eq!(world.proxy.mark().names().contains(&"PolicySecret"), !is_bad);
        if is_bad {
            assert!(run.stderr.contains("is known to fail"), "{run:?}");
            world.ptool_ok(&["changepin", "--label=t", "--old=user-pin", "--new=another"]);
            // Without sessions it is not concerned.
            world.configure("bus-protection = \"off\"\n");
            world.ptool_ok(&["initpin", "--label=t", "--sopin=officer", "--userpin=third-pin"]);
        }
    }
}

/// A TPM that nobody started: with a resource manager or a simulator of which we know nothing that is not ours to do.
#[test]
fn a_tpm_that_was_not_started_is_said_to_be_so() {
    let world = World::empty();
    world.proxy.interpose(|_, _| vec![0x80, 0x01, 0, 0, 0, 10, 0, 0, 0x01, 0x00]);
    let run = world.ptool(&["init"]);
    assert!(run.stderr.contains("TPM2_Startup"), "{run:?}");
    assert!(!run.stderr.contains("restart the machine"), "{run:?}");
}
