//! What a certificate must be to be trusted as the CA of scrapers.

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
use crate::escaped::Escaped;
use crate::formalities::{Flaw, Place};

/// The CAs that client certificates must chain to, as the chain check takes them.
#[derive(Debug, Default)]
pub struct ClientCas {
    anchors: Vec<TrustAnchor<'static>>,
    /// One for each of the anchors, in their order.
    cas: Vec<ClientCa>,
}

/// What a client CA says of itself and a trust anchor does not keep.
#[derive(Debug)]
pub(crate) struct ClientCa {
    name: String,
    /// The same in DER.
    subject: Vec<u8>,
    key: Vec<u8>,
    max_path_length: Option<u32>,
    may_sign_crls: bool,
}

impl ClientCas {
    /// Adds a CA, if client certificates may chain to it.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn add<'a>(
        &mut self,
        certificate: &'a CertificateDer<'_>,
        now: ASN1Time,
    ) -> Result<X509Certificate<'a>, String> {
        let ca = usable_ca(certificate, now)?;
        let anchor = anchor_from_trusted_cert(certificate).map_err(|_| {
            let subject = subject_of(&ca);
            format!("holds a CA ({subject}) that does not follow RFC 5280 (version 3, DER, no extension twice); it must be issued again")
        })?;
        self.anchors.push(anchor.to_owned());
        let constraints = ca.basic_constraints().ok().flatten();
        self.cas.push(ClientCa {
            name: ca.subject().to_string(),
            subject: ca.subject().as_raw().to_vec(),
            key: ca.public_key().raw.to_vec(),
            max_path_length: constraints.and_then(|ca| ca.value.path_len_constraint),
            may_sign_crls: may_sign_crls(&ca),
        });
        Ok(ca)
    }

    /// The anchors that chains end at.
    pub(crate) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }

    /// The CA that is one of the anchors; `None` if it is none of them.
    pub(crate) fn named_by(&self, anchor: &TrustAnchor<'_>) -> Option<&ClientCa> {
        // Two of them may have one name and one key, and differ in their rules.
        let mut anchors = self.anchors.iter();
        let position = anchors.position(|own| ptr::eq(own, anchor))?;
        self.cas.get(position)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&TrustAnchor<'static>, &ClientCa)> {
        self.anchors.iter().zip(&self.cas)
    }
}

impl ClientCa {
    /// Its name, as it stands in it.
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
}

/// Whether client certificates may lead to this certificate.
///
/// A CA that has expired vouches for nobody, and one that may not sign certificates has signed
/// none. The chain check asks neither of a CA that it is told to trust.
///
/// # Errors
/// Why not.
pub(super) fn usable_ca<'a>(
    certificate: &'a CertificateDer<'_>,
    now: ASN1Time,
) -> Result<X509Certificate<'a>, String> {
    let ca = parsed(certificate)?;
    in_validity(&ca, now)?;
    can_sign(&ca)?;
    is_for_clients(&ca)?;
    is_understood(&ca)?;
    is_well_formed(&ca)?;
    knows_its_issuer(&ca)?;
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
        Err(_) => Err("holds a certificate that cannot be read".to_owned()),
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
        validity.not_before,
        validity.not_after
    ))
}

fn can_sign(ca: &X509Certificate<'_>) -> Result<(), String> {
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
        "holds a certificate ({}) that is no CA; it needs basicConstraints CA:TRUE and keyUsage keyCertSign",
        subject_of(ca)
    ))
}

/// A CA that states purposes issues for them alone, as OpenSSL and Go have it. The chain check asks
/// that of intermediates only.
fn is_for_clients(ca: &X509Certificate<'_>) -> Result<(), String> {
    match ca.extended_key_usage() {
        Ok(None) => Ok(()),
        Ok(Some(usage)) if usage.value.client_auth || usage.value.any => Ok(()),
        Ok(Some(_)) | Err(_) => Err(format!(
            "holds a CA ({}) whose extended key usages leave out clientAuth; issue it again with it, or without any",
            subject_of(ca)
        )),
    }
}

/// What the names that a CA is constrained to mean for its scrapers, where the chain check does not
/// compare names of that kind.
pub(super) fn incomparable(ca: &X509Certificate<'_>) -> Option<String> {
    let constraints = ca.name_constraints().ok().flatten()?.value;
    let permitted = constraints.permitted_subtrees.iter().flatten();
    let subtrees = permitted.chain(constraints.excluded_subtrees.iter().flatten());
    let mut kinds: Vec<&str> = subtrees.filter_map(|subtree| kind(&subtree.base)).collect();
    kinds.sort_unstable();
    kinds.dedup();
    (!kinds.is_empty()).then(|| {
        format!(
            "the client CA ({}) constrains names of a kind that aegis cannot compare: every certificate below it that has {} is refused",
            subject_of(ca),
            kinds.join(" or ")
        )
    })
}

/// What has a name of a kind that is not compared.
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

/// A critical extension asks to be refused by whoever does not know it (RFC 5280, section 4.2):
/// it may narrow whom the CA can vouch for.
fn is_understood(ca: &X509Certificate<'_>) -> Result<(), String> {
    let mut extensions = ca.extensions().iter();
    match extensions.find(|extension| extension.critical && !HONORED.contains(&extension.oid)) {
        None => Ok(()),
        Some(extension) => Err(format!(
            "holds a CA ({}) with the critical extension {}, which aegis does not know",
            subject_of(ca),
            extension.oid
        )),
    }
}

/// What the chain check, or the check above, makes of a CA's extensions.
///
/// Policies say nothing here: none is asked for, and then any will do (RFC 5280, section 6.1.1 c).
const HONORED: [Oid<'_>; 5] = [
    OID_X509_EXT_BASIC_CONSTRAINTS,
    OID_X509_EXT_CERTIFICATE_POLICIES,
    OID_X509_EXT_EXTENDED_KEY_USAGE,
    OID_X509_EXT_KEY_USAGE,
    OID_X509_EXT_NAME_CONSTRAINTS,
];

fn is_well_formed(ca: &X509Certificate<'_>) -> Result<(), String> {
    match Flaw::of(ca, Place::Anchor) {
        None => Ok(()),
        Some(flaw) => Err(format!("holds a CA ({}) that {flaw}", subject_of(ca))),
    }
}

/// A CA that says who issued it, and then has signed itself, is not what it says it is. OpenSSL
/// takes it for no root either. (One that the CA's former key has signed may name that key.)
fn knows_its_issuer(ca: &X509Certificate<'_>) -> Result<(), String> {
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
    if (is_other_key || is_other_name) && has_signed_itself(ca) {
        return Err(format!(
            "holds a CA ({}) that has signed itself, but names another issuer (authorityKeyIdentifier); it must be issued again",
            subject_of(ca)
        ));
    }
    Ok(())
}

fn has_signed_itself(ca: &X509Certificate<'_>) -> bool {
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
    fn a_ca_with_a_critical_extension_that_nobody_knows_is_refused() {
        for (critical, said) in [
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
            let usable = usable_ca(ca.as_ref().der(), ASN1Time::now()).map(|_| ());
            match (usable, said) {
                (Ok(()), None) => {}
                (Err(problem), Some(said)) => assert!(problem.contains(said), "{problem}"),
                (usable, _) => panic!("critical: {critical}: {usable:?}"),
            }
        }
    }

    #[test]
    fn a_ca_that_has_signed_itself_names_no_other_issuer() {
        const KEY: &[u8] = &[0x30, 4, 0x80, 2, 1, 2];
        const ISSUER: &[u8] = b"\x30\x15\xa1\x10\xa4\x0e\x30\x0c\x31\x0a\x30\x08\x06\x03\x55\x04\x03\x0c\x01a\x82\x01\x07";
        let root = ca(Vec::new());
        assert!(usable_ca(root.as_ref().der(), ASN1Time::now()).is_ok());
        for named in [KEY, ISSUER] {
            let extension =
                rcgen::CustomExtension::from_oid_content(&[2, 5, 29, 35], named.to_vec());
            let root = ca(vec![extension.clone()]);
            let problem = usable_ca(root.as_ref().der(), ASN1Time::now()).unwrap_err();
            assert!(problem.contains("names another issuer"), "{problem}");
            // A new key of the same CA, vouched for by the old one, names the old one.
            let mut params = params();
            params.custom_extensions = vec![extension];
            let key = rcgen::KeyPair::generate().unwrap();
            let link = params.signed_by(&key, &root).unwrap();
            let usable = usable_ca(link.der(), ASN1Time::now()).map(|_| ());
            assert_eq!(usable, Ok(()));
        }
    }

    #[test]
    fn a_ca_without_a_name_is_refused() {
        let mut params = params();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let key = rcgen::KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap();
        let problem = usable_ca(root.der(), ASN1Time::now()).unwrap_err();
        assert!(
            problem.contains("leaves the name of the CA empty"),
            "{problem}"
        );
    }
}
