//! Checks client certificates: webpki's checks, and for the path that webpki found, the checks that
//! it lacks.

use std::cell::RefCell;
use std::iter;
use std::sync::Arc;

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

use super::cause::{Cause, MAX_CHAIN_BYTES, MAX_INTERMEDIATES, Search, Subject, named};
use super::refused::record;
use crate::config::ExpiredCrls;
use crate::tls::credentials::revocation::{self, CrlCheck, Issuer, RevocationProblem};
use crate::tls::credentials::{ClientCa, ClientCas, Crl, may_sign_crls, now};
use crate::tls::rfc5280::{Position, Violation};

/// Requires that a certificate chains to a client CA and is for client authentication, and that no
/// certificate of the chain violates RFC 5280 or is revoked.
///
/// webpki accepts a certificate without extended key usages. Then any certificate of the CA would
/// do as a scraper's.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    cas: Arc<ClientCas>,
    crls: Vec<Arc<Crl>>,
    expired_crls: ExpiredCrls,
    restrictions: TrustRestrictions,
    algorithms: WebPkiSupportedAlgorithms,
}

/// What newer files take away while others of them are invalid.
#[derive(Clone, Debug, Default)]
pub(crate) struct TrustRestrictions {
    /// Certificates must also chain to one of these.
    pub(crate) cas: Option<Arc<ClientCas>>,
    /// Certificates in these are revoked. For all others, only the CRLs in force count.
    pub(crate) crls: Vec<Arc<Crl>>,
}

impl ClientVerifier {
    /// Without CRLs, revocation is not checked.
    pub(super) fn new(
        cas: Arc<ClientCas>,
        crls: Vec<Arc<Crl>>,
        expired_crls: ExpiredCrls,
        provider: &CryptoProvider,
    ) -> Self {
        Self {
            cas,
            crls,
            expired_crls,
            restrictions: TrustRestrictions::default(),
            algorithms: provider.signature_verification_algorithms,
        }
    }

    /// The same check with these restrictions instead of those that it has.
    pub(super) fn restricted_by(&self, restrictions: TrustRestrictions) -> Self {
        Self {
            cas: Arc::clone(&self.cas),
            crls: self.crls.clone(),
            expired_crls: self.expired_crls,
            restrictions,
            algorithms: self.algorithms,
        }
    }

    /// The client CAs and CRLs in force, without restrictions.
    pub(super) fn trusted(&self) -> (&Arc<ClientCas>, &[Arc<Crl>]) {
        (&self.cas, &self.crls)
    }

    /// When the first of the currently valid client CAs expires, in seconds since the Unix epoch.
    pub(super) fn first_ca_expiry(&self) -> Option<i64> {
        let all = iter::once(&self.cas).chain(&self.restrictions.cas);
        all.filter_map(|cas| cas.first_expiry(now())).min()
    }

    /// Checks a certificate in full.
    ///
    /// # Errors
    /// Why the certificate is refused.
    pub(super) fn check(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Cause> {
        let chain = Chain {
            leaf: end_entity,
            intermediates,
        };
        chain.check_size()?;
        self.check_to(&self.cas, chain, RevocationCheck::Covered, now)?;
        match &self.restrictions.cas {
            Some(cas) => self.check_to(cas, chain, RevocationCheck::NotListed, now),
            None => Ok(()),
        }
    }

    /// Looks for a valid path to one of these CAs.
    fn check_to(
        &self,
        cas: &ClientCas,
        chain: Chain<'_>,
        revocation: RevocationCheck,
        now: UnixTime,
    ) -> Result<(), Cause> {
        // The cause for the first path to a client CA that fails a check which webpki lacks.
        let broken = RefCell::new(None);
        let check = |path: &VerifiedPath<'_>| {
            self.check_path(cas, path, revocation, now)
                .map_err(|cause| {
                    broken.borrow_mut().get_or_insert(cause);
                    webpki::Error::UnknownIssuer
                })
        };
        let verified = EndEntityCert::try_from(chain.leaf).and_then(|leaf| {
            let algorithms = self.algorithms.all;
            let (anchors, purpose) = (cas.anchors(), KeyUsage::client_auth());
            let check: CheckPath<'_> = &check;
            leaf.verify_for_usage(
                algorithms,
                anchors,
                chain.intermediates,
                now,
                purpose,
                None,
                Some(check),
            )
            .map(drop)
        });
        verified.map_err(|error| {
            let search = Search {
                leaf: chain.leaf,
                intermediates: chain.intermediates,
                cas,
                algorithms: self.algorithms.all,
            };
            broken.take().unwrap_or_else(|| search.cause(&error))
        })
    }

    /// Makes the checks that webpki lacks, for a path to a client CA.
    fn check_path(
        &self,
        cas: &ClientCas,
        path: &VerifiedPath<'_>,
        revocation: RevocationCheck,
        now: UnixTime,
    ) -> Result<(), Cause> {
        let leaf = path.end_entity().der();
        let leaf = parsed(&leaf).ok_or(Cause::Unreadable(Subject::Leaf))?;
        let above = path.intermediate_certificates().map(|ca| ca.der());
        let above = Vec::from_iter(above);
        let above = above.iter().map(parsed).collect::<Option<Vec<_>>>();
        let above = above.ok_or_else(|| Cause::Unreadable(Subject::Intermediate(String::new())))?;
        check_purpose(&leaf)?;
        check_form(&leaf, Position::Leaf)?;
        let mut between = above.iter();
        between.try_for_each(|ca| check_form(ca, Position::Intermediate))?;
        // webpki returns one of our anchors. If it did not, aegis would refuse.
        let anchor = cas.by_anchor(path.anchor());
        let anchor = anchor.ok_or(Cause::Unreadable(Subject::ClientCa(String::new())))?;
        check_validity(anchor, now)?;
        check_path_length(anchor, above.len())?;
        let algorithms = self.algorithms.all;
        let check_listed = |crls: &[Arc<Crl>], certificate: &_, position, issuer| {
            if revocation::is_listed(crls, certificate, issuer, algorithms) {
                let why = RevocationProblem::Revoked;
                return Err(revocation_problem(certificate, position, why));
            }
            Ok(())
        };
        let issuers = above.iter().map(|ca| Issuer {
            key: ca.public_key().raw,
            may_sign_crls: may_sign_crls(ca),
        });
        let issuers = issuers.chain([Issuer {
            key: anchor.key(),
            may_sign_crls: anchor.may_sign_crls(),
        }]);
        let leaf = iter::once((&leaf, Position::Leaf));
        let certificates = leaf.chain(above.iter().map(|ca| (ca, Position::Intermediate)));
        for ((certificate, position), issuer) in certificates.zip(issuers) {
            check_listed(&self.restrictions.crls, certificate, position, issuer)?;
            match revocation {
                RevocationCheck::Covered => {
                    self.check_revocation(certificate, position, issuer, now)?
                }
                RevocationCheck::NotListed => {
                    check_listed(&self.crls, certificate, position, issuer)?
                }
            }
        }
        Ok(())
    }

    fn check_revocation(
        &self,
        certificate: &X509Certificate<'_>,
        position: Position,
        issuer: Issuer<'_>,
        now: UnixTime,
    ) -> Result<(), Cause> {
        if self.crls.is_empty() {
            return Ok(());
        }
        let with = CrlCheck {
            crls: &self.crls,
            expired: self.expired_crls,
            algorithms: self.algorithms.all,
            now: now.as_secs().cast_signed(),
        };
        revocation::check(&with, certificate, position, issuer)
            .map_err(|why| revocation_problem(certificate, position, why))
    }
}

fn revocation_problem(
    certificate: &X509Certificate<'_>,
    position: Position,
    why: RevocationProblem,
) -> Cause {
    Cause::RevocationProblem {
        subject: Subject::of(certificate, position),
        issuer: named(certificate.issuer()),
        why,
    }
}

/// Which revocation check each certificate of a path must pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RevocationCheck {
    /// The CRLs in force cover it and do not list it, if there are CRLs.
    Covered,
    /// No CRL lists it.
    NotListed,
}

/// Called by webpki for each path that it finds.
type CheckPath<'a> = &'a dyn Fn(&VerifiedPath<'_>) -> Result<(), webpki::Error>;

impl ClientCertVerifier for ClientVerifier {
    /// With a hint, a scraper with a certificate of another CA would send none, and the refusal
    /// would have the wrong reason. Unknown clients also need not learn the CA's name.
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
                record(&cause, end_entity);
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

/// When the first of these certificates expires, in seconds since the Unix epoch; `i64::MIN` if one
/// cannot be read.
pub(crate) fn soonest_not_after(certificates: &[CertificateDer<'_>]) -> i64 {
    let each = certificates.iter().map(|certificate| {
        parse_x509_certificate(certificate).map_or(i64::MIN, |(_, certificate)| {
            certificate.validity().not_after.timestamp()
        })
    });
    each.min().unwrap_or(i64::MAX)
}

/// A leaf and the certificates that came with it.
#[derive(Clone, Copy)]
struct Chain<'a> {
    leaf: &'a CertificateDer<'a>,
    intermediates: &'a [CertificateDer<'a>],
}

impl Chain<'_> {
    /// webpki tries every order of the certificates that an unknown client sends. A few hundred with
    /// matching names keep it busy for seconds.
    fn check_size(&self) -> Result<(), Cause> {
        let count = self.intermediates.len();
        let sizes = self
            .intermediates
            .iter()
            .map(|certificate| certificate.len());
        let size = sizes.sum::<usize>().saturating_add(self.leaf.len());
        if count > MAX_INTERMEDIATES {
            return Err(Cause::TooManyIntermediates(count));
        }
        if size > MAX_CHAIN_BYTES {
            return Err(Cause::TooLarge(size));
        }
        Ok(())
    }
}

fn check_purpose(leaf: &X509Certificate<'_>) -> Result<(), Cause> {
    match leaf.extended_key_usage() {
        Ok(Some(usage)) if usage.value.client_auth => Ok(()),
        Ok(_) | Err(_) => Err(Cause::Purpose(Subject::Leaf)),
    }
}

fn check_form(certificate: &X509Certificate<'_>, position: Position) -> Result<(), Cause> {
    match Violation::of(certificate, position) {
        None => Ok(()),
        Some(violation) => Err(Cause::Violation(
            Subject::of(certificate, position),
            violation,
        )),
    }
}

/// webpki does not check the validity period of trust anchors.
fn check_validity(anchor: &ClientCa, now: UnixTime) -> Result<(), Cause> {
    let (from, until) = anchor.validity();
    let now = now.as_secs().cast_signed();
    if now < from {
        return Err(Cause::NotYetValid(Subject::client_ca(anchor), from));
    }
    if now > until {
        return Err(Cause::Expired(Subject::client_ca(anchor), until));
    }
    Ok(())
}

/// webpki checks the path length of intermediates only.
fn check_path_length(anchor: &ClientCa, intermediates: usize) -> Result<(), Cause> {
    match anchor.max_path_length() {
        Some(max) if intermediates > usize::try_from(max).unwrap_or(usize::MAX) => {
            Err(Cause::PathLength(Subject::client_ca(anchor), max))
        }
        Some(_) | None => Ok(()),
    }
}

fn parsed<'a>(der: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    parse_x509_certificate(der)
        .ok()
        .map(|(_, certificate)| certificate)
}
