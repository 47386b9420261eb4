//! Stores of tpm2-pkcs11 of every layout, 1 to 9, made by hand: `ptool migrate` takes them over, with the spellings that releases
//! of that software left in them.

mod arrival;
mod binding;
mod workshop;
