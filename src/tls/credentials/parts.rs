//! The content of the files in parts: if one is invalid, restrictions of the others still apply.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{CA_KEY, ClientCas, Credentials, Crl, Expiry, Loader, latest, parsed};
use crate::config::{self, ConfigError, bounded};

/// The valid parts of the files, and the faults of the others.
#[derive(Debug)]
pub(crate) struct Parts {
    chain: Vec<CertificateDer<'static>>,
    key: Option<PrivateKeyDer<'static>>,
    client_cas: Arc<ClientCas>,
    /// Whether all client CAs are valid.
    client_cas_are_sound: bool,
    crl_files: Vec<CrlFile>,
    crls_valid_until: i64,
    expiries: Vec<Expiry>,
    warnings: Vec<String>,
    faults: Vec<ConfigError>,
}

/// A file of CRLs.
#[derive(Clone, Debug)]
pub(crate) struct CrlFile {
    pub(crate) path: PathBuf,
    /// The usable CRLs.
    pub(crate) crls: Vec<Arc<Crl>>,
    /// Whether all CRLs of the file are usable.
    pub(crate) is_sound: bool,
}

impl Parts {
    /// Reads every file that the configuration names.
    pub(crate) fn read(tls: &config::Tls) -> Self {
        let mut loader = Loader::new(tls);
        let chain = loader.chain(&tls.cert_file);
        let key = loader.key(&tls.key_file);
        let before = loader.faults.len();
        let cas = loader.certificates(&tls.client_ca_file, CA_KEY);
        let client_cas = loader.client_cas(&tls.client_ca_file, &cas);
        let client_cas_are_sound = loader.faults.len() == before;
        let parsed_cas = Vec::from_iter(cas.iter().filter_map(|ca| parsed(ca).ok()));
        let crl_files = tls.client_crl_files.iter().map(|file| {
            let before = loader.faults.len();
            CrlFile {
                path: file.value.clone(),
                crls: loader.crls(file, &parsed_cas),
                is_sound: loader.faults.len() == before,
            }
        });
        let crl_files = Vec::from_iter(crl_files);
        let crls = all_crls(&crl_files);
        loader
            .expiries
            .extend(latest(&crls).map(|crl| crl.expiry()));
        let crls_valid_until = if crls.is_empty() {
            i64::MAX
        } else {
            loader.crls_valid_until(&cas, &crls, tls.expired_crls)
        };
        let Loader {
            allowed: _,
            faults,
            expiries,
            warnings,
        } = loader;
        Self {
            chain,
            key,
            client_cas: Arc::new(client_cas),
            client_cas_are_sound,
            crl_files,
            crls_valid_until,
            expiries,
            warnings,
            faults,
        }
    }

    /// The server's certificate.
    pub(crate) fn leaf(&self) -> Option<&CertificateDer<'static>> {
        self.chain.first()
    }

    /// The client CAs, if all are valid.
    pub(crate) fn sound_client_cas(&self) -> Option<Arc<ClientCas>> {
        self.client_cas_are_sound
            .then(|| Arc::clone(&self.client_cas))
    }

    /// The files of CRLs, sound or not.
    pub(crate) fn crl_files(&self) -> &[CrlFile] {
        &self.crl_files
    }

    /// The credentials, if there are no faults.
    ///
    /// # Errors
    /// All faults.
    pub(crate) fn whole(self) -> Result<Credentials, Vec<ConfigError>> {
        match self.key {
            Some(key) if self.faults.is_empty() => Ok(Credentials {
                chain: self.chain,
                key,
                client_cas: self.client_cas,
                client_crls: all_crls(&self.crl_files),
                crls_valid_until: self.crls_valid_until,
                expiries: self.expiries,
                warnings: self.warnings,
            }),
            Some(_) | None => Err(bounded(self.faults)),
        }
    }
}

fn all_crls(files: &[CrlFile]) -> Vec<Arc<Crl>> {
    files.iter().flat_map(|file| file.crls.clone()).collect()
}
