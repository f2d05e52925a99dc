//! What must be known of a CRL before it is put to use.

use std::time::Duration;

use webpki::BorrowedCertRevocationList;
use x509_parser::oid_registry::OID_X509_EXT_ISSUER_DISTRIBUTION_POINT;

use super::expiry::Expiry;

/// What must be known of a CRL before it is put to use.
pub(super) struct CrlSummary {
    pub(super) issuer: String,
    /// Its issuer, and the part of that issuer's certificates which it is for.
    pub(super) scope: (Vec<u8>, Option<Vec<u8>>),
    pub(super) expiry: Option<Expiry>,
}

/// Reads a CRL (DER).
///
/// # Errors
/// Why it cannot be used.
pub(super) fn summary(crl: &[u8]) -> Result<CrlSummary, String> {
    let (rest, parsed) = x509_parser::parse_x509_crl(crl)
        .map_err(|_| "holds no CRL that can be read (PEM or DER)".to_owned())?;
    if !rest.is_empty() || BorrowedCertRevocationList::from_der(crl).is_err() {
        return Err(format!(
            "holds a CRL of {} that cannot be used; it must be version 2, with a CRL number and nextUpdate",
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
            what: format!("the CRL of {}", parsed.issuer()),
            at: next_update.timestamp(),
            warn_ahead: CRL_WARN_AHEAD,
            afterwards: "every certificate of that CA is refused until a new one is given",
        }),
    })
}

/// CRLs live for days; the last is for whoever has to make the next.
const CRL_WARN_AHEAD: Duration = Duration::from_secs(24 * 60 * 60);
