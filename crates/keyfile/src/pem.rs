//! PEM (RFC 7468, and RFC 1421 for the headers of old files): tolerant of what people and mail programs do to it.

use base::Secret;
use base64ct::{Base64, Encoding};

use crate::error::{Error, Result};

/// One block of a file.
#[derive(Clone, Debug)]
pub struct Block {
    /// The words after BEGIN.
    pub label: String,
    /// The value of the header `DEK-Info`, by which old files say how they are encrypted.
    pub(crate) encryption: Option<String>,
    /// What the base64 text says.
    pub content: Secret,
}

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";
/// Characters of a line.
const WIDTH: usize = 64;

/// The blocks of a file, in their order; none for what is no PEM. Text between them says nothing.
///
/// # Errors
/// [`Error::Malformed`] for a block that does not end, or is no base64.
pub fn blocks(file: &[u8]) -> Result<Vec<Block>> {
    let mut blocks = Vec::new();
    let Ok(text) = std::str::from_utf8(file) else { return Ok(blocks) };
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        let Some(label) = line.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(DASHES)) else { continue };
        let end = format!("{END}{label}{DASHES}");
        let mut encryption = None;
        let mut base64 = Secret::zeroed(0);
        let mut ended = false;
        for line in lines.by_ref() {
            if line == end {
                ended = true;
                break;
            }
            match line.split_once(':') {
                Some(("DEK-Info", value)) => encryption = Some(value.trim().to_owned()),
                Some(_) => {}
                None => base64.extend(line.as_bytes()),
            }
        }
        if !ended {
            return Err(Error::Malformed("a PEM block has no end: the file is cut short"));
        }
        blocks.push(Block { label: label.to_owned(), encryption, content: decode(&base64)? });
    }
    Ok(blocks)
}

fn decode(base64: &Secret) -> Result<Secret> {
    let broken = Error::Malformed("a PEM block is not base64");
    let text = std::str::from_utf8(base64.expose()).map_err(|_| broken.clone())?;
    Base64::decode_vec(text).map(Secret::new).map_err(|_| broken)
}

/// A block with this label.
pub fn encode(label: &str, content: &[u8]) -> String {
    let base64 = Base64::encode_string(content);
    let mut text = format!("{BEGIN}{label}{DASHES}\n");
    // Base64 is ASCII: every place is the boundary of a character.
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(WIDTH));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text + END + label + DASHES + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let content: Vec<u8> = (0..=255).collect();
        let text = format!("a remark\n{}\r\n{}", encode("A KEY", &content), encode("X", b""));
        let blocks = blocks(text.replace('\n', "\r\n").as_bytes()).unwrap();
        assert_eq!(blocks.len(), 2);
        assert_eq!((blocks[0].label.as_str(), blocks[0].content.expose()), ("A KEY", &content[..]));
        assert!(blocks[1].content.is_empty());
    }

    #[test]
    fn broken_blocks_are_errors_and_other_text_is_none() {
        assert!(blocks(b"-----BEGIN A-----\nAAAA\n").is_err());
        assert!(blocks(b"-----BEGIN A-----\nAA$A\n-----END A-----").is_err());
        assert!(blocks(b"no block\n").unwrap().is_empty());
        assert!(blocks(&[0xff, 0x00]).unwrap().is_empty());
    }
}
