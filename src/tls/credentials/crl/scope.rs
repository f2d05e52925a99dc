//! Which certificates of its issuer a CRL is for.

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{DistributionPointName, GeneralName, ParsedExtension, X509Extension};
use x509_parser::oid_registry::OID_X509_EXT_CRL_DISTRIBUTION_POINTS;

use crate::tls::rfc5280::Position;

/// Which certificates of its issuer a CRL is for: all, unless it has an issuing distribution
/// point.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Scope {
    /// A certificate with distribution points must name one of these.
    uris: Option<Vec<String>>,
    kinds: Kinds,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Kinds {
    #[default]
    All,
    Leaves,
    Cas,
    /// It claims to be for leaves only and for CAs only.
    None,
}

impl Scope {
    /// Reads an issuing distribution point; `None` if it names no URI.
    pub(super) fn of(issuing_distribution_point: Option<&X509Extension<'_>>) -> Option<Self> {
        let Some(extension) = issuing_distribution_point else {
            return Some(Self::default());
        };
        let ParsedExtension::IssuingDistributionPoint(point) = extension.parsed_extension() else {
            return None;
        };
        let uris: Vec<String> = uris(point.distribution_point.as_ref())
            .map(ToOwned::to_owned)
            .collect();
        let kinds = match (point.only_contains_user_certs, point.only_contains_ca_certs) {
            (false, false) => Kinds::All,
            (true, false) => Kinds::Leaves,
            (false, true) => Kinds::Cas,
            (true, true) => Kinds::None,
        };
        (!uris.is_empty()).then_some(Self {
            uris: Some(uris),
            kinds,
        })
    }

    /// Whether it covers a certificate of the issuer (RFC 5280, section 6.3.3 b 2).
    ///
    /// Like webpki, it covers a certificate without distribution points: step-ca and others write
    /// the point into the CRL only.
    pub(super) fn includes(&self, certificate: &X509Certificate<'_>, position: Position) -> bool {
        let is_of_kind = match self.kinds {
            Kinds::All => true,
            Kinds::Leaves => position == Position::Leaf,
            Kinds::Cas => position != Position::Leaf,
            Kinds::None => false,
        };
        let Some(own) = &self.uris else {
            return is_of_kind;
        };
        let mut extensions = certificate.extensions().iter();
        let named =
            extensions.find(|extension| extension.oid == OID_X509_EXT_CRL_DISTRIBUTION_POINTS);
        is_of_kind && named.is_none_or(|named| names_one_of(named, own))
    }
}

fn names_one_of(points: &X509Extension<'_>, wanted: &[String]) -> bool {
    let ParsedExtension::CRLDistributionPoints(points) = points.parsed_extension() else {
        return false;
    };
    // Points for some reasons only, or for another issuer's CRL, do not count.
    let mut points = points
        .iter()
        .filter(|point| point.reasons.is_none() && point.crl_issuer.is_none());
    points.any(|point| {
        uris(point.distribution_point.as_ref()).any(|uri| wanted.iter().any(|own| own == uri))
    })
}

fn uris<'a>(name: Option<&'a DistributionPointName<'a>>) -> impl Iterator<Item = &'a str> {
    let names = match name {
        Some(DistributionPointName::FullName(names)) => names.as_slice(),
        Some(DistributionPointName::NameRelativeToCRLIssuer(_)) | None => &[],
    };
    names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        GeneralName::OtherName(..)
        | GeneralName::RFC822Name(_)
        | GeneralName::DNSName(_)
        | GeneralName::X400Address(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EDIPartyName(_)
        | GeneralName::IPAddress(_)
        | GeneralName::RegisteredID(_)
        | GeneralName::Invalid(..) => None,
    })
}
