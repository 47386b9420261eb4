//! The TPM itself: is it there, is it enough, does it take PINs, has it room?

use base::digest::Hash;

use super::Report;
use token::Config;
use token::manage::{known_fault, open_tpm};

/// TPM 2.0 Part 2, 6.5.2: commands without which nothing works, by their codes.
const NEEDED: [(u32, &str); 11] = [
    (0x120, "EvictControl"),
    (0x131, "CreatePrimary"),
    (0x150, "ObjectChangeAuth"),
    (0x153, "Create"),
    (0x157, "Load"),
    (0x15d, "Sign"),
    (0x15e, "Unseal"),
    (0x165, "FlushContext"),
    (0x173, "ReadPublic"),
    (0x176, "StartAuthSession"),
    (0x17b, "GetRandom"),
];

/// The TPM, if it answers.
pub(super) fn examine(report: &mut Report, config: &Config) -> Option<tpm::Tpm> {
    let tpm = match open_tpm(config) {
        Ok(tpm) => tpm,
        Err(error) => {
            report.fail("tpm", error, "");
            return None;
        }
    };
    let capabilities = match tpm.capabilities() {
        Ok(capabilities) => capabilities,
        Err(error) => {
            report.fail("tpm", error, "");
            return None;
        }
    };
    report.ok(
        "tpm",
        format!(
            "{} {}, firmware {:08x}.{:08x}, TPM 2.0 revision {}.{:02}",
            capabilities.manufacturer,
            capabilities.vendor,
            capabilities.firmware[0],
            capabilities.firmware[1],
            capabilities.revision / 100,
            capabilities.revision % 100,
        ),
    );
    if let Some(fault) = known_fault(&capabilities) {
        report.warn("tpm", format!("{} ({})", fault.what, fault.source), fault.advice);
    }
    let missing: Vec<_> =
        NEEDED.iter().filter(|(code, _)| !capabilities.has_command(*code)).map(|(_, name)| *name).collect();
    if !missing.is_empty() {
        report.fail("tpm", format!("it has no {}", missing.join(", ")), "A firmware update may bring what is missing.");
    }
    let curves: Vec<_> = base::curve::Curve::ALL.into_iter().filter(|curve| capabilities.has_curve(*curve)).collect();
    match (curves.is_empty(), tpm.rsa_sizes()) {
        (_, Err(error)) => report.fail("tpm", error, ""),
        (true, Ok(sizes)) if sizes.is_empty() => report.fail("tpm", "it makes no key that this software knows", ""),
        (_, Ok(sizes)) => {
            let sizes = sizes.iter().map(|bits| format!("rsa{bits}"));
            let curves = curves.iter().map(|curve| format!("ecc{}", curve.order_bits()));
            report.ok("algorithms", sizes.chain(curves).collect::<Vec<_>>().join(" "));
        }
    }
    examine_ways(report, &tpm, &capabilities);
    examine_lockout(report, &tpm);
    examine_room(report, &tpm, &capabilities);
    Some(tpm)
}

/// What keys cannot do here that they can do on most TPMs; nothing is said of a TPM that does it all.
fn examine_ways(report: &mut Report, tpm: &tpm::Tpm, capabilities: &tpm::Capabilities) {
    match tpm.rsa_ways(capabilities) {
        Ok(Some(ways)) if !ways.raw => {
            let named = |can: &dyn Fn(Hash) -> bool| {
                let names: Vec<_> = Hash::ALL.into_iter().filter(|hash| can(*hash)).map(Hash::name).collect();
                if names.is_empty() { "none".to_owned() } else { names.join(" ") }
            };
            let text = format!(
                "raw RSA is refused; what is left: RSASSA with {}, RSAPSS with {}, OAEP with {}, RSAES {}",
                named(&|hash| ways.can_ssa(hash)),
                named(&|hash| ways.can_pss(hash)),
                named(&|hash| ways.can_oaep(hash)),
                if ways.es { "too" } else { "not" },
            );
            report.ok("rsa", text);
        }
        Ok(_) => {}
        Err(error) => report.fail("rsa", error, ""),
    }
    let modes = tpm::CipherModes::of(capabilities);
    if !modes.any() {
        report.ok("aes", "it does not encrypt for its users: AES keys are in memory, for as long as a session");
    } else if !modes.can(tpm::CipherMode::Ecb, tpm::Direction::Decrypt) {
        report.ok("aes", "AES keys of a token do not decrypt ECB and CBC, nor unwrap keys: it has neither mode");
    }
}

fn examine_lockout(report: &mut Report, tpm: &tpm::Tpm) {
    let lockout = match tpm.lockout() {
        Ok(lockout) => lockout,
        Err(error) => {
            report.fail("lockout", error, "");
            return;
        }
    };
    let tpm::Lockout { counter, max_tries, recovery_seconds, .. } = lockout;
    let wait = format!("it forgets one in {recovery_seconds} s");
    match (lockout.in_lockout, counter) {
        (true, _) => report.fail(
            "lockout",
            format!("the TPM takes no PIN now, after {counter} wrong ones: {wait}"),
            "Wait, or `ptool lockout reset`.",
        ),
        (false, 0) => report.ok("lockout", format!("no wrong PIN is counted; {max_tries} would lock the TPM")),
        (false, _) => report.warn(
            "lockout",
            format!("{counter} wrong PINs are counted, and {max_tries} lock the TPM; {wait}"),
            "Disk encryption and others count too; `ptool lockout reset` forgets them.",
        ),
    }
}

fn examine_room(report: &mut Report, tpm: &tpm::Tpm, capabilities: &tpm::Capabilities) {
    let occupancy = match tpm.occupancy() {
        Ok(occupancy) => occupancy,
        Err(error) => {
            report.fail("memory", error, "");
            return;
        }
    };
    let tpm::Occupancy { objects, sessions, .. } = occupancy;
    let (most_objects, most_sessions) = (capabilities.transient_min, capabilities.loaded_sessions_min);
    let text = format!(
        "{objects} objects and {sessions} sessions of others are loaded; {most_objects} and {most_sessions} fit"
    );
    let full = |held: usize, most: u32| u32::try_from(held).is_ok_and(|held| held + 1 >= most && held > 0);
    match full(objects, most_objects) || full(sessions, most_sessions) {
        true => report.warn(
            "memory",
            text,
            "What ended programs left behind: tpm2_flushcontext --transient-object, --loaded-session. A resource manager prevents it.",
        ),
        false => report.ok("memory", text),
    }
}
