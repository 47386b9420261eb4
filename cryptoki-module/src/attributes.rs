//! Templates of the C interface: taken in, and answered.

use model::v3_2::{CKA_DECAPSULATE_TEMPLATE, CKA_ENCAPSULATE_TEMPLATE};
use model::{AttributeType, Template};
use pkcs11_sys::{
    CK_UNAVAILABLE_INFORMATION, CKA_DERIVE_TEMPLATE, CKA_UNWRAP_TEMPLATE, CKA_WRAP_TEMPLATE, CKF_ARRAY_ATTRIBUTE,
};
use token::info::AttributeValue;
use token::{Error, Result};

use crate::raw::{Attributes, MAX_VALUE};

/// Bytes of all values of one template.
const MAX_TEMPLATE: usize = 16 << 20;

/// Templates within templates. Two have, in the published header of 3.2, not the flag that says so.
const NESTED: [u64; 7] = [
    CKA_WRAP_TEMPLATE,
    CKA_UNWRAP_TEMPLATE,
    CKA_DERIVE_TEMPLATE,
    CKA_ENCAPSULATE_TEMPLATE,
    CKA_DECAPSULATE_TEMPLATE,
    CKA_ENCAPSULATE_TEMPLATE | CKF_ARRAY_ATTRIBUTE,
    CKA_DECAPSULATE_TEMPLATE | CKF_ARRAY_ATTRIBUTE,
];

impl Attributes<'_> {
    /// A copy of the template.
    ///
    /// # Errors
    /// `ArgumentsBad` for null with a count, too many attributes, or a value that is null with a length or has a length
    /// that no memory has; `HostMemory` for values beyond all use; `AttributeTypeInvalid` for templates within the
    /// template, whose values are pointers.
    pub(crate) fn template(&self) -> Result<Template> {
        let mut template = Template::new();
        let mut total = 0;
        for attribute in self.read()? {
            if NESTED.contains(&attribute.ty().0) {
                return Err(Error::AttributeTypeInvalid(attribute.ty()));
            }
            let value = attribute.value().slice()?;
            total += value.len();
            if value.len() > MAX_VALUE || total > MAX_TEMPLATE {
                return Err(Error::HostMemory);
            }
            template.push(attribute.ty(), value.to_vec());
        }
        Ok(template)
    }

    /// Answers `C_GetAttributeValue` by the rules of PKCS#11 v3.1, 5.7.5: every attribute gets its length, or
    /// `CK_UNAVAILABLE_INFORMATION`, and its value where there is room. `values` is asked for all types at once and
    /// returns as many values.
    ///
    /// # Errors
    /// Of several reasons the gravest: `AttributeSensitive`, `AttributeTypeInvalid`, `BufferTooSmall`. The other
    /// attributes are answered all the same.
    pub(crate) fn answer(&self, values: impl FnOnce(&[AttributeType]) -> Result<Vec<AttributeValue>>) -> Result<()> {
        let attributes = self.read()?;
        let types: Vec<_> = attributes.iter().map(|attribute| attribute.ty()).collect();
        let values = values(&types)?;
        if values.len() != attributes.len() {
            return Err(Error::General("the token answered another number of attributes".to_owned()));
        }

        let (mut sensitive, mut unknown, mut too_small) = (None, None, None);
        for (attribute, value) in attributes.iter().zip(&values) {
            match value {
                AttributeValue::Value(bytes) => match attribute.answer(bytes) {
                    Ok(()) => continue,
                    Err(error) => too_small = Some(error),
                },
                AttributeValue::Sensitive => sensitive = Some(Error::AttributeSensitive),
                AttributeValue::Unknown => unknown = Some(Error::AttributeTypeInvalid(attribute.ty())),
            }
            attribute.answer_length(CK_UNAVAILABLE_INFORMATION);
        }
        sensitive.or(unknown).or(too_small).map_or(Ok(()), Err)
    }
}
