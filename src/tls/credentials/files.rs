//! Reads the files of certificates, keys and CRLs, and writes all messages about them.
//!
//! A message names the file, the line and the remedy, in fixed words. It never contains text from a
//! parser, which could be part of a private key.

use std::fmt;
use std::path::{Path, PathBuf};

use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use x509_parser::parse_x509_certificate;

use crate::config::{self, ConfigError, Located};
use crate::text::pem::{self, Block, Kind, Problem};

/// Which kinds of blocks may be in a file: those that a setting reads from it.
#[derive(Clone, Copy)]
pub(super) struct Allowed<'a> {
    /// The settings that name files; `None` for a scraper's file.
    tls: Option<&'a config::Tls>,
}

impl<'a> Allowed<'a> {
    pub(super) fn by(tls: &'a config::Tls) -> Self {
        Self { tls: Some(tls) }
    }

    /// Checks whether a block of this kind may be in this file.
    fn check(self, file: &Path, kind: Kind) -> Result<(), &'static str> {
        let is = |given: &Located<PathBuf>| given.value == file;
        let Some(tls) = self.tls else {
            return match kind {
                Kind::Crl => Err("begins a CRL, which is not read from here; remove it"),
                Kind::Pkcs7 => Err(PKCS7),
                Kind::Certificate
                | Kind::TrustedCertificate
                | Kind::Key
                | Kind::UnusableKey
                | Kind::Companion => Ok(()),
            };
        };
        // A key and the certificates that belong to it often share a file.
        let of_server = is(&tls.cert_file) || is(&tls.key_file);
        match kind {
            Kind::Certificate | Kind::TrustedCertificate
                if !(of_server || is(&tls.client_ca_file)) =>
            {
                Err(
                    "begins a certificate, which is not read from this file; remove it, or move it to tls.client_ca_file if it is a client CA",
                )
            }
            Kind::Crl if !tls.client_crl_files.iter().any(is) => Err(
                "begins a CRL, which is not read from this file; add the file to tls.client_crl_files, or remove the CRL",
            ),
            Kind::Key | Kind::UnusableKey if !of_server => Err(
                "begins a private key, which does not belong in this file; remove it, or name the right file",
            ),
            Kind::Pkcs7 => Err(PKCS7),
            Kind::Certificate
            | Kind::TrustedCertificate
            | Kind::Crl
            | Kind::Key
            | Kind::UnusableKey
            | Kind::Companion => Ok(()),
        }
    }

    /// Reads certificates in PEM, in their order; at least one.
    ///
    /// # Errors
    /// The file cannot be read, holds none, or holds blocks that aegis would ignore.
    pub(super) fn certificates(
        self,
        file: &Located<PathBuf>,
        key: &str,
    ) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
        let bytes = read(file, key)?;
        let certificates = self.blocks(file, key, &bytes)?.into_iter();
        let certificates = certificates.filter_map(|block| match block.kind {
            Kind::Certificate | Kind::TrustedCertificate => Some(certificate(&block)),
            Kind::Crl | Kind::Key | Kind::UnusableKey | Kind::Pkcs7 | Kind::Companion => None,
        });
        let certificates: Result<Vec<_>, _> = certificates.collect();
        let certificates = certificates.map_err(|problem| in_line(file, key, problem))?;
        if !certificates.is_empty() {
            return Ok(certificates);
        }
        Err(if pem::is_der(&bytes) {
            fault(file, key, &binary_certificate(&bytes))
        } else {
            no_content(file, key, &bytes, "certificate in PEM")
        })
    }

    /// Reads the only private key of a file in PEM.
    ///
    /// # Errors
    /// The file cannot be read, or holds no usable key, or two.
    pub(super) fn key(
        self,
        file: &Located<PathBuf>,
        key: &str,
    ) -> Result<PrivateKeyDer<'static>, ConfigError> {
        let bytes = read(file, key)?;
        let mut found = None;
        for block in self.blocks(file, key, &bytes)? {
            let problem = match (block.kind, &found) {
                (Kind::Key, None) if !block.is_encrypted() => {
                    found = Some(
                        block
                            .decode()
                            .map_err(|problem| in_line(file, key, problem))?,
                    );
                    continue;
                }
                (Kind::Key | Kind::UnusableKey, Some(_)) => {
                    "begins a second private key; remove the one that does not belong to the certificate"
                }
                (Kind::Key | Kind::UnusableKey, None) => UNUSABLE_KEY,
                (
                    Kind::Certificate
                    | Kind::TrustedCertificate
                    | Kind::Crl
                    | Kind::Pkcs7
                    | Kind::Companion,
                    _,
                ) => continue,
            };
            return Err(in_line(file, key, block.problem(problem)));
        }
        found.ok_or_else(|| {
            const EXPECTED: &str = "unencrypted private key in PEM (PKCS#8, SEC1 or PKCS#1)";
            if pem::is_der(&bytes) {
                fault(file, key, &binary_key(&bytes))
            } else {
                no_content(file, key, &bytes, EXPECTED)
            }
        })
    }

    /// Reads CRLs, all of a file in PEM or the one of a file in DER; at least one.
    ///
    /// # Errors
    /// The file cannot be read, holds none, or holds blocks that aegis would ignore.
    pub(super) fn crls(
        self,
        file: &Located<PathBuf>,
        key: &str,
    ) -> Result<Vec<CertificateRevocationListDer<'static>>, ConfigError> {
        let bytes = read(file, key)?;
        if pem::is_der(&bytes) {
            return Ok(vec![bytes.into()]);
        }
        let crls = self.blocks(file, key, &bytes)?.into_iter();
        let crls = crls.filter(|block| block.kind == Kind::Crl);
        let crls: Result<Vec<_>, _> = crls.map(|block| block.decode()).collect();
        match crls {
            Ok(crls) if crls.is_empty() => Err(no_content(file, key, &bytes, "CRL (PEM or DER)")),
            Ok(crls) => Ok(crls),
            Err(problem) => Err(in_line(file, key, problem)),
        }
    }

    fn blocks<'b>(
        self,
        file: &Located<PathBuf>,
        key: &str,
        bytes: &'b [u8],
    ) -> Result<Vec<Block<'b>>, ConfigError> {
        if pem::is_der(bytes) {
            return Ok(Vec::new());
        }
        let blocks = pem::blocks(bytes).map_err(|problem| in_line(file, key, problem))?;
        for block in &blocks {
            let allowed = self.check(&file.value, block.kind);
            allowed.map_err(|problem| in_line(file, key, block.problem(problem)))?;
        }
        Ok(blocks)
    }
}

/// Reads the certificates of a scraper's PEM file, in their order; at least one.
///
/// # Errors
/// It cannot be read, or holds none.
pub fn certificates(
    file: &Located<PathBuf>,
    key: &str,
) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    Allowed { tls: None }.certificates(file, key)
}

/// Decodes a certificate. OpenSSL can append trust settings, which limit what it is trusted for.
fn certificate(block: &Block<'_>) -> Result<CertificateDer<'static>, Problem> {
    let mut der = block.der()?;
    let (rest, _) = parse_x509_certificate(&der)
        .map_err(|_| block.problem("begins a malformed certificate; issue or copy it again"))?;
    match (block.kind, rest) {
        (_, []) => {}
        (Kind::TrustedCertificate, NO_SETTINGS) => {
            let length = der.len().saturating_sub(NO_SETTINGS.len());
            der.truncate(length);
        }
        (Kind::TrustedCertificate, _) => {
            return Err(block.problem("begins a certificate with trust settings of OpenSSL, which aegis does not support; write it without them: openssl x509 -in FILE -out NEW"));
        }
        _ => {
            return Err(block.problem("begins a block with more than one certificate; give each its own BEGIN and END lines"));
        }
    }
    Ok(der.into())
}

/// Empty trust settings: an empty SEQUENCE.
const NO_SETTINGS: &[u8] = &[0x30, 0];

const PKCS7: &str =
    "begins PKCS#7; write its certificates in PEM: openssl pkcs7 -print_certs -in FILE -out NEW";

const UNUSABLE_KEY: &str = "begins a private key that is encrypted or unsupported; write it without a passphrase: openssl pkey -in FILE -out NEW";

fn binary_certificate(bytes: &[u8]) -> &'static str {
    if pem::is_pkcs12(bytes) {
        "is PKCS#12, not PEM; write its certificates in PEM: openssl pkcs12 -nokeys -in FILE -out NEW"
    } else {
        "is DER, not PEM; write it in PEM: openssl x509 -inform DER -in FILE -out NEW"
    }
}

fn binary_key(bytes: &[u8]) -> &'static str {
    if pem::is_pkcs12(bytes) {
        "is PKCS#12, not PEM; write its key in PEM: openssl pkcs12 -nocerts -noenc -in FILE -out NEW"
    } else {
        "is DER, not PEM; write it in PEM: openssl pkey -inform DER -in FILE -out NEW"
    }
}

fn read(file: &Located<PathBuf>, key: &str) -> Result<Vec<u8>, ConfigError> {
    config::read_bounded(&file.value)
        .map_err(|error| fault(file, key, &format!("cannot be read: {error}")))
}

fn in_line(file: &Located<PathBuf>, key: &str, problem: Problem) -> ConfigError {
    let problem = format!("{}: {problem}", file.value.display());
    ConfigError::new(&file.origin, key, problem)
}

/// The fault of a file that holds nothing of the expected kind.
fn no_content(file: &Located<PathBuf>, key: &str, bytes: &[u8], expected: &str) -> ConfigError {
    let but = match bytes {
        [] => ": it is empty",
        [..] => "",
    };
    fault(
        file,
        key,
        &format!("holds no {expected}{but}; write it again, or name the right file"),
    )
}

/// The fault of a file as a whole.
pub(super) fn fault(file: &Located<PathBuf>, key: &str, problem: &dyn fmt::Display) -> ConfigError {
    let problem = format!("{} {problem}", file.value.display());
    ConfigError::new(&file.origin, key, problem)
}
