//! A template as it came from the caller.

use crate::{AttributeType, Value, ValueError};

/// Attributes in the caller's order, values in the native encoding of the C interface. Nothing is checked yet.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Template(Vec<(AttributeType, Vec<u8>)>);

impl Template {
    /// An empty template; as a search template it matches everything.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an attribute in native encoding.
    pub fn push(&mut self, ty: AttributeType, value: Vec<u8>) {
        self.0.push((ty, value));
    }

    /// Adds a typed attribute.
    #[must_use]
    pub fn with(mut self, ty: AttributeType, value: Value) -> Self {
        self.0.push((ty, value.to_native()));
        self
    }

    /// The attributes in the caller's order.
    pub fn iter(&self) -> impl Iterator<Item = (AttributeType, &[u8])> {
        self.0.iter().map(|(ty, value)| (*ty, value.as_slice()))
    }

    /// The native bytes of the first attribute of this type.
    #[must_use]
    pub fn find(&self, ty: AttributeType) -> Option<&[u8]> {
        self.iter().find_map(|(found, value)| (found == ty).then_some(value))
    }

    /// The first attribute of this type, parsed by its row.
    ///
    /// # Errors
    /// [`ValueError`] when the value has not the shape that the attribute's row says.
    pub fn value(&self, ty: AttributeType) -> Result<Option<Value>, ValueError> {
        let Some(bytes) = self.find(ty) else { return Ok(None) };
        let row = ty.row().ok_or(ValueError(ty))?;
        Value::from_native(row.kind, bytes).map(Some).ok_or(ValueError(ty))
    }

    /// Number of attributes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// No attribute at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Only the types: a template can hold a secret value.
impl std::fmt::Debug for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(ty, _)| ty)).finish()
    }
}

impl Drop for Template {
    fn drop(&mut self) {
        for (_, value) in &mut self.0 {
            // A template of C_CreateObject or C_UnwrapKey may carry key material.
            base::wipe(value);
        }
    }
}
