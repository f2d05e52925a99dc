//! What must be known of a CRL before it is put to use.

use std::time::Duration;

use rustls::pki_types::CertificateDer;
use webpki::BorrowedCertRevocationList;
use x509_parser::certificate::X509Certificate;
use x509_parser::oid_registry::{OID_X509_EXT_CRL_NUMBER, OID_X509_EXT_ISSUER_DISTRIBUTION_POINT};

use super::ca::parsed;
use super::expiry::{Expiry, Role};

/// What must be known of a CRL before it is put to use.
pub(crate) struct CrlSummary {
    pub(super) issuer: String,
    /// Its issuer, and the part of that issuer's certificates which it is for.
    pub(super) scope: (Vec<u8>, Option<Vec<u8>>),
    pub(super) expiry: Option<Expiry>,
}

/// Reads a CRL (DER), of one of the client CAs or of a CA below them.
///
/// # Errors
/// Why it cannot be used.
pub(crate) fn usable_crl(
    crl: &[u8],
    client_cas: &[CertificateDer<'_>],
) -> Result<CrlSummary, String> {
    let crl = summary(crl)?;
    is_by_right(&crl, client_cas)?;
    Ok(crl)
}

fn summary(crl: &[u8]) -> Result<CrlSummary, String> {
    let (rest, parsed) = x509_parser::parse_x509_crl(crl)
        .map_err(|_| "holds no CRL that can be read (PEM or DER)".to_owned())?;
    // webpki asks for no number, though a list without one is none by RFC 5280, section 5.2.3.
    let mut extensions = parsed.extensions().iter();
    let is_numbered =
        extensions.any(|extension| extension.oid == OID_X509_EXT_CRL_NUMBER && !extension.critical);
    let is_readable = rest.is_empty() && BorrowedCertRevocationList::from_der(crl).is_ok();
    if !is_numbered || !is_readable {
        return Err(format!(
            "holds a CRL of {} that cannot be used; it must be version 2, with a CRL number (not critical) and nextUpdate",
            parsed.issuer()
        ));
    }
    let distribution_point = parsed
        .extensions()
        .iter()
        .find(|extension| extension.oid == OID_X509_EXT_ISSUER_DISTRIBUTION_POINT);
    Ok(CrlSummary {
        issuer: parsed.issuer().to_string(),
        scope: (
            parsed.issuer().as_raw().to_vec(),
            distribution_point.map(|extension| extension.value.to_vec()),
        ),
        expiry: parsed.next_update().map(|next_update| Expiry {
            role: Role::Crl,
            what: format!("the CRL of {}", parsed.issuer()),
            at: next_update.timestamp(),
            warn_ahead: CRL_WARN_AHEAD,
            afterwards: "every certificate of that CA is refused until a new one is given",
        }),
    })
}

/// The chain check asks for cRLSign of the CAs that scrapers send along, not of those that it is
/// told to trust.
fn is_by_right(crl: &CrlSummary, client_cas: &[CertificateDer<'_>]) -> Result<(), String> {
    let (issuer, _) = &crl.scope;
    let cas = client_cas.iter().filter_map(|ca| parsed(ca).ok());
    let mut issuers = cas.filter(|ca| ca.subject().as_raw() == issuer).peekable();
    if issuers.peek().is_none() || issuers.any(|ca| may_sign_crls(&ca)) {
        return Ok(());
    }
    Err(format!(
        "holds a CRL of {}, but the key usages of that client CA leave out cRLSign; issue the CA anew with it",
        crl.issuer
    ))
}

fn may_sign_crls(ca: &X509Certificate<'_>) -> bool {
    match ca.key_usage() {
        Ok(Some(usage)) => usage.value.crl_sign(),
        Ok(None) => true,
        Err(_) => false,
    }
}

/// CRLs live for days; the last is for whoever has to make the next.
const CRL_WARN_AHEAD: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    fn ca(
        key_usages: Vec<rcgen::KeyUsagePurpose>,
    ) -> rcgen::CertifiedIssuer<'static, rcgen::KeyPair> {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = key_usages;
        rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap()
    }

    fn list() -> rcgen::CertificateRevocationListParams {
        rcgen::CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2026, 1, 1),
            next_update: rcgen::date_time_ymd(2099, 1, 1),
            crl_number: vec![1].into(),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        }
    }

    #[test]
    fn a_crl_without_a_number_is_refused() {
        const NUMBER: &[u8] = &[0x06, 3, 0x55, 0x1d, 20];
        let list = list().signed_by(&ca(Vec::new())).unwrap();
        let mut der = list.der().to_vec();
        assert!(summary(&der).is_ok());
        let number = der
            .windows(NUMBER.len())
            .position(|at| at == NUMBER)
            .unwrap();
        // Now it is some extension that nobody knows.
        der[number + NUMBER.len() - 1] = 99;
        let problem = summary(&der).err().unwrap();
        assert!(problem.contains("with a CRL number"), "{problem}");
    }

    #[test]
    fn a_crl_of_a_client_ca_that_may_not_sign_it_is_refused() {
        let crl = list().signed_by(&ca(Vec::new())).unwrap();
        // Of one name, with a key of its own: which it is, the chain check finds out.
        let ca = |usages| ca(usages).as_ref().der().clone();
        let none = ca(Vec::new());
        let signs = ca(vec![rcgen::KeyUsagePurpose::CrlSign]);
        let signs_certificates = ca(vec![rcgen::KeyUsagePurpose::KeyCertSign]);
        for (client_cas, refused) in [
            (&[][..], false),
            (&[none], false),
            (&[signs_certificates.clone(), signs], false),
            (&[signs_certificates], true),
        ] {
            match (usable_crl(crl.der(), client_cas).map(|_| ()), refused) {
                (Ok(()), false) => {}
                (Err(problem), true) => assert!(problem.contains("leave out cRLSign"), "{problem}"),
                (usable, _) => panic!("{}: {usable:?}", client_cas.len()),
            }
        }
    }
}
