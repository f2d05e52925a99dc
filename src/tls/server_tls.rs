//! rustls' configuration: aegis's certificate, the client verifier, versions and session handling.
//!
//! No resumption, no tickets, no early data: a resumed session would skip the certificate check
//! (CVE-2025-23419, golang/go#77217).

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ServerConfig, version};

use super::client_verifier::{ClientVerifier, TrustRestrictions};
use super::credentials::{ClientCas, Credentials, Crl, seconds_until};
use crate::config::{self, ConfigError, TlsVersion};
use crate::refusal::{Refusal, Refused};

/// TLS for one configuration.
#[derive(Debug)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
    verifier: Arc<ClientVerifier>,
    own: Arc<SingleCertAndKey>,
    min_version: TlsVersion,
    /// When the first client CA expires that was valid when this was made.
    first_ca_expiry: Option<i64>,
}

impl ServerTls {
    /// Prepares TLS from the credentials.
    ///
    /// # Errors
    /// The key does not belong to the certificate.
    pub fn new(credentials: Credentials, settings: &config::Tls) -> Result<Self, Vec<ConfigError>> {
        let provider = aws_lc_rs::default_provider();
        let own = CertifiedKey::from_der(credentials.chain, credentials.key, &provider);
        let own = own.map_err(|error| vec![unusable(&error, settings)])?;
        let own = Arc::new(SingleCertAndKey::from(own));
        let verifier = Arc::new(ClientVerifier::new(
            credentials.client_cas,
            credentials.client_crls,
            settings.expired_crls,
            &provider,
        ));
        let min_version = settings.min_version;
        let config = server_config(&own, &verifier, min_version).map_err(|error| {
            let origin = &settings.cert_file.origin;
            vec![ConfigError::new(origin, "tls", error.to_string())]
        })?;
        Ok(Self {
            config: Arc::new(config),
            first_ca_expiry: verifier.first_ca_expiry(),
            verifier,
            own,
            min_version,
        })
    }

    /// The same with restrictions.
    ///
    /// # Errors
    /// rustls refuses the configuration, though it accepted it before.
    pub(crate) fn restricted_by(
        &self,
        restrictions: TrustRestrictions,
    ) -> Result<Self, rustls::Error> {
        let verifier = Arc::new(self.verifier.restricted_by(restrictions));
        let config = server_config(&self.own, &verifier, self.min_version)?;
        Ok(Self {
            config: Arc::new(config),
            first_ca_expiry: verifier.first_ca_expiry(),
            verifier,
            own: Arc::clone(&self.own),
            min_version: self.min_version,
        })
    }

    /// The configuration that handshakes use.
    pub(crate) fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    /// The client CAs and CRLs in force, without restrictions.
    pub(crate) fn trusted(&self) -> (&Arc<ClientCas>, &[Arc<Crl>]) {
        self.verifier.trusted()
    }

    /// Whether a client CA has expired since this was made.
    pub(crate) fn client_ca_has_expired(&self) -> bool {
        self.first_ca_expiry.is_some_and(|at| seconds_until(at) < 0)
    }

    /// Verifies a chain, leaf first, as of now.
    ///
    /// # Errors
    /// Any refusal of a certificate.
    pub(crate) fn verify(&self, chain: &[CertificateDer<'static>]) -> Result<(), Refused> {
        let (leaf, intermediates) = chain.split_first().ok_or(Refusal::NoCertificate)?;
        let verified = self.verifier.check(leaf, intermediates, UnixTime::now());
        verified.map_err(|cause| Refused::from(&cause))
    }
}

fn server_config(
    own: &Arc<SingleCertAndKey>,
    verifier: &Arc<ClientVerifier>,
    min_version: TlsVersion,
) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let versions: &[_] = match min_version {
        TlsVersion::V1_3 => &[&version::TLS13],
        TlsVersion::V1_2 => &[&version::TLS13, &version::TLS12],
    };
    let mut tls = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .with_client_cert_verifier(Arc::clone(verifier) as _)
        .with_cert_resolver(Arc::clone(own) as _);
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    tls.session_storage = Arc::new(NoServerSessionStorage {});
    tls.send_tls13_tickets = 0;
    tls.max_early_data_size = 0;
    // For TLS 1.2: prevents the triple handshake attack (RFC 7627).
    tls.require_ems = true;
    Ok(tls)
}

/// The fault of aegis's own certificate or key.
#[expect(clippy::wildcard_enum_match_arm, reason = "the enum grows with rustls")]
fn unusable(error: &rustls::Error, settings: &config::Tls) -> ConfigError {
    let (certificate, key) = (&settings.cert_file, &settings.key_file);
    let (cert_file, key_file) = (certificate.value.display(), key.value.display());
    match error {
        rustls::Error::InconsistentKeys(_) => {
            let problem = format!("{key_file} is not the key of the certificate in {cert_file}");
            ConfigError::new(&key.origin, "tls.key_file", problem)
        }
        rustls::Error::InvalidCertificate(_) => {
            let problem = format!(
                "{cert_file} holds a certificate that TLS cannot use; it must be X.509v3 and follow RFC 5280"
            );
            ConfigError::new(&certificate.origin, "tls.cert_file", problem)
        }
        _ => {
            let problem = format!(
                "{key_file} holds a damaged or unsupported private key; copy it again, or create a key of P-256, P-384, P-521, Ed25519, or RSA of 2048 bits or more"
            );
            ConfigError::new(&key.origin, "tls.key_file", problem)
        }
    }
}
