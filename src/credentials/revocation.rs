//! Whether a certificate is revoked, by all CRLs of its issuer.
//!
//! webpki asks the first CRL that has the issuer's name. With a CA that has two keys, or publishes
//! its revocations in parts, that is not enough.

use std::collections::HashMap;

use rustls::pki_types::SignatureVerificationAlgorithm;
use x509_parser::certificate::X509Certificate;

use super::crl::Crl;
use crate::config::ExpiredCrls;
use crate::formalities::Place;

/// What signed a certificate, and may have signed CRLs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Issuer<'a> {
    /// Its SubjectPublicKeyInfo, in DER.
    pub(crate) key: &'a [u8],
    pub(crate) may_sign_crls: bool,
}

/// Why a certificate is not known to be good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotGood {
    /// A CRL of its issuer lists it.
    Revoked,
    /// No CRL that its issuer's key has signed is for it.
    NoCrl,
    /// The latest CRL that is for it expired, in seconds since the Unix epoch.
    Expired(i64),
    /// The CRL that is for it is valid only from then.
    NotYetValid(i64),
    /// The key usages of its issuer leave out cRLSign.
    NotByCrlSigner,
}

/// Checks a certificate against the CRLs that its issuer's key has signed.
///
/// One of them that lists it is enough to refuse it, whatever that one is for and however old it
/// is: no serial number is given out twice. To be good, it must be covered by a current one; where
/// several cover it that are for different parts, each part must have a current one.
///
/// # Errors
/// It is not known to be good.
pub(crate) fn check(
    crls: &[Crl],
    certificate: &X509Certificate<'_>,
    place: Place,
    issuer: Issuer<'_>,
    now: i64,
    expired: ExpiredCrls,
    algorithms: &[&dyn SignatureVerificationAlgorithm],
) -> Result<(), NotGood> {
    let mut parts = HashMap::new();
    for crl in crls {
        let (lists, covers) = (crl.lists(certificate), crl.covers(certificate, place));
        // Signatures last: they take time.
        if !(lists || covers) || !crl.is_by_issuer_of(certificate, issuer.key, algorithms) {
            continue;
        }
        if !issuer.may_sign_crls {
            return Err(NotGood::NotByCrlSigner);
        }
        if lists {
            return Err(NotGood::Revoked);
        }
        let latest = parts.entry(crl.scope()).or_insert(crl);
        if crl.next_update() > latest.next_update() {
            *latest = crl;
        }
    }
    if parts.is_empty() {
        return Err(NotGood::NoCrl);
    }
    parts.values().try_for_each(|crl| {
        if now < crl.this_update() {
            return Err(NotGood::NotYetValid(crl.this_update()));
        }
        match expired {
            ExpiredCrls::Refuse if crl.next_update() <= now => {
                Err(NotGood::Expired(crl.next_update()))
            }
            ExpiredCrls::Refuse | ExpiredCrls::UnsafeAccept => Ok(()),
        }
    })
}
