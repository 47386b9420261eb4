//! How programs find the module: its file, p11-kit's configuration, OpenSSL's.

use std::path::{Path, PathBuf};

use super::{Examination, Report};

/// The module's file name.
pub const MODULE: &str = "libtpm2_cryptoki.so";

/// Where p11-kit looks for module files: the system's configuration and the packages'.
const P11_KIT: [&str; 2] = ["/etc/pkcs11/modules", "/usr/share/p11-kit/modules"];
/// Where an installation under /usr/local puts its module file, which p11-kit does not look at.
const P11_KIT_LOCAL: &str = "/usr/local/share/p11-kit/modules";

pub(super) fn examine(report: &mut Report, examination: &Examination) {
    // Beside the program that runs is a module of this machine, not of the image that is looked at.
    let program = examination.program.as_deref().filter(|_| examination.root == Path::new("/"));
    match find_module(&examination.root, program) {
        Some(path) => report.ok("module", path.display()),
        None => report.warn(
            "module",
            format!("{MODULE} was not found where modules are installed"),
            "`make install` puts it into /usr/local/lib/pkcs11.",
        ),
    }
    examine_p11_kit(report, examination);
    examine_openssl(report, examination);
}

/// The installed module: beside the program or in the `lib` directory next to it, else where systems have PKCS#11 modules.
#[must_use]
pub fn find_module(root: &Path, program: Option<&Path>) -> Option<PathBuf> {
    let mut directories = Vec::new();
    if let Some(directory) = program.and_then(Path::parent) {
        directories.push(directory.to_owned());
        if let Some(prefix) = directory.parent() {
            directories.extend(libraries(&prefix.join("lib")));
        }
    }
    for lib in ["usr/local/lib", "usr/lib", "usr/lib64"] {
        directories.extend(libraries(&root.join(lib)));
    }
    directories.into_iter().map(|directory| directory.join(MODULE)).find(|path| path.is_file())
}

/// `lib/pkcs11` and, as Debian has it, `lib/TRIPLET/pkcs11`.
fn libraries(lib: &Path) -> Vec<PathBuf> {
    let mut found = vec![lib.join("pkcs11")];
    found.extend(subdirectories(lib).into_iter().map(|directory| directory.join("pkcs11")));
    found
}

fn subdirectories(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    found.sort();
    found
}

fn examine_p11_kit(report: &mut Report, examination: &Examination) {
    // p11-kit does not look into the home directory of root.
    let user = examination
        .variable("HOME")
        .filter(|_| !rustix::process::geteuid().is_root())
        .map(|home| Path::new(home).join(".config/pkcs11/modules"));
    let places: Vec<PathBuf> = P11_KIT.iter().map(|path| examination.system(path)).chain(user).collect();
    let files: Vec<(PathBuf, String)> = places.iter().flat_map(|place| module_files(place)).collect();
    let ours: Vec<_> = files.iter().filter(|(_, module)| module.contains(MODULE)).collect();
    for (file, module) in &ours {
        let found = match module.starts_with('/') {
            true => examination.system(module).is_file(),
            // A name without a directory is looked for where p11-kit's own modules are.
            false => ["usr/lib", "usr/lib64"]
                .iter()
                .flat_map(|lib| libraries(&examination.root.join(lib)))
                .any(|directory| directory.join(module).is_file()),
        };
        match found {
            true => report.ok("p11-kit", format!("{} loads {module}", file.display())),
            false => report.fail(
                "p11-kit",
                format!("{} names {module}, which is not there", file.display()),
                "Correct its line `module:`, or install the module there.",
            ),
        }
    }
    if ours.is_empty() {
        let local = examination.system(P11_KIT_LOCAL);
        match module_files(&local).iter().find(|(_, module)| module.contains(MODULE)) {
            Some((file, _)) => report.warn(
                "p11-kit",
                format!("does not look at {}", file.display()),
                format!("sudo ln -s {} /etc/pkcs11/modules/", file.display()),
            ),
            None => report.ok(
                "p11-kit",
                "is not set up (GnuTLS and others find modules by it): `ptool config --snippet p11-kit`",
            ),
        }
    }
}

/// Module files of a directory, each with what its line `module:` says.
fn module_files(directory: &Path) -> Vec<(PathBuf, String)> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut found: Vec<(PathBuf, String)> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "module"))
        .filter_map(|path| {
            let text = std::fs::read_to_string(&path).ok()?;
            let module = text.lines().find_map(|line| line.trim().strip_prefix("module:"))?.trim().to_owned();
            Some((path, module))
        })
        .collect();
    found.sort();
    found
}

fn examine_openssl(report: &mut Report, examination: &Examination) {
    let file = match examination.variable("OPENSSL_CONF") {
        Some(path) => PathBuf::from(path),
        None => ["/etc/ssl/openssl.cnf", "/etc/pki/tls/openssl.cnf"]
            .iter()
            .map(|path| examination.system(path))
            .find(|path| path.is_file())
            .unwrap_or_else(|| examination.system("/etc/ssl/openssl.cnf")),
    };
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    // The provider's key and the engine's; both are the path of the module.
    let paths = settings(&text, "pkcs11-module-path").map(|path| (path, Bridge::Provider));
    let engines = settings(&text, "MODULE_PATH").map(|path| (path, Bridge::Engine));
    let ours: Vec<_> = paths.chain(engines).filter(|(path, _)| path.contains(MODULE)).collect();
    if ours.is_empty() {
        report.ok("openssl", "is not set up: `ptool config --snippet openssl-provider` or openssl-engine");
        return;
    }
    for (path, bridge) in ours {
        if !examination.system(&path).is_file() {
            report.fail(
                "openssl",
                format!("{} names {path}, which is not there", file.display()),
                "Correct the path, or install the module there.",
            );
        } else if let Some(missing) = bridge.missing(examination) {
            report.fail(
                "openssl",
                format!("{} uses {missing}, which is not installed", file.display()),
                bridge.package(),
            );
        } else {
            report.ok("openssl", format!("{} loads {path} by the {}", file.display(), bridge.name()));
        }
    }
    if settings(&text, "openssl_conf").next().is_none() {
        report.warn(
            "openssl",
            format!("{} has no line `openssl_conf = ...`: its sections are not read", file.display()),
            "Put it at the top of the file, as `ptool config --snippet openssl-provider` prints it.",
        );
    }
}

#[derive(Clone, Copy, Debug)]
enum Bridge {
    Provider,
    Engine,
}

impl Bridge {
    fn name(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Engine => "engine",
        }
    }

    fn package(self) -> &'static str {
        match self {
            Self::Provider => "Install it (Debian: pkcs11-provider).",
            Self::Engine => "Install it (Debian: libengine-pkcs11-openssl).",
        }
    }

    /// What OpenSSL would load, if it is nowhere that OpenSSL looks.
    fn missing(self, examination: &Examination) -> Option<&'static str> {
        let (directory, name) = match self {
            Self::Provider => ("ossl-modules", "pkcs11.so"),
            Self::Engine => ("engines-3", "pkcs11.so"),
        };
        let there = ["usr/lib", "usr/lib64", "usr/local/lib", "usr/local/lib64"].iter().any(|lib| {
            let lib = examination.root.join(lib);
            let mut places = subdirectories(&lib);
            places.push(lib);
            places.iter().any(|place| place.join(directory).join(name).is_file())
        });
        let what = match self {
            Self::Provider => "pkcs11-provider",
            Self::Engine => "the pkcs11 engine",
        };
        (!there).then_some(what)
    }
}

/// Values of a key in OpenSSL's configuration syntax, in whatever section.
fn settings(text: &str, key: &str) -> impl Iterator<Item = String> {
    let lines = text.lines().filter_map(move |line| {
        let line = line.split('#').next().unwrap_or_default();
        let (found, value) = line.split_once('=')?;
        (found.trim() == key).then(|| value.trim().trim_matches('"').to_owned())
    });
    lines.collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
mod tests {
    use super::super::{Finding, Level};
    use super::*;

    fn examined(files: &[(&str, &str)]) -> Vec<Finding> {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let examination = Examination {
            root: dir.path().to_owned(),
            variables: Vec::new(),
            program: None,
            label: None,
            user_pin: None,
            owner_auth: base::Secret::zeroed(0),
            repair: false,
        };
        let mut report = Report::default();
        examine(&mut report, &examination);
        report.findings
    }

    fn levels(findings: &[Finding]) -> Vec<(&str, Level)> {
        findings.iter().map(|finding| (finding.subject.as_str(), finding.level)).collect()
    }

    const SO: &str = "usr/lib/x86_64-linux-gnu/pkcs11/libtpm2_cryptoki.so";
    const P11: &str = "usr/share/p11-kit/modules/tpm2-cryptoki.module";

    #[test]
    fn an_empty_system_has_nothing_set_up() {
        let found = examined(&[]);
        assert_eq!(levels(&found), [("module", Level::Warn), ("p11-kit", Level::Ok), ("openssl", Level::Ok)]);
    }

    #[test]
    fn a_module_file_is_followed_to_the_module() {
        let found = examined(&[(SO, ""), (P11, "module: libtpm2_cryptoki.so\n")]);
        assert_eq!(levels(&found)[..2], [("module", Level::Ok), ("p11-kit", Level::Ok)], "{found:?}");
        let found = examined(&[(P11, "critical: no\nmodule: /opt/libtpm2_cryptoki.so\n")]);
        assert_eq!(levels(&found)[1], ("p11-kit", Level::Fail), "{found:?}");
        let local = "usr/local/share/p11-kit/modules/tpm2-cryptoki.module";
        let found = examined(&[(local, "module: /usr/local/lib/pkcs11/libtpm2_cryptoki.so\n")]);
        assert_eq!(levels(&found)[1], ("p11-kit", Level::Warn), "{found:?}");
        assert!(found[1].advice.contains("ln -s"), "{found:?}");
    }

    #[test]
    fn openssl_needs_its_bridge_and_its_first_line() {
        let provider = format!("openssl_conf = a\n[p]\npkcs11-module-path = /{SO}\n");
        let found = examined(&[(SO, ""), ("etc/ssl/openssl.cnf", &provider)]);
        assert!(found[2].level == Level::Fail && found[2].finding.contains("pkcs11-provider"), "{found:?}");
        let there = "usr/lib/x86_64-linux-gnu/ossl-modules/pkcs11.so";
        let found = examined(&[(SO, ""), ("etc/ssl/openssl.cnf", &provider), (there, "")]);
        assert_eq!(levels(&found)[2..], [("openssl", Level::Ok)], "{found:?}");
        let engine = format!("[e]\nMODULE_PATH = /{SO}\n");
        let there = "usr/lib/x86_64-linux-gnu/engines-3/pkcs11.so";
        let found = examined(&[(SO, ""), ("etc/ssl/openssl.cnf", &engine), (there, "")]);
        assert_eq!(levels(&found)[2..], [("openssl", Level::Ok), ("openssl", Level::Warn)], "{found:?}");
        let found = examined(&[("etc/ssl/openssl.cnf", &provider)]);
        assert!(found[2].level == Level::Fail && found[2].finding.contains("not there"), "{found:?}");
    }
}
