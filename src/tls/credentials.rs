//! The certificates, the key and the CRLs that the configuration names, read and checked.

mod ca;
mod crl;
mod expiry;
mod files;
mod parts;
pub(crate) mod revocation;
mod signature;

use std::fmt;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::certificate::X509Certificate;
use x509_parser::time::ASN1Time;

use crate::config::{self, ConfigError, ExpiredCrls, Located};
pub use ca::ClientCas;
pub(crate) use ca::{ClientCa, may_sign_crls};
use ca::{in_validity, parsed, subject_of};
pub use crl::Crl;
pub use expiry::{Expiry, Role};
pub(crate) use expiry::{now, seconds_until};
pub use files::certificates;
use files::{Allowed, fault};
pub(crate) use parts::{CrlFile, Parts};
pub(crate) use signature::is_signed_by;

/// aegis's own certificate and key, the client CAs and the CRLs.
#[derive(Debug)]
pub struct Credentials {
    /// The server's certificate chain, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The private key of that leaf.
    pub key: PrivateKeyDer<'static>,
    /// The CAs that client certificates must chain to. Never empty.
    pub client_cas: Arc<ClientCas>,
    /// The CRLs for client certificates.
    pub client_crls: Vec<Arc<Crl>>,
    /// Until when any client CA has a current CRL, in seconds since the Unix epoch; `i64::MAX`
    /// without CRLs.
    pub crls_valid_until: i64,
    /// The certificates and CRLs that expire.
    pub expiries: Vec<Expiry>,
    /// Warnings about what is allowed but harmful; one sentence each.
    pub warnings: Vec<String>,
}

impl Credentials {
    /// Reads every file that the configuration names.
    ///
    /// # Errors
    /// All faults: a file that cannot be read or holds nothing useful, a server certificate outside
    /// its validity period, a client CA that is not a CA.
    pub fn load(tls: &config::Tls) -> Result<Self, Vec<ConfigError>> {
        Parts::read(tls).whole()
    }
}

struct Loader<'a> {
    allowed: Allowed<'a>,
    faults: Vec<ConfigError>,
    expiries: Vec<Expiry>,
    warnings: Vec<String>,
}

impl<'a> Loader<'a> {
    fn new(tls: &'a config::Tls) -> Self {
        Self {
            allowed: Allowed::by(tls),
            faults: Vec::new(),
            expiries: Vec::new(),
            warnings: Vec::new(),
        }
    }

    fn chain(&mut self, file: &Located<PathBuf>) -> Vec<CertificateDer<'static>> {
        const KEY: &str = "tls.cert_file";
        let chain = self.certificates(file, KEY);
        for (index, certificate) in chain.iter().enumerate() {
            match parsed(certificate) {
                Ok(certificate) if index == 0 => {
                    if let Err(problem) = in_validity(&certificate, ASN1Time::now()) {
                        self.fault(file, KEY, &problem);
                    }
                    self.expiries.push(Expiry::of(Role::Server, &certificate));
                }
                Ok(_) => {}
                Err(problem) => self.fault(file, KEY, &problem),
            }
        }
        if !is_chain(&chain) {
            self.warnings.push(format!(
                "{}: the certificates are not a chain in which each is signed by the next; scrapers will not find a path to their CA",
                file.value.display()
            ));
        }
        chain
    }

    fn key(&mut self, file: &Located<PathBuf>) -> Option<PrivateKeyDer<'static>> {
        let key = self.allowed.key(file, "tls.key_file");
        // An unreadable key may be on a hung file system.
        if key.is_ok() {
            self.warn_if_world_readable(&file.value);
        }
        self.note(key)
    }

    fn client_cas(
        &mut self,
        file: &Located<PathBuf>,
        certificates: &[CertificateDer<'static>],
    ) -> ClientCas {
        let mut cas = ClientCas::default();
        let mut outside = Vec::new();
        for certificate in certificates {
            match cas.add(certificate) {
                Ok(ca) => {
                    self.expiries.push(Expiry::of(Role::ClientCa, &ca));
                    self.warnings.extend(ca::name_constraint_warning(&ca));
                    outside.extend(in_validity(&ca, ASN1Time::now()).err());
                }
                Err(problem) => self.fault(file, CA_KEY, &problem),
            }
        }
        let is_any_valid = outside.len() < cas.anchors().len();
        for problem in outside {
            if is_any_valid {
                // The scrapers of the valid CAs must not suffer.
                self.warnings.push(format!(
                    "{} {problem}; until then, aegis trusts no certificate of that CA",
                    file.value.display()
                ));
            } else {
                self.fault(file, CA_KEY, &problem);
            }
        }
        cas
    }

    /// Reads the usable CRLs of one file.
    fn crls(
        &mut self,
        file: &Located<PathBuf>,
        client_cas: &[X509Certificate<'_>],
    ) -> Vec<Arc<Crl>> {
        let mut crls = Vec::new();
        let ders = self.allowed.crls(file, CRL_KEY);
        for der in self.note(ders).unwrap_or_default() {
            match read_crl(&der, client_cas, ASN1Time::now()) {
                Ok((crl, warning)) => {
                    let file = file.value.display();
                    let warning = warning.map(|warning| format!("{file} {warning}"));
                    self.warnings.extend(warning);
                    crls.push(Arc::new(crl));
                }
                Err(problem) => self.fault(file, CRL_KEY, &problem),
            }
        }
        crls
    }

    /// Until when any client CA has a current CRL, in seconds since the Unix epoch.
    fn crls_valid_until(
        &mut self,
        cas: &[CertificateDer<'_>],
        crls: &[Arc<Crl>],
        expired: ExpiredCrls,
    ) -> i64 {
        let mut latest = i64::MIN;
        for ca in cas.iter().filter_map(|ca| parsed(ca).ok()) {
            let own = crls.iter().filter(|crl| crl.is_of_client_ca(&ca));
            match (own.map(|crl| crl.next_update()).max(), expired) {
                (Some(until), ExpiredCrls::Refuse) => latest = latest.max(until),
                (Some(_), ExpiredCrls::UnsafeAccept) => latest = i64::MAX,
                (None, _) => self.warnings.push(format!(
                    "there is no CRL of the client CA ({}): aegis refuses every certificate of that CA; add the CRL to tls.client_crl_files",
                    subject_of(&ca)
                )),
            }
        }
        latest
    }

    fn certificates(&mut self, file: &Located<PathBuf>, key: &str) -> Vec<CertificateDer<'static>> {
        let certificates = self.allowed.certificates(file, key);
        self.note(certificates).unwrap_or_default()
    }

    fn note<T>(&mut self, read: Result<T, ConfigError>) -> Option<T> {
        read.map_err(|fault| self.faults.push(fault)).ok()
    }

    fn warn_if_world_readable(&mut self, key_file: &Path) {
        let mode = key_file
            .metadata()
            .map_or(0, |metadata| metadata.permissions().mode());
        if mode & OTHERS != 0 {
            self.warnings.push(format!(
                "{}: every user of this host can read the private key; chmod o-rwx it, and create a new key: others may have copied it",
                key_file.display()
            ));
        }
    }

    fn fault(&mut self, file: &Located<PathBuf>, key: &str, problem: &dyn fmt::Display) {
        self.faults.push(fault(file, key, problem));
    }
}

/// Reads a CRL in DER, and looks for the client CA that signed it. Returns a warning if none of
/// those with the name of its issuer did.
///
/// # Errors
/// Why it cannot be used.
pub(crate) fn read_crl(
    der: &[u8],
    client_cas: &[X509Certificate<'_>],
    now: ASN1Time,
) -> Result<(Crl, Option<String>), String> {
    let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
    let mut crl = Crl::read(der, now)?;
    let mut signers = client_cas.iter();
    let signers = signers
        .by_ref()
        .filter(|ca| crl.set_signer(ca, algorithms.all));
    let signers = Vec::from_iter(signers);
    let issuer = crl.issuer();
    if !signers.is_empty() && !signers.iter().any(|ca| may_sign_crls(ca)) {
        return Err(format!(
            "holds a CRL of {issuer}, but the key usages of that client CA lack cRLSign; issue the CA again with cRLSign"
        ));
    }
    let is_unsigned = signers.is_empty() && client_cas.iter().any(|ca| crl.is_named_after(ca));
    let warning = is_unsigned.then(|| {
        format!("holds a CRL of {issuer} that no client CA of that name signed: it has no effect on their certificates; use a CRL signed by that CA")
    });
    Ok((crl, warning))
}

/// The CRLs that are not replaced by a later one.
fn latest(crls: &[Arc<Crl>]) -> impl Iterator<Item = &Arc<Crl>> {
    let is_replaced = |(position, crl): (usize, &Arc<Crl>)| {
        crls.iter().enumerate().any(|(other_place, other)| {
            let (own, others) = (crl.next_update(), other.next_update());
            let is_later = (others, other_place) > (own, position);
            is_later && other.is_same_series_as(crl)
        })
    };
    let all = crls.iter().enumerate();
    all.filter(move |crl| !is_replaced(*crl))
        .map(|(_, crl)| crl)
}

/// The permission bits of users who neither own the file nor are in its group.
const OTHERS: u32 = 0o007;

const CA_KEY: &str = "tls.client_ca_file";
const CRL_KEY: &str = "tls.client_crl_files";

fn is_chain(chain: &[CertificateDer<'_>]) -> bool {
    chain.windows(2).all(|pair| match pair {
        [below, above] => match (parsed(below), parsed(above)) {
            (Ok(below), Ok(above)) => below.issuer() == above.subject(),
            _ => true,
        },
        _ => true,
    })
}
