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
/// What is taken for the end of a line where a shell or a JSON file kept it from being one.
const ESCAPED: [&[u8]; 2] = [b"\\r", b"\\n"];

/// The blocks of a file, in their order; none for what is no PEM. Text between them says nothing, in whatever encoding it is. The marks
/// are looked for wherever they stand: mail programs and environment variables make one line of all, or put characters before each.
///
/// # Errors
/// [`Error::Malformed`] for a block that does not end, or is no base64.
pub fn blocks(file: &[u8]) -> Result<Vec<Block>> {
    let mut blocks = Vec::new();
    let mut rest = file;
    while let Some((_, after)) = split(rest, BEGIN.as_bytes()) {
        let Some((label, after)) = split(after, DASHES.as_bytes()) else { break };
        let Some(label) = label_of(label) else {
            rest = after;
            continue;
        };
        let (body, after) =
            split(after, END.as_bytes()).ok_or(Error::Malformed("a PEM block has no end: the file is cut short"))?;
        blocks.push(block(label, body)?);
        rest = after;
    }
    Ok(blocks)
}

/// What is before and after the first place where this stands.
fn split<'a>(bytes: &'a [u8], mark: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = bytes.windows(mark.len()).position(|window| window == mark)?;
    Some((bytes.get(..at)?, bytes.get(at + mark.len()..)?))
}

/// Printable characters (RFC 7468, 3).
fn label_of(label: &[u8]) -> Option<&str> {
    let label = std::str::from_utf8(label).ok()?;
    label.chars().all(|c| c == ' ' || c.is_ascii_graphic()).then_some(label)
}

fn block(label: &str, body: &[u8]) -> Result<Block> {
    let mut encryption = None;
    let mut base64 = Secret::zeroed(0);
    for line in body.split(|byte| matches!(byte, b'\r' | b'\n')) {
        match line.iter().position(|byte| *byte == b':') {
            None => digits(line, &mut base64),
            Some(colon) => {
                let (name, value) = line.split_at(colon);
                if name.trim_ascii() == b"DEK-Info" {
                    let value = value.get(1..).unwrap_or_default().trim_ascii();
                    encryption = Some(String::from_utf8_lossy(value).into_owned());
                }
            }
        }
    }
    Ok(Block { label: label.to_owned(), encryption, content: decode(&base64)? })
}

/// The characters of a line without white space.
fn digits(mut line: &[u8], base64: &mut Secret) {
    while let Some((first, after)) = line.split_first() {
        let escaped = ESCAPED.iter().find(|escaped| line.starts_with(escaped));
        line = escaped.and_then(|escaped| line.get(escaped.len()..)).unwrap_or(after);
        if escaped.is_none() && !first.is_ascii_whitespace() {
            base64.extend(&[*first]);
        }
    }
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

    #[test]
    fn what_people_and_programs_do_to_it() {
        let text = encode("A KEY", &[7; 90]);
        for changed in [
            text.replace('\n', "\r"),
            text.replace('\n', " "),
            text.replace('\n', "\\n"),
            text.replace('\n', "\n\n\t"),
            text.replace("END A KEY", "END ANOTHER KEY"),
            text.replace('\n', ""),
        ] {
            let blocks = blocks(changed.as_bytes()).unwrap();
            assert_eq!((blocks.len(), blocks[0].content.expose()), (1, &[7; 90][..]), "{changed}");
        }
        let latin_1 = [b"friendlyName: M\xfcller\n", text.as_bytes()].concat();
        assert_eq!(blocks(&latin_1).unwrap().len(), 1);
    }
}
