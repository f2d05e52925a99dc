//! Reads and checks CRLs.

mod scope;

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use parking_lot::Mutex;
use rustls::pki_types::SignatureVerificationAlgorithm;
use webpki::BorrowedCertRevocationList;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::X509Extension;
use x509_parser::oid_registry::{self as oid, Oid};
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::time::ASN1Time;

use super::expiry::{Expiry, Role};
use super::signature::is_signed_by;
use crate::text::escaped::Escaped;
use crate::text::time::rfc3339;
use crate::tls::rfc5280::{Position, is_minimal};
use scope::Scope;

/// A CRL of a client CA, or of a CA below one.
pub struct Crl {
    /// The issuer's name, as messages show it.
    shown: String,
    /// The same in DER.
    issuer: Vec<u8>,
    scope: Scope,
    /// The revoked serial numbers.
    revoked: HashSet<Box<[u8]>>,
    this_update: i64,
    next_update: i64,
    /// The signed part, in DER.
    signed: Vec<u8>,
    signature: Vec<u8>,
    /// The key of the client CA that signed it, if any. It is not verified again.
    signer: Option<Vec<u8>>,
    /// Other keys, and whether they signed it: verifying a long CRL takes milliseconds.
    verified_keys: Mutex<Vec<(Vec<u8>, bool)>>,
    /// Its authorityKeyIdentifier, in DER.
    key_id: Option<Vec<u8>>,
}

/// More keys than any CA has.
const MAX_VERIFIED_KEYS: usize = 16;

impl Crl {
    /// Reads a CRL in DER.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(crate) fn read(der: &[u8], now: ASN1Time) -> Result<Self, String> {
        let (rest, crl) = x509_parser::parse_x509_crl(der)
            .map_err(|_| "holds no readable CRL (PEM or DER); copy or issue it again".to_owned())?;
        let shown = Escaped(crl.issuer().to_string().as_bytes()).to_string();
        let unusable = |problem: Problem| format!("holds a CRL of {shown} that {problem}");
        if !rest.is_empty() {
            return Err(unusable(
                "is followed by other data; put each CRL into its own file, or convert all to PEM"
                    .into(),
            ));
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
            verified_keys: Mutex::default(),
            key_id: key_id.map(|extension| extension.value.to_vec()),
            shown,
        })
    }

    /// Remembers this client CA as its signer, if it is. Returns whether it is.
    pub(super) fn set_signer(
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

    /// Whether this client CA signed it.
    pub(super) fn is_of_client_ca(&self, ca: &X509Certificate<'_>) -> bool {
        self.is_named_after(ca) && self.signer.as_deref() == Some(ca.public_key().raw)
    }

    /// Whether the issuer of a certificate signed it, with this key.
    pub(super) fn is_signed_by_issuer_of(
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
        let verified_keys = self.verified_keys.lock();
        if let Some((_, is_signed)) = verified_keys.iter().find(|(known, _)| known == key) {
            return *is_signed;
        }
        drop(verified_keys);
        let is_signed = is_signed_by(key, &self.signed, &self.signature, algorithms);
        let mut verified_keys = self.verified_keys.lock();
        if verified_keys.len() < MAX_VERIFIED_KEYS {
            verified_keys.push((key.to_vec(), is_signed));
        }
        is_signed
    }

    /// Whether content and signature are the same.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        self.signed == other.signed && self.signature == other.signature
    }

    pub(super) fn lists(&self, certificate: &X509Certificate<'_>) -> bool {
        self.revoked.contains(certificate.raw_serial())
    }

    pub(super) fn covers(&self, certificate: &X509Certificate<'_>, position: Position) -> bool {
        self.scope.includes(certificate, position)
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

    /// Whether the later of the two replaces the other.
    pub(super) fn is_same_series_as(&self, other: &Self) -> bool {
        self.issuer == other.issuer
            && self.key_id == other.key_id
            && self.signer == other.signer
            && self.scope == other.scope
    }

    pub(super) fn expiry(&self) -> Expiry {
        Expiry {
            role: Role::Crl,
            what: format!("the CRL of {}", self.shown),
            from: self.this_update,
            at: self.next_update,
            warn_before: CRL_WARN_BEFORE,
            consequence: "aegis refuses every certificate of that CA",
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

const WITHOUT_URI: &str = "has an issuing distribution point without a URI; issue it again with one, or without the extension";

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
        return Err("has no nextUpdate; issue it again with one".into());
    };
    if next_update < this_update {
        return Err(format!(
            "expires before it becomes valid (thisUpdate {}, nextUpdate {}); issue it again",
            rfc3339(this_update.timestamp()),
            rfc3339(next_update.timestamp())
        )
        .into());
    }
    if now < this_update {
        return Err(format!(
            "is valid only from {} (thisUpdate); set the clock, or wait",
            rfc3339(this_update.timestamp())
        )
        .into());
    }
    Ok(next_update.timestamp())
}

fn check_extensions(crl: &CertificateRevocationList<'_>) -> Result<(), Problem> {
    if extension(crl, &oid::OID_X509_EXT_DELTA_CRL_INDICATOR).is_some() {
        return Err("is a delta CRL, which aegis does not support; use the complete CRL".into());
    }
    if crl.tbs_cert_list.extensions_map().is_err() {
        return Err("has a duplicate extension; issue it again".into());
    }
    // webpki does not require a number, but RFC 5280, section 5.2.3 does.
    match extension(crl, &oid::OID_X509_EXT_CRL_NUMBER) {
        Some(number) if !number.critical => {}
        Some(_) => {
            return Err(
                "has a critical CRL number; issue it again with one that is not critical".into(),
            );
        }
        None => {
            return Err(
                "has no CRL number; set crlnumber and crl_extensions in openssl.cnf (of EasyRSA: openssl-easyrsa.cnf), and issue it again"
                    .into(),
            );
        }
    }
    let mut extensions = crl.extensions().iter();
    match extensions
        .find(|extension| extension.critical && !KNOWN_CRITICAL.contains(&extension.oid))
    {
        None => Ok(()),
        Some(extension) => Err(format!(
            "has the critical extension {}, which aegis does not support; issue it again without",
            extension.oid
        )
        .into()),
    }
}

/// The critical extensions that aegis supports.
const KNOWN_CRITICAL: [Oid<'_>; 2] = [
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
    read.map_err(|error| problem_of(&error).into())
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the enum grows with webpki")]
fn problem_of(error: &webpki::Error) -> &'static str {
    use webpki::Error as E;
    match error {
        E::UnsupportedIndirectCrl => {
            "is an indirect CRL, for certificates of other issuers; use the CRL of each issuer"
        }
        E::UnsupportedRevocationReasonsPartitioning => {
            "is for some revocation reasons only; use the CRL for all reasons"
        }
        E::UnsupportedCrlIssuingDistributionPoint => WITHOUT_URI,
        E::UnsupportedCrlVersion => "is not of version 2; issue it again with a CRL number",
        E::UnsupportedCriticalExtension => {
            "has an entry with a critical extension, which aegis does not support; issue it again without"
        }
        E::UnsupportedRevocationReason => {
            "has an entry with an unknown revocation reason; issue it again with one of RFC 5280, section 5.3.1"
        }
        E::SignatureAlgorithmMismatch => "names two different signature algorithms; issue it again",
        E::InvalidCrlNumber => {
            "has a CRL number that is negative or longer than 20 octets; correct the crlnumber file, and issue it again"
        }
        _ => "is malformed; issue it again, following RFC 5280, section 5",
    }
}

/// CRLs are valid for days. The last day is for issuing the next one.
const CRL_WARN_BEFORE: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests;
