//! The check of a client certificate: all that webpki asks, and the purpose and the flaws that it
//! lets pass.

use std::error;
use std::fmt;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, ExtendedKeyPurpose,
    OtherError, SignatureScheme,
};
use x509_parser::parse_x509_certificate;

use super::refused::note_leaf;
use crate::formalities::{Flaw, Place};

/// Requires that a client certificate is made for client authentication, and contradicts neither
/// itself nor RFC 5280.
///
/// webpki accepts a certificate that states no purpose at all; a certificate that some CA
/// issued for anything else would then do as a scraper's.
#[derive(Debug)]
pub(super) struct RequireClientAuth(Arc<dyn ClientCertVerifier>);

impl RequireClientAuth {
    pub(super) fn over(chain_verifier: Arc<dyn ClientCertVerifier>) -> Self {
        Self(chain_verifier)
    }

    /// The whole check.
    fn check(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        // The search for a path tries every order of what a stranger sends: a few hundred
        // certificates, with names that all fit, keep it busy for seconds.
        let size = intermediates.iter().map(|certificate| certificate.len());
        let size = size.sum::<usize>().saturating_add(end_entity.len());
        let too_much = if intermediates.len() > MOST_INTERMEDIATES {
            Some(TooMuch::Intermediates(intermediates.len()))
        } else {
            Some(TooMuch::Bytes(size)).filter(|_| size > LARGEST_CHAIN)
        };
        if let Some(why) = too_much {
            return Err(other(why));
        }
        let verified = self.0.verify_client_cert(end_entity, intermediates, now)?;
        check_leaf(end_entity)?;
        self.check_those_needed(end_entity, intermediates, now)?;
        Ok(verified)
    }

    /// Refuses a chain that leads to a client CA only through a flawed intermediate.
    ///
    /// The chain check does not tell which it took: it is asked again without the flawed ones.
    fn check_those_needed(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let mut sound = Vec::new();
        let mut flawed = None;
        for intermediate in intermediates {
            match flaw_of(intermediate) {
                None => sound.push(intermediate.clone()),
                Some(flaw) => flawed = flawed.or(Some(flaw)),
            }
        }
        let Some(flawed) = flawed else { return Ok(()) };
        let verified = self.0.verify_client_cert(end_entity, &sound, now);
        verified.map(drop).map_err(|_| other(flawed))
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
        let verified = self.check(end_entity, intermediates, now);
        verified.inspect_err(|_| note_leaf(end_entity))
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

/// When the first of some certificates runs out, in seconds since the Unix epoch: long ago if one
/// cannot be read.
pub(super) fn soonest_not_after(certificates: &[CertificateDer<'_>]) -> i64 {
    let each = certificates.iter().map(|certificate| {
        parse_x509_certificate(certificate).map_or(i64::MIN, |(_, certificate)| {
            certificate.validity().not_after.timestamp()
        })
    });
    each.min().unwrap_or(i64::MAX)
}

/// Chains have one or two; each more multiplies what a stranger can make us compute.
const MOST_INTERMEDIATES: usize = 4;

/// In bytes, of all certificates together. Five with long RSA keys have half of it.
const LARGEST_CHAIN: usize = 24 * 1024;

/// Why a chain is not looked at.
#[derive(Debug)]
enum TooMuch {
    Bytes(usize),
    Intermediates(usize),
}

impl fmt::Display for TooMuch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(size) => write!(
                f,
                "certificates of {size} bytes; at most {LARGEST_CHAIN} are looked at"
            ),
            Self::Intermediates(count) => write!(
                f,
                "{count} certificates above the leaf; at most {MOST_INTERMEDIATES} are looked at"
            ),
        }
    }
}

impl error::Error for TooMuch {}

/// A certificate of a chain with what is wrong with it.
#[derive(Debug)]
enum Flawed {
    Leaf(Flaw),
    Intermediate(String, Flaw),
}

impl fmt::Display for Flawed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leaf(flaw) => write!(f, "the certificate {flaw}"),
            Self::Intermediate(name, flaw) => {
                write!(f, "the intermediate certificate ({name}) {flaw}")
            }
        }
    }
}

impl error::Error for Flawed {}

fn check_leaf(leaf: &[u8]) -> Result<(), Error> {
    let Ok((_, leaf)) = parse_x509_certificate(leaf) else {
        return Err(other(Flawed::Leaf(Flaw::Unreadable)));
    };
    match leaf.extended_key_usage() {
        Ok(Some(usage)) if usage.value.client_auth => {}
        Ok(_) | Err(_) => {
            let purpose = CertificateError::InvalidPurposeContext {
                required: ExtendedKeyPurpose::ClientAuth,
                presented: Vec::new(),
            };
            return Err(Error::InvalidCertificate(purpose));
        }
    }
    match Flaw::of(&leaf, Place::Leaf) {
        None => Ok(()),
        Some(flaw) => Err(other(Flawed::Leaf(flaw))),
    }
}

fn flaw_of(intermediate: &[u8]) -> Option<Flawed> {
    match parse_x509_certificate(intermediate) {
        Ok((_, ca)) => Flaw::of(&ca, Place::Intermediate)
            .map(|flaw| Flawed::Intermediate(ca.subject().to_string(), flaw)),
        Err(_) => Some(Flawed::Intermediate(String::new(), Flaw::Unreadable)),
    }
}

fn other(why: impl error::Error + Send + Sync + 'static) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(why))))
}
