//! `CK_GCM_MESSAGE_PARAMS`: the parameter that comes with every message and takes results back.

use model::SessionHandle;
use pkcs11_sys::{
    CK_GCM_MESSAGE_PARAMS, CK_ULONG, CKG_GENERATE, CKG_GENERATE_COUNTER, CKG_GENERATE_COUNTER_XOR, CKG_GENERATE_RANDOM,
    CKG_NO_GENERATE,
};
use token::{Error, Library, MessageIv, Result};

use crate::raw::Bytes;

/// Bits of the longest tag.
const MAX_TAG_BITS: CK_ULONG = 128;

/// The parameter of one call, with what its pointers lead to.
#[derive(Debug)]
pub(crate) struct GcmMessage<'call> {
    parameter: &'call Bytes<'call>,
    given: CK_GCM_MESSAGE_PARAMS,
    /// The initialisation vector; what is there before one is made, if one is to be made.
    pub(crate) iv: Vec<u8>,
    /// The tag; what is there before one is made.
    pub(crate) tag: Vec<u8>,
}

impl<'call> Bytes<'call> {
    /// The parameter of a message.
    ///
    /// # Errors
    /// `ArgumentsBad` for null with a length, `SessionHandleInvalid` before what is wrong with the parameter (5.1.6),
    /// `MechanismParamInvalid` for a structure of another length, a null pointer in it, or a tag that is too long or not
    /// of whole bytes.
    pub(crate) fn gcm_message(&'call self, library: &Library, session: SessionHandle) -> Result<GcmMessage<'call>> {
        self.slice()?;
        library.session_info(session)?;
        let given: CK_GCM_MESSAGE_PARAMS = self.structure()?;
        if given.ulTagBits > MAX_TAG_BITS || !given.ulTagBits.is_multiple_of(8) {
            return Err(Error::MechanismParamInvalid("the tag has at most 128 bits, in whole bytes"));
        }
        Ok(GcmMessage {
            parameter: self,
            given,
            iv: self.field(given.pIv, given.ulIvLen)?.to_vec(),
            tag: self.field(given.pTag, given.ulTagBits / 8)?.to_vec(),
        })
    }
}

impl Bytes<'_> {
    /// The parameter of a message that has none: signatures have no parameter for each message.
    ///
    /// # Errors
    /// `SessionHandleInvalid` before what is wrong with the parameter (5.1.6), `MechanismParamInvalid` for one.
    pub(crate) fn no_message(&self, library: &Library, session: SessionHandle) -> Result<()> {
        self.slice()?;
        library.session_info(session)?;
        if self.is_absent() { Ok(()) } else { Err(Error::MechanismParamInvalid("a message to sign has no parameter")) }
    }
}

impl GcmMessage<'_> {
    /// Where the initialisation vector of an encryption comes from.
    ///
    /// # Errors
    /// `MechanismParamInvalid` for another generator.
    pub(crate) fn iv_source(&self) -> Result<MessageIv> {
        let fixed_bits = usize::try_from(self.given.ulIvFixedBits).unwrap_or(usize::MAX);
        match self.given.ivGenerator {
            CKG_NO_GENERATE => Ok(MessageIv::Given(self.iv.clone())),
            CKG_GENERATE | CKG_GENERATE_RANDOM => Ok(MessageIv::Random { start: self.iv.clone(), fixed_bits }),
            CKG_GENERATE_COUNTER | CKG_GENERATE_COUNTER_XOR => Ok(MessageIv::Counter {
                start: self.iv.clone(),
                fixed_bits,
                xor: self.given.ivGenerator == CKG_GENERATE_COUNTER_XOR,
            }),
            _ => Err(Error::MechanismParamInvalid("there is no such generator of vectors")),
        }
    }

    /// Writes the vector that was made. One that the caller gave stays untouched: it may lie in constant memory.
    ///
    /// # Errors
    /// None after [`Bytes::gcm_message`] looked at the pointers.
    pub(crate) fn write_iv(&self, iv: &[u8]) -> Result<()> {
        if self.given.ivGenerator != CKG_NO_GENERATE {
            let room = self.parameter.pointed_room(self.given.pIv, self.given.ulIvLen).slice()?;
            room.iter_mut().zip(iv).for_each(|(place, byte)| *place = *byte);
        }
        Ok(())
    }

    /// Writes the tag.
    ///
    /// # Errors
    /// As [`GcmMessage::write_iv`].
    pub(crate) fn write_tag(&self, tag: &[u8]) -> Result<()> {
        let room = self.parameter.pointed_room(self.given.pTag, self.given.ulTagBits / 8).slice()?;
        room.iter_mut().zip(tag).for_each(|(place, byte)| *place = *byte);
        Ok(())
    }
}
