//! Random number generation functions (5.19).

use crate::raw::cryptoki_fn;

cryptoki_fn! {
    /// Mixes a seed into the generator (5.19.1).
    C_SeedRandom(session: SessionHandle, seed: Bytes) |library| library.seed_random(session, seed.slice()?)
}

cryptoki_fn! {
    /// Random bytes (5.19.2).
    C_GenerateRandom(session: SessionHandle, random: Space) |library| library.generate_random(session, random.slice()?)
}
