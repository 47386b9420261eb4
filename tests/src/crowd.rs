//! Stores with many keys, made without a TPM: copies of one key pair, each under a label and an id of its own.

use std::path::Path;

use store::{NewObject, ObjectRow, OpenMode, Store};

/// The label of the pair with this number.
pub fn label(number: usize) -> String {
    format!("key {number:06}")
}

/// Fills the token with copies of the pair that has this label until it has `pairs` of them. Their rows make sense, and have no
/// codes: they are found as long as nobody is logged in.
pub fn fill(file: &Path, token: &str, original: &str, pairs: usize) {
    let mut store = Store::open(file, OpenMode::ReadWrite).expect("a store");
    let row = store.tokens().expect("tokens").into_iter().find(|row| row.label == token).expect("the token");
    let halves = store.objects(row.id).expect("objects");
    let halves: Vec<&ObjectRow> =
        halves.iter().filter(|half| half.label.as_deref() == Some(original.as_bytes())).collect();
    assert_eq!(halves.len(), 2, "{original} is a pair");
    let numbers: Vec<usize> = (0..pairs).collect();
    for part in numbers.chunks(1000) {
        let add = |store: &Store| -> Result<(), store::Error> {
            for number in part {
                for half in &halves {
                    store.add_object(&copy(half, *number))?;
                }
            }
            Ok(())
        };
        store.transaction(add).expect("room for all");
    }
}

fn copy(row: &ObjectRow, number: usize) -> NewObject {
    let row = row.clone();
    NewObject {
        token_id: row.token_id,
        uid: base::random::bytes(16).expect("random bytes").try_into().expect("16 of them"),
        class: row.class,
        key_type: row.key_type,
        label: Some(label(number).into_bytes()),
        cka_id: Some((number as u32).to_be_bytes().to_vec()),
        // Found without a login, which has no codes to check.
        private: false,
        tpm_name: row.tpm_name,
        tpm_public: row.tpm_public,
        tpm_private: row.tpm_private,
        wrapped_auth: row.wrapped_auth,
        policy: row.policy,
        mac: row.mac,
        attributes: row.attributes,
    }
}
