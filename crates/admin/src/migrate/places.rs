//! Where tpm2-pkcs11 keeps its store.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use token::environment_is_trusted;

/// Where tpm2-pkcs11 has the store of the machine.
pub(crate) const SYSTEM_STORE: &str = "/etc/tpm2_pkcs11";

/// The directories in which tpm2-pkcs11 looks for its store, in its order; the current one is left out.
pub(crate) fn directories() -> Vec<PathBuf> {
    let trusted = environment_is_trusted();
    directories_in(Path::new(SYSTEM_STORE), |name| std::env::var_os(name).filter(|_| trusted))
}

/// The same with these variables of the environment, and with that directory for the machine's.
pub(crate) fn directories_in(system: &Path, variable: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let path = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = path("HOME").filter(|path| path.is_absolute());
    let data = path("XDG_DATA_HOME").filter(|path| path.is_absolute());
    [
        path("TPM2_PKCS11_STORE"),
        Some(system.to_owned()),
        data.or_else(|| home.as_ref().map(|home| home.join(".local/share"))).map(|data| data.join("tpm2-pkcs11")),
        home.map(|home| home.join(".tpm2_pkcs11")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_of_others_are_where_their_module_looks() {
        let look = |values: &'static [(&'static str, &'static str)]| {
            let variable = |name: &str| values.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into());
            directories_in(Path::new("/machine"), variable)
        };
        assert_eq!(look(&[]), [Path::new("/machine")]);
        let [machine, data, old] = ["/machine", "/h/.local/share/tpm2-pkcs11", "/h/.tpm2_pkcs11"].map(PathBuf::from);
        assert_eq!(look(&[("HOME", "/h"), ("XDG_DATA_HOME", "")]), [machine.clone(), data, old.clone()]);
        let [named, data] = ["named", "/d/tpm2-pkcs11"].map(PathBuf::from);
        let all = look(&[("HOME", "/h"), ("XDG_DATA_HOME", "/d"), ("TPM2_PKCS11_STORE", "named")]);
        assert_eq!(all, [named, machine, data, old]);
    }
}
