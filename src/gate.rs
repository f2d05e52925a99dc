//! The gate: the immutable snapshot of policy, TLS, services and limits that decides every request.
//! A reload builds another one.

pub(crate) mod warnings;

mod restrictions;

use std::sync::Arc;

use crate::config::{Config, ConfigError, Limits};
use crate::policy::Policy;
use crate::services::ServiceRegistry;
use crate::tls::ServerTls;
use crate::tls::credentials::{Expiry, Parts, Role, seconds_until};
pub(crate) use restrictions::{Broken, Held, Restrictions, Sound};

/// The immutable snapshot that a request is decided by.
#[derive(Debug)]
pub struct Gate {
    /// Which scrapers may scrape which services, and from where.
    pub policy: Policy,
    /// The TLS configuration and the client CAs.
    pub tls: ServerTls,
    /// Where the services' sockets are.
    pub services: Arc<ServiceRegistry>,
    /// All limits.
    pub limits: Limits,
    /// The address and port of aegis in discovery, if it differs from the one that was reached.
    pub advertise: Option<String>,
    restrictions: Restrictions,
    warnings: Vec<String>,
    expiries: Vec<Expiry>,
    crls_valid_until: i64,
}

impl Gate {
    /// Builds a gate from a configuration and the files that it names. Takes over the state that
    /// outlives a configuration from the previous gate.
    ///
    /// # Errors
    /// All faults of those files.
    pub fn build(config: Config, before: Option<&Self>) -> Result<Self, Vec<ConfigError>> {
        Self::of(&config, Parts::read(&config.tls), before)
    }

    /// As [`Gate::build`], but an error contains the valid parts.
    pub(crate) fn try_build(config: &Config, before: Option<&Self>) -> Result<Self, Box<Broken>> {
        let parts = Parts::read(&config.tls);
        let policy = config.policy.restricted_by(None);
        let sound = Sound::of(Some(policy), Some(&parts));
        let built = Self::of(config, parts, before);
        built.map_err(|faults| Box::new(Broken { faults, sound }))
    }

    /// As [`Gate::build`], from files that were read before.
    pub(crate) fn of(
        config: &Config,
        parts: Parts,
        before: Option<&Self>,
    ) -> Result<Self, Vec<ConfigError>> {
        let before = before.map(|before| &*before.services);
        let services = ServiceRegistry::open(config, before);
        let ((services, listing), credentials) = match (services, parts.whole()) {
            (Ok(services), Ok(credentials)) => (services, credentials),
            (services, credentials) => {
                let mut faults = services.err().unwrap_or_default();
                faults.extend(credentials.err().unwrap_or_default());
                return Err(faults);
            }
        };
        let expiries = credentials.expiries.clone();
        let crls_valid_until = credentials.crls_valid_until;
        let of_certificates = warnings::of_certificates(config, &credentials);
        let tls = ServerTls::new(credentials, &config.tls)?;
        // Only now: a rejected configuration must have no effect.
        services.remember_all(&listing);
        Ok(Self {
            policy: config.policy.restricted_by(None),
            tls,
            warnings: warnings::of(config, of_certificates, &services),
            services: Arc::new(services),
            limits: config.limits,
            advertise: config.advertise.clone(),
            restrictions: Restrictions::default(),
            expiries,
            crls_valid_until,
        })
    }

    /// The same gate with the restrictions of newer files.
    ///
    /// # Errors
    /// rustls refuses the configuration, though it accepted it before.
    pub(crate) fn restricted_by(&self, restrictions: Restrictions) -> Result<Self, rustls::Error> {
        Ok(Self {
            policy: self.policy.restricted_by(restrictions.policy.clone()),
            tls: self.tls.restricted_by(restrictions.trust.clone())?,
            services: Arc::clone(&self.services),
            limits: self.limits,
            advertise: self.advertise.clone(),
            restrictions,
            warnings: self.warnings.clone(),
            expiries: self.expiries.clone(),
            crls_valid_until: self.crls_valid_until,
        })
    }

    /// The restrictions of newer files that are invalid in another part.
    pub(crate) fn restrictions(&self) -> &Restrictions {
        &self.restrictions
    }

    /// All warnings, as of now.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        self.warnings.iter().cloned().chain(self.expiring())
    }

    /// Warnings about what has expired or will expire soon.
    pub fn expiring(&self) -> impl Iterator<Item = String> {
        self.expiries.iter().filter_map(Expiry::warning)
    }

    /// Everything that expires.
    #[must_use]
    pub fn expiries(&self) -> &[Expiry] {
        &self.expiries
    }

    /// Whether the server's certificate has expired, so that every scraper rejects it.
    #[must_use]
    pub fn server_has_expired(&self) -> bool {
        let server = self.soonest(Role::Server);
        server.is_some_and(|server| server.left() < 0)
    }

    /// Whether no client CA has a current CRL, so that every scraper is refused.
    #[must_use]
    pub fn all_crls_expired(&self) -> bool {
        seconds_until(self.crls_valid_until) < 0
    }

    /// Whether every client CA has expired, so that every scraper is refused.
    #[must_use]
    pub fn client_cas_have_expired(&self) -> bool {
        let all = self.expiries.iter();
        let mut cas = all.filter(|expiry| expiry.role == Role::ClientCa);
        cas.all(|ca| ca.left() < 0)
    }

    /// Whether a CRL or a client CA has expired, so that connected scrapers may no longer be valid.
    pub(crate) fn trust_has_expired(&self) -> bool {
        self.soonest(Role::Crl).is_some_and(|crl| crl.left() < 0)
            || self.tls.client_ca_has_expired()
    }

    /// When the server's certificate expires, in seconds since the Unix epoch.
    pub(crate) fn server_not_after(&self) -> Option<i64> {
        self.soonest(Role::Server).map(|server| server.at)
    }

    /// The first to expire of a role.
    pub(crate) fn soonest(&self, role: Role) -> Option<&Expiry> {
        let of_role = self.expiries.iter().filter(|expiry| expiry.role == role);
        of_role.min_by_key(|expiry| expiry.at)
    }
}
