//! The certificates, the key and the CRLs that the configuration names, read and checked.

mod ca;
pub(crate) mod crl;
mod expiry;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use x509_parser::time::ASN1Time;

use crate::config::{self, ExpiredCrls, Fault, Given};
pub(crate) use ca::usable_ca;
use ca::{in_validity, parsed};
pub(crate) use expiry::seconds_until;
pub use expiry::{Expiry, Role};

/// What TLS is spoken with: aegis's own certificate and key, and whom it trusts.
#[derive(Debug)]
pub struct Credentials {
    /// The server's certificate chain, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The private key of that leaf.
    pub key: PrivateKeyDer<'static>,
    /// The CAs that client certificates must lead to. Never empty.
    pub client_cas: RootCertStore,
    /// The CRLs for client certificates.
    pub client_crls: Vec<CertificateRevocationListDer<'static>>,
    /// Until when the CRLs leave any client CA, in seconds since the Unix epoch; without CRLs, for
    /// ever.
    pub vouched_until: i64,
    /// What runs out some day.
    pub expiries: Vec<Expiry>,
    /// What is allowed, but will hurt; one sentence each.
    pub warnings: Vec<String>,
}

impl Credentials {
    /// Reads every file that the configuration names.
    ///
    /// # Errors
    /// Every fault that was found: a file that cannot be read or holds nothing of use, a
    /// certificate outside its validity period, a client CA that is none.
    pub fn load(tls: &config::Tls) -> Result<Self, Vec<Fault>> {
        let mut loader = Loader::default();
        let chain = loader.chain(&tls.cert_file);
        let key = loader.key(&tls.key_file);
        let cas = loader.certificates(&tls.client_ca_file, CA_KEY);
        let client_cas = loader.client_cas(&tls.client_ca_file, &cas);
        let client_crls = loader.crls(&tls.client_crl_files, &cas);
        let vouched_until = match client_crls.is_empty() {
            true => i64::MAX,
            false => loader.vouched_until(&cas, tls.expired_crls),
        };
        match key {
            Some(key) if loader.faults.is_empty() => Ok(Self {
                chain,
                key,
                client_cas,
                client_crls,
                vouched_until,
                expiries: loader.expiries,
                warnings: loader.warnings,
            }),
            Some(_) | None => Err(loader.faults),
        }
    }
}

#[derive(Default)]
struct Loader {
    faults: Vec<Fault>,
    expiries: Vec<Expiry>,
    warnings: Vec<String>,
    /// Until when the latest CRL of each issuer is good.
    crls: HashMap<Vec<u8>, i64>,
}

impl Loader {
    fn chain(&mut self, file: &Given<PathBuf>) -> Vec<CertificateDer<'static>> {
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
        if !each_is_issued_by_the_next(&chain) {
            self.warnings.push(format!(
                "{}: the certificates are not a chain, each signed by the next; scrapers will not get from the first to their CA",
                file.value.display()
            ));
        }
        chain
    }

    fn key(&mut self, file: &Given<PathBuf>) -> Option<PrivateKeyDer<'static>> {
        const KEY: &str = "tls.key_file";
        let pem = self.read(file, KEY)?;
        self.warn_if_open_to_all(&file.value);
        match PrivateKeyDer::from_pem_slice(&pem) {
            Ok(key) => Some(key),
            Err(_) => {
                self.fault(
                    file,
                    KEY,
                    &"holds no unencrypted private key in PEM (PKCS#8, SEC1 or PKCS#1)",
                );
                None
            }
        }
    }

    fn client_cas(
        &mut self,
        file: &Given<PathBuf>,
        certificates: &[CertificateDer<'static>],
    ) -> RootCertStore {
        let mut store = RootCertStore::empty();
        for certificate in certificates {
            match usable_ca(certificate, ASN1Time::now()) {
                Ok(ca) => {
                    self.expiries.push(Expiry::of(Role::ClientCa, &ca));
                    if let Err(error) = store.add(certificate.clone()) {
                        self.fault(
                            file,
                            CA_KEY,
                            &format!("holds a CA that cannot be used: {error}"),
                        );
                    }
                }
                Err(problem) => self.fault(file, CA_KEY, &problem),
            }
        }
        store
    }

    fn crls(
        &mut self,
        files: &[Given<PathBuf>],
        client_cas: &[CertificateDer<'static>],
    ) -> Vec<CertificateRevocationListDer<'static>> {
        let mut all = Vec::new();
        // Of two lists of one issuer only the first would be asked, be it the older.
        let mut issuers = HashSet::new();
        for file in files {
            for crl in self.crls_of(file) {
                match crl::usable_crl(&crl, client_cas) {
                    Ok(summary) if issuers.insert(summary.scope.clone()) => {
                        let until = summary.expiry.as_ref().map_or(i64::MAX, |expiry| expiry.at);
                        let (issuer, _) = summary.scope;
                        let latest = self.crls.entry(issuer).or_insert(until);
                        *latest = until.max(*latest);
                        self.expiries.extend(summary.expiry);
                        all.push(crl);
                    }
                    Ok(summary) => {
                        let problem = format!(
                            "holds a second CRL of {}; keep the newer alone",
                            summary.issuer
                        );
                        self.fault(file, CRL_KEY, &problem);
                    }
                    Err(problem) => self.fault(file, CRL_KEY, &problem),
                }
            }
        }
        all
    }

    /// Until when any CA is left of which a CRL says who is revoked.
    fn vouched_until(&mut self, cas: &[CertificateDer<'_>], expired: ExpiredCrls) -> i64 {
        let mut latest = i64::MIN;
        for ca in cas.iter().filter_map(|ca| parsed(ca).ok()) {
            match (self.crls.get(ca.subject().as_raw()), expired) {
                (Some(until), ExpiredCrls::Refuse) => latest = latest.max(*until),
                (Some(_), ExpiredCrls::UnsafeAccept) => latest = i64::MAX,
                (None, _) => self.warnings.push(format!(
                    "there is no CRL of the client CA ({}): every certificate of it is refused; add it to tls.client_crl_files",
                    ca.subject()
                )),
            }
        }
        latest
    }

    fn crls_of(&mut self, file: &Given<PathBuf>) -> Vec<CertificateRevocationListDer<'static>> {
        let Some(bytes) = self.read(file, CRL_KEY) else {
            return Vec::new();
        };
        let is_pem = bytes
            .windows(PEM_MARK.len())
            .any(|window| window == PEM_MARK);
        let crls = match is_pem {
            true => CertificateRevocationListDer::pem_slice_iter(&bytes).collect(),
            false => Ok(vec![CertificateRevocationListDer::from(bytes)]),
        };
        match crls {
            Ok(crls) if !crls.is_empty() => crls,
            Ok(_) => {
                self.fault(file, CRL_KEY, &"holds no CRL (PEM or DER)");
                Vec::new()
            }
            Err(error) => {
                self.fault(file, CRL_KEY, &format!("is broken PEM: {error}"));
                Vec::new()
            }
        }
    }

    fn certificates(&mut self, file: &Given<PathBuf>, key: &str) -> Vec<CertificateDer<'static>> {
        certificates(file, key).unwrap_or_else(|fault| {
            self.faults.push(fault);
            Vec::new()
        })
    }

    fn read(&mut self, file: &Given<PathBuf>, key: &str) -> Option<Vec<u8>> {
        match config::read_bounded(&file.value) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                self.fault(file, key, &format!("cannot be read: {error}"));
                None
            }
        }
    }

    fn warn_if_open_to_all(&mut self, key_file: &Path) {
        let mode = key_file
            .metadata()
            .map_or(0, |metadata| metadata.permissions().mode());
        if mode & OTHERS != 0 {
            self.warnings.push(format!(
                "{}: every user of this host can use the private key; chmod 0600 it and make a new one",
                key_file.display()
            ));
        }
    }

    fn fault(&mut self, file: &Given<PathBuf>, key: &str, problem: &dyn fmt::Display) {
        self.faults.push(fault(file, key, problem));
    }
}

/// Reads the certificates of a PEM file, in their order; at least one.
///
/// # Errors
/// It cannot be read, or holds none.
pub fn certificates(
    file: &Given<PathBuf>,
    key: &str,
) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let pem = config::read_bounded(&file.value)
        .map_err(|error| fault(file, key, &format!("cannot be read: {error}")))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(fault(file, key, &"holds no certificate in PEM")),
        Err(error) => Err(fault(file, key, &format!("is broken PEM: {error}"))),
    }
}

fn fault(file: &Given<PathBuf>, key: &str, problem: &dyn fmt::Display) -> Fault {
    let problem = format!("{} {problem}", file.value.display());
    Fault::new(&file.origin, key, problem)
}

/// The permission bits of users who neither own the file nor are in its group.
const OTHERS: u32 = 0o007;

const CA_KEY: &str = "tls.client_ca_file";
const CRL_KEY: &str = "tls.client_crl_files";
const PEM_MARK: &[u8] = b"-----BEGIN X509 CRL-----";

fn each_is_issued_by_the_next(chain: &[CertificateDer<'_>]) -> bool {
    chain.windows(2).all(|pair| match pair {
        [below, above] => match (parsed(below), parsed(above)) {
            (Ok(below), Ok(above)) => below.issuer() == above.subject(),
            _ => true,
        },
        _ => true,
    })
}
