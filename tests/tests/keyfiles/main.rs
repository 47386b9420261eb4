//! Keys in and out, with openssl, ssh-keygen, tpm2-tools and the TPM provider of OpenSSL on the other side.

mod backups;
mod imports;
mod links;
mod machine;
mod pages;
