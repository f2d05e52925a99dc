//! The check of a client certificate: all that webpki asks, and the purpose that it lets pass.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, ExtendedKeyPurpose,
    SignatureScheme,
};
use x509_parser::parse_x509_certificate;

/// Requires that a client certificate is made for client authentication.
///
/// webpki accepts a certificate that states no purpose at all; a certificate that some CA
/// issued for anything else would then do as a scraper's.
#[derive(Debug)]
pub(super) struct RequireClientAuth(Arc<dyn ClientCertVerifier>);

impl RequireClientAuth {
    pub(super) fn over(chain_verifier: Arc<dyn ClientCertVerifier>) -> Self {
        Self(chain_verifier)
    }
}

impl ClientCertVerifier for RequireClientAuth {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        // The chain first: a certificate of nobody's is `untrusted`, whatever it is made for.
        let verified = self.0.verify_client_cert(end_entity, intermediates, now)?;
        if states_client_auth(end_entity) {
            return Ok(verified);
        }
        Err(Error::InvalidCertificate(
            CertificateError::InvalidPurposeContext {
                required: ExtendedKeyPurpose::ClientAuth,
                presented: Vec::new(),
            },
        ))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

fn states_client_auth(leaf: &[u8]) -> bool {
    parse_x509_certificate(leaf).is_ok_and(|(_, certificate)| {
        matches!(certificate.extended_key_usage(), Ok(Some(usage)) if usage.value.client_auth)
    })
}
