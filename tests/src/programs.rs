//! The page about other programs: what `ptool config --snippet` prints, for a token and a key of the documents.

/// Headings, the name of the snippet, and its template as `ptool` has it.
const PROGRAMS: [(&str, &str, &str); 10] = [
    ("OpenSSH", "ssh", include_str!("../../ptool/src/snippets/ssh.txt")),
    ("git", "git", include_str!("../../ptool/src/snippets/git.txt")),
    (
        "OpenSSL 3 with pkcs11-provider (Debian 13)",
        "openssl-provider",
        include_str!("../../ptool/src/snippets/openssl-provider.txt"),
    ),
    (
        "OpenSSL 3 with the pkcs11 engine (Debian 12)",
        "openssl-engine",
        include_str!("../../ptool/src/snippets/openssl-engine.txt"),
    ),
    ("nginx", "nginx", include_str!("../../ptool/src/snippets/nginx.txt")),
    ("Apache httpd", "apache", include_str!("../../ptool/src/snippets/apache.txt")),
    ("Everything that uses p11-kit", "p11-kit", include_str!("../../ptool/src/snippets/p11-kit.txt")),
    ("GnuTLS", "gnutls", include_str!("../../ptool/src/snippets/gnutls.txt")),
    ("NSS: Firefox, Chromium", "nss", include_str!("../../ptool/src/snippets/nss.txt")),
    ("Java", "java", include_str!("../../ptool/src/snippets/java.txt")),
];

const INTRODUCTION: &str = "\
# Setting up programs

`ptool config --label=mine --snippet PROGRAM` prints what to paste for *your* token: with the path of the installed module, and the PKCS#11 URI
(RFC 7512) of the token and, where one key is meant, of the key that `--key-label` or `--id` names. Below is what it prints for a token `mine` with a key `web`.

`--snippet uri` prints the URI alone. `--snippet uri-pem` prints it as a PEM file of pkcs11-provider, for programs that take a key by the name of
its file only (nginx before 1.29, stunnel, curl).

This page is generated: `make docs`.
";

/// The text of `docs/PROGRAMS.md`.
#[must_use]
pub fn programs() -> String {
    let sections = PROGRAMS.iter().map(|(heading, name, template)| {
        let text = template
            .replace("@MODULE@", "/usr/local/lib/pkcs11/libtpm2_cryptoki.so")
            .replace("@TOKEN_URI@", "pkcs11:token=mine")
            .replace("@KEY_URI@", "pkcs11:token=mine;object=web;type=private")
            .replace("@SLOT@", "1")
            .replace("@TOKEN_SHELL@", "'mine'")
            .replace("@SSH_SHELL@", "'key::ecdsa-sha2-nistp256 AAAA... web'");
        format!("\n## {heading}\n\n`--snippet {name}`\n\n```\n{text}```\n")
    });
    INTRODUCTION.to_owned() + &sections.collect::<String>()
}
