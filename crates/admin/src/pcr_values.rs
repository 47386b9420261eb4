//! Values of PCRs in files, as several programs write them.

use token::{Error, Result};

/// A file with all PCRs of all banks has some kilobytes.
const MAX_LEN: usize = 64 * 1024;

/// The values that a file gives to the selected PCRs. It may be one of
///
/// - the binary file of `tpm2_pcrread -o` for the same selection: the values, one after the other;
/// - what `ptool pcr show` and `tpm2_pcrread` print: the name of a bank, and below it a line `0: DIGITS` for each PCR;
/// - the same as JSON, `{"sha256": {"0": "DIGITS"}}`;
/// - what `systemd-measure calculate` prints: lines `11:sha256=DIGITS`.
///
/// PCRs that were not selected may be in a text, too.
///
/// # Errors
/// [`Error::ArgumentsBad`]: nothing of these, a PCR is missing, or it has two values.
pub(super) fn parse(file: &[u8], selection: &tpm::PcrSelection) -> Result<tpm::PcrValues> {
    let len = selection.bank().len();
    let indices: Vec<u8> = selection.indices().collect();
    let text =
        std::str::from_utf8(file).ok().filter(|text| !text.chars().any(|c| c.is_control() && !c.is_whitespace()));
    let Some(text) = text.filter(|text| text.len() <= MAX_LEN) else {
        if file.len() != len * indices.len() {
            return Err(Error::ArgumentsBad(
                "the file of PCR values is no text, and not as long as the values of the selected PCRs; `tpm2_pcrread -o` writes such a file for the same selection",
            ));
        }
        return Ok(indices.into_iter().zip(file.chunks(len).map(<[u8]>::to_vec)).collect());
    };
    let all = lines(text)?;
    let bank = selection.to_string();
    let bank = bank.split(':').next().unwrap_or_default();
    let mut values = tpm::PcrValues::new();
    for (name, pcr, value) in all {
        if name != bank || !indices.contains(&pcr) {
            continue;
        }
        if value.len() != len {
            return Err(Error::ArgumentsBad(
                "a PCR value in the file does not have the length of its bank; make the file anew, as by `ptool pcr show`",
            ));
        }
        if values.insert(pcr, value.clone()).is_some_and(|other| other != value) {
            return Err(Error::ArgumentsBad(
                "the file gives two values to one PCR; split it into one file for each state, such as each boot phase",
            ));
        }
    }
    if values.len() != indices.len() {
        return Err(Error::ArgumentsBad(
            "the file of PCR values lacks some of the selected PCRs; select others, or make the file anew",
        ));
    }
    Ok(values)
}

/// Bank, PCR and value of each line that has one.
fn lines(text: &str) -> Result<Vec<(String, u8, Vec<u8>)>> {
    let wrong = Error::ArgumentsBad(
        "the file of PCR values has a line that is not understood; `ptool pcr show`, `tpm2_pcrread` and `systemd-measure calculate` print what is",
    );
    if text.trim_start().starts_with('{') {
        return json(text).ok_or(wrong);
    }
    let mut found = Vec::new();
    let mut bank = String::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let (name, value) = match line.split_once(':') {
            Some((name, value)) => (plain(name), plain(value)),
            None if line.is_empty() || line == "---" => continue,
            None => return Err(wrong),
        };
        let pcr = name.parse::<u8>();
        match (pcr, value.split_once('=')) {
            (Ok(pcr), Some((bank, digits))) => found.push((bank.to_owned(), pcr, unhex(digits).ok_or(wrong.clone())?)),
            (Ok(pcr), None) => found.push((bank.clone(), pcr, unhex(value).ok_or(wrong.clone())?)),
            (Err(_), None) if value.is_empty() => bank = name.to_owned(),
            (Err(_), _) => return Err(wrong),
        }
    }
    Ok(found)
}

fn json(text: &str) -> Option<Vec<(String, u8, Vec<u8>)>> {
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    let mut found = Vec::new();
    for (bank, values) in value.as_object()? {
        for (pcr, value) in values.as_object()? {
            found.push((bank.clone(), pcr.parse().ok()?, unhex(value.as_str()?)?));
        }
    }
    Some(found)
}

/// Without blanks and quotes around it.
fn plain(text: &str) -> &str {
    let text = text.trim();
    ['\'', '"'].iter().find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote)).unwrap_or(text)
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")).unwrap_or(digits);
    base::hex::decode(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection() -> tpm::PcrSelection {
        "sha256:0,11".parse().unwrap()
    }

    fn expected() -> tpm::PcrValues {
        tpm::PcrValues::from([(0, vec![0xab; 32]), (11, vec![0; 32])])
    }

    #[test]
    fn every_format_gives_the_same_values() {
        let (a, b, c) = ("ab".repeat(32), "0".repeat(64), "1".repeat(40));
        let upper = a.to_uppercase();
        for text in [
            format!("  sha1:\n    0 : 0x{c}\n  sha256:\n    0 : 0x{upper}\n    7 : 0x{b}\n    11: 0x{b}\n"),
            format!("sha256:\n  '0': '{a}'\n  '11': '{b}'\n"),
            format!("---\n\"sha256\":\n  0: {a} # firmware\n  11: {b}\n"),
            format!("{{\"sha256\": {{\"0\": \"{a}\", \"11\": \"{b}\"}}, \"sha1\": {{\"0\": \"{c}\"}}}}"),
            format!("0:sha256={a}\n11:sha1={c}\n# phase\n11:sha256={b}\n11:sha256={b}\n"),
        ] {
            assert_eq!(parse(text.as_bytes(), &selection()).unwrap(), expected(), "{text}");
        }
        let binary = [[0xab; 32], [0; 32]].concat();
        assert_eq!(parse(&binary, &selection()).unwrap(), expected());
    }

    #[test]
    fn what_is_no_value_is_refused() {
        let (a, b) = ("ab".repeat(32), "0".repeat(64));
        for text in [
            String::new(),
            format!("sha256:\n  0: {a}\n"),
            format!("sha256:\n  0: {a}\n  11: {a}\n  11: {b}\n"),
            format!("sha256:\n  0: {a}00\n  11: {b}\n"),
            format!("sha1:\n  0: {a}\n  11: {b}\n"),
            format!("sha256:\n  0: {a}\n  11: {b}\nnonsense\n"),
            format!("sha256:\n  0: {a}\n  11: z{b}\n"),
            "{\"sha256\": []}".to_owned(),
            "{".to_owned(),
        ] {
            assert!(parse(text.as_bytes(), &selection()).is_err(), "{text}");
        }
        for len in [0, 32, 63, 65, 96, 1 << 20] {
            assert!(parse(&vec![0xff; len], &selection()).is_err(), "{len}");
        }
    }
}
