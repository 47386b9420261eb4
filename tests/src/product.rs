//! The product under test: built once, or given by the environment.
//!
//! `TPM2_CRYPTOKI_MODULE` and `TPM2_CRYPTOKI_PTOOL` name another module and command line than those of this tree: an installed
//! product, or one that was built with other features.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use nix::fcntl::{Flock, FlockArg};

/// The module.
pub fn module() -> &'static Path {
    &product().module
}

/// The command line.
pub fn ptool() -> &'static Path {
    &product().ptool
}

/// The program that makes calls for tests.
pub fn p11probe() -> PathBuf {
    output_dir().join("p11probe")
}

/// Where cargo puts what it builds: the parent of the directory of test executables.
pub fn output_dir() -> PathBuf {
    let executable = std::env::current_exe().expect("the path of this test");
    let directory = executable.parent().expect("a directory");
    if directory.ends_with("deps") { directory.parent().expect("a directory").to_owned() } else { directory.to_owned() }
}

/// A lock that is held by one process of this build directory at a time.
pub fn lock(name: &str) -> Flock<File> {
    let path = output_dir().join(format!(".tests-{name}.lock"));
    let file = File::options()
        .create(true)
        .append(true)
        .open(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Flock::lock(file, FlockArg::LockExclusive).unwrap_or_else(|(_, error)| panic!("{}: {error}", path.display()))
}

struct Product {
    module: PathBuf,
    ptool: PathBuf,
}

fn product() -> &'static Product {
    static PRODUCT: OnceLock<Product> = OnceLock::new();
    PRODUCT.get_or_init(|| {
        let given = |name| std::env::var_os(name).map(PathBuf::from);
        let (module, ptool) = (given("TPM2_CRYPTOKI_MODULE"), given("TPM2_CRYPTOKI_PTOOL"));
        if module.is_none() || ptool.is_none() {
            build();
        }
        let product = Product {
            module: module.unwrap_or_else(|| output_dir().join("libtpm2_cryptoki.so")),
            ptool: ptool.unwrap_or_else(|| output_dir().join("ptool")),
        };
        for path in [&product.module, &product.ptool] {
            assert!(path.is_file(), "{} is not there", path.display());
        }
        product
    })
}

/// Builds the two, unless another process of the same test run did, or could not.
fn build() {
    let _turn = lock("build");
    let run = std::env::var("NEXTEST_RUN_ID").unwrap_or_default();
    let stamp = output_dir().join(".tests-build.stamp");
    let before = std::fs::read_to_string(&stamp).ok().filter(|_| !run.is_empty());
    let built = match before.as_deref().and_then(|stamp| stamp.split_once(' ')) {
        Some((of, result)) if of == run => result == "built",
        _ => {
            let built = cargo_build();
            std::fs::write(stamp, format!("{run} {}", if built { "built" } else { "failed" })).expect("a stamp");
            built
        }
    };
    assert!(built, "the product does not build");
}

fn cargo_build() -> bool {
    let output = output_dir();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    cargo.args(["build", "--quiet", "--package", "cryptoki-module", "--package", "ptool", "--target-dir"]);
    cargo.arg(output.parent().expect("the target directory"));
    if output.ends_with("release") {
        cargo.arg("--release");
    }
    cargo.status().expect("cargo").success()
}
