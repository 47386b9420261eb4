//! The kernel's TPM devices: `/dev/tpmrm0` behind its resource manager, `/dev/tpm0` bare.

use std::fs::OpenOptions;
use std::io::{Error, ErrorKind};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use base::descriptors::{Descriptor, Known};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::PollFlags;
use zeroize::Zeroizing;

use super::exchange::{Deadline, Once, Transport, TransportError, above_standard_streams, lost, ours, receive};
use super::stream;

/// `TPM_CC_StartAuthSession`, `TPM_RC_OBJECT_MEMORY`, `TPM_RC_SESSION_MEMORY`.
const CC_START_AUTH_SESSION: [u8; 4] = [0, 0, 1, 0x76];
const RC_OBJECT_MEMORY: u8 = 0x02;
const RC_SESSION_MEMORY: u8 = 0x03;

/// Opens a device node. A Unix socket in its place is a resource manager in user space, and is connected to.
pub(super) fn open(path: &Path) -> Result<Box<dyn Transport>, TransportError> {
    let managed = is_resource_manager(path);
    // A TPM command written to a file that is not a device would overwrite it: look before opening it for writing.
    let kind = std::fs::metadata(path).map_err(|error| not_there(path, &error))?.file_type();
    if kind.is_socket() {
        return Ok(Box::new(stream::unix(path)?.managed(managed)));
    }
    if !kind.is_char_device() {
        return Err(TransportError::NotThere(format!("{} is not a TPM device", path.display())));
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits())
        .open(path)
        .map_err(|error| not_there(path, &error))?;
    let fd = above_standard_streams(file.into())?;
    Ok(Box::new(Device { fd, managed, once: Once::new() }))
}

/// A device node. The driver takes a command in one write, works on it, and has the whole response for one read.
#[derive(Debug)]
struct Device {
    fd: Descriptor,
    managed: bool,
    once: Once,
}

impl Transport for Device {
    fn transact(&mut self, command: &[u8], deadline: Duration) -> Result<Zeroizing<Vec<u8>>, TransportError> {
        let fd = &self.fd;
        self.once.run(|| {
            let fd = ours(fd)?;
            let deadline = Deadline::after(deadline);
            let mut no_slot = false;
            let answer = send(fd, command, &deadline, &mut no_slot).and_then(|()| {
                receive(fd, &deadline, |buffer| {
                    let read = nix::unistd::read(fd, buffer);
                    no_slot |= read == Err(Errno::ENOMEM);
                    read
                })
            });
            if no_slot { Ok(no_slot_response(command)) } else { answer }
        })
    }

    /// A device tells nothing between two commands; the host may have closed it.
    fn has_ended(&self, _patience: Duration) -> bool {
        self.fd.look().is_none()
    }

    fn resource_managed(&self) -> bool {
        self.managed
    }

    fn exclusive(&self) -> bool {
        !self.managed
    }

    fn descriptor(&self) -> Option<Known> {
        self.fd.known()
    }
}

fn send(
    fd: std::os::fd::BorrowedFd<'_>,
    command: &[u8],
    deadline: &Deadline,
    no_slot: &mut bool,
) -> Result<(), TransportError> {
    loop {
        match nix::unistd::write(fd, command) {
            Ok(n) if n == command.len() => return Ok(()),
            Ok(_) => return Err(TransportError::Lost("the TPM driver took only a part of a command".into())),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => deadline.wait(fd, PollFlags::POLLOUT)?,
            Err(errno) => {
                // Kernels that do not know non-blocking commands run them inside write().
                *no_slot |= errno == Errno::ENOMEM;
                return Err(lost("writing to the TPM device", errno));
            }
        }
    }
}

/// The kernel's resource manager answers ENOMEM when a client has no slot left (three for objects, three for sessions), and the
/// new handle is flushed. It is the same thing as the TPM's own answer, which the layer above knows how to treat.
fn no_slot_response(command: &[u8]) -> Zeroizing<Vec<u8>> {
    let rc = match command.get(6..10) {
        Some(code) if code == CC_START_AUTH_SESSION => RC_SESSION_MEMORY,
        _ => RC_OBJECT_MEMORY,
    };
    Zeroizing::new(vec![0x80, 0x01, 0, 0, 0, 10, 0, 0, 0x09, rc])
}

/// As many links as Linux follows.
const MOST_LINKS: usize = 40;

/// The kernel names them `tpmrm0`, `tpmrm1` and so on; a link to one may have any name.
fn is_resource_manager(path: &Path) -> bool {
    let named = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().contains("tpmrm"));
    // One link after the other: what the C library resolves as a whole comes in memory of the host's allocator.
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        if named(&path) {
            return true;
        }
        match std::fs::read_link(&path) {
            Ok(target) => path = path.parent().map_or_else(|| target.clone(), |parent| parent.join(&target)),
            Err(_) => return false,
        }
    }
    false
}

fn not_there(path: &Path, error: &Error) -> TransportError {
    let path = path.display();
    TransportError::NotThere(match (error.kind(), error.raw_os_error()) {
        (ErrorKind::NotFound, _) => format!(
            "there is no {path}: switch the TPM on in the firmware, or load its driver (modprobe tpm_crb or tpm_tis)"
        ),
        (ErrorKind::PermissionDenied, _) => format!(
            "no permission to open {path}: add the user to the group that owns it \
             (usually: usermod -aG tss USER) and log in again"
        ),
        (ErrorKind::ResourceBusy, _) => {
            format!("{path} is in use by another process: use /dev/tpmrm0, which many can share")
        }
        (_, Some(code)) if [Errno::ENODEV, Errno::ENXIO].contains(&Errno::from_raw(code)) => {
            format!("no TPM is behind {path}: its driver is not loaded or the TPM is gone")
        }
        _ => format!("cannot open {path}: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::tests::{GET_RANDOM, SECOND, shuttle};
    use std::io::{Read, Write};
    use std::os::fd::{AsFd, AsRawFd};

    /// A terminal in raw mode: a character device with two ends.
    fn terminal() -> (std::path::PathBuf, std::fs::File) {
        use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
        let ends = nix::pty::openpty(None, None).unwrap();
        let mut settings = tcgetattr(&ends.slave).unwrap();
        cfmakeraw(&mut settings);
        tcsetattr(&ends.slave, SetArg::TCSANOW, &settings).unwrap();
        let path = nix::unistd::ttyname(ends.slave.as_fd()).unwrap();
        // Kept open for good: a terminal without any open slave reports a hang-up.
        std::mem::forget(ends.slave);
        (path, ends.master.into())
    }

    #[test]
    fn a_character_device_is_written_and_read() {
        let (path, mut other_end) = terminal();
        let tpm = swtpm_fixtures::SwTpm::start();
        let mut device = open(&path).unwrap();
        let relay = std::thread::spawn(move || {
            let mut upstream = std::net::TcpStream::connect(("127.0.0.1", tpm.port())).unwrap();
            for _ in 0..3 {
                shuttle(&mut other_end, &mut upstream);
            }
        });
        for _ in 0..3 {
            assert_eq!(device.transact(&GET_RANDOM, SECOND).unwrap().len(), 20);
        }
        relay.join().unwrap();
        assert!(!device.resource_managed());
        assert!(device.exclusive());
        assert!(device.descriptor().unwrap().fd() > 2);
    }

    #[test]
    fn a_silent_device_is_given_up_in_time() {
        let (path, _silent) = terminal();
        let mut device = open(&path).unwrap();
        let patience = Duration::from_millis(50);
        assert_eq!(device.transact(&GET_RANDOM, patience), Err(TransportError::TimedOut(patience)));
        assert!(matches!(device.transact(&GET_RANDOM, patience), Err(TransportError::Lost(_))), "given up");
    }

    #[test]
    fn a_device_that_goes_is_lost() {
        let (path, mut other_end) = terminal();
        let mut device = open(&path).unwrap();
        let gone = std::thread::spawn(move || {
            let mut command = [0; 12];
            other_end.read_exact(&mut command).unwrap();
            other_end.write_all(&[0x80, 1, 0, 0]).unwrap();
        });
        assert!(matches!(device.transact(&GET_RANDOM, SECOND), Err(TransportError::Lost(_))));
        gone.join().unwrap();
    }

    #[test]
    fn what_the_host_opened_in_its_place_is_not_written_to() {
        let (path, other_end) = terminal();
        let mut device = open(&path).unwrap();
        assert!(!device.has_ended(Duration::ZERO));
        let file = std::fs::File::from(rustix::fs::memfd_create("host", rustix::fs::MemfdFlags::empty()).unwrap());
        let number = device.descriptor().unwrap().fd();
        nix::unistd::close(number).unwrap();
        let hosts = rustix::io::fcntl_dupfd_cloexec(&file, number).unwrap();
        assert_eq!(hosts.as_raw_fd(), number);
        assert!(device.has_ended(Duration::ZERO));
        assert!(matches!(device.transact(&GET_RANDOM, SECOND), Err(TransportError::Lost(_))));
        device.hang_up();
        drop(device);
        assert_eq!(file.metadata().unwrap().len(), 0, "a command stands in the host's file");
        assert!(rustix::fs::fstat(&hosts).is_ok(), "closed what was the host's");
        let mut other_end = [nix::poll::PollFd::new(other_end.as_fd(), PollFlags::POLLIN)];
        assert_eq!(nix::poll::poll(&mut other_end, nix::poll::PollTimeout::ZERO), Ok(0));
    }

    #[test]
    fn what_is_not_a_device_is_not_written_to() {
        let file = tempfile_with(b"precious");
        let Err(TransportError::NotThere(text)) = open(&file).map(|_| ()) else { panic!("opened a file") };
        assert!(text.contains("is not a TPM device"), "{text}");
        assert_eq!(std::fs::read(&file).unwrap(), b"precious");
        std::fs::remove_file(&file).unwrap();
    }

    #[test]
    fn refusals_say_what_to_do() {
        let text = |code: Errno| {
            let error = Error::from_raw_os_error(code as i32);
            not_there(Path::new("/dev/tpmrm0"), &error).to_string()
        };
        assert!(text(Errno::EACCES).contains("usermod -aG tss"));
        assert!(text(Errno::ENOENT).contains("there is no /dev/tpmrm0"));
        assert!(text(Errno::EBUSY).contains("use /dev/tpmrm0"));
        assert!(text(Errno::ENODEV).contains("no TPM is behind"));
        assert!(text(Errno::EIO).contains("cannot open"));
        assert!(matches!(open(Path::new("/dev/no-such-tpm")).map(|_| ()), Err(TransportError::NotThere(_))));
    }

    #[test]
    fn no_slot_left_is_what_the_tpm_would_say() {
        let code = |rc: u8| Zeroizing::new(vec![0x80, 1, 0, 0, 0, 10, 0, 0, 9, rc]);
        assert_eq!(no_slot_response(&[0x80, 2, 0, 0, 0, 10, 0, 0, 1, 0x57]), code(2));
        assert_eq!(no_slot_response(&[0x80, 1, 0, 0, 0, 10, 0, 0, 1, 0x76]), code(3));
    }

    #[test]
    fn the_kernels_name_tells_a_resource_manager() {
        assert!(is_resource_manager(Path::new("/dev/tpmrm0")));
        assert!(!is_resource_manager(Path::new("/dev/tpm0")));
        assert!(!is_resource_manager(Path::new("/tpmrm/tpm0")));
    }

    fn tempfile_with(contents: &[u8]) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("not-a-device-{}", std::process::id()));
        std::fs::write(&path, contents).unwrap();
        path
    }
}
