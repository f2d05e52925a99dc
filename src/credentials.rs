//! The certificates, the key and the CRLs that the configuration names, read and checked.

use std::collections::HashSet;
use std::fmt;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use webpki::BorrowedCertRevocationList;
use x509_parser::certificate::X509Certificate;
use x509_parser::oid_registry::{
    OID_X509_EXT_BASIC_CONSTRAINTS, OID_X509_EXT_CRL_NUMBER,
    OID_X509_EXT_ISSUER_DISTRIBUTION_POINT, OID_X509_EXT_KEY_USAGE, OID_X509_EXT_NAME_CONSTRAINTS,
    Oid,
};
use x509_parser::parse_x509_certificate;
use x509_parser::time::ASN1Time;

use crate::config::{self, Fault, Given};

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
        let client_cas = loader.client_cas(&tls.client_ca_file);
        let client_crls = loader.crls(&tls.client_crl_files);
        match key {
            Some(key) if loader.faults.is_empty() => Ok(Self {
                chain,
                key,
                client_cas,
                client_crls,
                warnings: loader.warnings,
            }),
            Some(_) | None => Err(loader.faults),
        }
    }
}

#[derive(Default)]
struct Loader {
    faults: Vec<Fault>,
    warnings: Vec<String>,
}

impl Loader {
    fn chain(&mut self, file: &Given<PathBuf>) -> Vec<CertificateDer<'static>> {
        const KEY: &str = "tls.cert_file";
        let chain = self.certificates(file, KEY);
        if let Some(leaf) = chain.first()
            && let Err(problem) = parsed(leaf).and_then(|leaf| in_validity(&leaf, ASN1Time::now()))
        {
            self.fault(file, KEY, &problem);
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

    fn client_cas(&mut self, file: &Given<PathBuf>) -> RootCertStore {
        const KEY: &str = "tls.client_ca_file";
        let mut store = RootCertStore::empty();
        for certificate in self.certificates(file, KEY) {
            match usable_ca(&certificate, ASN1Time::now()) {
                Ok(()) => {
                    if let Err(error) = store.add(certificate) {
                        self.fault(
                            file,
                            KEY,
                            &format!("holds a CA that cannot be used: {error}"),
                        );
                    }
                }
                Err(problem) => self.fault(file, KEY, &problem),
            }
        }
        store
    }

    fn crls(&mut self, files: &[Given<PathBuf>]) -> Vec<CertificateRevocationListDer<'static>> {
        let mut all = Vec::new();
        // Of two lists of one issuer only the first would be asked, be it the older.
        let mut issuers = HashSet::new();
        for file in files {
            for crl in self.crls_of(file) {
                match crl_summary(&crl) {
                    Ok(summary) if issuers.insert(summary.scope.clone()) => {
                        self.warnings.extend(summary.warning);
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
        let Some(pem) = self.read(file, key) else {
            return Vec::new();
        };
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        match certificates {
            Ok(certificates) if !certificates.is_empty() => certificates,
            Ok(_) => {
                self.fault(file, key, &"holds no certificate in PEM");
                Vec::new()
            }
            Err(error) => {
                self.fault(file, key, &format!("is broken PEM: {error}"));
                Vec::new()
            }
        }
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
        let problem = format!("{} {problem}", file.value.display());
        self.faults.push(Fault::new(&file.origin, key, problem));
    }
}

/// The permission bits of users who neither own the file nor are in its group.
const OTHERS: u32 = 0o007;

const CRL_KEY: &str = "tls.client_crl_files";
const PEM_MARK: &[u8] = b"-----BEGIN X509 CRL-----";

/// What must be known of a CRL before it is put to use.
pub(crate) struct CrlSummary {
    issuer: String,
    /// Its issuer, and the part of that issuer's certificates which it is for.
    scope: (Vec<u8>, Option<Vec<u8>>),
    warning: Option<String>,
}

pub(crate) fn crl_summary(crl: &[u8]) -> Result<CrlSummary, String> {
    let (rest, parsed) = x509_parser::parse_x509_crl(crl)
        .map_err(|_| "holds no CRL that can be read (PEM or DER)".to_owned())?;
    // webpki asks for no number, though a list without one is none by RFC 5280, section 5.2.3.
    let mut extensions = parsed.extensions().iter();
    let is_numbered =
        extensions.any(|extension| extension.oid == OID_X509_EXT_CRL_NUMBER && !extension.critical);
    let is_readable = rest.is_empty() && BorrowedCertRevocationList::from_der(crl).is_ok();
    if !is_numbered || !is_readable {
        return Err(format!(
            "holds a CRL of {} that cannot be used; it must be version 2, with a CRL number (not critical) and nextUpdate",
            parsed.issuer()
        ));
    }
    let distribution_point = parsed
        .extensions()
        .iter()
        .find(|extension| extension.oid == OID_X509_EXT_ISSUER_DISTRIBUTION_POINT);
    let next_update = parsed.next_update();
    let has_expired = next_update.is_some_and(|next_update| next_update < ASN1Time::now());
    Ok(CrlSummary {
        issuer: parsed.issuer().to_string(),
        scope: (
            parsed.issuer().as_raw().to_vec(),
            distribution_point.map(|extension| extension.value.to_vec()),
        ),
        warning: next_update.filter(|_| has_expired).map(|next_update| {
            format!(
                "the CRL of {} ran out at {next_update}: every certificate of that CA is refused until a new one is given",
                parsed.issuer()
            )
        }),
    })
}

fn parsed<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, String> {
    match parse_x509_certificate(certificate) {
        Ok((_, certificate)) => Ok(certificate),
        Err(_) => Err("holds a certificate that cannot be read".to_owned()),
    }
}

/// Whether client certificates may lead to this certificate.
///
/// A CA that has expired vouches for nobody, and one that may not sign certificates has signed
/// none. The chain check asks neither of a CA that it is told to trust.
pub(crate) fn usable_ca(certificate: &CertificateDer<'_>, now: ASN1Time) -> Result<(), String> {
    let ca = parsed(certificate)?;
    in_validity(&ca, now)?;
    can_sign(&ca)?;
    is_understood(&ca)
}

fn in_validity(certificate: &X509Certificate<'_>, now: ASN1Time) -> Result<(), String> {
    let validity = certificate.validity();
    if validity.is_valid_at(now) {
        return Ok(());
    }
    Err(format!(
        "holds a certificate ({}) that is valid only from {} to {}; renew it, or set the clock",
        certificate.subject(),
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
        ca.subject()
    ))
}

/// A critical extension asks to be refused by whoever does not know it (RFC 5280, section 4.2):
/// it may narrow whom the CA can vouch for.
fn is_understood(ca: &X509Certificate<'_>) -> Result<(), String> {
    let mut extensions = ca.extensions().iter();
    match extensions.find(|extension| extension.critical && !HONORED.contains(&extension.oid)) {
        None => Ok(()),
        Some(extension) => Err(format!(
            "holds a CA ({}) with the critical extension {}, which aegis does not know",
            ca.subject(),
            extension.oid
        )),
    }
}

/// What the chain check, or the check above, makes of a CA's extensions.
const HONORED: [Oid<'_>; 3] = [
    OID_X509_EXT_BASIC_CONSTRAINTS,
    OID_X509_EXT_KEY_USAGE,
    OID_X509_EXT_NAME_CONSTRAINTS,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn ca(
        extensions: Vec<rcgen::CustomExtension>,
    ) -> rcgen::CertifiedIssuer<'static, rcgen::KeyPair> {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![
            rcgen::KeyUsagePurpose::KeyCertSign,
            rcgen::KeyUsagePurpose::CrlSign,
        ];
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
            let usable = usable_ca(ca(vec![unknown]).as_ref().der(), ASN1Time::now());
            match (usable, said) {
                (Ok(()), None) => {}
                (Err(problem), Some(said)) => assert!(problem.contains(said), "{problem}"),
                (usable, _) => panic!("critical: {critical}: {usable:?}"),
            }
        }
    }

    #[test]
    fn a_crl_without_a_number_is_refused() {
        const NUMBER: &[u8] = &[0x06, 3, 0x55, 0x1d, 20];
        let now = rcgen::date_time_ymd(2026, 1, 1);
        let list = rcgen::CertificateRevocationListParams {
            this_update: now,
            next_update: rcgen::date_time_ymd(2099, 1, 1),
            crl_number: vec![1].into(),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&ca(Vec::new())).unwrap();
        let mut der = list.der().to_vec();
        assert!(crl_summary(&der).is_ok());
        let number = der
            .windows(NUMBER.len())
            .position(|at| at == NUMBER)
            .unwrap();
        // Now it is some extension that nobody knows.
        der[number + NUMBER.len() - 1] = 99;
        let problem = crl_summary(&der).err().unwrap();
        assert!(problem.contains("with a CRL number"), "{problem}");
    }
}
