//! The layout of the store: one SQL script for each version of it, in order.
//!
//! A script that was part of a release is never edited; a change is a new script. The number of
//! the last script that ran stands in the database's `user_version`.
#![forbid(unsafe_code)]

/// What `application_id` says in every store: "TPM2" in ASCII. It tells a store from any other
/// SQLite file.
pub const APPLICATION_ID: i32 = 0x5450_4d32;

/// The scripts, with the version each of them leads to: 1, 2, and so on without a gap.
pub const MIGRATIONS: &[(u32, &str)] = &[
    (1, include_str!("../migrations/0001_initial.sql")),
    (2, include_str!("../migrations/0002_policies.sql")),
    (3, include_str!("../migrations/0003_migrated.sql")),
    (4, include_str!("../migrations/0004_search.sql")),
    (5, include_str!("../migrations/0005_attestation.sql")),
];

/// The oldest version that can be read as it is: what came later makes reading faster, and says nothing more.
pub const READABLE: u32 = 3;

/// The version from which on there are indexes for searches, and a list of changes.
pub const SEARCHABLE: u32 = 4;

/// Types of attributes that have an index by their last 16 bytes, as the script has them.
pub const SEARCHED: [u64; 7] = [17, 129, 130, 257, 288, 297, 385];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_no_gap() {
        for (expected, (version, script)) in (1..).zip(MIGRATIONS) {
            assert_eq!(*version, expected);
            assert!(script.contains("CREATE") || script.contains("ALTER"));
        }
        assert_eq!(&APPLICATION_ID.to_be_bytes(), b"TPM2");
    }

    #[test]
    fn the_script_indexes_what_is_searched() {
        let list: Vec<String> = SEARCHED.iter().map(u64::to_string).collect();
        let script = MIGRATIONS.iter().find(|(version, _)| *version == SEARCHABLE).map(|(_, script)| *script);
        assert!(script.is_some_and(|script| script.contains(&format!("WHERE type IN ({})", list.join(", ")))));
    }
}
