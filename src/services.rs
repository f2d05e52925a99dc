//! The services: which exist, where their sockets are, and how aegis opens a socket safely.
//!
//! aegis opens a socket as a descriptor, checks that descriptor, and connects through it, so that
//! nothing can be swapped between check and use.
//!
//! There is no connection pool and no directory watch. A scrape every 15 s gains nothing from an open
//! connection, and a reused one can carry the rest of another answer. The directory is read on
//! demand: a watch (inotify) can overflow, and does not see mounts over the directory.

mod dial;
mod directory;
mod inventory;
mod seen;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::io::Errno;

use crate::config::{Config, ConfigError, Located, Owner, ServiceSettings};
use crate::io::file_deadline;
use crate::io::files::{FileThreads, OneThread};
use crate::io::unix_socket::Closer;
use crate::policy::service_name::ServiceName;
use crate::refusal::{Refusal, Refused};
use dial::DESCRIPTORS;
pub(crate) use dial::{OpenSocket, dial, work_in_descriptors};
use directory::{Directory, Listing, Socket};
pub(crate) use inventory::{Depth, Inventory, Retention};
pub use inventory::{NotForgotten, Offered};
use seen::{MAX_SERVICES, SeenServices};

/// The services of one configuration: their sockets and their settings.
#[derive(Debug)]
pub struct ServiceRegistry {
    socket_dir: Arc<Directory>,
    /// All directories by path, including the socket directory.
    directories: BTreeMap<PathBuf, Arc<Directory>>,
    configured: BTreeMap<ServiceName, Configured>,
    default_settings: ServiceSettings,
    /// Services that the configuration before named, this one does not, and that have no socket.
    removed: Vec<ServiceName>,
    forget_after: Option<Duration>,
    shared: Arc<SharedServices>,
}

/// State that outlives configurations: the services seen so far, and threads for file systems.
#[derive(Debug, Default)]
pub struct SharedServices {
    seen: SeenServices,
    /// Whether the socket directory holds more than aegis lists.
    is_truncated: AtomicBool,
    closer: Arc<Closer>,
    files: Arc<FileThreads>,
    /// The thread slot for sockets that are mount points.
    mounted: OneThread,
}

impl SharedServices {
    /// Closes connections on which peers can pass descriptors.
    pub(crate) fn closer(&self) -> &Arc<Closer> {
        &self.closer
    }

    /// The threads for file system calls that can block.
    pub(crate) fn files(&self) -> &Arc<FileThreads> {
        &self.files
    }
}

/// A configured service.
#[derive(Debug)]
struct Configured {
    settings: ServiceSettings,
    /// The directory and file name of a socket outside the socket directory.
    external_socket: Option<(Arc<Directory>, String)>,
}

impl ServiceRegistry {
    /// Opens the socket directory, and lists it.
    ///
    /// # Errors
    /// The directory cannot be opened, or `/proc` is missing, through which aegis connects sockets.
    pub(crate) fn open(
        config: &Config,
        before: Option<&Self>,
    ) -> Result<(Self, Listing), Vec<ConfigError>> {
        let Located { value, origin } = &config.socket_dir;
        let fault = |problem| vec![ConfigError::new(origin, "socket_dir", problem)];
        if !Path::new(DESCRIPTORS).is_dir() {
            return Err(fault(format!(
                "{DESCRIPTORS} does not exist, and aegis needs it to connect sockets safely; mount /proc"
            )));
        }
        // One descriptor for each directory, for all services with sockets there. A path that was
        // not a link before a reload must not be one after it.
        let mut directories = BTreeMap::new();
        let mut directory = |path: &Path| {
            let known = before.and_then(|before| before.directories.get(path));
            let made = || known.map_or_else(|| Directory::at(path), |known| known.reopen());
            let directory = directories.entry(path.to_owned());
            Arc::clone(directory.or_insert_with(|| Arc::new(made())))
        };
        let socket_dir = directory(value);
        let listed = Arc::clone(&socket_dir);
        let present = file_deadline::ask(value, SOCKET_DIR_TIMEOUT, move || listed.list())
            .and_then(|listing| listing)
            .map_err(|error| fault(unreadable(value, &error)))?;
        let configured = config.services.iter().map(|(name, settings)| {
            let external_socket = settings.socket.as_deref().and_then(split);
            let configured = Configured {
                settings: settings.clone(),
                external_socket: external_socket.map(|(folder, file)| (directory(folder), file)),
            };
            (name.clone(), configured)
        });
        let configured: BTreeMap<_, _> = configured.collect();
        let removed = before.map(|before| {
            let named_before = before.configured.keys();
            let is_gone = |service: &&ServiceName| {
                !configured.contains_key(*service) && !present.services.contains(service)
            };
            named_before.filter(is_gone).cloned().collect()
        });
        let registry = Self {
            removed: removed.unwrap_or_default(),
            forget_after: config.forget_after,
            socket_dir,
            directories,
            configured,
            default_settings: ServiceSettings::defaults(&config.limits),
            shared: before
                .map(|before| Arc::clone(&before.shared))
                .unwrap_or_default(),
        };
        Ok((registry, present))
    }

    /// The path of the socket directory.
    pub(crate) fn socket_dir(&self) -> &Path {
        self.socket_dir.path()
    }

    /// The maximum number of directories that it can hold open.
    pub(crate) fn directories(&self) -> usize {
        self.directories.len()
    }

    /// The state that outlives this configuration.
    pub(crate) fn shared(&self) -> &Arc<SharedServices> {
        &self.shared
    }

    /// The settings of a service.
    #[must_use]
    pub fn settings(&self, service: &ServiceName) -> &ServiceSettings {
        self.configured
            .get(service)
            .map_or(&self.default_settings, |configured| &configured.settings)
    }

    /// Warnings about the socket directories; one sentence each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.unusable();
        warnings.extend(self.truncated());
        warnings.extend(self.socket_dir.world_writable_warning());
        for (service, named) in &self.configured {
            if let (Some((directory, _)), None) = (&named.external_socket, named.settings.owner) {
                let checked = Arc::clone(directory);
                let check = move || checked.replaceable_by_other_user();
                // A hung directory costs its timeout once; the other warnings are left out.
                let Ok(warning) = file_deadline::ask(directory.path(), DIRECTORY_TIMEOUT, check)
                else {
                    break;
                };
                warnings
                    .extend(warning.map(|warning| format!("services.{service}.socket: {warning}")));
            }
        }
        warnings
    }

    /// Whether a service is configured, or its name was seen in the socket directory.
    #[must_use]
    pub fn knows(&self, service: &ServiceName) -> bool {
        self.configured.contains_key(service) || self.seen().contains(service)
    }

    /// Opens the socket of a service, and makes every check that needs no connection.
    ///
    /// # Errors
    /// Any refusal of [`crate::refusal::Stage::Upstream`] that needs no connection, or
    /// [`Refusal::UnknownService`].
    pub(crate) async fn open_for_scrape(
        &self,
        service: &ServiceName,
    ) -> Result<OpenSocket, Refused> {
        let (directory, file) = self.location_of(service);
        // Directories outside the socket directory can be on any file system, and so can a file in
        // the socket directory, by a mount of its own.
        let is_safe = Arc::ptr_eq(&directory, &self.socket_dir) && directory.is_local();
        let at_once = is_safe.then(|| directory.open_socket_at_once(&file));
        let (opened, thread) = match at_once.flatten() {
            Some(opened) => (opened, None),
            None => {
                // A mount in the socket directory must not delay the listing of the others.
                let thread = if is_safe {
                    &self.shared.mounted
                } else {
                    directory.thread()
                };
                let (files, of_directory) = (Arc::clone(&self.shared.files), thread.clone());
                let opened = files.run(&of_directory, move || directory.open_socket(&file));
                let opened = opened.await;
                let opened =
                    opened.unwrap_or_else(|error| Err(Refused::new(Refusal::Connect, error)));
                (opened, Some((files, of_directory)))
            }
        };
        let socket = self.check_socket(service, opened, |socket| socket.owner)?;
        Ok(OpenSocket {
            descriptor: socket.descriptor,
            thread,
        })
    }

    /// The user who must own a service's socket and listen on it.
    pub(crate) fn owner(&self, service: &ServiceName) -> Option<Owner> {
        self.settings(service).owner
    }

    /// The same, blocking.
    fn open_socket(&self, service: &ServiceName) -> Result<Socket, Refused> {
        let (directory, file) = self.location_of(service);
        self.check_socket(service, directory.open_socket(&file), |socket| socket.owner)
    }

    /// The directory of a service's socket, and its file name there.
    fn location_of(&self, service: &ServiceName) -> (Arc<Directory>, String) {
        let named = self.configured.get(service);
        match named.and_then(|named| named.external_socket.as_ref()) {
            Some((directory, file)) => (Arc::clone(directory), file.clone()),
            None => (Arc::clone(&self.socket_dir), format!("{service}.sock")),
        }
    }

    /// Checks what was found at the path of a service's socket.
    fn check_socket<T>(
        &self,
        service: &ServiceName,
        opened: Result<T, Refused>,
        owner_of: fn(&T) -> u32,
    ) -> Result<T, Refused> {
        let socket = match opened {
            Err(refused) if refused.refusal == Refusal::Missing && !self.knows(service) => {
                return Err(Refusal::UnknownService.into());
            }
            Err(refused) => {
                if matches!(refused.refusal, Refusal::Escapes | Refusal::NotASocket) {
                    self.seen().note(service);
                }
                return Err(refused);
            }
            Ok(socket) => socket,
        };
        self.seen().note(service);
        let owner = self.settings(service).owner;
        let found = owner_of(&socket);
        let mismatch = owner.and_then(|owner| owner.mismatch(found, "owns the socket"));
        if let Some(detail) = mismatch {
            return Err(Refused::new(Refusal::Owner, detail));
        }
        Ok(socket)
    }

    fn seen(&self) -> &SeenServices {
        &self.shared.seen
    }

    /// Remembers the listed services.
    pub(crate) fn remember_all(&self, listing: &Listing) {
        let there = &listing.services;
        let is_truncated = listing.is_truncated || there.len() > MAX_SERVICES;
        self.shared
            .is_truncated
            .store(is_truncated, Ordering::Relaxed);
        self.seen().note_listed(there);
    }
}

/// How long a reload waits for a directory outside the socket directory.
const DIRECTORY_TIMEOUT: Duration = Duration::from_millis(500);

/// How long a reload waits for the socket directory.
const SOCKET_DIR_TIMEOUT: Duration = Duration::from_secs(1);

/// The problem and remedy for a socket directory that cannot be opened.
fn unreadable(directory: &Path, error: &io::Error) -> String {
    let remedy = match error.raw_os_error().map(Errno::from_raw_os_error) {
        // By its mode, or by the sandbox, which allows the directories named at the start.
        Some(Errno::ACCESS | Errno::PERM) => {
            "let aegis's user read it; if it was not configured at the start, restart aegis"
        }
        Some(Errno::LOOP) => {
            "its path now contains a symbolic link; if you created it, restart aegis"
        }
        None if error.kind() == io::ErrorKind::TimedOut => "aegis tries again",
        _ => "create the directory, or configure another one",
    };
    let directory = directory.display();
    format!("{directory} cannot be opened: {error}; {remedy}")
}

/// The directory and the file name of a socket.
fn split(socket: &Path) -> Option<(&Path, String)> {
    let file = socket.file_name()?.to_str()?.to_owned();
    let folder = match socket.parent()? {
        here if here.as_os_str().is_empty() => Path::new("."),
        folder => folder,
    };
    Some((folder, file))
}
