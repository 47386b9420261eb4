//! OpenSSL with the token: by the engine of libp11 on this machine, by pkcs11-provider in the trixie tree.

use crate::bench::{Bench, PIN};

/// The URI of a private key.
pub(crate) fn private(label: &str) -> String {
    format!("pkcs11:token=alpha;object={label};type=private")
}

/// Makes `openssl.cnf` with the engine, initialised from the start and with the PIN, and uses it from now on.
pub(crate) fn engine(bench: &mut Bench) {
    let (module, libraries) = (bench.module(), bench.libraries());
    bench.write(
        "openssl.cnf",
        format!(
            "openssl_conf = openssl_init\n[openssl_init]\nengines = engine_sect\n[engine_sect]\npkcs11 = pkcs11_sect\n\
             [pkcs11_sect]\nengine_id = pkcs11\ndynamic_path = {libraries}/engines-3/pkcs11.so\nMODULE_PATH = {module}\n\
             PIN = {PIN}\ninit = 1\n[req]\ndistinguished_name = dn\n[dn]\n"
        ),
    );
    let config = bench.path("openssl.cnf");
    bench.set("OPENSSL_CONF", &config);
}

/// Makes `openssl.cnf` with the provider and the PIN's file, and uses it from now on.
pub(crate) fn provider(bench: &mut Bench) {
    let (module, pin) = (bench.module(), bench.path("pin"));
    bench.write(
        "openssl.cnf",
        format!(
            "openssl_conf = openssl_init\n[openssl_init]\nproviders = provider_sect\n[provider_sect]\ndefault = default_sect\n\
             pkcs11 = pkcs11_sect\n[default_sect]\nactivate = 1\n[pkcs11_sect]\npkcs11-module-path = {module}\n\
             pkcs11-module-token-pin = file:{pin}\npkcs11-module-encode-provider-uri-to-pem = true\nactivate = 1\n\
             [req]\ndistinguished_name = dn\n[dn]\n"
        ),
    );
    let config = bench.path("openssl.cnf");
    bench.set("OPENSSL_CONF", &config);
}

/// Writes `LABEL.pem`, a file that says where the private key is.
pub(crate) fn write_uri_file(bench: &Bench, label: &str) {
    bench.write(
        "uri.cnf",
        format!(
            "asn1 = SEQUENCE:uri\n[uri]\nversion = VISIBLESTRING:PKCS\\#11 Provider URI v1.0\nuri = UTF8String:{}\n",
            private(label).replace(';', "\\;")
        ),
    );
    bench.plain_sh(&format!(
        "openssl asn1parse -genconf uri.cnf -noout -out uri.der
         {{ echo '-----BEGIN PKCS#11 PROVIDER URI-----'; openssl base64 -in uri.der; echo '-----END PKCS#11 PROVIDER URI-----'; }} >{label}.pem"
    ));
}
