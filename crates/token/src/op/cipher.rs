//! AES in either direction (PKCS#11 mechanisms v3.1 2.10 - 2.14): block by block as data comes, or all at once.

use base::Secret;
use base::aes::Mode;
use base::aes::{
    self, AesKey, BLOCK, Block, Direction, Refused, gcm_decrypt, gcm_encrypt, unwrap, unwrap_pad, wrap, wrap_pad,
};
use model::{MechanismRow, Output, Params, Scheme};

use super::secret::can_run;
use super::{Material, delivered};
use crate::library::Library;
use crate::slots::session::{Session, Step};
use crate::{Error, Result};

/// Most bytes that a mechanism collects which gives nothing before it has seen all.
pub(super) const MAX_WHOLE: usize = 64 << 20;

/// An encryption or decryption with AES.
#[derive(Debug)]
pub(crate) struct Ciphering {
    pub(crate) key: Material,
    direction: Direction,
    work: Work,
    parts: bool,
    /// A result that did not fit the caller's buffer: delivered by the next call, if that asks for the same.
    kept: Option<Kept>,
}

#[derive(Debug)]
struct Kept {
    result: Secret,
    /// The vector from before, for the case that something else is asked.
    iv: Option<Block>,
    /// The input came in the same call, and is not there if that is not repeated.
    once: bool,
}

#[derive(Debug)]
enum Work {
    /// Whole blocks go through as they come.
    Stream { mode: Mode, iv: Block, pad: bool, pending: Secret },
    /// Nothing comes out before all went in.
    Whole { kind: Whole, collected: Secret },
}

#[derive(Clone, Debug)]
enum Whole {
    Gcm { iv: Vec<u8>, aad: Vec<u8>, tag_len: usize },
    Wrap(Option<[u8; 8]>),
    WrapPad,
}

impl Ciphering {
    pub(crate) fn new(
        session: &Session,
        key: Material,
        direction: Direction,
        row: &MechanismRow,
        params: &Params,
    ) -> Result<Self> {
        let runs = |mode, direction| can_run(&key, session, mode, direction);
        let is_there = match row.scheme {
            Scheme::Aes(mode) => runs(mode, direction),
            Scheme::AesCbcPad => runs(Mode::Cbc, direction),
            // Both directions of GCM encrypt blocks.
            Scheme::AesGcm => runs(Mode::Ctr, Direction::Encrypt) && runs(Mode::Ecb, Direction::Encrypt),
            Scheme::AesWrap | Scheme::AesWrapPad => runs(Mode::Ecb, direction),
            _ => true,
        };
        if !is_there {
            return Err(Error::MechanismInvalid);
        }
        let stream = |mode, iv, pad| Work::Stream { mode, iv, pad, pending: Secret::zeroed(0) };
        let whole = |kind| Work::Whole { kind, collected: Secret::zeroed(0) };
        let work = match (row.scheme, params) {
            (Scheme::Aes(mode), Params::None) => stream(mode, [0; BLOCK], false),
            (Scheme::Aes(mode), Params::Iv(iv)) => stream(mode, *iv, false),
            (Scheme::Aes(mode), Params::Counter { block, .. }) => stream(mode, *block, false),
            (Scheme::AesCbcPad, Params::Iv(iv)) => stream(Mode::Cbc, *iv, true),
            (Scheme::AesGcm, Params::Gcm { iv, aad, tag_bits }) => {
                let tag_len = usize::try_from(tag_bits / 8).unwrap_or_default();
                whole(Whole::Gcm { iv: iv.clone(), aad: aad.clone(), tag_len })
            }
            (Scheme::AesWrap, Params::None) => whole(Whole::Wrap(None)),
            (Scheme::AesWrap, Params::WrapIv(iv)) => whole(Whole::Wrap(Some(*iv))),
            (Scheme::AesWrapPad, _) => whole(Whole::WrapPad),
            _ => return Err(Error::MechanismInvalid),
        };
        Ok(Self { key, direction, work, parts: false, kept: None })
    }

    /// The whole operation in one call.
    pub(crate) fn once(
        &mut self,
        library: &Library,
        session: &Session,
        data: &[u8],
        output: Output<'_>,
    ) -> Step<usize> {
        if self.parts {
            return Step::Done(Err(Error::OperationActive));
        }
        if let Err(error) = self.check_len(data.len()) {
            return Step::Done(Err(error));
        }
        if !self.kept.as_ref().is_some_and(|kept| kept.once) || self.held().expose() != data {
            self.forget_kept();
        }
        let (longest, exact) = self.result_len(data.len());
        self.answer(output, longest, exact, true, |this| {
            *this.held() = Secret::copy_from(data);
            this.last(library, session)
        })
    }

    /// One part.
    pub(crate) fn update(
        &mut self,
        library: &Library,
        session: &Session,
        part: &[u8],
        output: Output<'_>,
    ) -> Step<usize> {
        let direction = self.direction;
        self.forget_kept();
        match &mut self.work {
            Work::Whole { collected, .. } => {
                // Nothing comes out before the end. Who asks how long it will be is told of room for the part: programs that get 0 make a
                // null pointer of it, ask again with that, and lose the part.
                if output.room().is_none() {
                    return Step::Keep(Ok(part.len()));
                }
                self.parts = true;
                if collected.len().saturating_add(part.len()) > MAX_WHOLE {
                    return Step::Done(Err(len_error(direction)));
                }
                collected.extend(part);
                Step::Keep(Ok(0))
            }
            Work::Stream { mode, iv, pad, pending } => {
                let total = pending.len() + part.len();
                let mut ready = total / BLOCK * BLOCK;
                if *pad && direction == Direction::Decrypt && ready == total && ready > 0 {
                    // The last block may be the padding: it waits for what follows.
                    ready -= BLOCK;
                }
                if let Some(refusal) = output.refuse(ready) {
                    return delivered(refusal);
                }
                self.parts = true;
                pending.extend(part);
                let input = pending.take_front(ready);
                let done = self.key.aes(library, session, |key| key.run(*mode, direction, iv, input.expose()));
                match done.and_then(|done| done) {
                    Ok(done) => {
                        let len = done.len();
                        output.deliver(done.expose());
                        Step::Keep(Ok(len))
                    }
                    Err(error) => Step::Done(Err(error)),
                }
            }
        }
    }

    /// What is left.
    pub(crate) fn finish(&mut self, library: &Library, session: &Session, output: Output<'_>) -> Step<usize> {
        if self.kept.as_ref().is_some_and(|kept| kept.once) {
            self.forget_kept();
        }
        let held = self.held().len();
        if let Err(error) = self.check_len(held) {
            return Step::Done(Err(error));
        }
        let (longest, exact) = self.result_len(held);
        self.answer(output, longest, exact, false, |this| this.last(library, session))
    }

    /// What came and is not yet worked off.
    fn held(&mut self) -> &mut Secret {
        match &mut self.work {
            Work::Stream { pending, .. } => pending,
            Work::Whole { collected, .. } => collected,
        }
    }

    /// Goes back to before the call whose result nobody took.
    fn forget_kept(&mut self) {
        let Some(kept) = self.kept.take() else { return };
        if let (Work::Stream { iv, .. }, Some(before)) = (&mut self.work, kept.iv) {
            *iv = before;
        }
        if kept.once {
            *self.held() = Secret::zeroed(0);
        }
    }

    /// Answers with a result of at most `longest` bytes, which is worked out once, whatever the caller's buffers.
    fn answer(
        &mut self,
        output: Output<'_>,
        longest: usize,
        exact: bool,
        once: bool,
        work: impl FnOnce(&mut Self) -> Result<Secret>,
    ) -> Step<usize> {
        let kept = match self.kept.take() {
            Some(kept) => kept,
            None => {
                if (output.room().is_none() || exact)
                    && let Some(refusal) = output.refuse(longest)
                {
                    return delivered(refusal);
                }
                let iv = match &self.work {
                    Work::Stream { iv, .. } => Some(*iv),
                    Work::Whole { .. } => None,
                };
                match work(self) {
                    Ok(result) => Kept { result, iv, once },
                    Err(error) => return Step::Done(Err(error)),
                }
            }
        };
        let step = delivered(output.deliver(kept.result.expose()));
        if matches!(step, Step::Keep(_)) {
            self.kept = Some(kept);
        }
        step
    }

    fn last(&mut self, library: &Library, session: &Session) -> Result<Secret> {
        let direction = self.direction;
        match &mut self.work {
            Work::Stream { mode, iv, pad, pending } => {
                let mut input = pending.clone();
                if *pad && direction == Direction::Encrypt {
                    let fill = BLOCK - input.len() % BLOCK;
                    input.extend(&vec![u8::try_from(fill).unwrap_or_default(); fill]);
                }
                let out = self.key.aes(library, session, |key| {
                    if mode.takes_part_blocks() {
                        aes::run_part(key, *mode, direction, iv, input.expose())
                    } else {
                        key.run(*mode, direction, iv, input.expose())
                    }
                })??;
                if *pad && direction == Direction::Decrypt { unpad(out) } else { Ok(out) }
            }
            Work::Whole { kind, collected } => {
                let (kind, input) = (kind.clone(), collected.clone());
                let result = self.key.aes(library, session, |key| match (&kind, direction) {
                    (Whole::Gcm { iv, aad, tag_len }, Direction::Encrypt) => {
                        gcm_encrypt(key, iv, aad, input.expose(), *tag_len).map(Secret::new)
                    }
                    (Whole::Gcm { iv, aad, tag_len }, Direction::Decrypt) => {
                        gcm_decrypt(key, iv, aad, input.expose(), *tag_len)
                    }
                    (Whole::Wrap(iv), Direction::Encrypt) => wrap(key, *iv, input.expose()).map(Secret::new),
                    (Whole::Wrap(iv), Direction::Decrypt) => unwrap(key, *iv, input.expose()),
                    (Whole::WrapPad, Direction::Encrypt) => wrap_pad(key, input.expose()).map(Secret::new),
                    (Whole::WrapPad, Direction::Decrypt) => unwrap_pad(key, input.expose()),
                })?;
                result.map_err(|refused| match refused {
                    Refused::Length => len_error(direction),
                    Refused::Integrity => Error::EncryptedDataInvalid,
                    Refused::Key(error) => error,
                })
            }
        }
    }

    /// Length of the result for an input of `len` bytes, or the most it can be; and whether it is exact.
    fn result_len(&self, len: usize) -> (usize, bool) {
        match (&self.work, self.direction) {
            (Work::Stream { pad: false, .. }, _) => (len, true),
            (Work::Stream { pad: true, .. }, Direction::Encrypt) => ((len / BLOCK + 1) * BLOCK, true),
            (Work::Stream { pad: true, .. }, Direction::Decrypt) => (len, false),
            (Work::Whole { kind, .. }, Direction::Encrypt) => match kind {
                Whole::Gcm { tag_len, .. } => (len.saturating_add(*tag_len), true),
                Whole::Wrap(_) => (len.saturating_add(8), true),
                Whole::WrapPad => (len.saturating_add(7) / 8 * 8 + 8, true),
            },
            (Work::Whole { kind, .. }, Direction::Decrypt) => match kind {
                Whole::Gcm { tag_len, .. } => (len.saturating_sub(*tag_len), true),
                Whole::Wrap(_) => (len.saturating_sub(8), true),
                Whole::WrapPad => (len.saturating_sub(8), false),
            },
        }
    }

    /// An input that no result is for ends the operation before anything is asked of the key.
    fn check_len(&self, len: usize) -> Result<()> {
        let fits = match (&self.work, self.direction) {
            (Work::Stream { mode, pad, .. }, direction) => match (mode.takes_part_blocks(), pad, direction) {
                (true, _, _) | (_, true, Direction::Encrypt) => true,
                (false, false, _) => len.is_multiple_of(BLOCK),
                (false, true, Direction::Decrypt) => len.is_multiple_of(BLOCK) && len > 0,
            },
            (Work::Whole { kind: Whole::Gcm { tag_len, .. }, .. }, Direction::Decrypt) => len >= *tag_len,
            (Work::Whole { kind: Whole::Gcm { .. }, .. }, Direction::Encrypt) => len <= MAX_WHOLE,
            (Work::Whole { kind: Whole::Wrap(_), .. }, Direction::Encrypt) => len.is_multiple_of(8) && len >= 16,
            (Work::Whole { kind: Whole::WrapPad, .. }, Direction::Encrypt) => len > 0,
            (Work::Whole { .. }, Direction::Decrypt) => len.is_multiple_of(8) && len >= 16,
        };
        if fits { Ok(()) } else { Err(len_error(self.direction)) }
    }
}

fn len_error(direction: Direction) -> Error {
    match direction {
        Direction::Encrypt => Error::DataLenRange,
        Direction::Decrypt => Error::EncryptedDataLenRange,
    }
}

/// Takes off the padding of PKCS #7 without a branch on what it is.
fn unpad(mut block: Secret) -> Result<Secret> {
    let bytes = block.expose();
    let fill = bytes.last().copied().unwrap_or_default();
    let tail = bytes.len().saturating_sub(BLOCK);
    let mut wrong = u8::from(fill == 0) | u8::from(usize::from(fill) > BLOCK);
    for (position, byte) in bytes.iter().skip(tail).enumerate() {
        let in_padding = u8::from(position + usize::from(fill) >= BLOCK);
        wrong |= in_padding * (byte ^ fill);
    }
    if wrong != 0 {
        return Err(Error::EncryptedDataInvalid);
    }
    let len = block.len() - usize::from(fill);
    block.truncate(len);
    Ok(block)
}
