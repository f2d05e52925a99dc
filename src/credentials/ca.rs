//! What a certificate must be to be trusted as the CA of scrapers.

use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::oid_registry::{
    OID_X509_EXT_BASIC_CONSTRAINTS, OID_X509_EXT_KEY_USAGE, OID_X509_EXT_NAME_CONSTRAINTS, Oid,
};
use x509_parser::parse_x509_certificate;
use x509_parser::time::ASN1Time;

/// Whether client certificates may lead to this certificate.
///
/// A CA that has expired vouches for nobody, and one that may not sign certificates has signed
/// none. The chain check asks neither of a CA that it is told to trust.
///
/// # Errors
/// Why not.
pub(crate) fn usable_ca<'a>(
    certificate: &'a CertificateDer<'_>,
    now: ASN1Time,
) -> Result<X509Certificate<'a>, String> {
    let ca = parsed(certificate)?;
    in_validity(&ca, now)?;
    can_sign(&ca)?;
    is_understood(&ca)?;
    Ok(ca)
}

pub(super) fn parsed<'a>(
    certificate: &'a CertificateDer<'_>,
) -> Result<X509Certificate<'a>, String> {
    match parse_x509_certificate(certificate) {
        Ok((_, certificate)) => Ok(certificate),
        Err(_) => Err("holds a certificate that cannot be read".to_owned()),
    }
}

pub(super) fn in_validity(certificate: &X509Certificate<'_>, now: ASN1Time) -> Result<(), String> {
    let validity = certificate.validity();
    if validity.is_valid_at(now) {
        return Ok(());
    }
    Err(format!(
        "holds a certificate ({}) that is valid only from {} to {}; renew it, or set the clock",
        certificate.subject(),
        validity.not_before,
        validity.not_after
    ))
}

fn can_sign(ca: &X509Certificate<'_>) -> Result<(), String> {
    let is_ca = matches!(ca.basic_constraints(), Ok(Some(constraints)) if constraints.value.ca);
    let may_sign = match ca.key_usage() {
        Ok(Some(usage)) => usage.value.key_cert_sign(),
        Ok(None) => true,
        Err(_) => false,
    };
    if is_ca && may_sign {
        return Ok(());
    }
    Err(format!(
        "holds a certificate ({}) that is no CA; it needs basicConstraints CA:TRUE and keyUsage keyCertSign",
        ca.subject()
    ))
}

/// A critical extension asks to be refused by whoever does not know it (RFC 5280, section 4.2):
/// it may narrow whom the CA can vouch for.
fn is_understood(ca: &X509Certificate<'_>) -> Result<(), String> {
    let mut extensions = ca.extensions().iter();
    match extensions.find(|extension| extension.critical && !HONORED.contains(&extension.oid)) {
        None => Ok(()),
        Some(extension) => Err(format!(
            "holds a CA ({}) with the critical extension {}, which aegis does not know",
            ca.subject(),
            extension.oid
        )),
    }
}

/// What the chain check, or the check above, makes of a CA's extensions.
const HONORED: [Oid<'_>; 3] = [
    OID_X509_EXT_BASIC_CONSTRAINTS,
    OID_X509_EXT_KEY_USAGE,
    OID_X509_EXT_NAME_CONSTRAINTS,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn ca(
        extensions: Vec<rcgen::CustomExtension>,
    ) -> rcgen::CertifiedIssuer<'static, rcgen::KeyPair> {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![
            rcgen::KeyUsagePurpose::KeyCertSign,
            rcgen::KeyUsagePurpose::CrlSign,
        ];
        params.custom_extensions = extensions;
        rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap()
    }

    #[test]
    fn a_ca_with_a_critical_extension_that_nobody_knows_is_refused() {
        for (critical, said) in [
            (false, None),
            (
                true,
                Some("with the critical extension 1.3.6.1.4.1.55738.666.1"),
            ),
        ] {
            let oid = &[1, 3, 6, 1, 4, 1, 55738, 666, 1];
            let mut unknown = rcgen::CustomExtension::from_oid_content(oid, vec![5, 0]);
            unknown.set_criticality(critical);
            let ca = ca(vec![unknown]);
            let usable = usable_ca(ca.as_ref().der(), ASN1Time::now()).map(|_| ());
            match (usable, said) {
                (Ok(()), None) => {}
                (Err(problem), Some(said)) => assert!(problem.contains(said), "{problem}"),
                (usable, _) => panic!("critical: {critical}: {usable:?}"),
            }
        }
    }
}
