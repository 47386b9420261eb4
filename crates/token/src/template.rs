//! The rules of templates: from what a caller wrote to the attributes an object gets (PKCS#11 v3.1 4.1, 5.7.2).

use model::{ATTRIBUTES, AttributeType, Attributes, Rule, Scope, Template, Value};

use crate::{Error, Result};

/// The attributes that an object of `scope` starts with when it is made from `template`.
///
/// `making` is [`Rule::CREATE`] or [`Rule::GENERATE`]. Attributes that the template leaves out get their defaults;
/// what is computed is the caller's to add.
///
/// # Errors
/// An attribute that the object cannot have, that a template may not set, twice with two values, of a wrong shape, or
/// missing though required.
pub(crate) fn start(scope: Scope, making: Rule, template: &Template) -> Result<Attributes> {
    start_as(scope, making, template, false)
}

/// The same; what the security officer alone may set (`CKA_TRUSTED`) an `officer` sets.
///
/// # Errors
/// Those of [`start`].
pub(crate) fn start_as(scope: Scope, making: Rule, template: &Template, officer: bool) -> Result<Attributes> {
    let needed = if making == Rule::CREATE { Rule::NEEDED_TO_CREATE } else { Rule::NEEDED_TO_GENERATE };
    let mut attributes = Attributes::new();
    for (ty, bytes) in template.iter() {
        let row = ty.row().ok_or(Error::AttributeTypeInvalid(ty))?;
        if !row.scope.intersects(scope) {
            return Err(Error::AttributeTypeInvalid(ty));
        }
        if !row.rule.contains(making) {
            return Err(Error::AttributeReadOnly(ty));
        }
        let value = Value::from_native(row.kind, bytes).ok_or(Error::AttributeValueInvalid(ty))?;
        if row.rule.contains(Rule::SO) && value == Value::Bool(true) && !officer {
            return Err(Error::AttributeReadOnly(ty));
        }
        if attributes.find(ty).is_some_and(|before| *before != value) {
            return Err(Error::TemplateInconsistent("an attribute has two values"));
        }
        attributes.set(ty, value);
    }
    for row in ATTRIBUTES.iter().filter(|row| row.scope.intersects(scope)) {
        if attributes.find(row.ty).is_some() {
            continue;
        }
        if row.rule.contains(needed) {
            return Err(Error::TemplateIncomplete(row.ty));
        }
        if let Some(value) = row.default() {
            attributes.set(row.ty, value);
        }
    }
    Ok(attributes)
}

/// Sets `ty` unless the template did; a template that says otherwise contradicts the mechanism.
pub(crate) fn settle(attributes: &mut Attributes, ty: AttributeType, value: Value) -> Result<()> {
    match attributes.find(ty) {
        Some(given) if *given != value => {
            Err(Error::TemplateInconsistent("an attribute contradicts the mechanism or the other template"))
        }
        Some(_) => Ok(()),
        None => {
            attributes.set(ty, value);
            Ok(())
        }
    }
}

/// Sets `ty` to `value` unless the template said something.
pub(crate) fn default(attributes: &mut Attributes, ty: AttributeType, value: Value) {
    if attributes.find(ty).is_none() {
        attributes.set(ty, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(template: Template) -> Result<Attributes> {
        start(Scope::RSA_PUBLIC, Rule::GENERATE, &template)
    }

    fn bits() -> Template {
        Template::new().with(AttributeType::MODULUS_BITS, Value::Ulong(2048))
    }

    #[test]
    fn defaults_fill_what_is_not_said() {
        let attributes = made(bits().with(AttributeType::LABEL, Value::Bytes(b"k".to_vec()))).unwrap();
        assert_eq!(attributes.bytes(AttributeType::LABEL), Some(&b"k"[..]));
        assert!(attributes.is_true(AttributeType::MODIFIABLE));
        assert_eq!(attributes.bytes(AttributeType::SUBJECT), Some(&[][..]));
    }

    #[test]
    fn each_fault_has_its_error() {
        assert_eq!(made(Template::new()), Err(Error::TemplateIncomplete(AttributeType::MODULUS_BITS)));
        let cases = [
            (AttributeType::SIGN, Value::Bool(true), Error::AttributeTypeInvalid(AttributeType::SIGN)),
            (AttributeType(0x8000_0001), Value::Bool(true), Error::AttributeTypeInvalid(AttributeType(0x8000_0001))),
            (AttributeType::LOCAL, Value::Bool(true), Error::AttributeReadOnly(AttributeType::LOCAL)),
            (AttributeType::TRUSTED, Value::Bool(true), Error::AttributeReadOnly(AttributeType::TRUSTED)),
            (AttributeType::MODULUS, Value::Bytes(vec![1]), Error::AttributeReadOnly(AttributeType::MODULUS)),
            (AttributeType::VERIFY, Value::Ulong(1), Error::AttributeValueInvalid(AttributeType::VERIFY)),
        ];
        for (ty, value, error) in cases {
            assert_eq!(made(bits().with(ty, value)), Err(error), "{ty}");
        }
        let twice = bits().with(AttributeType::MODULUS_BITS, Value::Ulong(1024));
        assert!(matches!(made(twice), Err(Error::TemplateInconsistent(_))));
    }
}
