//! Every mechanism with every operation it is advertised for, with keys of every kind, against OpenSSL and the textbook.

mod all;
mod bench;
mod ecdsa;
mod rsa_encryption;
mod rsa_signatures;
