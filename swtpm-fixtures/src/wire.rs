//! TPM commands and responses as bytes on a stream, and a client that sends them.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Tag, size, and command or response code (TPM 2.0 Part 1, 18.2).
pub(crate) const HEADER: usize = 10;

/// `TPM_ST_NO_SESSIONS`.
pub(crate) const NO_SESSIONS: u16 = 0x8001;

/// `TPM_ST_SESSIONS`.
pub(crate) const SESSIONS: u16 = 0x8002;

/// Nothing that a TPM says is as long as this.
const MAX: usize = 64 * 1024;

/// How long a fixture waits for its own TPM. Long, because a client may hold the only connection for its idle time.
const PATIENCE: Duration = Duration::from_secs(20);

/// Reads one command or response; `None` when the stream ends before its first byte.
pub(crate) fn read_frame(stream: &mut impl Read) -> Result<Option<Vec<u8>>> {
    let mut frame = vec![0; HEADER];
    let first = loop {
        match stream.read(&mut frame) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => break other?,
        }
    };
    if first == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut frame[first..])?;
    let size = be32(&frame, 2) as usize;
    if !(HEADER..=MAX).contains(&size) {
        return Err(Error::new(ErrorKind::InvalidData, "size of a TPM frame"));
    }
    frame.resize(size, 0);
    stream.read_exact(&mut frame[HEADER..])?;
    Ok(Some(frame))
}

/// The big-endian word at `offset`, 0 where the bytes end.
pub(crate) fn be32(bytes: &[u8], offset: usize) -> u32 {
    match bytes.get(offset..offset + 4) {
        Some(word) => u32::from_be_bytes(word.try_into().unwrap()),
        None => 0,
    }
}

/// Overwrites the big-endian word at `offset`.
pub(crate) fn put32(bytes: &mut [u8], offset: usize, value: u32) {
    bytes[offset..offset + 4].copy_from_slice(&value.to_be_bytes());
}

/// A command: header, then `body`.
pub(crate) fn command(tag: u16, code: u32, body: &[&[u8]]) -> Vec<u8> {
    frame(tag, code, body)
}

/// The response that is nothing but a response code.
pub(crate) fn refusal(rc: u32) -> Vec<u8> {
    frame(NO_SESSIONS, rc, &[])
}

fn frame(tag: u16, code: u32, body: &[&[u8]]) -> Vec<u8> {
    let size = HEADER + body.iter().map(|part| part.len()).sum::<usize>();
    let mut frame = Vec::with_capacity(size);
    frame.extend_from_slice(&tag.to_be_bytes());
    frame.extend_from_slice(&(size as u32).to_be_bytes());
    frame.extend_from_slice(&code.to_be_bytes());
    for part in body {
        frame.extend_from_slice(part);
    }
    frame
}

/// A connection that sends commands as they are: for tests of what is below the TPM layer.
///
/// `swtpm` serves one connection at a time: while this one is open, others wait.
#[derive(Debug)]
pub struct RawClient {
    stream: Stream,
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl RawClient {
    /// Connects to a data port on 127.0.0.1.
    pub fn connect(port: u16) -> Result<RawClient> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(RawClient { stream: Stream::Tcp(stream) })
    }

    /// Connects to a Unix socket.
    pub fn connect_unix(path: &Path) -> Result<RawClient> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(RawClient { stream: Stream::Unix(stream) })
    }

    /// Sends a whole command and reads the whole response. The error is `UnexpectedEof` when the
    /// connection ends, and `WouldBlock` when there is no answer in 20 seconds.
    pub fn transact(&mut self, command: &[u8]) -> Result<Vec<u8>> {
        let answer = match &mut self.stream {
            Stream::Tcp(stream) => {
                stream.write_all(command)?;
                read_frame(stream)
            }
            Stream::Unix(stream) => {
                stream.write_all(command)?;
                read_frame(stream)
            }
        };
        answer?.ok_or_else(|| Error::new(ErrorKind::UnexpectedEof, "the TPM closed the connection"))
    }

    /// Sends a command without sessions: its code, and the bytes after the header. The response code, and the
    /// bytes after the response's header.
    pub fn command(&mut self, code: u32, body: &[u8]) -> Result<(u32, Vec<u8>)> {
        self.exchange(NO_SESSIONS, code, &[body])
    }

    /// Sends a command authorised by one empty password: its code, its handles, the bytes after the
    /// authorisation area.
    pub fn command_with_empty_password(
        &mut self,
        code: u32,
        handles: &[u32],
        parameters: &[u8],
    ) -> Result<(u32, Vec<u8>)> {
        let handles: Vec<u8> = handles.iter().flat_map(|h| h.to_be_bytes()).collect();
        // size 9: TPM_RS_PW, an empty nonce, no attributes, an empty HMAC
        let authorisation = [0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0];
        self.exchange(SESSIONS, code, &[&handles, &authorisation, parameters])
    }

    fn exchange(&mut self, tag: u16, code: u32, body: &[&[u8]]) -> Result<(u32, Vec<u8>)> {
        let response = self.transact(&command(tag, code, body))?;
        Ok((be32(&response, 6), response[HEADER..].to_vec()))
    }
}
