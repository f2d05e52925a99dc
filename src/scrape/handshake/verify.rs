//! The check of a client certificate: all that webpki asks, and of the path that it found what it
//! does not ask.

use std::cell::RefCell;
use std::iter;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};
use x509_parser::certificate::X509Certificate;
use x509_parser::parse_x509_certificate;

use super::cause::{Cause, Search, Who, named};
use super::refused::note;
use crate::config::ExpiredCrls;
use crate::credentials::revocation::{self, Issuer};
use crate::credentials::{ClientCa, ClientCas, Crl, may_sign_crls};
use crate::formalities::{Flaw, Place};

/// Requires that a certificate chains to a client CA, is made for client authentication, and that
/// nothing on the way contradicts RFC 5280 or is revoked.
///
/// webpki accepts a certificate that states no purpose at all; a certificate that some CA
/// issued for anything else would then do as a scraper's.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    cas: ClientCas,
    crls: Vec<Crl>,
    expired_crls: ExpiredCrls,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientVerifier {
    /// Without CRLs, no certificate is asked whether it is revoked.
    pub(super) fn new(
        cas: ClientCas,
        crls: Vec<Crl>,
        expired_crls: ExpiredCrls,
        provider: &CryptoProvider,
    ) -> Self {
        Self {
            cas,
            crls,
            expired_crls,
            algorithms: provider.signature_verification_algorithms,
        }
    }

    /// The whole check.
    ///
    /// # Errors
    /// Why the certificate is refused.
    pub(super) fn check(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Cause> {
        check_size(end_entity, intermediates)?;
        // The first path that leads to a client CA, and breaks a rule that webpki does not know.
        let broken = RefCell::new(None);
        let judge = |path: &VerifiedPath<'_>| {
            self.check_path(path, now).map_err(|cause| {
                broken.borrow_mut().get_or_insert(cause);
                webpki::Error::UnknownIssuer
            })
        };
        let verified = EndEntityCert::try_from(end_entity).and_then(|leaf| {
            let algorithms = self.algorithms.all;
            let (anchors, purpose) = (self.cas.anchors(), KeyUsage::client_auth());
            let judge: Judge<'_> = &judge;
            leaf.verify_for_usage(
                algorithms,
                anchors,
                intermediates,
                now,
                purpose,
                None,
                Some(judge),
            )
            .map(drop)
        });
        verified.map_err(|error| {
            let search = Search {
                leaf: end_entity,
                intermediates,
                cas: &self.cas,
                algorithms: self.algorithms.all,
            };
            broken.take().unwrap_or_else(|| search.cause(&error))
        })
    }

    /// Checks a path that leads to a client CA by what webpki does not ask.
    fn check_path(&self, path: &VerifiedPath<'_>, now: UnixTime) -> Result<(), Cause> {
        let leaf = path.end_entity().der();
        let leaf = parsed(&leaf).ok_or(Cause::Unreadable(Who::Leaf))?;
        let above = path.intermediate_certificates().map(|ca| ca.der());
        let above = Vec::from_iter(above);
        let above = above.iter().map(parsed).collect::<Option<Vec<_>>>();
        let above = above.ok_or_else(|| Cause::Unreadable(Who::Intermediate(String::new())))?;
        check_purpose(&leaf)?;
        check_form(&leaf, Place::Leaf)?;
        let mut cas = above.iter();
        cas.try_for_each(|ca| check_form(ca, Place::Intermediate))?;
        // That it is none of ours cannot be; then nothing is known of it.
        let anchor = self.cas.named_by(path.anchor());
        let anchor = anchor.ok_or(Cause::Unreadable(Who::ClientCa(String::new())))?;
        check_path_length(anchor, above.len())?;
        let issuers = above.iter().map(|ca| Issuer {
            key: ca.public_key().raw,
            may_sign_crls: may_sign_crls(ca),
        });
        let issuers = issuers.chain([Issuer {
            key: anchor.key(),
            may_sign_crls: anchor.may_sign_crls(),
        }]);
        let leaf = iter::once((&leaf, Place::Leaf));
        let certificates = leaf.chain(above.iter().map(|ca| (ca, Place::Intermediate)));
        for ((certificate, place), issuer) in certificates.zip(issuers) {
            self.check_revocation(certificate, place, issuer, now)?;
        }
        Ok(())
    }

    fn check_revocation(
        &self,
        certificate: &X509Certificate<'_>,
        place: Place,
        issuer: Issuer<'_>,
        now: UnixTime,
    ) -> Result<(), Cause> {
        if self.crls.is_empty() {
            return Ok(());
        }
        let now = now.as_secs().cast_signed();
        let (crls, expired, algorithms) = (&self.crls, self.expired_crls, self.algorithms.all);
        revocation::check(crls, certificate, place, issuer, now, expired, algorithms).map_err(
            |why| Cause::NotGood {
                who: Who::of(certificate, place),
                issuer: named(certificate.issuer()),
                why,
            },
        )
    }
}

/// What webpki asks of each path that it finds.
type Judge<'a> = &'a dyn Fn(&VerifiedPath<'_>) -> Result<(), webpki::Error>;

impl ClientCertVerifier for ClientVerifier {
    /// A scraper with a certificate of another CA would be hinted to send none, and would be
    /// refused for the wrong reason. Strangers need not learn the CA's name either.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match self.check(end_entity, intermediates, now) {
            Ok(()) => Ok(ClientCertVerified::assertion()),
            Err(cause) => {
                note(&cause, end_entity);
                Err(Error::InvalidCertificate(cause.alert()))
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
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
pub(super) const MAX_INTERMEDIATES: usize = 4;

/// In bytes, of all certificates together. Five with long RSA keys have half of it.
pub(super) const MAX_CHAIN_SIZE: usize = 24 * 1024;

/// The search for a path tries every order of what a stranger sends: a few hundred certificates,
/// with names that all fit, keep it busy for seconds.
fn check_size(leaf: &CertificateDer<'_>, above: &[CertificateDer<'_>]) -> Result<(), Cause> {
    let size = above.iter().map(|certificate| certificate.len());
    let size = size.sum::<usize>().saturating_add(leaf.len());
    if above.len() > MAX_INTERMEDIATES {
        return Err(Cause::TooManyIntermediates(above.len()));
    }
    if size > MAX_CHAIN_SIZE {
        return Err(Cause::TooLarge(size));
    }
    Ok(())
}

fn check_purpose(leaf: &X509Certificate<'_>) -> Result<(), Cause> {
    match leaf.extended_key_usage() {
        Ok(Some(usage)) if usage.value.client_auth => Ok(()),
        Ok(_) | Err(_) => Err(Cause::Purpose(Who::Leaf)),
    }
}

fn check_form(certificate: &X509Certificate<'_>, place: Place) -> Result<(), Cause> {
    match Flaw::of(certificate, place) {
        None => Ok(()),
        Some(flaw) => Err(Cause::Flawed(Who::of(certificate, place), flaw)),
    }
}

/// webpki asks for the path length of intermediates alone.
fn check_path_length(anchor: &ClientCa, intermediates: usize) -> Result<(), Cause> {
    match anchor.max_path_length() {
        Some(most) if intermediates > usize::try_from(most).unwrap_or(usize::MAX) => {
            Err(Cause::PathLength(Who::client_ca(anchor), most))
        }
        Some(_) | None => Ok(()),
    }
}

fn parsed<'a>(der: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    parse_x509_certificate(der)
        .ok()
        .map(|(_, certificate)| certificate)
}
