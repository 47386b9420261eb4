//! Repairs.

use model::{AttributeType, ObjectClass, ObjectHandle};

use super::{Admin, Pin};
use token::info::ObjectSummary;
use token::{Error, Result};

impl Admin {
    /// Makes the public key object of a private key anew, from what the TPM says of the key. 4 TPM commands, those of the
    /// login.
    ///
    /// # Errors
    /// [`Error::ArgumentsBad`] if the token has no private key with this number, or has the public key;
    /// [`Error::PinIncorrect`], and [`Error::PinInvalid`] for the security officer's PIN.
    pub fn rebuild_public(&self, label: &str, pin: &Pin, private: i64) -> Result<ObjectSummary> {
        let token = self.token(label)?;
        if matches!(pin, Pin::So(_)) {
            return Err(Error::PinInvalid("the private key is the user's; give the user's PIN"));
        }
        let handle = ObjectHandle(private.cast_unsigned());
        let catalog = token.catalog()?;
        let key = catalog.get(&handle).filter(|key| key.class() == ObjectClass::PRIVATE_KEY && key.key.is_some());
        let key =
            key.ok_or(Error::ArgumentsBad("the token has no private key with this number; see `ptool listobjects`"))?;
        let of_pair = [AttributeType::PUBLIC_KEY_INFO, AttributeType::ID];
        let mut publics = catalog.values().filter(|other| other.class() == ObjectClass::PUBLIC_KEY);
        if publics.any(|other| of_pair.iter().all(|ty| other.attributes.find(*ty) == key.attributes.find(*ty))) {
            return Err(Error::ArgumentsBad(
                "the public key is there: nothing is to be made anew; `ptool listobjects` shows it",
            ));
        }
        let session = self.log_in(&token, pin)?;
        let made = self.library.rebuild_public(session.handle(), handle)?;
        token.meant(made)?.map(|object| object.summary()).ok_or(Error::ObjectHandleInvalid)
    }
}
