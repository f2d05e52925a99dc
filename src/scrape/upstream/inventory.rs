//! Which services there are, for whoever asks for a list. Connects to none.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use super::directory::{MAX_FILES, MAX_SOCKET_FILES};
use super::{MAX_SERVICES, Upstream};
use crate::refusal::{Refusal, Refused};
use crate::service::ServiceName;

impl Upstream {
    /// How many services have been seen in the socket directory.
    #[must_use]
    pub fn present(&self) -> usize {
        self.seen().len()
    }

    /// All services that are there now or are configured, by name.
    ///
    /// # Errors
    /// The socket directory cannot be read.
    pub fn offers(&self) -> io::Result<Vec<Offered>> {
        let mut services: BTreeSet<ServiceName> = self.named.keys().cloned().collect();
        services.extend(self.socket_dir.list()?.services);
        let offered = services.into_iter().map(|service| Offered {
            socket: self.socket_of(&service),
            owner: self.open_socket(&service).map(|socket| socket.owner),
            service,
        });
        Ok(offered.collect())
    }

    /// Every service that can be named: configured, or with a socket now or since aegis runs.
    ///
    /// One that vanished stays, so that whoever discovers services sees it fail.
    #[must_use]
    pub fn known(&self) -> BTreeSet<ServiceName> {
        // What cannot be read now adds nothing; that shows in the scrapes.
        self.look_around();
        let mut known: BTreeSet<ServiceName> = self.named.keys().cloned().collect();
        known.extend(self.seen().iter().cloned());
        known
    }

    /// How many services have a socket now.
    #[must_use]
    pub fn with_socket(&self) -> usize {
        let mut there: BTreeSet<ServiceName> = self.look_around().into_iter().collect();
        for (service, named) in &self.named {
            if let Some((directory, file)) = &named.elsewhere {
                match directory.open_socket(file) {
                    Ok(_) => there.insert(service.clone()),
                    Err(_) => there.remove(service),
                };
            }
        }
        there.len()
    }

    /// Whether the socket directory held more than is listed when it was last looked at.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::Relaxed)
    }

    /// Lists the socket directory, remembers what is there, and says when that is not all.
    fn look_around(&self) -> Vec<ServiceName> {
        let listing = self.socket_dir.list().unwrap_or_default();
        let was_cut = self.is_cut();
        self.remember_all(&listing);
        if let (false, Some(warning)) = (was_cut, self.cut()) {
            tracing::warn!("{warning}");
        }
        listing.services
    }

    /// Says if the socket directory held more than is listed.
    pub(super) fn cut(&self) -> Option<String> {
        let directory = self.socket_dir.path().display();
        self.is_cut().then(|| {
            format!("socket_dir: {directory} holds more than aegis lists: {MAX_SERVICES} services, {MAX_SOCKET_FILES} files named *.sock, {MAX_FILES} files in all; services are missing from discovery and from the status page; remove what is no service")
        })
    }

    /// Forgets a service that vanished.
    ///
    /// # Errors
    /// Why it cannot be: it would be back at once, or never was.
    pub fn forget(&self, service: &ServiceName) -> Result<(), NotForgotten> {
        if self.named.contains_key(service) {
            return Err(NotForgotten::Configured);
        }
        if self.look_around().contains(service) {
            return Err(NotForgotten::There);
        }
        match self.seen().remove(service) {
            true => Ok(()),
            false => Err(NotForgotten::Unknown),
        }
    }

    /// Where the socket of a service is, or would be.
    #[must_use]
    pub fn socket_of(&self, service: &ServiceName) -> PathBuf {
        match &self.settings(service).socket {
            Some(socket) => socket.clone(),
            None => self.socket_dir.path().join(format!("{service}.sock")),
        }
    }

    /// Whether a service can be scraped as far as can be told without asking it.
    ///
    /// # Errors
    /// Why not.
    pub fn look(&self, service: &ServiceName) -> Result<(), Refusal> {
        match self.open_socket(service) {
            Ok(_) => Ok(()),
            Err(refused) => Err(refused.refusal),
        }
    }

    /// Whether the socket directory is there.
    ///
    /// # Errors
    /// Why not.
    pub fn has_directory(&self) -> io::Result<()> {
        self.socket_dir.look()
    }

    /// Sockets in the directory that cannot be scraped by their names; one sentence each.
    #[must_use]
    pub fn unusable(&self) -> Vec<String> {
        self.socket_dir.unusable()
    }
}

/// Why a service cannot be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotForgotten {
    /// The configuration names it.
    Configured,
    /// Its socket is there.
    There,
    /// Nothing is known of it.
    Unknown,
}

/// A service as an operator sees it.
#[derive(Debug)]
pub struct Offered {
    /// Its name.
    pub service: ServiceName,
    /// Where its socket is, or would be.
    pub socket: PathBuf,
    /// The uid that owns the socket, or why it cannot be scraped.
    pub owner: Result<u32, Refused>,
}
