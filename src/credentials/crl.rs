//! A CRL: what must be known of it before it is put to use, and what it says of a certificate.

mod scope;

use std::collections::HashSet;
use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use rustls::pki_types::SignatureVerificationAlgorithm;
use webpki::BorrowedCertRevocationList;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::X509Extension;
use x509_parser::oid_registry::{self as oid, Oid};
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::time::ASN1Time;

use super::expiry::{Expiry, Role};
use super::signature::is_signed_by;
use crate::escaped::Escaped;
use crate::formalities::{Place, is_minimal};
use scope::Scope;

/// A CRL of a client CA, or of a CA below one.
pub struct Crl {
    /// The issuer's name, as messages show it.
    shown: String,
    /// The same in DER.
    issuer: Vec<u8>,
    scope: Scope,
    /// The serial numbers that it lists.
    revoked: HashSet<Box<[u8]>>,
    this_update: i64,
    next_update: i64,
    /// What the issuer has signed, in DER.
    signed: Vec<u8>,
    signature: Vec<u8>,
    /// The key of the client CA that has signed it, if one has: it need not be verified again.
    signer: Option<Vec<u8>>,
    /// Another key that has signed it: to verify a long one takes milliseconds.
    verified: OnceLock<Vec<u8>>,
    /// The identifier that it gives of that key, in DER.
    key_id: Option<Vec<u8>>,
}

impl Crl {
    /// Reads a CRL in DER.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(crate) fn read(der: &[u8], now: ASN1Time) -> Result<Self, String> {
        let (rest, crl) = x509_parser::parse_x509_crl(der)
            .map_err(|_| "holds no CRL that can be read (PEM or DER)".to_owned())?;
        let shown = Escaped(crl.issuer().to_string().as_bytes()).to_string();
        let unusable = |problem: Problem| format!("holds a CRL of {shown} that {problem}");
        if !rest.is_empty() {
            return Err(unusable("is followed by something else".into()));
        }
        let next_update = check_dates(&crl, now).map_err(unusable)?;
        check_extensions(&crl).map_err(unusable)?;
        check_entries(&crl, der).map_err(unusable)?;
        let scope = Scope::of(extension(
            &crl,
            &oid::OID_X509_EXT_ISSUER_DISTRIBUTION_POINT,
        ));
        let scope = scope.ok_or_else(|| unusable(WITHOUT_URI.into()))?;
        let key_id = extension(&crl, &oid::OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER);
        let entries = crl.iter_revoked_certificates();
        Ok(Self {
            issuer: crl.issuer().as_raw().to_vec(),
            scope,
            revoked: entries.map(|entry| entry.raw_serial().into()).collect(),
            this_update: crl.last_update().timestamp(),
            next_update,
            signed: crl.tbs_cert_list.as_ref().to_vec(),
            signature: crl.signature_value.data.to_vec(),
            signer: None,
            verified: OnceLock::new(),
            key_id: key_id.map(|extension| extension.value.to_vec()),
            shown,
        })
    }

    /// Notes that this client CA has signed it, if it has.
    pub(super) fn note_signer(
        &mut self,
        ca: &X509Certificate<'_>,
        algorithms: &[&dyn SignatureVerificationAlgorithm],
    ) -> bool {
        let key = ca.public_key().raw;
        let is_signer =
            self.is_named_after(ca) && is_signed_by(key, &self.signed, &self.signature, algorithms);
        if is_signer {
            self.signer = Some(key.to_vec());
        }
        is_signer
    }

    /// Whether its issuer has the name of this CA.
    pub(super) fn is_named_after(&self, ca: &X509Certificate<'_>) -> bool {
        self.issuer == ca.subject().as_raw()
    }

    /// Whether a client CA has signed it, with this key.
    pub(super) fn is_of_client_ca(&self, ca: &X509Certificate<'_>) -> bool {
        self.is_named_after(ca) && self.signer.as_deref() == Some(ca.public_key().raw)
    }

    /// Whether the issuer of a certificate has signed it, with this key.
    pub(super) fn is_by_issuer_of(
        &self,
        certificate: &X509Certificate<'_>,
        key: &[u8],
        algorithms: &[&dyn SignatureVerificationAlgorithm],
    ) -> bool {
        self.issuer == certificate.issuer().as_raw()
            && match &self.signer {
                Some(signer) => signer == key,
                None => self.is_signed_by(key, algorithms),
            }
    }

    fn is_signed_by(&self, key: &[u8], algorithms: &[&dyn SignatureVerificationAlgorithm]) -> bool {
        if self.verified.get().is_some_and(|verified| verified == key) {
            return true;
        }
        let is_signed = is_signed_by(key, &self.signed, &self.signature, algorithms);
        if is_signed {
            self.verified.get_or_init(|| key.to_vec());
        }
        is_signed
    }

    pub(super) fn lists(&self, certificate: &X509Certificate<'_>) -> bool {
        self.revoked.contains(certificate.raw_serial())
    }

    pub(super) fn covers(&self, certificate: &X509Certificate<'_>, place: Place) -> bool {
        self.scope.includes(certificate, place)
    }

    pub(super) fn scope(&self) -> &Scope {
        &self.scope
    }

    pub(super) fn this_update(&self) -> i64 {
        self.this_update
    }

    pub(super) fn next_update(&self) -> i64 {
        self.next_update
    }

    /// Its issuer's name, as messages show it.
    pub(super) fn issuer(&self) -> &str {
        &self.shown
    }

    /// Whether it takes the place of the other, or the other of it: the later one counts.
    pub(super) fn is_of_one_series_with(&self, other: &Self) -> bool {
        self.issuer == other.issuer
            && self.key_id == other.key_id
            && self.signer == other.signer
            && self.scope == other.scope
    }

    pub(super) fn expiry(&self) -> Expiry {
        Expiry {
            role: Role::Crl,
            what: format!("the CRL of {}", self.shown),
            at: self.next_update,
            warn_ahead: CRL_WARN_AHEAD,
            afterwards: "every certificate of that CA is refused until a new one is given",
        }
    }
}

/// A CRL may have thousands of entries.
impl fmt::Debug for Crl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Crl");
        shown.field("issuer", &self.shown);
        shown.field("entries", &self.revoked.len());
        shown.finish_non_exhaustive()
    }
}

/// What is wrong with a CRL, and what to do.
type Problem = std::borrow::Cow<'static, str>;

const WITHOUT_URI: &str =
    "has an issuing distribution point without a URI; issue it with one, or without the extension";

fn extension<'a>(
    crl: &'a CertificateRevocationList<'_>,
    oid: &Oid<'_>,
) -> Option<&'a X509Extension<'a>> {
    let mut extensions = crl.extensions().iter();
    extensions.find(|extension| extension.oid == *oid)
}

/// Checks the dates; returns nextUpdate in seconds since the Unix epoch.
fn check_dates(crl: &CertificateRevocationList<'_>, now: ASN1Time) -> Result<i64, Problem> {
    let this_update = crl.last_update();
    let Some(next_update) = crl.next_update() else {
        return Err("has no nextUpdate; issue it with one".into());
    };
    if next_update < this_update {
        return Err(format!(
            "ends before it begins (thisUpdate {this_update}, nextUpdate {next_update}); issue it again"
        )
        .into());
    }
    if now < this_update {
        return Err(format!(
            "is valid only from {this_update} (thisUpdate); set the clock, or wait"
        )
        .into());
    }
    Ok(next_update.timestamp())
}

fn check_extensions(crl: &CertificateRevocationList<'_>) -> Result<(), Problem> {
    if extension(crl, &oid::OID_X509_EXT_DELTA_CRL_INDICATOR).is_some() {
        return Err("is a delta CRL, which aegis does not read; give the complete one".into());
    }
    if crl.tbs_cert_list.extensions_map().is_err() {
        return Err("has one extension twice; issue it again".into());
    }
    // webpki asks for no number, though a list without one is none by RFC 5280, section 5.2.3.
    match extension(crl, &oid::OID_X509_EXT_CRL_NUMBER) {
        Some(number) if !number.critical => {}
        Some(_) => return Err("has a critical CRL number; issue it with one that is not".into()),
        None => {
            return Err(
                "has no CRL number; set crlnumber and crl_extensions in openssl.cnf, and issue it again"
                    .into(),
            );
        }
    }
    let mut extensions = crl.extensions().iter();
    match extensions.find(|extension| extension.critical && !HONORED.contains(&extension.oid)) {
        None => Ok(()),
        Some(extension) => Err(format!(
            "has the critical extension {}, which aegis does not know",
            extension.oid
        )
        .into()),
    }
}

/// What is made of a CRL's critical extensions.
const HONORED: [Oid<'_>; 2] = [
    oid::OID_X509_EXT_ISSUER_DISTRIBUTION_POINT,
    oid::OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER,
];

fn check_entries(crl: &CertificateRevocationList<'_>, der: &[u8]) -> Result<(), Problem> {
    let mut entries = crl.iter_revoked_certificates();
    if !entries.all(|entry| is_minimal(entry.raw_serial())) {
        return Err("lists a serial number that is not minimal DER; issue it again".into());
    }
    let read = BorrowedCertRevocationList::from_der(der)
        .and_then(|crl| crl.into_iter().try_for_each(|entry| entry.map(drop)));
    read.map_err(|error| in_words(&error).into())
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the enum grows with webpki")]
fn in_words(error: &webpki::Error) -> &'static str {
    use webpki::Error as E;
    match error {
        E::UnsupportedIndirectCrl => {
            "is indirect: it is for certificates of other issuers; give each issuer's own"
        }
        E::UnsupportedRevocationReasonsPartitioning => {
            "is for some reasons of revocation only; give the complete one"
        }
        E::UnsupportedCrlIssuingDistributionPoint => WITHOUT_URI,
        E::UnsupportedCrlVersion => "is not of version 2; issue it with a CRL number",
        E::UnsupportedCriticalExtension => {
            "has an entry with a critical extension, which aegis does not know"
        }
        E::UnsupportedRevocationReason => "has an entry with an unknown reason of revocation",
        E::SignatureAlgorithmMismatch => "names two algorithms of its signature",
        E::InvalidCrlNumber => "has a CRL number that is negative or longer than 20 octets",
        _ => "cannot be read; it must follow RFC 5280, section 5",
    }
}

/// CRLs live for days; the last day is for making the next.
const CRL_WARN_AHEAD: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests;
