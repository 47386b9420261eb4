//! Private keys in clear: PrivateKeyInfo (RFC 5208, RFC 5958), RSAPrivateKey (RFC 8017, A.1.2), ECPrivateKey (RFC 5915). A key that
//! no TPM takes is named.

use base::Secret;
use base::curve::{Curve, EcPublic};
use base::private::PrivateKey;

use crate::der::{Element, Reader, only_sequence, tag};
use crate::error::{Error, Result};
use crate::names::{self, EC_DH, EC_PUBLIC_KEY, RSA_ENCRYPTION, RSAES_OAEP, RSASSA_PSS, Restriction};

const BROKEN: Error = Error::Malformed("the key is damaged: its parts are not what they should be");

/// A PrivateKeyInfo, and what it says the key may serve for. Attributes after it say nothing that counts here.
pub(crate) fn from_pkcs8(der: &[u8]) -> Result<(PrivateKey, Option<Restriction>)> {
    let mut fields = only_sequence(der).ok_or(BROKEN)?;
    fields.expect(tag::INTEGER).ok_or(BROKEN)?;
    let mut algorithm = fields.sequence().ok_or(BROKEN)?;
    let oid = names::dotted(algorithm.expect(tag::OID).ok_or(BROKEN)?.content);
    let key = fields.expect(tag::OCTET_STRING).ok_or(BROKEN)?.content;
    let restriction = Restriction::of(&oid, algorithm);
    let key = match oid.as_str() {
        RSA_ENCRYPTION | RSAES_OAEP | RSASSA_PSS => from_pkcs1(key)?,
        EC_PUBLIC_KEY | EC_DH => from_sec1(key, algorithm.any())?,
        other => return Err(names::left_out(other)),
    };
    Ok((key, restriction))
}

/// An RSAPrivateKey. Some programs leave the primes out, and have the exponent only.
pub(crate) fn from_pkcs1(der: &[u8]) -> Result<PrivateKey> {
    let mut fields = only_sequence(der).ok_or(BROKEN)?;
    let version = fields.any().and_then(Element::number).ok_or(BROKEN)?;
    let mut number = || fields.any().and_then(Element::unsigned).ok_or(BROKEN);
    let (n, e, d, p, q) = (number()?, number()?, number()?, number()?, number()?);
    for _ in ["exponent1", "exponent2", "coefficient"] {
        number()?;
    }
    if version != 0 || !fields.is_empty() {
        return Err(names::unsupported("the RSA key has more than two primes"));
    }
    let public = names::rsa_public(n, e, BROKEN)?;
    PrivateKey::rsa(public, (!p.is_empty() && !q.is_empty()).then_some(p), Some(d)).map_err(|_| BROKEN)
}

/// An ECPrivateKey; its curve is in it, or with what it came in.
pub(crate) fn from_sec1(der: &[u8], outer: Option<Element<'_>>) -> Result<PrivateKey> {
    let mut fields = only_sequence(der).ok_or(BROKEN)?;
    fields.expect(tag::INTEGER).ok_or(BROKEN)?;
    let scalar = Secret::copy_from(fields.expect(tag::OCTET_STRING).ok_or(BROKEN)?.content);
    let inner = fields.optional(tag::context(0)).and_then(|parameters| parameters.children().any());
    let public = fields.optional(tag::context(1)).and_then(|public| public.children().expect(tag::BIT_STRING));
    let curve = outer.filter(|outer| matches!(outer.tag, tag::OID | tag::SEQUENCE)).or(inner);
    let curve = curve_of(curve.ok_or(Error::Unsupported(
        "the key does not say its curve; `openssl pkey` cannot know it either: write the file anew with the program that made it".into(),
    ))?)?;
    let key = PrivateKey::ec(curve, &scalar).map_err(|_| BROKEN)?;
    match (&key, public.and_then(|public| public.content.split_first())) {
        (PrivateKey::Ec { public, .. }, Some((0, point)))
            if EcPublic::from_point(curve, point).as_ref() != Ok(public) =>
        {
            Err(Error::Malformed("the halves of the key do not belong together"))
        }
        _ => Ok(key),
    }
}

/// The curve that ECParameters name (RFC 5480, 2.1.1), or spell out (SEC 1, C.2): the one of ours with that base point.
pub(crate) fn curve_of(parameters: Element<'_>) -> Result<Curve> {
    if parameters.tag == tag::OID {
        return Curve::from_ec_params(parameters.whole)
            .ok_or_else(|| names::left_out_curve(&names::dotted(parameters.content)));
    }
    let generator = generator(parameters.children()).ok_or(BROKEN)?;
    let one = Secret::copy_from(&[1]);
    let is_it = |curve: &Curve| {
        let own = EcPublic::of_private(*curve, &one);
        own.is_ok_and(|own| EcPublic::from_point(*curve, generator).is_ok_and(|point| point == own))
    };
    Curve::ALL
        .into_iter()
        .find(is_it)
        .ok_or_else(|| names::unsupported("the key spells a curve out which is not known here"))
}

/// SpecifiedECDomain: version, field, curve, base point.
fn generator<'a>(mut fields: Reader<'a>) -> Option<&'a [u8]> {
    fields.expect(tag::INTEGER)?;
    fields.sequence()?;
    fields.sequence()?;
    Some(fields.expect(tag::OCTET_STRING)?.content)
}
