//! Specimens bent: anywhere, or where their form has a joint.

use super::Rng;
use super::der::mutate_der;

/// What a specimen is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Bytes with lengths in them.
    Binary,
    /// Words and marks.
    Text,
    /// DER, or PEM around it.
    Der,
    /// An octet, then responses of a TPM one after another.
    Answers,
}

/// Words of the forms that are read here.
const WORDS: [&str; 40] = [
    "---",
    "...",
    "!!map",
    "!!seq [",
    "]",
    "{",
    "}",
    "? ",
    ": ",
    "!!str \"",
    "!!int \"-1\"",
    "!!bool \"true\"",
    "&a ",
    "*a",
    "<<",
    "\"",
    "'",
    "\\u0000",
    "\\ud800",
    "%00",
    "%",
    "null",
    "[[[[[[[[",
    "{\"a\":",
    "18446744073709551616",
    "-1",
    "1e999",
    "0x",
    "pkcs11:",
    ";type=private",
    "sha256:",
    "all",
    "swtpm:path=",
    "swtpm:host=::1,port=65536",
    "device:",
    "\u{feff}",
    "\u{202e}",
    "-----BEGIN ",
    "-----END PRIVATE KEY-----",
    "ssh-rsa ",
];

/// A bent specimen. `others` are more of its kind, from which pieces may come.
pub fn mutate(specimen: &[u8], others: &[Vec<u8>], form: Form, rng: &mut Rng) -> Vec<u8> {
    let structured = match form {
        Form::Der if !rng.one_in(4) => der_or_pem(specimen, rng),
        Form::Answers if !rng.one_in(8) => Some(bend_answers(specimen, rng)),
        Form::Text if !rng.one_in(4) => Some(bend_text(specimen, rng)),
        _ => None,
    };
    let mut bytes = structured.unwrap_or_else(|| bend(specimen, rng));
    if rng.one_in(8) && !others.is_empty() {
        let other = rng.pick(others);
        let from = rng.below(other.len() + 1);
        bytes.truncate(rng.below(bytes.len() + 1));
        bytes.extend(&other[from..]);
    }
    // What is longer says nothing new, and takes longer.
    bytes.truncate(1 << 17);
    bytes
}

fn der_or_pem(specimen: &[u8], rng: &mut Rng) -> Option<Vec<u8>> {
    let blocks = keyfile::pem::blocks(specimen).unwrap_or_default();
    if blocks.is_empty() {
        return mutate_der(specimen, rng);
    }
    let bent = rng.below(blocks.len());
    let mut text = String::new();
    for (at, block) in blocks.iter().enumerate() {
        let content = block.content.expose();
        let content =
            if at == bent { mutate_der(content, rng).unwrap_or_else(|| bend(content, rng)) } else { content.to_vec() };
        text += &keyfile::pem::encode(&block.label, &content);
    }
    Some(text.into_bytes())
}

/// Changes of single bytes, numbers and ranges.
pub(super) fn bend(specimen: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = specimen.to_vec();
    for _ in 0..=rng.below(4) {
        let len = bytes.len();
        if len == 0 {
            bytes = rng.bytes(64);
            continue;
        }
        let at = rng.below(len);
        match rng.below(9) {
            0 => bytes[at] ^= 1 << rng.below(8),
            1 => bytes[at] = *rng.pick(&[0, 1, 0x7f, 0x80, 0xff, b'\n', b'"']),
            2 => bytes[at] = rng.number() as u8,
            3 => bytes.truncate(at),
            4 => {
                bytes.drain(at..(at + 1 + rng.below(16)).min(len));
            }
            5 => {
                let piece = rng.bytes(16);
                bytes.splice(at..at, piece);
            }
            6 => {
                let piece = bytes[at..(at + 1 + rng.below(64)).min(len)].to_vec();
                let to = rng.below(len);
                bytes.splice(to..to, piece);
            }
            7 => put_number(&mut bytes, at, rng),
            _ => {
                let end = (at + 1 + rng.below(32)).min(len);
                bytes[at..end].fill(*rng.pick(&[0, 0xff, b'A']));
            }
        }
    }
    bytes
}

/// A length or count of some width that means trouble, in either order of bytes.
fn put_number(bytes: &mut [u8], at: usize, rng: &mut Rng) {
    let width = *rng.pick(&[2, 4, 8]);
    let number = match rng.below(6) {
        0 => 0,
        1 => u64::MAX,
        2 => bytes.len() as u64,
        3 => (bytes.len() as u64).wrapping_sub(at as u64 + width as u64),
        4 => 1 << (8 * width - 1),
        _ => rng.number() >> (rng.below(8) * 8),
    };
    let octets = number.to_le_bytes();
    let mut octets = octets[..width].to_vec();
    if rng.one_in(2) {
        octets.reverse();
    }
    let end = (at + width).min(bytes.len());
    bytes[at..end].copy_from_slice(&octets[..end - at]);
}

fn bend_text(specimen: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = specimen.to_vec();
    for _ in 0..=rng.below(4) {
        // Between two words.
        let joints: Vec<usize> = (0..bytes.len()).filter(|at| b" \n,:;\"{}[]=".contains(&bytes[*at])).collect();
        let mut joint = || if joints.is_empty() { 0 } else { *rng.pick(&joints) };
        let (from, to) = (joint(), joint());
        let (from, to) = (from.min(to), from.max(to));
        match rng.below(6) {
            0 => {
                bytes.splice(from..from, rng.pick(&WORDS).bytes());
            }
            1 => {
                bytes.splice(from..to.min(from + 64), rng.pick(&WORDS).bytes());
            }
            2 => {
                bytes.drain(from..to.min(from + 64));
            }
            3 => {
                let piece = bytes[from..to].to_vec();
                bytes.splice(to..to, piece);
            }
            4 => {
                let most = if rng.one_in(8) { 20_000 } else { 50 };
                let many = rng.pick(&WORDS).repeat(1 + rng.below(most));
                bytes.splice(from..from, many.into_bytes());
            }
            _ => bytes = bend(&bytes, rng),
        }
        bytes.truncate(1 << 17);
    }
    bytes
}

/// The responses in a specimen: each as long as its header says.
pub(super) fn answers(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let said = bytes.get(2..6).map_or(0, |size| u32::from_be_bytes([size[0], size[1], size[2], size[3]]) as usize);
        let len = if (10..=bytes.len()).contains(&said) { said } else { bytes.len() };
        found.push(bytes[..len].to_vec());
        bytes = &bytes[len..];
    }
    found
}

fn bend_answers(specimen: &[u8], rng: &mut Rng) -> Vec<u8> {
    /// TPM_RC of all formats and layers, and what is none.
    const CODES: [u32; 16] = [
        0,
        0x100,
        0x101,
        0x120,
        0x12f,
        0x143,
        0x184,
        0x18b,
        0x1c4,
        0x902,
        0x903,
        0x910,
        0x918,
        0x921,
        0x98e,
        0xffff_ffff,
    ];
    let Some((first, rest)) = specimen.split_first() else { return Vec::new() };
    let mut frames = answers(rest);
    for _ in 0..=rng.below(2) {
        if frames.is_empty() {
            break;
        }
        let at = rng.below(frames.len());
        match rng.below(8) {
            0 => {
                frames.remove(at);
            }
            1 => frames.insert(at, frames[at].clone()),
            2 => {
                let other = rng.below(frames.len());
                frames.swap(at, other);
            }
            3 => {
                let code = rng.pick(&CODES).to_be_bytes();
                frames[at] = [&[0x80, 1, 0, 0, 0, 10], &code[..]].concat();
            }
            _ => {
                let (head, body) = frames[at].split_at(frames[at].len().min(10));
                let mut frame = [head, &bend(body, rng)].concat();
                // Mostly as long as it says: else the reader does not get far.
                if !rng.one_in(12) && frame.len() >= 6 {
                    let size = (frame.len() as u32).to_be_bytes();
                    frame[2..6].copy_from_slice(&size);
                }
                frames[at] = frame;
            }
        }
    }
    [&[*first][..], &frames.concat()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_says_what_comes() {
        let specimen = b"{\"sha256\": [{\"pcrs\": [4, 11]}]}".to_vec();
        for form in [Form::Binary, Form::Text, Form::Der, Form::Answers] {
            let run = |seed| {
                let mut rng = Rng::new(seed);
                (0..200).map(|_| mutate(&specimen, &[b"other".to_vec()], form, &mut rng)).collect::<Vec<_>>()
            };
            assert_eq!(run(1), run(1));
            assert_ne!(run(1), run(2));
            let changed = run(3).iter().filter(|bytes| **bytes != specimen).count();
            assert!(changed > 150, "{form:?}: only {changed} of 200 are bent");
        }
    }

    #[test]
    fn bent_der_is_der() {
        let der = keyfile::pem::encode("PUBLIC KEY", &[0x30, 6, 2, 1, 5, 4, 1, 9]);
        let mut rng = Rng::new(7);
        let whole = (0..200)
            .filter(|_| {
                let bent = mutate(der.as_bytes(), &[], Form::Der, &mut rng);
                let blocks = keyfile::pem::blocks(&bent).unwrap_or_default();
                blocks.first().is_some_and(|block| block.content.expose().first() == Some(&0x30))
            })
            .count();
        assert!(whole > 80, "{whole}");
    }
}
