//! The environment variables that this software reads, and what could be meant for it.

use std::ffi::OsString;

use super::Report;
use token::environment_is_trusted;

const KNOWN: [&str; 7] = [
    "TPM2_CRYPTOKI_TCTI",
    "TPM2_CRYPTOKI_STORE",
    "TPM2_CRYPTOKI_CONFIG",
    "TPM2_CRYPTOKI_LOG",
    "TPM2_CRYPTOKI_USERPIN",
    "TPM2_CRYPTOKI_SOPIN",
    "TPM2_CRYPTOKI_PASSPHRASE",
];

/// Those of tpm2-pkcs11 that count where ours is not set.
const PEERS: [(&str, &str); 2] =
    [("TPM2_PKCS11_TCTI", "TPM2_CRYPTOKI_TCTI"), ("TPM2_PKCS11_STORE", "TPM2_CRYPTOKI_STORE")];

const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

pub(super) fn examine(report: &mut Report, variables: &[(String, OsString)]) {
    if !environment_is_trusted() {
        report.warn(
            "environment",
            "this program runs with more rights than its caller, so that the environment is not read",
            "Run it without setuid and file capabilities.",
        );
        return;
    }
    let set = |name: &str| variables.iter().find(|(found, value)| found == name && !value.is_empty());
    let mut used = Vec::new();
    for (name, value) in variables.iter().filter(|(name, _)| name.starts_with("TPM2_CRYPTOKI_")) {
        let text = value.to_string_lossy();
        match name.as_str() {
            "TPM2_CRYPTOKI_USERPIN" | "TPM2_CRYPTOKI_SOPIN" => report.warn(
                "environment",
                format!("{name} holds a PIN, which every program of this user can read"),
                "A file (--userpin-file) or a systemd credential is read by ptool alone.",
            ),
            "TPM2_CRYPTOKI_PASSPHRASE" => report.warn(
                "environment",
                format!("{name} holds a passphrase, which every program of this user can read"),
                "A file (--passphrase-file) or a systemd credential is read by ptool alone.",
            ),
            "TPM2_CRYPTOKI_LOG" if !LEVELS.contains(&text.split(':').next().unwrap_or_default()) => report.warn(
                "environment",
                format!("TPM2_CRYPTOKI_LOG={text} is no level, so that nothing is logged"),
                "Levels are error, warn, info, debug and trace; warn:/path appends to a file.",
            ),
            name if KNOWN.contains(&name) => used.push(format!("{name}={text}")),
            name => report.warn(
                "environment",
                format!("{name} is set, and nothing reads it"),
                format!("Is it misspelt? There are {}.", KNOWN.join(", ")),
            ),
        }
    }
    for (peer, ours) in PEERS {
        if let (Some((_, value)), None) = (set(peer), set(ours)) {
            used.push(format!("{peer}={}", value.to_string_lossy()));
        }
    }
    match used.is_empty() {
        true => report.ok("environment", "no variable of this software is set"),
        false => report.ok("environment", used.join(" ")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    fn found(variables: &[(&str, &str)]) -> Vec<(Level, String)> {
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value))).collect();
        let mut report = Report::default();
        examine(&mut report, &variables);
        report.findings.into_iter().map(|finding| (finding.level, finding.finding)).collect()
    }

    #[test]
    fn what_nobody_reads_and_what_shows_a_pin_is_named() {
        let all = found(&[
            ("TPM2_CRYPTOKI_USERPIN", "geheim"),
            ("TPM2_CRYPTOKI_PASSPHRASE", "geheimer"),
            ("TPM2_CRYPTOKI_STOER", "/x"),
            ("TPM2_CRYPTOKI_LOG", "loud"),
            ("TPM2_PKCS11_STORE", "/y"),
            ("HOME", "/h"),
        ]);
        let warnings = all.iter().filter(|(level, _)| *level == Level::Warn).count();
        assert_eq!(warnings, 4, "{all:?}");
        assert!(all.iter().any(|(_, text)| text.contains("TPM2_CRYPTOKI_STOER")), "{all:?}");
        assert!(all.contains(&(Level::Ok, "TPM2_PKCS11_STORE=/y".to_owned())), "{all:?}");
        assert!(all.iter().all(|(_, text)| !text.contains("geheim")), "{all:?}");
        assert_eq!(found(&[]), [(Level::Ok, "no variable of this software is set".to_owned())]);
    }
}
