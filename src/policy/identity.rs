//! The identity of a scraper: the names and the key of its verified leaf certificate.
//!
//! Reads certificates, verifies nothing: only the handshake, after the chain was verified, makes
//! an [`Identity`] that decides anything. One of [`Claim`]s serves to explain.

mod claim;
mod pattern;
mod scraper_id;

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use aws_lc_rs::digest;
use data_encoding::{BASE64, HEXUPPER};
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use crate::text::escaped::Escaped;
pub use claim::{Claim, InvalidClaim, TwoKeys};
pub use pattern::{IdentityPattern, InvalidIdentityPattern};
pub use scraper_id::ScraperId;

/// The names and the public-key pin of a scraper's leaf certificate.
///
/// Names are the subject alternative names (RFC 5280, section 4.2.1.6) that patterns can ask
/// for. The common name is not a name: nothing constrains it.
#[derive(Clone, Debug)]
pub struct Identity {
    names: Vec<Name>,
    key: KeyPin,
    scraper: ScraperId,
    serial: String,
    not_before: i64,
    not_after: i64,
}

impl Identity {
    /// Reads the identity in a leaf certificate (DER).
    ///
    /// # Errors
    /// The certificate, or one of its names, is malformed. A name that cannot be read is an
    /// error and not skipped: it could be the one that some other program goes by.
    pub fn from_leaf(der: &[u8]) -> Result<Self, InvalidLeaf> {
        let (rest, certificate) = parse_x509_certificate(der).map_err(|_| InvalidLeaf)?;
        if !rest.is_empty() {
            return Err(InvalidLeaf);
        }
        let names = match certificate
            .subject_alternative_name()
            .map_err(|_| InvalidLeaf)?
        {
            Some(extension) => Name::read_all(&extension.value.general_names)?,
            None => Vec::new(),
        };
        let key = KeyPin::of(certificate.public_key().raw);
        Ok(Self {
            scraper: ScraperId::of(&names, &key),
            names,
            key,
            serial: serial_number(certificate.raw_serial()),
            not_before: certificate.validity().not_before.timestamp(),
            not_after: certificate.validity().not_after.timestamp(),
        })
    }

    /// The names that patterns are matched against.
    #[must_use]
    pub fn names(&self) -> &[Name] {
        &self.names
    }

    /// The pin of the leaf's public key.
    #[must_use]
    pub fn key(&self) -> &KeyPin {
        &self.key
    }

    /// The key by which its connections and scrapes are counted.
    #[must_use]
    pub fn scraper(&self) -> ScraperId {
        self.scraper
    }

    /// The serial number in hexadecimal, as `openssl x509 -serial` and CRLs show it.
    #[must_use]
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// All names, or the key pin if there is none, for a log line; escaped and bounded.
    #[must_use]
    pub fn shown(&self) -> String {
        let names: Vec<String> = self.names.iter().map(Name::to_string).collect();
        match names.as_slice() {
            [] => self.key.to_string(),
            names => Escaped(names.join(" ").as_bytes()).to_string(),
        }
    }

    /// When the leaf became valid, in seconds since the Unix epoch.
    #[must_use]
    pub fn not_before(&self) -> i64 {
        self.not_before
    }

    /// When the leaf expires, in seconds since the Unix epoch.
    #[must_use]
    pub fn not_after(&self) -> i64 {
        self.not_after
    }
}

/// A certificate or one of its names could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidLeaf;

impl fmt::Display for InvalidLeaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the names of the client certificate cannot be read")
    }
}

/// One subject alternative name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// A DNS name, in lower case.
    Dns(String),
    /// An email address, its domain in lower case.
    Email(String),
    /// An IP address; an IPv4 address is never written as an IPv6 address.
    Ip(IpAddr),
    /// A URI, as it stands.
    Uri(String),
}

impl Name {
    fn read_all(general_names: &[GeneralName<'_>]) -> Result<Vec<Self>, InvalidLeaf> {
        let mut names = Vec::new();
        for general_name in general_names {
            match general_name {
                GeneralName::DNSName(name) => names.push(Self::Dns(name.to_ascii_lowercase())),
                GeneralName::RFC822Name(address) => names.push(Self::email(address)),
                GeneralName::URI(uri) => names.push(Self::Uri((*uri).to_owned())),
                GeneralName::IPAddress(bytes) => names.push(Self::Ip(ip_address(bytes)?)),
                GeneralName::Invalid(..) => return Err(InvalidLeaf),
                // No pattern can ask for these.
                GeneralName::OtherName(..)
                | GeneralName::X400Address(_)
                | GeneralName::DirectoryName(_)
                | GeneralName::EDIPartyName(_)
                | GeneralName::RegisteredID(_) => {}
            }
        }
        Ok(names)
    }

    /// Makes an email name: the part before the last `@` keeps its case (RFC 5321, 2.4).
    fn email(address: &str) -> Self {
        Self::Email(match address.rsplit_once('@') {
            Some((local, domain)) => format!("{local}@{}", domain.to_ascii_lowercase()),
            None => address.to_owned(),
        })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => write!(f, "dns:{name}"),
            Self::Email(address) => write!(f, "email:{address}"),
            Self::Ip(address) => write!(f, "ip:{address}"),
            Self::Uri(uri) => write!(f, "uri:{uri}"),
        }
    }
}

/// Leaves out the zero byte that DER puts before a number whose first bit is set.
fn serial_number(der: &[u8]) -> String {
    HEXUPPER.encode(der.strip_prefix(&[0]).unwrap_or(der))
}

fn ip_address(bytes: &[u8]) -> Result<IpAddr, InvalidLeaf> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Ok(IpAddr::from(v4));
    }
    let v6 = <[u8; 16]>::try_from(bytes).map_err(|_| InvalidLeaf)?;
    let v6 = Ipv6Addr::from(v6);
    // As an IPv4 address it would be one that name constraints were not asked about.
    match v6.to_ipv4_mapped() {
        None => Ok(IpAddr::V6(v6)),
        Some(_) => Err(InvalidLeaf),
    }
}

/// The SHA-256 of a certificate's SubjectPublicKeyInfo, as in RFC 7469, section 2.4.
///
/// It stays the same when a certificate is renewed with the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyPin([u8; SHA256_LENGTH]);

impl KeyPin {
    fn of(subject_public_key_info: &[u8]) -> Self {
        let mut pin = [0; SHA256_LENGTH];
        for (byte, hashed) in pin
            .iter_mut()
            .zip(digest::digest(&digest::SHA256, subject_public_key_info).as_ref())
        {
            *byte = *hashed;
        }
        Self(pin)
    }

    fn from_base64(text: &str) -> Option<Self> {
        let bytes = BASE64.decode(text.as_bytes()).ok()?;
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for KeyPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spki:sha256/{}", BASE64.encode(&self.0))
    }
}

const SHA256_LENGTH: usize = 32;

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;

    static KEY: LazyLock<rcgen::KeyPair> = LazyLock::new(|| rcgen::KeyPair::generate().unwrap());

    proptest! {
        #[test]
        fn names_keep_their_order(
            texts in prop::collection::vec("[a-zA-Z0-9.*@:/_ -]{0,24}", 0..5),
            kinds in prop::collection::vec(0..3, 5),
        ) {
            let (mut params, mut expected) = (rcgen::CertificateParams::default(), Vec::new());
            for (text, kind) in texts.iter().zip(kinds) {
                let name = text.as_str().try_into().unwrap();
                let (san, shown) = match kind {
                    0 => (rcgen::SanType::DnsName(name), format!("dns:{}", text.to_ascii_lowercase())),
                    1 => (rcgen::SanType::URI(name), format!("uri:{text}")),
                    _ => (rcgen::SanType::Rfc822Name(name), Name::email(text).to_string()),
                };
                params.subject_alt_names.push(san);
                expected.push(shown);
            }
            let identity = Identity::from_leaf(params.self_signed(&*KEY).unwrap().der()).unwrap();
            let names: Vec<String> = identity.names().iter().map(Name::to_string).collect();
            prop_assert_eq!(names, expected);
        }
    }

    fn leaf(names: Vec<rcgen::SanType>, common_name: &str) -> Vec<u8> {
        let mut params = rcgen::CertificateParams::default();
        params.subject_alt_names = names;
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, common_name);
        let key = rcgen::KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn every_kind_of_name_is_read_and_made_canonical() {
        let der = leaf(
            vec![
                rcgen::SanType::DnsName("Prometheus.Example.org".try_into().unwrap()),
                rcgen::SanType::URI("spiffe://example.org/Prometheus".try_into().unwrap()),
                rcgen::SanType::Rfc822Name("Ops@Example.org".try_into().unwrap()),
                rcgen::SanType::IpAddress("192.0.2.7".parse().unwrap()),
                rcgen::SanType::IpAddress("2001:DB8:0:0::7".parse().unwrap()),
            ],
            "ignored",
        );
        let shown: Vec<String> = Identity::from_leaf(&der)
            .unwrap()
            .names()
            .iter()
            .map(Name::to_string)
            .collect();
        assert_eq!(
            shown,
            [
                "dns:prometheus.example.org",
                "uri:spiffe://example.org/Prometheus",
                "email:Ops@example.org",
                "ip:192.0.2.7",
                "ip:2001:db8::7"
            ]
        );
    }

    #[test]
    fn an_ipv4_mapped_address_is_an_error() {
        let mapped = rcgen::SanType::IpAddress("::ffff:192.0.2.7".parse().unwrap());
        let identity = Identity::from_leaf(&leaf(vec![mapped], "x"));
        assert_eq!(identity.unwrap_err(), InvalidLeaf);
        // Of what else has an IPv4 address in it, none counts as that.
        for address in ["::192.0.2.7", "64:ff9b::192.0.2.7", "2002:c000:207::"] {
            let name = rcgen::SanType::IpAddress(address.parse().unwrap());
            let identity = Identity::from_leaf(&leaf(vec![name], "x")).unwrap();
            let shown: IpAddr = address.parse().unwrap();
            assert_eq!(identity.names(), [Name::Ip(shown)]);
        }
    }

    #[test]
    fn a_common_name_is_not_a_name() {
        let identity = Identity::from_leaf(&leaf(vec![], "prometheus.example.org")).unwrap();
        assert_eq!(identity.names(), []);
    }

    #[test]
    fn validity_and_serial_are_read() {
        let mut params = rcgen::CertificateParams::default();
        params.not_before = rcgen::date_time_ymd(2029, 12, 31);
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        params.serial_number = Some(vec![0xff, 0x01].into());
        let key = rcgen::KeyPair::generate().unwrap();
        let identity = Identity::from_leaf(params.self_signed(&key).unwrap().der()).unwrap();
        const LAST: i64 = 1_893_456_000;
        assert_eq!(identity.not_before(), LAST - 24 * 60 * 60);
        assert_eq!(identity.not_after(), LAST);
        assert_eq!(identity.serial(), "FF01");
    }

    #[test]
    fn a_scraper_without_names_is_shown_by_its_key() {
        let nameless = Identity::from_leaf(&leaf(vec![], "x")).unwrap();
        assert_eq!(nameless.shown(), nameless.key().to_string());
        let name = rcgen::SanType::URI("urn:a\\\"b".try_into().unwrap());
        let named = Identity::from_leaf(&leaf(vec![name], "x")).unwrap();
        assert_eq!(named.shown(), "uri:urn:a\\\\\\\"b");
    }

    #[test]
    fn a_malformed_certificate_is_an_error() {
        let mut trailing = leaf(vec![], "x");
        trailing.push(0);
        for der in [&[][..], &[0x30, 0x03, 0x02, 0x01, 0x00], &trailing] {
            let error = Identity::from_leaf(der).unwrap_err();
            assert!(error.to_string().contains("cannot be read"));
        }
    }
}
