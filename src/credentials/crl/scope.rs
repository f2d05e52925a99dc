//! Which certificates of its issuer a CRL is for.

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{DistributionPointName, GeneralName, ParsedExtension, X509Extension};
use x509_parser::oid_registry::OID_X509_EXT_CRL_DISTRIBUTION_POINTS;

use crate::formalities::Place;

/// Which certificates of its issuer a CRL is for: all, unless it has an issuing distribution
/// point.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Scope {
    /// One of them must stand in the certificate, if it names any.
    uris: Option<Vec<String>>,
    kinds: Kinds,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Kinds {
    #[default]
    All,
    Leaves,
    Cas,
    /// It says of both that it is for them alone.
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

    /// Whether a certificate of the issuer is among them (RFC 5280, section 6.3.3 b 2).
    ///
    /// One that names no distribution point is taken to be, as webpki has it: step-ca and others
    /// write the point into their CRL alone.
    pub(super) fn includes(&self, certificate: &X509Certificate<'_>, place: Place) -> bool {
        let is_of_kind = match self.kinds {
            Kinds::All => true,
            Kinds::Leaves => place == Place::Leaf,
            Kinds::Cas => place != Place::Leaf,
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
    // Of one for some reasons only, or of another issuer's list, nothing here is asked.
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
