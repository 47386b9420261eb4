//! Slot and token management functions (5.5).

use model::MechanismType;
use model::flags::{CKF_HW_SLOT, CKF_TOKEN_PRESENT};
use pkcs11_sys::{
    CK_MECHANISM_INFO, CK_MECHANISM_TYPE, CK_SLOT_ID, CK_SLOT_INFO, CK_TOKEN_INFO, CK_UNAVAILABLE_INFORMATION,
    CK_VERSION, CKF_DONT_BLOCK,
};
use token::Error;

use crate::boundary::Failure;
use crate::global;
use crate::raw::cryptoki_fn;
use crate::text::padded;

cryptoki_fn! {
    /// The slots, or those with a token (5.5.1).
    C_GetSlotList(token_present: Bool, slots: List<CK_SLOT_ID>) |library| {
        slots.fill(|| Ok(library.slot_list(token_present)?.into_iter().map(|slot| slot.0).collect()))
    }
}

cryptoki_fn! {
    /// Describes a slot (5.5.2).
    C_GetSlotInfo(slot: SlotId, info: Place<CK_SLOT_INFO>) |library| {
        let place = info.required()?;
        let info = library.slot_info(slot)?;
        place.write(CK_SLOT_INFO {
            slotDescription: padded(&info.description),
            manufacturerID: padded(&info.manufacturer),
            flags: CKF_HW_SLOT | if info.token_present { CKF_TOKEN_PRESENT } else { 0 },
            hardwareVersion: version(info.hardware_version),
            firmwareVersion: version(info.firmware_version),
        });
        Ok(())
    }
}

cryptoki_fn! {
    /// Describes a token (5.5.3).
    C_GetTokenInfo(slot: SlotId, info: Place<CK_TOKEN_INFO>) |library| {
        let place = info.required()?;
        let info = library.token_info(slot)?;
        place.write(CK_TOKEN_INFO {
            label: padded(&info.label),
            manufacturerID: padded(&info.manufacturer),
            model: padded(&info.model),
            serialNumber: padded(&info.serial),
            flags: info.flags,
            ulMaxSessionCount: info.max_sessions,
            ulSessionCount: info.sessions,
            ulMaxRwSessionCount: info.max_sessions,
            ulRwSessionCount: info.rw_sessions,
            ulMaxPinLen: info.max_pin_len,
            ulMinPinLen: info.min_pin_len,
            // Objects live in a file: there is no memory of the token to speak of.
            ulTotalPublicMemory: CK_UNAVAILABLE_INFORMATION,
            ulFreePublicMemory: CK_UNAVAILABLE_INFORMATION,
            ulTotalPrivateMemory: CK_UNAVAILABLE_INFORMATION,
            ulFreePrivateMemory: CK_UNAVAILABLE_INFORMATION,
            hardwareVersion: version(info.hardware_version),
            firmwareVersion: version(info.firmware_version),
            // Meaningful only with CKF_CLOCK_ON_TOKEN.
            utcTime: padded(""),
        });
        Ok(())
    }
}

cryptoki_fn! {
    /// Waits for a token to come or go (5.5.4), which none does. There is nothing to wait for, so waiting is not
    /// supported.
    C_WaitForSlotEvent(flags: Ulong, slot: Place<CK_SLOT_ID>, reserved: Untyped) || {
        global::library()?;
        slot.required()?;
        if !reserved.is_null() {
            return Err(Error::ArgumentsBad("pReserved is not null").into());
        }
        Err(if flags & CKF_DONT_BLOCK == 0 { Error::FunctionNotSupported.into() } else { Failure::NoEvent })
    }
}

cryptoki_fn! {
    /// The mechanisms of a token (5.5.5).
    C_GetMechanismList(slot: SlotId, mechanisms: List<CK_MECHANISM_TYPE>) |library| {
        mechanisms.fill(|| Ok(library.mechanism_list(slot)?.into_iter().map(|mechanism| mechanism.0).collect()))
    }
}

cryptoki_fn! {
    /// Describes a mechanism (5.5.6).
    C_GetMechanismInfo(slot: SlotId, mechanism: Ulong, info: Place<CK_MECHANISM_INFO>) |library| {
        let place = info.required()?;
        let info = library.mechanism_info(slot, MechanismType(mechanism))?;
        place.write(CK_MECHANISM_INFO {
            ulMinKeySize: info.min_key_size,
            ulMaxKeySize: info.max_key_size,
            flags: info.flags,
        });
        Ok(())
    }
}

cryptoki_fn! {
    /// Makes a token, or makes it anew (5.5.7).
    C_InitToken(slot: SlotId, pin: Bytes, label: Text) |library| {
        let label = label.fixed::<32>()?;
        library.init_token(slot, pin.secret()?, &label)
    }
}

cryptoki_fn! {
    /// The security officer sets the user's PIN (5.5.8).
    C_InitPIN(session: SessionHandle, pin: Bytes) |library| {
        library.init_pin(session, pin.secret()?)
    }
}

cryptoki_fn! {
    /// Whoever is logged in, or the user, changes the own PIN (5.5.9).
    C_SetPIN(session: SessionHandle, old: Bytes, new: Bytes) |library| {
        library.set_pin(session, old.secret()?, new.secret()?)
    }
}

fn version((major, minor): (u8, u8)) -> CK_VERSION {
    CK_VERSION { major, minor }
}
