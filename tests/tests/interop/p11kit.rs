//! p11-kit: the module file, several modules behind its proxy, and a token that is used from another user's account and from
//! another network and mount namespace, which is how containers and other hosts get at it.

use std::os::unix::fs::PermissionsExt;

use tests::product;

use crate::bench::{Bench, PIN, end_of};
use crate::ssh;

/// The module files of a bench, instead of the machine's.
fn configure(bench: &Bench, modules: &[(&str, &str)]) {
    std::fs::create_dir_all(bench.world.path(".config/pkcs11/modules")).unwrap();
    bench.write(".config/pkcs11/pkcs11.conf", "user-config: only\n");
    for (name, path) in modules {
        bench.write(&format!(".config/pkcs11/modules/{name}.module"), format!("module: {path}\ncritical: yes\n"));
    }
}

/// p11-kit reads the configuration of a user, who must not be root.
fn as_user(bench: &Bench) -> &'static str {
    std::fs::create_dir(bench.world.path("work")).unwrap();
    if !nix::unistd::geteuid().is_root() {
        return "";
    }
    // The user's own store.
    bench.sh(
        "chown -R 65534:65534 \"$TPM2_CRYPTOKI_STORE\"; touch config.toml log; chmod 644 config.toml; chown 65534 log
         chown 65534 work",
    );
    "setpriv --reuid=65534 --regid=65534 --clear-groups"
}

#[test]
fn module_file_and_proxy() {
    let bench = Bench::here();
    bench.public_key("p256");
    bench.public_key("rsa");
    let user = as_user(&bench);
    let proxy = format!("{}/p11-kit-proxy.so", bench.libraries());
    // Twice ours, as two modules: each is one of several for the proxy.
    std::fs::copy(product::module(), bench.world.path("another.so")).unwrap();
    std::fs::set_permissions(bench.world.path("another.so"), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::remove_file(bench.world.path("libtpm2_cryptoki.so")).unwrap();
    std::fs::copy(product::module(), bench.world.path("libtpm2_cryptoki.so")).unwrap();
    configure(&bench, &[("tpm2-cryptoki", &bench.module()), ("another", &bench.path("another.so"))]);
    let listed = bench.sh(&format!("{user} p11-kit list-modules")).text();
    assert_eq!(listed.matches("token: alpha").count(), 2, "{listed}");
    let slots = bench.sh(&format!("{user} pkcs11-tool --module {proxy} --list-token-slots")).text();
    assert_eq!(slots.matches("token label        : alpha").count(), 2, "{slots}");
    bench.sh(&format!(
        "{user} pkcs11-tool --module {proxy} --token-label alpha --login --pin {PIN} --sign --id 03 -m ECDSA-SHA256 \
             --signature-format openssl -i letter -o work/signature 2>&1
         openssl dgst -sha256 -verify p256.pub -signature work/signature letter"
    ));
}

/// SoftHSM beside ours: both tokens are there, and each signs with its own keys.
#[cfg(feature = "clients")]
#[test]
fn proxy_with_another_kind_of_token() {
    let mut bench = Bench::here();
    bench.public_key("p256");
    let user = as_user(&bench);
    let softhsm = format!("{}/softhsm/libsofthsm2.so", bench.libraries());
    let proxy = format!("{}/p11-kit-proxy.so", bench.libraries());
    std::fs::remove_file(bench.world.path("libtpm2_cryptoki.so")).unwrap();
    std::fs::copy(product::module(), bench.world.path("libtpm2_cryptoki.so")).unwrap();
    configure(&bench, &[("tpm2-cryptoki", &bench.module()), ("softhsm", &softhsm)]);
    bench.write("softhsm.conf", format!("directories.tokendir = {}\nobjectstore.backend = file\n", bench.path("work")));
    let config = bench.path("softhsm.conf");
    bench.set("SOFTHSM2_CONF", &config);
    bench.sh(&format!(
        "{user} softhsm2-util --init-token --free --label soft --pin 1234 --so-pin 4321
         {user} pkcs11-tool --module {proxy} --token-label soft --login --pin 1234 --keypairgen --key-type EC:prime256v1 --id 55
         {user} pkcs11-tool --module {proxy} --token-label alpha --login --pin {PIN} --sign --id 03 -m ECDSA-SHA256 \
             --signature-format openssl -i letter -o work/signature
         openssl dgst -sha256 -verify p256.pub -signature work/signature letter
         {user} pkcs11-tool --module {proxy} --token-label soft --login --pin 1234 --sign --id 55 -m ECDSA -i pin -o work/other"
    ));
}

/// The token of one user, offered on a socket, and another user in other namespaces, who sees neither store nor TPM.
#[test]
fn remoting_across_users_and_namespaces() {
    let bench = Bench::here();
    let client = format!("{}/pkcs11/p11-kit-client.so", bench.libraries());
    bench.public_key("p256");
    let socket = bench.path("p11-kit.socket");
    let arguments = ["server", "--foreground", "--name", &socket, "--provider", &bench.module(), "pkcs11:token=alpha"];
    let server = bench.serve("p11-kit", "p11-kit", &arguments).makes(&bench.world.path("p11-kit.socket"));
    std::fs::set_permissions(bench.world.path("p11-kit.socket"), std::fs::Permissions::from_mode(0o666)).unwrap();
    std::fs::create_dir(bench.world.path("guest")).unwrap();
    std::fs::set_permissions(bench.world.path("guest"), std::fs::Permissions::from_mode(0o777)).unwrap();
    // The namespaces need root, or a kernel that gives users their own.
    let (namespaces, other) = if nix::unistd::geteuid().is_root() {
        ("unshare --mount --net", "setpriv --reuid=65534 --regid=65534 --clear-groups")
    } else {
        ("unshare --user --map-current-user --mount --net", "")
    };
    let hide = "mount -t tmpfs none store";
    let hide = if nix::unistd::geteuid().is_root() { hide } else { ":" };
    // Of the mechanisms with ECDSA, the protocol of this version knows the plain one.
    let run = bench.try_sh(&format!(
        "{namespaces} bash -euc '{hide}
         unset TPM2_CRYPTOKI_STORE TPM2_CRYPTOKI_TCTI TPM2_CRYPTOKI_CONFIG TPM2_CRYPTOKI_LOG
         export P11_KIT_SERVER_ADDRESS=unix:path={socket}
         openssl dgst -sha256 -binary letter >digest
         {other} pkcs11-tool --module {client} --token-label alpha --login --pin {PIN} --sign --id 03 -m ECDSA \
             --signature-format openssl -i digest -o guest/signature'
         openssl dgst -sha256 -verify p256.pub -signature guest/signature letter"
    ));
    assert!(run.success(), "{run:?}\n{}", bench.story(&server));
}

/// `p11-kit remote` speaks the same over standard input and output: so ssh carries a token to another host.
#[test]
fn remoting_over_a_pipe() {
    let bench = Bench::here();
    bench.public_key("p256");
    bench.public_key("rsa");
    let user = as_user(&bench);
    std::fs::remove_file(bench.world.path("libtpm2_cryptoki.so")).unwrap();
    std::fs::copy(product::module(), bench.world.path("libtpm2_cryptoki.so")).unwrap();
    std::fs::create_dir_all(bench.world.path(".config/pkcs11/modules")).unwrap();
    bench.write(".config/pkcs11/pkcs11.conf", "user-config: only\n");
    bench.write(".config/pkcs11/modules/far.module", format!("remote: |p11-kit remote {}\n", bench.module()));
    let proxy = format!("{}/p11-kit-proxy.so", bench.libraries());
    let run = bench.sh(&format!(
        "{user} pkcs11-tool --module {proxy} --token-label alpha --login --pin {PIN} --sign --id 01 -m SHA256-RSA-PKCS \
             -i letter -o work/signature
         openssl dgst -sha256 -verify rsa.pub -signature work/signature letter"
    ));
    assert!(run.text().contains("Verified OK"), "{run:?} {}", end_of(&bench.world.log()));
}

/// The same by ssh: who is here has neither store nor TPM, but a key for one command of the account where they are.
#[test]
fn remoting_over_ssh() {
    let bench = Bench::here();
    bench.public_key("rsa");
    let variables: Vec<String> = bench
        .environment()
        .iter()
        .filter(|(name, _)| name.starts_with("TPM2_") || name == "PATH")
        .map(|(name, value)| format!("{name}='{value}'"))
        .collect();
    bench.sh("ssh-keygen -q -t ed25519 -N '' -C '' -f visitor; mkdir work");
    let command = format!("env {} p11-kit remote {}", variables.join(" "), bench.module());
    let sshd = ssh::sshd(&bench, &format!("command=\"{command}\" {}", bench.text("visitor.pub")), "");
    let user = if nix::unistd::geteuid().is_root() {
        bench.sh("chown 65534 work visitor");
        "setpriv --reuid=65534 --regid=65534 --clear-groups"
    } else {
        ""
    };
    std::fs::create_dir_all(bench.world.path(".config/pkcs11/modules")).unwrap();
    bench.write(".config/pkcs11/pkcs11.conf", "user-config: only\n");
    let (config, key) = (bench.path("ssh_config"), bench.path("visitor"));
    bench.write(
        ".config/pkcs11/modules/far.module",
        format!("remote: |ssh -F {config} -o IdentitiesOnly=yes -o IdentityFile={key} here\n"),
    );
    let proxy = format!("{}/p11-kit-proxy.so", bench.libraries());
    let run = bench.try_sh(&format!(
        "for name in ${{!TPM2_*}}; do unset $name; done
         {user} pkcs11-tool --module {proxy} --token-label alpha --login --pin {PIN} --sign --id 01 -m SHA256-RSA-PKCS \
             -i letter -o work/signature
         openssl dgst -sha256 -verify rsa.pub -signature work/signature letter"
    ));
    assert!(run.text().contains("Verified OK"), "{run:?}\n{}", bench.story(&sshd));
}
