//! Checks whether a certificate can be a client CA.

use std::ptr;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, TrustAnchor};
use webpki::anchor_from_trusted_cert;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::{
    OID_X509_EXT_BASIC_CONSTRAINTS, OID_X509_EXT_CERTIFICATE_POLICIES,
    OID_X509_EXT_EXTENDED_KEY_USAGE, OID_X509_EXT_KEY_USAGE, OID_X509_EXT_NAME_CONSTRAINTS, Oid,
};
use x509_parser::parse_x509_certificate;
use x509_parser::time::ASN1Time;

use super::signature::is_signed_by;
use crate::text::escaped::Escaped;
use crate::text::time::rfc3339;
use crate::tls::rfc5280::{Position, Violation};

/// The CAs that client certificates must chain to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ClientCas {
    anchors: Vec<TrustAnchor<'static>>,
    /// One for each anchor, in the same order.
    cas: Vec<ClientCa>,
}

/// The fields of a client CA that a trust anchor lacks.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ClientCa {
    name: String,
    /// The same in DER.
    subject: Vec<u8>,
    key: Vec<u8>,
    max_path_length: Option<u32>,
    may_sign_crls: bool,
    /// Its first and last second, since the Unix epoch.
    validity: (i64, i64),
}

impl ClientCas {
    /// Adds a CA, if client certificates may chain to it while it is valid.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn add<'a>(
        &mut self,
        certificate: &'a CertificateDer<'_>,
    ) -> Result<X509Certificate<'a>, String> {
        let ca = check_ca(certificate)?;
        let anchor = anchor_from_trusted_cert(certificate).map_err(|_| {
            let subject = subject_of(&ca);
            format!("holds a CA ({subject}) that does not follow RFC 5280 (version 3, DER, no duplicate extension); issue it again")
        })?;
        self.anchors.push(anchor.to_owned());
        let constraints = ca.basic_constraints().ok().flatten();
        self.cas.push(ClientCa {
            name: ca.subject().to_string(),
            subject: ca.subject().as_raw().to_vec(),
            key: ca.public_key().raw.to_vec(),
            max_path_length: constraints.and_then(|ca| ca.value.path_len_constraint),
            may_sign_crls: may_sign_crls(&ca),
            validity: (
                ca.validity().not_before.timestamp(),
                ca.validity().not_after.timestamp(),
            ),
        });
        Ok(ca)
    }

    /// Whether it has every CA of the other, so that it restricts no client.
    pub(crate) fn includes(&self, other: &Self) -> bool {
        other.iter().all(|ca| self.iter().any(|own| own == ca))
    }

    /// When the first of the currently valid CAs expires, in seconds since the Unix epoch.
    pub(crate) fn first_expiry(&self, now: i64) -> Option<i64> {
        let ends = self.cas.iter().map(|ca| ca.validity.1);
        ends.filter(|end| *end >= now).min()
    }

    /// The anchors that chains end at.
    pub(crate) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }

    /// The CA of one of the anchors; `None` for any other anchor.
    pub(crate) fn by_anchor(&self, anchor: &TrustAnchor<'_>) -> Option<&ClientCa> {
        // Two may share name and key, and differ in their constraints.
        let mut anchors = self.anchors.iter();
        let position = anchors.position(|own| ptr::eq(own, anchor))?;
        self.cas.get(position)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&TrustAnchor<'static>, &ClientCa)> {
        self.anchors.iter().zip(&self.cas)
    }
}

impl ClientCa {
    /// Its name, unescaped.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it has this name, in DER.
    pub(crate) fn is_named(&self, subject: &[u8]) -> bool {
        self.subject == subject
    }

    /// Its SubjectPublicKeyInfo, in DER.
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    /// How many CAs there may be between it and a leaf.
    pub(crate) fn max_path_length(&self) -> Option<u32> {
        self.max_path_length
    }

    pub(crate) fn may_sign_crls(&self) -> bool {
        self.may_sign_crls
    }

    /// Its first and last second, since the Unix epoch.
    pub(crate) fn validity(&self) -> (i64, i64) {
        self.validity
    }
}

/// Checks whether client certificates may chain to this certificate.
///
/// The chain check does not check whether a trust anchor may sign certificates, nor its validity
/// period. Each handshake checks the latter.
///
/// # Errors
/// Why not.
pub(super) fn check_ca<'a>(
    certificate: &'a CertificateDer<'_>,
) -> Result<X509Certificate<'a>, String> {
    let ca = parsed(certificate)?;
    check_may_sign(&ca)?;
    check_ca_purpose(&ca)?;
    check_critical_extensions(&ca)?;
    check_rfc5280(&ca)?;
    check_authority_key_id(&ca)?;
    Ok(ca)
}

/// The subject of a certificate, as messages show it.
pub(super) fn subject_of(certificate: &X509Certificate<'_>) -> String {
    Escaped(certificate.subject().to_string().as_bytes()).to_string()
}

/// Whether the key usages of a CA, if it states any, let it sign CRLs.
pub(crate) fn may_sign_crls(ca: &X509Certificate<'_>) -> bool {
    match ca.key_usage() {
        Ok(Some(usage)) => usage.value.crl_sign(),
        Ok(None) => true,
        Err(_) => false,
    }
}

pub(super) fn parsed<'a>(
    certificate: &'a CertificateDer<'_>,
) -> Result<X509Certificate<'a>, String> {
    match parse_x509_certificate(certificate) {
        Ok((_, certificate)) => Ok(certificate),
        Err(_) => Err("holds a malformed certificate".to_owned()),
    }
}

pub(super) fn in_validity(certificate: &X509Certificate<'_>, now: ASN1Time) -> Result<(), String> {
    let validity = certificate.validity();
    if validity.is_valid_at(now) {
        return Ok(());
    }
    Err(format!(
        "holds a certificate ({}) that is valid only from {} to {}; renew it, or set the clock",
        subject_of(certificate),
        rfc3339(validity.not_before.timestamp()),
        rfc3339(validity.not_after.timestamp())
    ))
}

fn check_may_sign(ca: &X509Certificate<'_>) -> Result<(), String> {
    let is_ca = matches!(ca.basic_constraints(), Ok(Some(constraints)) if constraints.value.ca);
    let may_sign = match ca.key_usage() {
        Ok(Some(usage)) => usage.value.key_cert_sign(),
        Ok(None) => true,
        Err(_) => false,
    };
    if is_ca && may_sign {
        return Ok(());
    }
    Err(format!(
        "holds a certificate ({}) that is not a CA; it needs basicConstraints CA:TRUE and keyUsage keyCertSign",
        subject_of(ca)
    ))
}

/// The extended key usages of a CA limit those of its certificates, as in OpenSSL and Go. The chain
/// check applies this to intermediates only.
fn check_ca_purpose(ca: &X509Certificate<'_>) -> Result<(), String> {
    match ca.extended_key_usage() {
        Ok(None) => Ok(()),
        Ok(Some(usage)) if usage.value.client_auth || usage.value.any => Ok(()),
        Ok(Some(_)) | Err(_) => Err(format!(
            "holds a CA ({}) whose extended key usages lack clientAuth; issue it again with clientAuth, or without extended key usages",
            subject_of(ca)
        )),
    }
}

/// Warns if a CA constrains names of a kind that the chain check cannot compare.
pub(super) fn name_constraint_warning(ca: &X509Certificate<'_>) -> Option<String> {
    let constraints = ca.name_constraints().ok().flatten()?.value;
    let permitted = constraints.permitted_subtrees.iter().flatten();
    let subtrees = permitted.chain(constraints.excluded_subtrees.iter().flatten());
    let mut kinds: Vec<&str> = subtrees.filter_map(|subtree| kind(&subtree.base)).collect();
    kinds.sort_unstable();
    kinds.dedup();
    (!kinds.is_empty()).then(|| {
        format!(
            "the client CA ({}) constrains names of a kind that aegis cannot compare: aegis refuses every certificate below it that has {}",
            subject_of(ca),
            kinds.join(" or ")
        )
    })
}

/// The name kind, if the chain check cannot compare it.
fn kind(name: &GeneralName<'_>) -> Option<&'static str> {
    match name {
        GeneralName::DNSName(_) | GeneralName::IPAddress(_) => None,
        GeneralName::URI(_) => Some("a URI (as SPIFFE IDs are)"),
        GeneralName::RFC822Name(_) => Some("an email address"),
        GeneralName::DirectoryName(_) => Some("a subject"),
        GeneralName::OtherName(..)
        | GeneralName::X400Address(_)
        | GeneralName::EDIPartyName(_)
        | GeneralName::RegisteredID(_)
        | GeneralName::Invalid(..) => Some("a name of that kind"),
    }
}

/// A verifier must reject critical extensions that it does not support (RFC 5280, section 4.2): they
/// may limit what the CA may issue.
fn check_critical_extensions(ca: &X509Certificate<'_>) -> Result<(), String> {
    let mut extensions = ca.extensions().iter();
    match extensions
        .find(|extension| extension.critical && !KNOWN_CRITICAL.contains(&extension.oid))
    {
        None => Ok(()),
        Some(extension) => Err(format!(
            "holds a CA ({}) with the critical extension {}, which aegis does not support",
            subject_of(ca),
            extension.oid
        )),
    }
}

/// The extensions of a CA that aegis supports.
///
/// Policies have no effect: aegis requires none, so any is accepted (RFC 5280, section 6.1.1 c).
const KNOWN_CRITICAL: [Oid<'_>; 5] = [
    OID_X509_EXT_BASIC_CONSTRAINTS,
    OID_X509_EXT_CERTIFICATE_POLICIES,
    OID_X509_EXT_EXTENDED_KEY_USAGE,
    OID_X509_EXT_KEY_USAGE,
    OID_X509_EXT_NAME_CONSTRAINTS,
];

fn check_rfc5280(ca: &X509Certificate<'_>) -> Result<(), String> {
    match Violation::of(ca, Position::Anchor) {
        None => Ok(()),
        Some(violation) => Err(format!("holds a CA ({}) that {violation}", subject_of(ca))),
    }
}

/// A self-signed CA must not name another issuer. OpenSSL does not accept it as a root either. (A CA
/// that its former key signed may name that key.)
fn check_authority_key_id(ca: &X509Certificate<'_>) -> Result<(), String> {
    let mut own = None;
    let mut named = None;
    for extension in ca.extensions() {
        if let ParsedExtension::SubjectKeyIdentifier(key) = extension.parsed_extension() {
            own = Some(key);
        }
        if let ParsedExtension::AuthorityKeyIdentifier(issuer) = extension.parsed_extension() {
            named = Some(issuer);
        }
    }
    let Some(named) = named else { return Ok(()) };
    let is_other_key = named
        .key_identifier
        .as_ref()
        .is_some_and(|key| own.is_some_and(|own| own != key));
    let mut names = named.authority_cert_issuer.iter().flatten();
    let is_other_name = names.any(|name| matches!(name, GeneralName::DirectoryName(name) if name.as_raw() != ca.subject().as_raw()));
    if (is_other_key || is_other_name) && is_self_signed(ca) {
        return Err(format!(
            "holds a CA ({}) that is self-signed but names another issuer (authorityKeyIdentifier); issue it again",
            subject_of(ca)
        ));
    }
    Ok(())
}

fn is_self_signed(ca: &X509Certificate<'_>) -> bool {
    let known = aws_lc_rs::default_provider().signature_verification_algorithms;
    let signed = ca.tbs_certificate.as_ref();
    is_signed_by(
        ca.public_key().raw,
        signed,
        &ca.signature_value.data,
        known.all,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params() -> rcgen::CertificateParams {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![
            rcgen::KeyUsagePurpose::KeyCertSign,
            rcgen::KeyUsagePurpose::CrlSign,
        ];
        params
    }

    fn ca(
        extensions: Vec<rcgen::CustomExtension>,
    ) -> rcgen::CertifiedIssuer<'static, rcgen::KeyPair> {
        let mut params = params();
        params.custom_extensions = extensions;
        rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap()
    }

    #[test]
    fn a_ca_with_an_unknown_critical_extension_is_refused() {
        for (critical, expected) in [
            (false, None),
            (
                true,
                Some("with the critical extension 1.3.6.1.4.1.55738.666.1"),
            ),
        ] {
            let oid = &[1, 3, 6, 1, 4, 1, 55738, 666, 1];
            let mut unknown = rcgen::CustomExtension::from_oid_content(oid, vec![5, 0]);
            unknown.set_criticality(critical);
            let ca = ca(vec![unknown]);
            let usable = check_ca(ca.as_ref().der()).map(|_| ());
            match (usable, expected) {
                (Ok(()), None) => {}
                (Err(problem), Some(expected)) => assert!(problem.contains(expected), "{problem}"),
                (usable, _) => panic!("critical: {critical}: {usable:?}"),
            }
        }
    }

    #[test]
    fn a_self_signed_ca_that_names_another_issuer_is_refused() {
        const KEY: &[u8] = &[0x30, 4, 0x80, 2, 1, 2];
        const ISSUER: &[u8] = b"\x30\x15\xa1\x10\xa4\x0e\x30\x0c\x31\x0a\x30\x08\x06\x03\x55\x04\x03\x0c\x01a\x82\x01\x07";
        let root = ca(Vec::new());
        assert!(check_ca(root.as_ref().der()).is_ok());
        for named in [KEY, ISSUER] {
            let extension =
                rcgen::CustomExtension::from_oid_content(&[2, 5, 29, 35], named.to_vec());
            let root = ca(vec![extension.clone()]);
            let problem = check_ca(root.as_ref().der()).unwrap_err();
            assert!(problem.contains("names another issuer"), "{problem}");
            // A new key of the same CA, signed with the old one, names the old one.
            let mut params = params();
            params.custom_extensions = vec![extension];
            let key = rcgen::KeyPair::generate().unwrap();
            let link = params.signed_by(&key, &root).unwrap();
            let usable = check_ca(link.der()).map(|_| ());
            assert_eq!(usable, Ok(()));
        }
    }

    #[test]
    fn a_ca_without_a_name_is_refused() {
        let mut params = params();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let key = rcgen::KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap();
        let problem = check_ca(root.der()).unwrap_err();
        assert!(problem.contains("has an empty CA name"), "{problem}");
    }
}
