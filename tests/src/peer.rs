//! Another product under the same tests: Debian's `libtpm2-pkcs11-1`, when `MODULE` names it. Its store is made by its own
//! `tpm2_ptool`, so that what is said in comparison can be seen by anybody.

/// Is it not our own module that is under test?
pub fn is_under_test() -> bool {
    false
}
