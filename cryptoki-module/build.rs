//! Link arguments of `libtpm2_cryptoki.so`.

fn main() {
    for argument in [
        "-Wl,-soname,libtpm2_cryptoki.so",
        // Clients dlclose a module whose threads and thread-local data may still be alive: the code stays mapped.
        "-Wl,-z,nodelete",
        // Every PKCS#11 module exports the same names. In a process that loaded another one globally, the function
        // table must still point into this one.
        "-Wl,-Bsymbolic",
        // No symbol left to be found in the host by luck.
        "-Wl,-z,defs",
    ] {
        println!("cargo::rustc-cdylib-link-arg={argument}");
    }
    println!("cargo::rerun-if-changed=build.rs");
}
