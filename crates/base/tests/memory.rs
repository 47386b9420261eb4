//! What stays in the memory of the process after a key was used. Alone in its file: it looks at all of it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on must fail")]

use std::fs::File;
use std::os::unix::fs::FileExt;

use base::Secret;
use base::aes::{AesKey, BLOCK, Direction, MemoryKey, Mode};

const MASK: u8 = 0x5a;
/// A page, a part of which the test needs for itself.
const PIECE: usize = 1 << 16;

/// How often the second half of the key is in memory that can be written to; `masked` has it masked, as this test keeps it.
fn count(masked: &[u8], piece: &mut [u8]) -> usize {
    let part = &masked[masked.len() / 2..];
    let memory = File::open("/proc/self/mem").unwrap();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mut found = 0;
    for line in maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|mode| mode.starts_with("rw"))) {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let [from, to] = [from, to].map(|end| u64::from_str_radix(end, 16).unwrap());
        for at in (from..to).step_by(piece.len()) {
            let len = piece.len().min(usize::try_from(to - at).unwrap());
            if memory.read_exact_at(&mut piece[..len], at).is_ok() {
                piece[..len].iter_mut().for_each(|byte| *byte ^= MASK);
                found +=
                    piece[..len].windows(part.len()).filter(|window| window[0] == part[0] && *window == part).count();
            }
            // Unmasked by the mask, what this test keeps would be found in here later.
            piece.fill(0);
        }
    }
    found
}

fn unmasked(masked: &[u8]) -> Secret {
    let mut key = Secret::zeroed(masked.len());
    for (to, from) in key.expose_mut().iter_mut().zip(masked) {
        *to = from ^ MASK;
    }
    key
}

#[inline(never)]
fn use_in_memory(masked: &[u8]) {
    let key = unmasked(masked);
    let memory = MemoryKey::new(&key).unwrap();
    let copy = memory.clone();
    drop(memory);
    for mode in [Mode::Ecb, Mode::Cbc, Mode::Ctr] {
        assert!(copy.run(mode, Direction::Encrypt, &mut [1; BLOCK], &[7; 4 * BLOCK]).is_ok());
    }
}

#[inline(never)]
fn wrap_and_open(masked: &[u8]) {
    let key = unmasked(masked);
    let sealed = base::aead::seal(&key, b"bound", b"a secret").unwrap();
    assert_eq!(base::aead::open(&key, b"bound", &sealed).unwrap().expose(), b"a secret");
}

#[test]
fn keys_of_aes_do_not_stay_in_memory() {
    let mut piece = vec![0; PIECE];
    for (len, use_) in [(16, use_in_memory as fn(&[u8])), (32, use_in_memory), (32, wrap_and_open)] {
        let masked = base::random::bytes(len).unwrap();
        let key = unmasked(&masked);
        assert!(count(&masked, &mut piece) > 0, "it would be found");
        drop(key);
        assert_eq!(count(&masked, &mut piece), 0, "before it is used");
        use_(&masked);
        assert_eq!(count(&masked, &mut piece), 0, "{len}");
    }
}
