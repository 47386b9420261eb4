//! The operating system's random generator.

/// The operating system gave no random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operating system's random generator failed: {0}")]
pub struct RandomError(getrandom::Error);

/// Fills `out` with random bytes.
///
/// # Errors
/// The generator failed; `out` must then not be used.
pub fn fill(out: &mut [u8]) -> Result<(), RandomError> {
    getrandom::fill(out).map_err(RandomError)
}

/// `len` random bytes.
///
/// # Errors
/// The generator failed.
pub fn bytes(len: usize) -> Result<Vec<u8>, RandomError> {
    let mut out = vec![0; len];
    fill(&mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differs_from_call_to_call() {
        let (a, b) = (bytes(32).unwrap(), bytes(32).unwrap());
        assert_eq!((a.len(), b.len()), (32, 32));
        assert_ne!(a, b);
        assert!(bytes(0).unwrap().is_empty());
    }
}
