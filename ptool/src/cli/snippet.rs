//! Options of `config`: what other programs need to find the token, and its settings.

use clap::{Args, ValueEnum};

use super::TokenLabel;
use super::certificate::WhichKey;
use super::settings::Settings;

/// `config`
#[derive(Debug, Args)]
pub(crate) struct Config {
    #[command(flatten)]
    pub(crate) label: TokenLabel,

    #[command(flatten)]
    pub(crate) settings: Settings,

    #[command(flatten)]
    pub(crate) snippet: Snippet,
}

/// Prints what to paste into the configuration of another program.
#[derive(Debug, Args)]
pub(crate) struct Snippet {
    /// Print what to paste into the configuration of a program, for this token
    #[arg(long, value_enum, value_name = "PROGRAM")]
    pub(crate) snippet: Option<Program>,

    #[command(flatten)]
    pub(crate) key: WhichKey,
}

/// Programs that a token can be set up for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Program {
    /// OpenSSH: ~/.ssh/config
    Ssh,
    /// OpenSSL 3 with pkcs11-provider: openssl.cnf
    OpensslProvider,
    /// OpenSSL with the pkcs11 engine: openssl.cnf
    OpensslEngine,
    /// nginx: lines of nginx.conf
    Nginx,
    /// Apache httpd: lines of a virtual host
    Apache,
    /// HAProxy: a line of a frontend
    Haproxy,
    /// BIND: lines of named.conf
    Bind,
    /// p11-kit: a module file
    P11Kit,
    /// Java: a configuration file of SunPKCS11
    Java,
    /// GnuTLS: commands
    Gnutls,
    /// NSS (Firefox, Chromium): commands
    Nss,
    /// git: commands that make it sign commits
    Git,
    /// The PKCS#11 URI of the key (RFC 7512)
    Uri,
    /// A PEM file of pkcs11-provider that holds the URI of the key
    UriPem,
}
