//! The way to the TPM: its TCTI, and for the machine's own TPM its device nodes and who may open them.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::{Examination, Report};
use token::Config;

/// The group whose members may open the TPM on most distributions.
const GROUP: &str = "tss";

pub(super) fn examine(report: &mut Report, config: &Config, examination: &Examination) {
    let source = ["TPM2_CRYPTOKI_TCTI", "TPM2_PKCS11_TCTI"]
        .into_iter()
        .find(|name| examination.variable(name).is_some())
        .unwrap_or("the configuration file");
    let node = match &config.tcti {
        None => None,
        Some(text) => match text.parse() {
            Ok(tpm::TctiConf::Device(path)) => Some(path),
            Ok(_) => {
                report.ok("tcti", format!("{text} ({source}); the machine's own devices are not used"));
                return;
            }
            Err(error) => {
                let error: tpm::ParseTctiError = error;
                report.fail("tcti", error, format!("Correct it in {source}; docs/CONFIGURATION.md has the forms."));
                return;
            }
        },
    };
    match &node {
        Some(path) => report.ok("tcti", format!("device:{} ({source})", path.display())),
        None => report.ok("tcti", "none is configured: the machine's own TPM"),
    }
    examine_nodes(report, examination, node);
}

fn examine_nodes(report: &mut Report, examination: &Examination, wanted: Option<PathBuf>) {
    let chips = numbered(&examination.system("/sys/class/tpm"), "tpm");
    let version = |chip: &str| {
        std::fs::read_to_string(examination.system("/sys/class/tpm").join(chip).join("tpm_version_major")).ok()
    };
    if let Some(chip) = chips.iter().find(|chip| version(chip).is_some_and(|version| version.trim() == "1")) {
        report.fail(
            "device",
            format!("{chip} is a TPM 1.2"),
            "This software needs a TPM 2.0; some firmware can switch between the two.",
        );
        return;
    }
    let devices = tpm::devices_in(&examination.system("/dev"));
    let name = devices.first().and_then(|path| path.file_name());
    let path = match (&wanted, name) {
        (Some(path), _) => path.clone(),
        (None, Some(name)) => Path::new("/dev").join(name),
        (None, None) => {
            let advice = match chips.is_empty() {
                true => {
                    "Enable it in the firmware (TPM, PTT or fTPM), or name another with TPM2_CRYPTOKI_TCTI; \
                         `ptool shell --swtpm` tries everything with a software TPM."
                }
                false => {
                    "The kernel knows a TPM, but udev made no device node: in a container, pass it in (/dev/tpmrm0)."
                }
            };
            report.fail("device", "there is neither /dev/tpmrm0 nor /dev/tpm0, nor one with another number", advice);
            return;
        }
    };
    let is_manager = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("tpmrm"));
    match is_manager {
        true => report.ok("resource manager", format!("{} is that of the kernel", path.display())),
        false => report.warn(
            "resource manager",
            format!("{} has none: programs get in each other's way", path.display()),
            "Use device:/dev/tpmrm0, which kernels since 4.12 have.",
        ),
    }
    examine_access(report, examination, &path);
}

fn examine_access(report: &mut Report, examination: &Examination, path: &Path) {
    let shown = path.display();
    let place = examination.system(path);
    let metadata = match std::fs::metadata(&place) {
        Ok(metadata) => metadata,
        Err(error) => {
            report.fail("device", format!("{shown}: {error}"), "Correct the TCTI, or load the kernel's TPM driver.");
            return;
        }
    };
    if accessat(CWD, &place, Access::READ_OK | Access::WRITE_OK, AtFlags::EACCESS).is_ok() {
        report.ok("device", format!("{shown} can be opened by this user"));
        return;
    }
    let advice = why_not(&metadata, &Groups::of(examination));
    report.fail(
        "device",
        format!("{shown} cannot be opened by this user (mode {:03o})", metadata.mode() & 0o777),
        advice,
    );
}

/// The group that may open the TPM, as the system has it and as this process has it.
struct Groups {
    /// Number and members of the group, if there is one.
    group: Option<(u32, Vec<String>)>,
    user: Option<String>,
    mine: Vec<u32>,
}

impl Groups {
    fn of(examination: &Examination) -> Self {
        let mine = rustix::process::getgroups().unwrap_or_default().into_iter().map(rustix::process::Gid::as_raw);
        Self {
            group: read_group(&std::fs::read_to_string(examination.system("/etc/group")).unwrap_or_default()),
            user: examination
                .variable("USER")
                .or_else(|| examination.variable("LOGNAME"))
                .map(|user| user.to_string_lossy().into_owned()),
            mine: mine.chain([rustix::process::getegid().as_raw()]).collect(),
        }
    }
}

/// Number and members of the group, from the text of /etc/group.
fn read_group(text: &str) -> Option<(u32, Vec<String>)> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let number = fields.nth(1)?.parse().ok()?;
        let members = fields.next().unwrap_or_default().split(',').map(str::to_owned).collect();
        (name == GROUP).then_some((number, members))
    })
}

fn why_not(metadata: &Metadata, groups: &Groups) -> String {
    let user = groups.user.as_deref().unwrap_or("$USER");
    let Some((group, members)) = &groups.group else {
        return format!(
            "There is no group {GROUP}: a udev rule gives the device to one, such as that of Debian's tpm-udev."
        );
    };
    if metadata.gid() != *group || metadata.mode() & 0o060 != 0o060 {
        return format!(
            "It is not open to group {GROUP}: install the udev rule of the distribution (Debian: tpm-udev), and restart."
        );
    }
    if groups.mine.contains(group) {
        return "A security module (SELinux, AppArmor) or the sandbox of a service forbids it; see the system's log."
            .to_owned();
    }
    match members.iter().any(|member| member == user) {
        true => format!("You are a member of group {GROUP}, but this session does not know yet: log in again."),
        false => format!("sudo usermod -aG {GROUP} {user}, then log in again."),
    }
}

/// Entries such as tpm0, tpm1, in order.
fn numbered(directory: &Path, prefix: &str) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| {
            name.strip_prefix(prefix)
                .is_some_and(|number| !number.is_empty() && number.chars().all(|c| c.is_ascii_digit()))
        })
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn who_may_not_open_the_device_is_told_why() {
        let dir = tempfile::tempdir().unwrap();
        let node = dir.path().join("tpmrm0");
        std::fs::write(&node, "").unwrap();
        std::fs::set_permissions(&node, std::fs::Permissions::from_mode(0o660)).unwrap();
        let metadata = std::fs::metadata(&node).unwrap();
        let said = |group: Option<(u32, Vec<String>)>, mine: &[u32]| {
            why_not(&metadata, &Groups { group, user: Some("eva".to_owned()), mine: mine.to_vec() })
        };
        let own = metadata.gid();
        let of = |number: u32, members: &[&str]| Some((number, members.iter().map(|m| (*m).to_owned()).collect()));
        assert!(said(None, &[]).contains("no group tss"));
        assert!(said(of(own + 1, &["eva"]), &[]).contains("udev rule"));
        assert!(said(of(own, &["adam"]), &[]).contains("usermod -aG tss eva"));
        assert!(said(of(own, &["adam", "eva"]), &[]).contains("log in again"));
        assert!(said(of(own, &["eva"]), &[own]).contains("security module"));
    }

    #[test]
    fn the_group_file_is_read() {
        let text = "root:x:0:\ntss:x:113:adam,eva\nbroken\n";
        assert_eq!(read_group(text), Some((113, vec!["adam".to_owned(), "eva".to_owned()])));
        assert_eq!(read_group("tssx:x:1:\n"), None);
    }
}
