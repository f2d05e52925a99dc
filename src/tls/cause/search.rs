//! Finds the certificate that is at fault when webpki finds no path: webpki returns only the kind of
//! the error.

use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm};
use webpki::EndEntityCert;
use x509_parser::certificate::X509Certificate;
use x509_parser::oid_registry::{self as oid, Oid};
use x509_parser::parse_x509_certificate;

use super::{Cause, Subject, named};
use crate::tls::credentials::{ClientCas, is_signed_by};
use crate::tls::rfc5280::{Position, Violation};

/// The input of a path search that failed.
pub(in super::super) struct Search<'a> {
    pub(in super::super) leaf: &'a CertificateDer<'a>,
    pub(in super::super) intermediates: &'a [CertificateDer<'a>],
    pub(in super::super) cas: &'a ClientCas,
    pub(in super::super) algorithms: &'a [&'static dyn SignatureVerificationAlgorithm],
}

/// A certificate on the intended path, with its position.
struct Step<'a>(Position, X509Certificate<'a>);

impl Step<'_> {
    fn subject(&self) -> Subject {
        let Self(position, certificate) = self;
        Subject::of(certificate, *position)
    }
}

impl Search<'_> {
    /// Follows the issuer names to the certificate that webpki's error is about.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the enum grows with webpki")]
    pub(in super::super) fn cause(&self, error: &webpki::Error) -> Cause {
        use webpki::Error as E;
        if EndEntityCert::try_from(self.leaf).is_err() {
            return self.unreadable_leaf(error);
        }
        let path = self.path();
        let mut steps = path.iter();
        let subject = |step: Option<&Step<'_>>| step.map_or(Subject::Leaf, Step::subject);
        match error {
            E::CertExpired { not_after, .. } => {
                let at = not_after.as_secs().cast_signed();
                let is_it = |Step(_, c): &&Step<'_>| c.validity().not_after.timestamp() == at;
                Cause::Expired(subject(steps.find(is_it)), at)
            }
            E::CertNotValidYet { not_before, .. } => {
                let from = not_before.as_secs().cast_signed();
                let is_it = |Step(_, c): &&Step<'_>| c.validity().not_before.timestamp() == from;
                Cause::NotYetValid(subject(steps.find(is_it)), from)
            }
            E::RequiredEkuNotFoundContext(_) => {
                Cause::Purpose(subject(steps.find(|Step(_, c)| lacks_client_auth(c))))
            }
            E::CaUsedAsEndEntity => Cause::CaAsLeaf,
            E::EndEntityUsedAsCa => Cause::NotACa(subject(
                steps.find(|Step(position, c)| *position != Position::Leaf && !c.is_ca()),
            )),
            E::PathLenConstraintViolated => path_length(&path),
            E::NameConstraintViolation => Cause::NameConstraints(self.constrains(&path)),
            // The keys are of the same kind, or of two kinds.
            E::InvalidSignatureForPublicKey
            | E::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => self.bad_signature(&path),
            E::UnsupportedSignatureAlgorithmContext(_) => {
                let step = steps.find(|Step(_, c)| !self.is_known_algorithm(c));
                let step = step.or(path.last());
                let oid = step.map(|Step(_, c)| c.signature_algorithm.algorithm.to_id_string());
                Cause::Algorithm(subject(step), oid.unwrap_or_default())
            }
            E::UnknownIssuer => self.unknown_issuer(&path),
            other => {
                let broken = self
                    .unreadable_intermediate()
                    .or_else(|| broken(&path, other));
                broken.unwrap_or_else(|| Cause::Other(other.clone()))
            }
        }
    }

    /// What is wrong with a leaf that webpki cannot read.
    fn unreadable_leaf(&self, error: &webpki::Error) -> Cause {
        match parsed(self.leaf) {
            None => Cause::Unreadable(Subject::Leaf),
            Some(leaf) => form_problem(&leaf, Position::Leaf, error),
        }
    }

    /// The certificates from the leaf upwards, by issuer name.
    fn path(&self) -> Vec<Step<'_>> {
        let mut above: Vec<_> = self.intermediates.iter().filter_map(parsed).collect();
        let mut path = Vec::new();
        path.extend(parsed(self.leaf).map(|leaf| Step(Position::Leaf, leaf)));
        while let Some(Step(_, last)) = path.last() {
            let is_issuer = |ca: &X509Certificate<'_>| ca.subject() == last.issuer();
            let Some(next) = above.iter().position(is_issuer) else {
                break;
            };
            path.push(Step(Position::Intermediate, above.remove(next)));
        }
        path
    }

    /// What is wrong with the first intermediate that webpki cannot read.
    fn unreadable_intermediate(&self) -> Option<Cause> {
        self.intermediates.iter().find_map(|certificate| {
            let error = EndEntityCert::try_from(certificate).err()?;
            Some(match parsed(certificate) {
                Some(ca) => form_problem(&ca, Position::Intermediate, &error),
                None => Cause::Unreadable(Subject::Intermediate(String::new())),
            })
        })
    }

    /// The last certificate has no known issuer, or the issuer's certificate is unusable.
    fn unknown_issuer(&self, path: &[Step<'_>]) -> Cause {
        if let Some(broken) = self.unreadable_intermediate() {
            return broken;
        }
        match path.last() {
            Some(last @ Step(_, certificate)) => {
                Cause::UnknownIssuer(last.subject(), named(certificate.issuer()))
            }
            None => Cause::Unreadable(Subject::Leaf),
        }
    }

    /// The first certificate that is not signed with any key of its issuer.
    fn bad_signature(&self, path: &[Step<'_>]) -> Cause {
        let intermediates: Vec<_> = self.intermediates.iter().filter_map(parsed).collect();
        for step @ Step(_, certificate) in path {
            let issuer = named(certificate.issuer());
            let named = |ca: &&X509Certificate<'_>| ca.subject() == certificate.issuer();
            let keys = intermediates.iter().filter(named);
            let keys = keys.map(|ca| ca.public_key().raw);
            let anchors = self
                .cas
                .iter()
                .filter(|(_, ca)| ca.is_named(certificate.issuer().as_raw()));
            let mut keys = keys.chain(anchors.map(|(_, ca)| ca.key()));
            let signed = certificate.tbs_certificate.as_ref();
            let signature = &certificate.signature_value.data;
            if !keys.any(|key| is_signed_by(key, signed, signature, self.algorithms)) {
                return Cause::BadSignature(step.subject(), issuer);
            }
        }
        Cause::NoPath
    }

    /// The first CA from the top that constrains names.
    fn constrains(&self, path: &[Step<'_>]) -> Option<Subject> {
        let Step(_, last) = path.last()?;
        let top = last.issuer().as_raw();
        let mut anchors = self.cas.iter();
        let anchor =
            anchors.find(|(anchor, ca)| anchor.name_constraints.is_some() && ca.is_named(top));
        let mut below = path.iter().rev();
        let below = below.find(|Step(_, ca)| {
            let mut extensions = ca.extensions().iter();
            extensions.any(|extension| extension.oid == oid::OID_X509_EXT_NAME_CONSTRAINTS)
        });
        let anchor = anchor.map(|(_, ca)| Subject::client_ca(ca));
        anchor.or_else(|| below.map(Step::subject))
    }

    fn is_known_algorithm(&self, certificate: &X509Certificate<'_>) -> bool {
        let wanted = certificate.signature_algorithm.algorithm.as_bytes();
        let mut known = self.algorithms.iter();
        // The identifier of an algorithm begins with tag and length of its object identifier.
        known.any(|known| {
            let known = known.signature_alg_id();
            known
                .as_ref()
                .get(2..)
                .is_some_and(|oid| oid.starts_with(wanted))
        })
    }
}

/// The first CA with more CAs below it than its path length permits.
fn path_length(path: &[Step<'_>]) -> Cause {
    // The leaf is not a CA, and the CA above it has no CA below it.
    let cas = path.iter().skip(1).enumerate();
    for (below, step @ Step(_, ca)) in cas {
        let constraints = ca.basic_constraints().ok().flatten();
        let max = constraints.and_then(|constraints| constraints.value.path_len_constraint);
        if let Some(max) = max
            && below > usize::try_from(max).unwrap_or(usize::MAX)
        {
            return Cause::PathLength(step.subject(), max);
        }
    }
    Cause::Other(webpki::Error::PathLenConstraintViolated)
}

/// Why webpki cannot parse a certificate.
fn form_problem(
    certificate: &X509Certificate<'_>,
    position: Position,
    error: &webpki::Error,
) -> Cause {
    let subject = Subject::of(certificate, position);
    let mut extensions = certificate.extensions().iter();
    if let Some(unknown) =
        extensions.find(|extension| extension.critical && !KNOWN_CRITICAL.contains(&extension.oid))
    {
        return Cause::CriticalExtension(subject, unknown.oid.to_id_string());
    }
    match Violation::of(certificate, position) {
        _ if matches!(error, webpki::Error::UnsupportedCertVersion) => {
            Cause::Broken(subject, "is not of version 3 (X.509v3)")
        }
        _ if names_two_algorithms(certificate) => Cause::Broken(subject, ALGORITHM_MISMATCH),
        Some(violation) => Cause::Violation(subject, violation),
        None if matches!(error, webpki::Error::BadDer) => Cause::Unreadable(subject),
        None => Cause::Other(error.clone()),
    }
}

/// Finds the certificate for an error of webpki that does not name one.
#[expect(clippy::wildcard_enum_match_arm, reason = "the enum grows with webpki")]
fn broken(path: &[Step<'_>], error: &webpki::Error) -> Option<Cause> {
    use webpki::Error as E;
    let find = |is_it: fn(&X509Certificate<'_>) -> bool, problem| {
        let step = path.iter().find(|Step(_, certificate)| is_it(certificate));
        step.map(|step| Cause::Broken(step.subject(), problem))
    };
    match error {
        E::InvalidCertValidity => find(
            |c| c.validity().not_after < c.validity().not_before,
            "expires before it becomes valid",
        ),
        E::EmptyEkuExtension => find(has_empty_eku, "has empty extended key usages"),
        E::SignatureAlgorithmMismatch => find(names_two_algorithms, ALGORITHM_MISMATCH),
        _ => path.iter().find_map(|step @ Step(position, certificate)| {
            let violation = Violation::of(certificate, *position)?;
            Some(Cause::Violation(step.subject(), violation))
        }),
    }
}

const ALGORITHM_MISMATCH: &str = "names two different signature algorithms";

/// Whether the extension for extended key usages is an empty sequence.
fn has_empty_eku(certificate: &X509Certificate<'_>) -> bool {
    let mut extensions = certificate.extensions().iter();
    extensions.any(|extension| {
        extension.oid == oid::OID_X509_EXT_EXTENDED_KEY_USAGE && extension.value == [0x30, 0]
    })
}

fn names_two_algorithms(certificate: &X509Certificate<'_>) -> bool {
    certificate.signature_algorithm != certificate.tbs_certificate.signature
}

/// The critical extensions that webpki supports.
const KNOWN_CRITICAL: [Oid<'_>; 6] = [
    oid::OID_X509_EXT_KEY_USAGE,
    oid::OID_X509_EXT_SUBJECT_ALT_NAME,
    oid::OID_X509_EXT_BASIC_CONSTRAINTS,
    oid::OID_X509_EXT_NAME_CONSTRAINTS,
    oid::OID_X509_EXT_CRL_DISTRIBUTION_POINTS,
    oid::OID_X509_EXT_EXTENDED_KEY_USAGE,
];

/// Whether it has extended key usages without clientAuth.
fn lacks_client_auth(certificate: &X509Certificate<'_>) -> bool {
    let usage = certificate.extended_key_usage();
    matches!(usage, Ok(Some(usage)) if !usage.value.client_auth)
}

fn parsed<'a>(der: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    parse_x509_certificate(der)
        .ok()
        .map(|(_, certificate)| certificate)
}
