//! One call of the C interface as data: words, and the memory that some of them point to.
//!
//! A test describes the memory as a tree; the probe builds it, each piece of it right before an unreadable page, makes the
//! call, and sends the tree back as the call left it.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What the probe is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Request {
    /// `dlopen` the module; it is loaded once when the probe starts.
    Load,
    /// `dlclose` it.
    Unload,
    /// Call a function.
    Call {
        /// Its name.
        function: String,
        /// How its address is found.
        via: Via,
        /// At most ten, one for each parameter of the C function.
        arguments: Vec<Argument>,
    },
    /// Addresses of all functions, by each way.
    Addresses,
    /// Fork; the child listens on a socket at this path.
    Fork {
        /// Where.
        socket: String,
    },
    /// The process's open descriptors and what they lead to, and the lines of its memory map that name the module.
    Inspect,
    /// Call a function by its symbol, and say how much stack that took.
    Measure {
        /// Its name.
        function: String,
        /// As for a call.
        arguments: Vec<Argument>,
    },
    /// Close what the module has open, and open something of the program's own under the same numbers.
    Usurp(Usurper),
    /// What became of it.
    Damage,
}

/// What a program opens under numbers that were the module's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Usurper {
    /// Files with something in them.
    Files,
    /// Sockets that others connect to.
    Listeners,
    /// Connections.
    Sockets,
}

/// Ways to a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Via {
    /// The exported symbol.
    Symbol,
    /// `C_GetFunctionList`.
    List240,
    /// `C_GetInterface`, version 3.0.
    List300,
    /// `C_GetInterface`, version 3.2.
    List320,
}

/// What the probe answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Reply {
    /// Nothing to say.
    Done,
    /// It did not work.
    Failed(String),
    /// A call returned.
    Returned {
        /// `CK_RV`.
        rv: u64,
        /// The arguments, with the memory as it is now.
        arguments: Vec<Argument>,
    },
    /// Of [`Request::Addresses`].
    Addresses(BTreeMap<Via, BTreeMap<String, u64>>),
    /// Of [`Request::Fork`]: the child's process id.
    Forked(i32),
    /// Of [`Request::Inspect`].
    Inspected {
        /// Targets of the links in `/proc/self/fd`.
        descriptors: Vec<String>,
        /// Is the module mapped?
        mapped: bool,
    },
    /// Of [`Request::Measure`].
    Measured {
        /// `CK_RV`.
        rv: u64,
        /// Bytes of stack.
        stack: usize,
        /// The arguments, with the memory as it is now.
        arguments: Vec<Argument>,
    },
    /// Of [`Request::Usurp`]: what the numbers led to. Of [`Request::Damage`]: what is not as the program left it.
    Descriptors(Vec<String>),
}

/// One argument.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Argument {
    /// A number, a handle, a null pointer, a bad pointer.
    Word(u64),
    /// A pointer to memory.
    Pointer(Memory),
}

/// Memory that a pointer points to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// What stands there.
    pub pieces: Vec<Piece>,
    /// Off any alignment, by one byte.
    pub misaligned: bool,
}

/// A piece of memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Piece {
    /// Bytes as they are.
    Bytes(#[serde(serialize_with = "to_hex", deserialize_with = "from_hex")] Vec<u8>),
    /// A machine word.
    Word(u64),
    /// A pointer to other memory.
    Pointer(Memory),
}

impl Argument {
    /// The null pointer.
    pub const NULL: Argument = Argument::Word(0);

    /// A pointer to these bytes.
    pub fn bytes(bytes: &[u8]) -> Argument {
        Argument::Pointer(Memory::bytes(bytes))
    }

    /// A pointer to a buffer of so many bytes, filled with a pattern.
    pub fn buffer(len: usize) -> Argument {
        Argument::bytes(&vec![FILL; len])
    }

    /// A pointer to a word.
    pub fn place(word: u64) -> Argument {
        Argument::Pointer(Memory::of(vec![Piece::Word(word)]))
    }

    /// The bytes it points to, after a call.
    pub fn content(&self) -> &[u8] {
        match self {
            Argument::Pointer(memory) => match memory.pieces.as_slice() {
                [Piece::Bytes(bytes)] => bytes,
                other => panic!("not plain bytes: {other:?}"),
            },
            Argument::Word(word) => panic!("not a pointer: {word:#x}"),
        }
    }

    /// The word it points to, after a call.
    pub fn word(&self) -> u64 {
        match self {
            Argument::Pointer(memory) => match memory.pieces.as_slice() {
                [Piece::Word(word)] => *word,
                other => panic!("not a single word: {other:?}"),
            },
            Argument::Word(word) => panic!("not a pointer: {word:#x}"),
        }
    }
}

impl From<u64> for Argument {
    fn from(word: u64) -> Argument {
        Argument::Word(word)
    }
}

/// What fresh buffers are filled with.
pub const FILL: u8 = 0xa5;

impl Memory {
    /// Memory of these pieces.
    pub fn of(pieces: Vec<Piece>) -> Memory {
        Memory { pieces, misaligned: false }
    }

    /// Memory of these bytes.
    pub fn bytes(bytes: &[u8]) -> Memory {
        Memory::of(vec![Piece::Bytes(bytes.to_vec())])
    }

    /// The same, off any alignment.
    pub fn misaligned(self) -> Memory {
        Memory { misaligned: true, ..self }
    }
}

/// Writes one message as a line.
pub fn send(stream: &mut impl Write, message: &impl Serialize) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    stream.write_all(&line)
}

/// Reads one message; `None` at the end of the stream.
pub fn receive<T: DeserializeOwned>(stream: &mut impl BufRead) -> std::io::Result<Option<T>> {
    let mut line = Vec::new();
    stream.read_until(b'\n', &mut line)?;
    if line.is_empty() { Ok(None) } else { Ok(Some(serde_json::from_slice(&line)?)) }
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of hexadecimal digits.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| char::from(c).to_digit(16);
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::try_from(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?).ok()).collect()
}

fn to_hex<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex(bytes))
}

fn from_hex<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    unhex(&text).ok_or_else(|| serde::de::Error::custom("hexadecimal digits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_way() {
        let request = Request::Call {
            function: "C_SignInit".into(),
            via: Via::Symbol,
            arguments: vec![
                1.into(),
                Argument::NULL,
                Argument::Pointer(Memory::of(vec![
                    Piece::Word(6),
                    Piece::Pointer(Memory::bytes(b"\x00\xff").misaligned()),
                    Piece::Bytes(Vec::new()),
                ])),
            ],
        };
        let mut line = Vec::new();
        send(&mut line, &request).unwrap();
        let back: Request = receive(&mut line.as_slice()).unwrap().unwrap();
        assert_eq!(format!("{back:?}"), format!("{request:?}"));
        assert_eq!(receive::<Request>(&mut &b""[..]).unwrap().map(|_| ()), None);
        assert_eq!(unhex("00ff1"), None);
    }
}
