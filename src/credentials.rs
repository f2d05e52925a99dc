//! The certificates, the key and the CRLs that the configuration names, read and checked.

mod ca;
mod crl;
mod expiry;
pub(crate) mod revocation;
mod signature;

use std::fmt;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use x509_parser::certificate::X509Certificate;
use x509_parser::time::ASN1Time;

use crate::config::{self, ExpiredCrls, Fault, Given};
pub use ca::ClientCas;
pub(crate) use ca::{ClientCa, may_sign_crls};
use ca::{in_validity, parsed, subject_of};
pub use crl::Crl;
pub(crate) use expiry::seconds_until;
pub use expiry::{Expiry, Role};
pub(crate) use signature::is_signed_by;

/// What TLS is spoken with: aegis's own certificate and key, and whom it trusts.
#[derive(Debug)]
pub struct Credentials {
    /// The server's certificate chain, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The private key of that leaf.
    pub key: PrivateKeyDer<'static>,
    /// The CAs that client certificates must lead to. Never empty.
    pub client_cas: ClientCas,
    /// The CRLs for client certificates.
    pub client_crls: Vec<Crl>,
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
            false => loader.vouched_until(&cas, &client_crls, tls.expired_crls),
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
    ) -> ClientCas {
        let mut cas = ClientCas::default();
        for certificate in certificates {
            match cas.add(certificate, ASN1Time::now()) {
                Ok(ca) => {
                    self.expiries.push(Expiry::of(Role::ClientCa, &ca));
                    self.warnings.extend(ca::incomparable(&ca));
                }
                Err(problem) => self.fault(file, CA_KEY, &problem),
            }
        }
        cas
    }

    fn crls(&mut self, files: &[Given<PathBuf>], client_cas: &[CertificateDer<'_>]) -> Vec<Crl> {
        let client_cas = Vec::from_iter(client_cas.iter().filter_map(|ca| parsed(ca).ok()));
        let mut crls = Vec::new();
        for file in files {
            for der in self.crls_of(file) {
                match read_crl(&der, &client_cas, ASN1Time::now()) {
                    Ok((crl, warning)) => {
                        let file = file.value.display();
                        let warning = warning.map(|warning| format!("{file} {warning}"));
                        self.warnings.extend(warning);
                        crls.push(crl);
                    }
                    Err(problem) => self.fault(file, CRL_KEY, &problem),
                }
            }
        }
        self.expiries.extend(latest(&crls).map(Crl::expiry));
        crls
    }

    /// Until when any CA is left of which a CRL says who is revoked.
    fn vouched_until(
        &mut self,
        cas: &[CertificateDer<'_>],
        crls: &[Crl],
        expired: ExpiredCrls,
    ) -> i64 {
        let mut latest = i64::MIN;
        for ca in cas.iter().filter_map(|ca| parsed(ca).ok()) {
            let own = crls.iter().filter(|crl| crl.is_of_client_ca(&ca));
            match (own.map(Crl::next_update).max(), expired) {
                (Some(until), ExpiredCrls::Refuse) => latest = latest.max(until),
                (Some(_), ExpiredCrls::UnsafeAccept) => latest = i64::MAX,
                (None, _) => self.warnings.push(format!(
                    "there is no CRL of the client CA ({}): every certificate of it is refused; add it to tls.client_crl_files",
                    subject_of(&ca)
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
                self.fault(file, CRL_KEY, &broken_pem(&error));
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
        Err(error) => Err(fault(file, key, &broken_pem(&error))),
    }
}

/// Reads a CRL in DER, and looks for the client CA that has signed it. With it comes what is
/// allowed, but will hurt.
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
        .filter(|ca| crl.note_signer(ca, algorithms.all));
    let signers = Vec::from_iter(signers);
    let issuer = crl.issuer();
    if !signers.is_empty() && !signers.iter().any(|ca| may_sign_crls(ca)) {
        return Err(format!(
            "holds a CRL of {issuer}, but the key usages of that client CA leave out cRLSign; issue the CA again with it"
        ));
    }
    let is_strange = signers.is_empty() && client_cas.iter().any(|ca| crl.is_named_after(ca));
    let warning = is_strange.then(|| {
        format!("holds a CRL of {issuer} that none of the client CAs of that name has signed: it says nothing of their certificates")
    });
    Ok((crl, warning))
}

/// The CRLs that no later one replaces.
fn latest(crls: &[Crl]) -> impl Iterator<Item = &Crl> {
    let is_replaced = |(place, crl): (usize, &Crl)| {
        crls.iter().enumerate().any(|(other_place, other)| {
            let (own, others) = (crl.next_update(), other.next_update());
            let is_later = (others, other_place) > (own, place);
            is_later && other.is_of_one_series_with(crl)
        })
    };
    let all = crls.iter().enumerate();
    all.filter(move |crl| !is_replaced(*crl))
        .map(|(_, crl)| crl)
}

/// What is wrong with a PEM file. Its lines are not shown: they could be those of a key.
#[expect(clippy::wildcard_enum_match_arm, reason = "the enum grows with rustls")]
fn broken_pem(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => {
            "is broken PEM: a section has no END line of its kind"
        }
        pem::Error::IllegalSectionStart { .. } => "is broken PEM: a BEGIN line is not well-formed",
        pem::Error::Base64Decode(_) => "is broken PEM: a section is not base64",
        pem::Error::SectionTooLarge => "is broken PEM: a section is too large",
        _ => "is broken PEM",
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
