//! Which certificate it was that webpki found no path over: it gives the kind of the fault alone.

use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm};
use webpki::EndEntityCert;
use x509_parser::certificate::X509Certificate;
use x509_parser::oid_registry::{self as oid, Oid};
use x509_parser::parse_x509_certificate;

use super::{Cause, Who, named};
use crate::credentials::{ClientCas, is_signed_by};
use crate::formalities::{Flaw, Place};

/// A search for a path that found none.
pub(in super::super) struct Search<'a> {
    pub(in super::super) leaf: &'a CertificateDer<'a>,
    pub(in super::super) intermediates: &'a [CertificateDer<'a>],
    pub(in super::super) cas: &'a ClientCas,
    pub(in super::super) algorithms: &'a [&'static dyn SignatureVerificationAlgorithm],
}

/// A certificate on the path that was meant, with its place.
struct Step<'a>(Place, X509Certificate<'a>);

impl Step<'_> {
    fn who(&self) -> Who {
        let Self(place, certificate) = self;
        Who::of(certificate, *place)
    }
}

impl Search<'_> {
    /// Looks for the certificate that webpki's error is about, along the issuers' names.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the enum grows with webpki")]
    pub(in super::super) fn cause(&self, error: &webpki::Error) -> Cause {
        use webpki::Error as E;
        if EndEntityCert::try_from(self.leaf).is_err() {
            return self.of_leaf(error);
        }
        let path = self.path();
        let mut steps = path.iter();
        let who = |step: Option<&Step<'_>>| step.map_or(Who::Leaf, Step::who);
        match error {
            E::CertExpired { not_after, .. } => {
                let at = not_after.as_secs().cast_signed();
                let is_it = |Step(_, c): &&Step<'_>| c.validity().not_after.timestamp() == at;
                Cause::Expired(who(steps.find(is_it)), at)
            }
            E::CertNotValidYet { not_before, .. } => {
                let from = not_before.as_secs().cast_signed();
                let is_it = |Step(_, c): &&Step<'_>| c.validity().not_before.timestamp() == from;
                Cause::NotYetValid(who(steps.find(is_it)), from)
            }
            E::RequiredEkuNotFoundContext(_) => {
                Cause::Purpose(who(steps.find(|Step(_, c)| is_for_others(c))))
            }
            E::CaUsedAsEndEntity => Cause::CaAsLeaf,
            E::EndEntityUsedAsCa => Cause::NotACa(who(
                steps.find(|Step(place, c)| *place != Place::Leaf && !c.is_ca())
            )),
            E::PathLenConstraintViolated => path_length(&path),
            E::NameConstraintViolation => Cause::NameConstraints(self.constrains(&path)),
            // Of one kind of key, or of two.
            E::InvalidSignatureForPublicKey
            | E::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => self.bad_signature(&path),
            E::UnsupportedSignatureAlgorithmContext(_) => {
                let step = steps.find(|Step(_, c)| !self.is_known_algorithm(c));
                let step = step.or(path.last());
                let oid = step.map(|Step(_, c)| c.signature_algorithm.algorithm.to_id_string());
                Cause::Algorithm(who(step), oid.unwrap_or_default())
            }
            E::UnknownIssuer => self.unknown_issuer(&path),
            other => {
                let broken = self.of_intermediate().or_else(|| broken(&path, other));
                broken.unwrap_or_else(|| Cause::Other(other.clone()))
            }
        }
    }

    /// What is wrong with a leaf that webpki cannot read.
    fn of_leaf(&self, error: &webpki::Error) -> Cause {
        match parsed(self.leaf) {
            None => Cause::Unreadable(Who::Leaf),
            Some(leaf) => of_form(&leaf, Place::Leaf, error),
        }
    }

    /// From the leaf upwards, by the names of the issuers, as far as there are certificates.
    fn path(&self) -> Vec<Step<'_>> {
        let mut above: Vec<_> = self.intermediates.iter().filter_map(parsed).collect();
        let mut path = Vec::new();
        path.extend(parsed(self.leaf).map(|leaf| Step(Place::Leaf, leaf)));
        while let Some(Step(_, last)) = path.last() {
            let is_issuer = |ca: &X509Certificate<'_>| ca.subject() == last.issuer();
            let Some(next) = above.iter().position(is_issuer) else {
                break;
            };
            path.push(Step(Place::Intermediate, above.remove(next)));
        }
        path
    }

    /// What is wrong with the first intermediate that webpki cannot read.
    fn of_intermediate(&self) -> Option<Cause> {
        self.intermediates.iter().find_map(|certificate| {
            let error = EndEntityCert::try_from(certificate).err()?;
            Some(match parsed(certificate) {
                Some(ca) => of_form(&ca, Place::Intermediate, &error),
                None => Cause::Unreadable(Who::Intermediate(String::new())),
            })
        })
    }

    /// No path leads on from the last certificate, or the one above it cannot be used.
    fn unknown_issuer(&self, path: &[Step<'_>]) -> Cause {
        if let Some(broken) = self.of_intermediate() {
            return broken;
        }
        match path.last() {
            Some(last @ Step(_, certificate)) => {
                Cause::UnknownIssuer(last.who(), named(certificate.issuer()))
            }
            None => Cause::Unreadable(Who::Leaf),
        }
    }

    /// The first certificate that no key of its issuer's name has signed.
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
                return Cause::BadSignature(step.who(), issuer);
            }
        }
        Cause::NoPath
    }

    /// The first CA from the top that constrains names.
    fn constrains(&self, path: &[Step<'_>]) -> Option<Who> {
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
        let anchor = anchor.map(|(_, ca)| Who::client_ca(ca));
        anchor.or_else(|| below.map(Step::who))
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

/// The first CA that has more CAs below it than it permits.
fn path_length(path: &[Step<'_>]) -> Cause {
    // The leaf is none, and the CA above it has none below it.
    let cas = path.iter().skip(1).enumerate();
    for (below, step @ Step(_, ca)) in cas {
        let constraints = ca.basic_constraints().ok().flatten();
        let most = constraints.and_then(|constraints| constraints.value.path_len_constraint);
        if let Some(most) = most
            && below > usize::try_from(most).unwrap_or(usize::MAX)
        {
            return Cause::PathLength(step.who(), most);
        }
    }
    Cause::Other(webpki::Error::PathLenConstraintViolated)
}

/// What is wrong with the form of a certificate that webpki does not read.
fn of_form(certificate: &X509Certificate<'_>, place: Place, error: &webpki::Error) -> Cause {
    let who = Who::of(certificate, place);
    let mut extensions = certificate.extensions().iter();
    if let Some(unknown) =
        extensions.find(|extension| extension.critical && !HONORED.contains(&extension.oid))
    {
        return Cause::CriticalExtension(who, unknown.oid.to_id_string());
    }
    match Flaw::of(certificate, place) {
        _ if matches!(error, webpki::Error::UnsupportedCertVersion) => {
            Cause::Broken(who, "is not of version 3, and can say nothing of itself")
        }
        _ if names_two_algorithms(certificate) => Cause::Broken(who, TWO_ALGORITHMS),
        Some(flaw) => Cause::Flawed(who, flaw),
        None if matches!(error, webpki::Error::BadDer) => Cause::Unreadable(who),
        None => Cause::Other(error.clone()),
    }
}

/// The certificate of the path that an error without a place is about.
#[expect(clippy::wildcard_enum_match_arm, reason = "the enum grows with webpki")]
fn broken(path: &[Step<'_>], error: &webpki::Error) -> Option<Cause> {
    use webpki::Error as E;
    let find = |is_it: fn(&X509Certificate<'_>) -> bool, problem| {
        let step = path.iter().find(|Step(_, certificate)| is_it(certificate));
        step.map(|step| Cause::Broken(step.who(), problem))
    };
    match error {
        E::InvalidCertValidity => find(
            |c| c.validity().not_after < c.validity().not_before,
            "ends before it begins",
        ),
        E::EmptyEkuExtension => find(
            states_no_purpose,
            "has extended key usages with none in them",
        ),
        E::SignatureAlgorithmMismatch => find(names_two_algorithms, TWO_ALGORITHMS),
        _ => path.iter().find_map(|step @ Step(place, certificate)| {
            let flaw = Flaw::of(certificate, *place)?;
            Some(Cause::Flawed(step.who(), flaw))
        }),
    }
}

const TWO_ALGORITHMS: &str = "names two algorithms of its signature";

/// Whether it has extended key usages, and they are an empty sequence.
fn states_no_purpose(certificate: &X509Certificate<'_>) -> bool {
    let mut extensions = certificate.extensions().iter();
    extensions.any(|extension| {
        extension.oid == oid::OID_X509_EXT_EXTENDED_KEY_USAGE && extension.value == [0x30, 0]
    })
}

fn names_two_algorithms(certificate: &X509Certificate<'_>) -> bool {
    certificate.signature_algorithm != certificate.tbs_certificate.signature
}

/// The critical extensions that webpki knows.
const HONORED: [Oid<'_>; 6] = [
    oid::OID_X509_EXT_KEY_USAGE,
    oid::OID_X509_EXT_SUBJECT_ALT_NAME,
    oid::OID_X509_EXT_BASIC_CONSTRAINTS,
    oid::OID_X509_EXT_NAME_CONSTRAINTS,
    oid::OID_X509_EXT_CRL_DISTRIBUTION_POINTS,
    oid::OID_X509_EXT_EXTENDED_KEY_USAGE,
];

/// Whether it states purposes, and client authentication is none of them.
fn is_for_others(certificate: &X509Certificate<'_>) -> bool {
    let usage = certificate.extended_key_usage();
    matches!(usage, Ok(Some(usage)) if !usage.value.client_auth)
}

fn parsed<'a>(der: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    parse_x509_certificate(der)
        .ok()
        .map(|(_, certificate)| certificate)
}
