//! The documents, block by block: what stands between fences is run by tests.

use std::path::{Path, PathBuf};

/// What stands between two fences of a document.
#[derive(Debug)]
pub struct Block {
    /// The line of its first fence.
    pub line: usize,
    /// What the fence says first: the language.
    pub language: String,
    /// What it says then.
    pub words: Vec<String>,
    /// The lines in between.
    pub text: String,
}

impl Block {
    /// Does its fence say this?
    #[must_use]
    pub fn says(&self, word: &str) -> bool {
        self.words.iter().any(|other| other == word)
    }

    /// The file that it is, by `name=FILE`.
    #[must_use]
    pub fn file(&self) -> Option<&str> {
        self.words.iter().find_map(|word| word.strip_prefix("name="))
    }
}

/// Where the documents are: the root of the tree.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The text of a document.
///
/// # Panics
///
/// When there is none of this name.
#[must_use]
pub fn text(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Its blocks, in their order. A fence may be indented, as in a list; then its lines are, too.
///
/// # Panics
///
/// When there is no such document, or one of its blocks does not end.
#[must_use]
pub fn blocks(name: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<(Block, usize)> = None;
    for (number, line) in text(name).lines().enumerate() {
        let bare = line.trim_start();
        match (bare.strip_prefix("```"), open.as_mut()) {
            (Some(info), None) => {
                let mut words = info.split_whitespace().map(str::to_owned);
                let language = words.next().unwrap_or_default();
                let block = Block { line: number + 1, language, words: words.collect(), text: String::new() };
                open = Some((block, line.len() - bare.len()));
            }
            (Some(_), Some(_)) => blocks.extend(open.take().map(|(block, _)| block)),
            (None, Some((block, indented))) => {
                block.text += line.get(*indented..).unwrap_or_default();
                block.text += "\n";
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "{name}: a block does not end");
    blocks
}

/// The arguments with which root's `unshare` runs lines of bash on a machine of its own: what they change in `/etc`, `/usr/local`,
/// `/run` and root's home, which is the directory they start in, is gone at the end; ports of the network are its own; `sudo` has
/// nothing to do. A store that `TPM2_CRYPTOKI_STORE` names is that of the machine, and the TPM is reached as its configuration says.
#[must_use]
pub fn machine<'a>(lines: &'a str, tcti: &'a str) -> Vec<&'a str> {
    let own = ["--mount", "--pid", "--net", "--fork", "--kill-child", "--mount-proc"];
    [&own[..], &["bash", "-euo", "pipefail", "-c", MACHINE, "machine", lines, tcti]].concat()
}

const MACHINE: &str = r#"
mount -t tmpfs none /mnt
for place in etc usr/local; do
    mkdir -p "/mnt/$place/upper" "/mnt/$place/work"
    mount -t overlay none -o "lowerdir=/$place,upperdir=/mnt/$place/upper,workdir=/mnt/$place/work" "/$place"
done
mount -t tmpfs none /run
mkdir -p /run/sshd /etc/tpm2-cryptoki
ip link set lo up
export HOME=$(getent passwd root | cut -d: -f6)
mount --bind "$PWD" "$HOME"
if [ -e "${TPM2_CRYPTOKI_STORE:-}" ]; then cp "${TPM2_CRYPTOKI_STORE:?}"/*.sqlite3 /etc/tpm2-cryptoki; fi
echo "tcti = \"$2\"" >/etc/tpm2-cryptoki/config.toml
unset TPM2_CRYPTOKI_STORE TPM2_CRYPTOKI_CONFIG TPM2_CRYPTOKI_TCTI
sudo() { "$@"; }
set -x
eval "$1"
"#;
