//! Checks a certificate against all CRLs of its issuer.
//!
//! webpki reads only the first CRL with the issuer's name. That is not enough for a CA with two keys,
//! or one that partitions its CRLs.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::pki_types::SignatureVerificationAlgorithm;
use x509_parser::certificate::X509Certificate;

use super::crl::Crl;
use crate::config::ExpiredCrls;
use crate::tls::rfc5280::Position;

/// The issuer of a certificate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Issuer<'a> {
    /// Its SubjectPublicKeyInfo, in DER.
    pub(crate) key: &'a [u8],
    pub(crate) may_sign_crls: bool,
}

/// Why a certificate is revoked, or may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RevocationProblem {
    /// A CRL of its issuer lists it.
    Revoked,
    /// No CRL signed with its issuer's key covers it.
    NoCrl,
    /// When the latest CRL that covers it expired, in seconds since the Unix epoch.
    Expired(i64),
    /// When the CRL that covers it becomes valid, in seconds since the Unix epoch.
    NotYetValid(i64),
    /// The key usages of its issuer lack cRLSign.
    IssuerMayNotSignCrls,
}

/// Whether any of these CRLs lists a certificate and is signed with the key of its issuer. It need
/// not cover the certificate.
pub(crate) fn is_listed(
    crls: &[Arc<Crl>],
    certificate: &X509Certificate<'_>,
    issuer: Issuer<'_>,
    algorithms: &[&dyn SignatureVerificationAlgorithm],
) -> bool {
    // Signatures last: they are expensive.
    crls.iter().any(|crl| {
        crl.lists(certificate) && crl.is_signed_by_issuer_of(certificate, issuer.key, algorithms)
    })
}

/// Which CRLs count, as of when.
#[derive(Debug)]
pub(crate) struct CrlCheck<'a> {
    pub(crate) crls: &'a [Arc<Crl>],
    pub(crate) expired: ExpiredCrls,
    pub(crate) algorithms: &'a [&'a dyn SignatureVerificationAlgorithm],
    /// In seconds since the Unix epoch.
    pub(crate) now: i64,
}

/// Checks a certificate against the CRLs that are signed with its issuer's key.
///
/// A CRL that lists it is enough to refuse it, whatever the scope and age of that CRL: serial numbers
/// are unique. To be accepted, it must be covered by a current CRL, and by one of each scope if
/// CRLs of several scopes cover it.
///
/// # Errors
/// It is revoked, or may be.
pub(crate) fn check(
    with: &CrlCheck<'_>,
    certificate: &X509Certificate<'_>,
    position: Position,
    issuer: Issuer<'_>,
) -> Result<(), RevocationProblem> {
    let CrlCheck {
        crls,
        expired,
        algorithms,
        now,
    } = *with;
    let mut latest_of_scope = HashMap::new();
    for crl in crls {
        let (lists, covers) = (crl.lists(certificate), crl.covers(certificate, position));
        // Signatures last: they are expensive.
        if !(lists || covers) || !crl.is_signed_by_issuer_of(certificate, issuer.key, algorithms) {
            continue;
        }
        if !issuer.may_sign_crls {
            return Err(RevocationProblem::IssuerMayNotSignCrls);
        }
        if lists {
            return Err(RevocationProblem::Revoked);
        }
        let latest = latest_of_scope.entry(crl.scope()).or_insert(crl);
        if crl.next_update() > latest.next_update() {
            *latest = crl;
        }
    }
    if latest_of_scope.is_empty() {
        return Err(RevocationProblem::NoCrl);
    }
    latest_of_scope.values().try_for_each(|crl| {
        if now < crl.this_update() {
            return Err(RevocationProblem::NotYetValid(crl.this_update()));
        }
        match expired {
            ExpiredCrls::Refuse if crl.next_update() <= now => {
                Err(RevocationProblem::Expired(crl.next_update()))
            }
            ExpiredCrls::Refuse | ExpiredCrls::UnsafeAccept => Ok(()),
        }
    })
}
