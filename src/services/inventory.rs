//! Lists the services. Connects to none.
//!
//! While aegis serves, only [`ServiceRegistry::inspect`] is used: it does not block.

mod inspect;

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::dial::check_permission;
use super::directory::{Listing, MAX_FILES, MAX_SOCKET_FILES};
use super::{MAX_SERVICES, ServiceRegistry};
use crate::policy::service_name::ServiceName;
use crate::refusal::{Refusal, Refused};
pub(crate) use inspect::{Depth, Inventory};

impl ServiceRegistry {
    /// The number of services seen in the socket directory.
    #[must_use]
    pub fn present(&self) -> usize {
        self.seen().count()
    }

    /// All services that have a socket now or are configured, by name.
    ///
    /// # Errors
    /// The socket directory cannot be read.
    pub fn offers(&self) -> io::Result<Vec<Offered>> {
        let mut services: BTreeSet<ServiceName> = self.configured.keys().cloned().collect();
        services.extend(self.socket_dir.list()?.services);
        let offered = services.into_iter().map(|service| Offered {
            socket: self.socket_of(&service),
            owner: self.open_socket(&service).map(|socket| socket.owner),
            service,
        });
        Ok(offered.collect())
    }

    /// All services that are configured, or have or had a socket since aegis started.
    ///
    /// A service that is gone stays in the list, so that service discovery shows it as failing.
    #[must_use]
    pub fn known(&self) -> BTreeSet<ServiceName> {
        // An unreadable directory adds nothing; scrapes show that.
        self.refresh();
        let mut known: BTreeSet<ServiceName> = self.configured.keys().cloned().collect();
        known.extend(self.seen().names());
        known
    }

    /// Whether the socket directory held more than aegis lists when it was last read.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.shared.is_truncated.load(Ordering::Relaxed)
    }

    /// Lists the socket directory, and remembers its services.
    fn refresh(&self) {
        self.note(&self.socket_dir.list().unwrap_or_default());
    }

    /// Remembers the listed services, and warns if the list is truncated.
    fn note(&self, listing: &Listing) {
        let was_truncated = self.is_truncated();
        self.remember_all(listing);
        if let (false, Some(warning)) = (was_truncated, self.truncated()) {
            tracing::warn!("{warning}");
        }
    }

    /// Warns if the socket directory held more than aegis lists.
    pub(super) fn truncated(&self) -> Option<String> {
        let directory = self.socket_dir.path().display();
        self.is_truncated().then(|| {
            format!("socket_dir: {directory} holds more than aegis lists: {MAX_SERVICES} services, {MAX_SOCKET_FILES} files named *.sock, {MAX_FILES} files in all; services are missing from discovery and from the status page; remove files that are not services")
        })
    }

    /// Forgets a service that is gone.
    ///
    /// # Errors
    /// It would reappear at once, or is not known.
    pub(crate) async fn forget(&self, service: &ServiceName) -> Result<(), NotForgotten> {
        if service.is_reserved() {
            return Err(NotForgotten::Own);
        }
        if self.configured.contains_key(service) {
            return Err(NotForgotten::Configured);
        }
        if self.inspect(Depth::Names).await.there.contains(service) {
            return Err(NotForgotten::There);
        }
        if self.seen().forget(service) {
            Ok(())
        } else {
            Err(NotForgotten::Unknown)
        }
    }

    /// How long a service stays listed whose socket is gone.
    pub(crate) fn retention(&self, service: &ServiceName) -> Retention {
        if self.configured.contains_key(service) {
            return Retention::Configured;
        }
        match (self.forget_after, self.seen().last_seen(service)) {
            (Some(forget_after), Some(ago)) => Retention::For(forget_after.saturating_sub(ago)),
            (Some(forget_after), None) => Retention::For(forget_after),
            (None, _) => Retention::UntilForgotten,
        }
    }

    /// Forgets the services that a reload has removed from the configuration and that have no socket,
    /// and returns their names.
    pub(crate) fn forget_removed(&self) -> &[ServiceName] {
        for service in &self.removed {
            self.seen().forget(service);
        }
        &self.removed
    }

    /// Forgets the services that have had no socket for `forget_after`, and returns their names.
    pub(super) fn expire(&self) -> Vec<ServiceName> {
        let is_configured = |service: &ServiceName| self.configured.contains_key(service);
        let expire = |after| self.seen().expire(after, is_configured);
        self.forget_after.map(expire).unwrap_or_default()
    }

    /// Where the socket of a service is, or would be.
    #[must_use]
    pub fn socket_of(&self, service: &ServiceName) -> PathBuf {
        match &self.settings(service).socket {
            Some(socket) => socket.clone(),
            None => self.socket_dir.path().join(format!("{service}.sock")),
        }
    }

    /// Checks whether a service can be scraped, without connecting to it.
    ///
    /// # Errors
    /// The refusal that a scrape would get.
    pub fn look(&self, service: &ServiceName) -> Result<(), Refused> {
        check_permission(&self.open_socket(service)?.descriptor)
    }

    /// Configured services that cannot be scraped now; one sentence each.
    #[must_use]
    pub fn unavailable(&self) -> Vec<String> {
        let configured = self.configured.iter();
        let problems = configured.filter_map(|(service, configured)| {
            let refused = self.look(service).err()?;
            let socket = self.socket_of(service);
            let socket = socket.display();
            match (refused.refusal, &configured.settings.socket) {
                (Refusal::Missing | Refusal::UnknownService, external) => {
                    let remedy = match service.without_suffix() {
                        Some(name) if external.is_none() => format!("names are without .sock, so write [services.{name}] if its file is {name}.sock"),
                        Some(_) | None => "start the service, or remove its table".to_owned(),
                    };
                    Some(format!("services.{service}: {socket} does not exist; {remedy}"))
                }
                // The others are reported with the socket directory.
                (_, None) => None,
                (refusal, Some(_)) => {
                    let reason = refusal.reason();
                    Some(format!("services.{service}: {socket}, unusable, reason={reason}: {refused}"))
                }
            }
        });
        problems.collect()
    }

    /// Sockets in the directory whose names make them unusable; one sentence each.
    #[must_use]
    pub fn unusable(&self) -> Vec<String> {
        self.socket_dir.unusable()
    }
}

/// How long a service stays listed whose socket is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retention {
    /// As long as the configuration names it.
    Configured,
    /// For this long; then `forget_after` has passed.
    For(Duration),
    /// Until an operator asks aegis to forget it: `forget_after` is `"never"`.
    UntilForgotten,
}

/// Why a service cannot be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotForgotten {
    /// It is aegis itself.
    Own,
    /// The configuration names it.
    Configured,
    /// It has a socket.
    There,
    /// aegis does not know it.
    Unknown,
}

/// A service, for operators.
#[derive(Debug)]
pub struct Offered {
    /// Its name.
    pub service: ServiceName,
    /// Where its socket is, or would be.
    pub socket: PathBuf,
    /// The uid that owns the socket, or why it cannot be scraped.
    pub owner: Result<u32, Refused>,
}
