//! Why a file gave no key, in words for the person who named it.

/// What is wrong with a file. The text says what was found; what to do follows from it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file is encrypted, and no passphrase was given.
    #[error("the file is encrypted, and needs its passphrase")]
    PassphraseNeeded,
    /// The passphrase does not open the file. Where the format has no check of its own, a damaged file looks the same.
    #[error("the passphrase is wrong, or the file is damaged")]
    PassphraseWrong,
    /// Nothing that is known here.
    #[error(
        "the file is no key in a form that is known here: PEM or DER (PKCS#8, PKCS#1, SEC 1), OpenSSH, PKCS#12, or TSS2 PRIVATE KEY"
    )]
    Unknown,
    /// The form is known, and the content is not what it should be.
    #[error("{0}")]
    Malformed(&'static str),
    /// A form or an algorithm that is left out here, or one whose use would be a mistake.
    #[error("{0}")]
    Unsupported(String),
    /// The file has no key where one is wanted.
    #[error("the file has {0}, and no private key")]
    NoPrivateKey(&'static str),
    /// The file has no certificate where one is wanted.
    #[error("the file has no certificate in a form that is known here: PEM or DER, PKCS#7, PKCS#12")]
    NoCertificate,
}

/// The result of reading a file.
pub type Result<T> = std::result::Result<T, Error>;
