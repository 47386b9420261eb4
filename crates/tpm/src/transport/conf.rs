//! Where the TPM is: the TCTI configuration string.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The kernel's resource manager, where there is one TPM whose driver was bound once.
const RESOURCE_MANAGER: &str = "/dev/tpmrm0";
const DEVICES: &str = "/dev";
/// The resource managers' devices, and the bare ones, before their number: after the driver was bound anew the number is another.
const MANAGED: &str = "tpmrm";
const BARE: &str = "tpm";
const SWTPM_HOST: &str = "localhost";
const SWTPM_PORT: u16 = 2321;

/// How to reach a TPM, in the notation of tpm2-tss: `NAME[:CONF]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TctiConf {
    /// `device:/dev/tpmrm0`; `device` alone is the default device.
    Device(PathBuf),
    /// `swtpm:host=localhost,port=2321`; `swtpm` alone is just that.
    SwtpmTcp {
        /// Host name or address.
        host: String,
        /// Port of the TPM's data channel.
        port: u16,
    },
    /// `swtpm:path=/run/swtpm.sock`.
    SwtpmUnix(PathBuf),
    /// Anything else, left to libtss2-tctildr (feature `tcti`).
    Other(String),
}

impl TctiConf {
    /// The device of this machine: the first of [`TctiConf::devices`].
    pub fn default_device() -> Option<TctiConf> {
        TctiConf::devices().into_iter().next()
    }

    /// The devices of this machine, by their numbers: those of the kernel's resource managers where there are any, else the bare
    /// ones. Several are several TPMs.
    pub fn devices() -> Vec<TctiConf> {
        devices_in(Path::new(DEVICES)).into_iter().map(TctiConf::Device).collect()
    }
}

/// As [`TctiConf::devices`], of another directory of device nodes.
pub fn devices_in(directory: &Path) -> Vec<PathBuf> {
    let names: Vec<String> = std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    let numbered = |prefix: &str| {
        let number = |name: &str| {
            let number = name.strip_prefix(prefix)?;
            if number.bytes().all(|byte| byte.is_ascii_digit()) { number.parse::<u32>().ok() } else { None }
        };
        let mut found: Vec<(u32, PathBuf)> =
            names.iter().filter_map(|name| Some((number(name)?, directory.join(name)))).collect();
        found.sort();
        found.into_iter().map(|(_, path)| path).collect::<Vec<_>>()
    };
    Some(numbered(MANAGED)).filter(|managed| !managed.is_empty()).unwrap_or_else(|| numbered(BARE))
}

/// A TCTI configuration that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the TCTI configuration {text:?} is not valid: {reason}")]
pub struct ParseTctiError {
    text: String,
    reason: &'static str,
}

impl FromStr for TctiConf {
    type Err = ParseTctiError;

    fn from_str(text: &str) -> Result<TctiConf, ParseTctiError> {
        let fail = |reason| ParseTctiError { text: text.to_owned(), reason };
        let (name, conf) = text.split_once(':').unwrap_or((text, ""));
        match name {
            "" => Err(fail("it is empty")),
            "device" if conf.is_empty() => {
                Ok(TctiConf::default_device().unwrap_or_else(|| TctiConf::Device(PathBuf::from(RESOURCE_MANAGER))))
            }
            "device" => Ok(TctiConf::Device(PathBuf::from(conf))),
            "swtpm" => parse_swtpm(conf).map_err(fail),
            _ if text.contains('\0') => Err(fail("it contains a NUL")),
            _ => Ok(TctiConf::Other(text.to_owned())),
        }
    }
}

fn parse_swtpm(conf: &str) -> Result<TctiConf, &'static str> {
    let (mut host, mut port, mut path) = (None, None, None);
    for item in conf.split(',').filter(|item| !item.is_empty()) {
        let (key, value) = item.split_once('=').ok_or("swtpm takes key=value, separated by commas")?;
        match key {
            "host" if !value.is_empty() => host = Some(value.to_owned()),
            "port" => port = Some(value.parse().map_err(|_| "the port is not a number from 0 to 65535")?),
            "path" if !value.is_empty() => path = Some(PathBuf::from(value)),
            _ => return Err("swtpm takes host=, port= and path="),
        }
    }
    match (path, host, port) {
        (Some(path), None, None) => Ok(TctiConf::SwtpmUnix(path)),
        (Some(_), _, _) => Err("swtpm takes either path= or host= and port="),
        (None, host, port) => Ok(TctiConf::SwtpmTcp {
            host: host.unwrap_or_else(|| SWTPM_HOST.to_owned()),
            port: port.unwrap_or(SWTPM_PORT),
        }),
    }
}

impl fmt::Display for TctiConf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TctiConf::Device(path) => write!(f, "device:{}", path.display()),
            TctiConf::SwtpmTcp { host, port } => write!(f, "swtpm:host={host},port={port}"),
            TctiConf::SwtpmUnix(path) => write!(f, "swtpm:path={}", path.display()),
            TctiConf::Other(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> TctiConf {
        text.parse().unwrap()
    }

    #[test]
    fn known_forms_are_read_and_written_alike() {
        for text in
            ["device:/dev/tpm7", "swtpm:host=h,port=7", "swtpm:path=/x/y", "tabrmd:bus_name=a,bus_type=system", "mssim"]
        {
            assert_eq!(parse(text).to_string(), text);
        }
        assert_eq!(parse("swtpm").to_string(), "swtpm:host=localhost,port=2321");
        assert_eq!(parse("swtpm:port=9").to_string(), "swtpm:host=localhost,port=9");
        assert!(matches!(parse("device"), TctiConf::Device(_)));
        assert!(matches!(parse("mssim:host=a"), TctiConf::Other(_)));
    }

    #[test]
    fn a_resource_manager_of_any_number_comes_before_bare_devices() {
        let directory = std::env::temp_dir().join(format!("tpm-devices-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let found = |names: &[&str]| {
            names.iter().for_each(|name| std::fs::write(directory.join(name), "").unwrap());
            let found = devices_in(&directory);
            found.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        assert!(found(&["tpm", "tpmrm", "tpmrmx", "tty0"]).is_empty());
        assert_eq!(found(&["tpm1"]), ["tpm1"]);
        assert_eq!(found(&["tpmrm1"]), ["tpmrm1"]);
        assert_eq!(found(&["tpm0", "tpmrm10", "tpmrm2"]), ["tpmrm1", "tpmrm2", "tpmrm10"]);
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "swtpm:port=70000", "swtpm:path=/x,port=1", "swtpm:colour=red", "swtpm:host", "cmd:a\0b"] {
            assert!(text.parse::<TctiConf>().is_err(), "{text}");
        }
    }
}
