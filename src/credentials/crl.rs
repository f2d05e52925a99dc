//! What must be known of a CRL before it is put to use.

use std::time::Duration;

use webpki::BorrowedCertRevocationList;
use x509_parser::oid_registry::{OID_X509_EXT_CRL_NUMBER, OID_X509_EXT_ISSUER_DISTRIBUTION_POINT};

use super::expiry::{Expiry, Role};

/// What must be known of a CRL before it is put to use.
pub(crate) struct CrlSummary {
    pub(super) issuer: String,
    /// Its issuer, and the part of that issuer's certificates which it is for.
    pub(super) scope: (Vec<u8>, Option<Vec<u8>>),
    pub(super) expiry: Option<Expiry>,
}

/// Reads a CRL (DER).
///
/// # Errors
/// Why it cannot be used.
pub(crate) fn summary(crl: &[u8]) -> Result<CrlSummary, String> {
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

/// CRLs live for days; the last is for whoever has to make the next.
const CRL_WARN_AHEAD: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    fn ca() -> rcgen::CertifiedIssuer<'static, rcgen::KeyPair> {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![rcgen::KeyUsagePurpose::CrlSign];
        rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap()
    }

    #[test]
    fn a_crl_without_a_number_is_refused() {
        const NUMBER: &[u8] = &[0x06, 3, 0x55, 0x1d, 20];
        let now = rcgen::date_time_ymd(2026, 1, 1);
        let list = rcgen::CertificateRevocationListParams {
            this_update: now,
            next_update: rcgen::date_time_ymd(2099, 1, 1),
            crl_number: vec![1].into(),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&ca()).unwrap();
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
}
