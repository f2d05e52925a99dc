//! Verifies signatures of CRLs and certificates.

use rustls::pki_types::{SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer};
use webpki::RawPublicKeyEntity;

/// Whether this key (a SubjectPublicKeyInfo in DER) made the signature, with one of these
/// algorithms.
pub(crate) fn is_signed_by(
    key: &[u8],
    message: &[u8],
    signature: &[u8],
    algorithms: &[&dyn SignatureVerificationAlgorithm],
) -> bool {
    let key = SubjectPublicKeyInfoDer::from(key);
    let Ok(key) = RawPublicKeyEntity::try_from(&key) else {
        return false;
    };
    // An algorithm for another kind of key fails at once.
    let mut algorithms = algorithms.iter();
    algorithms.any(|algorithm| key.verify_signature(*algorithm, message, signature).is_ok())
}
