//! Stage 5. From a permit to a connection with the service's socket, and with nothing else.
//!
//! The socket is opened by descriptor and checked through it, and the connection is made
//! through the same descriptor, so that nothing can be swapped between check and use.

mod directory;
mod inventory;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{self, SocketAddrUnix};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep};

use crate::config::{Config, Fault, Given, Service};
use crate::policy::Permit;
use crate::refusal::{Refusal, Refused};
use crate::service::ServiceName;
use crate::unix_socket::{Closer, NewSocket, Passing, PeerStream};
use directory::{Directory, Listing, Socket};
pub use inventory::{NotForgotten, Offered};

/// The services: where their sockets are, and what is different for each.
#[derive(Debug)]
pub struct Upstream {
    socket_dir: Arc<Directory>,
    /// By their paths, that of the socket directory among them.
    directories: BTreeMap<PathBuf, Arc<Directory>>,
    named: BTreeMap<ServiceName, Named>,
    unnamed: Service,
    seen: Mutex<HashSet<ServiceName>>,
    /// Whether there is more than is listed.
    is_cut: AtomicBool,
    running: Arc<Running>,
    closer: Arc<Closer>,
}

/// A service that the configuration names.
#[derive(Debug)]
struct Named {
    settings: Service,
    /// The directory and file name of a socket that lies elsewhere.
    elsewhere: Option<(Arc<Directory>, String)>,
}

impl Upstream {
    /// Opens the socket directory and remembers the services whose sockets are there, beside
    /// those that were seen before.
    ///
    /// # Errors
    /// The directory cannot be opened, or `/proc`, through which sockets are connected, is
    /// not there.
    pub fn open(config: &Config, before: Option<&Self>) -> Result<Self, Vec<Fault>> {
        let Given { value, origin } = &config.socket_dir;
        let fault = |problem| vec![Fault::new(origin, "socket_dir", problem)];
        if !Path::new(DESCRIPTORS).is_dir() {
            return Err(fault(format!(
                "{DESCRIPTORS} is not there, and sockets can be connected safely only through it; mount /proc"
            )));
        }
        // One descriptor for each directory, however many services have their sockets there. What
        // was no link before a reload must be none after it.
        let mut directories = BTreeMap::new();
        let mut directory = |path: &Path| {
            let known = before.and_then(|before| before.directories.get(path));
            let made = || known.map_or_else(|| Directory::at(path), |known| known.anew());
            let directory = directories.entry(path.to_owned());
            Arc::clone(directory.or_insert_with(|| Arc::new(made())))
        };
        let socket_dir = directory(value);
        let present = socket_dir
            .list()
            .map_err(|error| fault(unreadable(value, &error)))?;
        let named = config.services.iter().map(|(name, settings)| {
            let elsewhere = settings.socket.as_deref().and_then(split);
            let elsewhere = elsewhere.map(|(folder, file)| (directory(folder), file));
            let settings = settings.clone();
            (
                name.clone(),
                Named {
                    settings,
                    elsewhere,
                },
            )
        });
        let named = named.collect();
        let upstream = Self {
            socket_dir,
            directories,
            named,
            unnamed: Service::unnamed(&config.limits),
            // A copy: what comes to nothing leaves nothing behind in the gate that stays.
            seen: Mutex::new(
                before
                    .map(|before| before.seen().clone())
                    .unwrap_or_default(),
            ),
            is_cut: AtomicBool::new(false),
            running: before
                .map(|before| Arc::clone(&before.running))
                .unwrap_or_default(),
            closer: before
                .map(|before| Arc::clone(&before.closer))
                .unwrap_or_default(),
        };
        upstream.remember_all(&present);
        Ok(upstream)
    }

    /// How many directories it can come to hold open.
    pub(crate) fn directories(&self) -> usize {
        self.directories.len()
    }

    /// What closes connections where peers can pass descriptors.
    pub(crate) fn closer(&self) -> &Arc<Closer> {
        &self.closer
    }

    /// The settings of a service.
    #[must_use]
    pub fn settings(&self, service: &ServiceName) -> &Service {
        self.named
            .get(service)
            .map_or(&self.unnamed, |named| &named.settings)
    }

    /// What is allowed of the socket directory, but will hurt; one sentence each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.unusable();
        warnings.extend(self.cut());
        warnings.extend(self.socket_dir.open_to_all());
        for (service, named) in &self.named {
            if let (Some((directory, _)), None) = (&named.elsewhere, named.settings.owner) {
                let warning = directory.in_the_hands_of_others();
                warnings
                    .extend(warning.map(|warning| format!("services.{service}.socket: {warning}")));
            }
        }
        warnings
    }

    /// Whether a service is configured, or its name was seen in the socket directory.
    #[must_use]
    pub fn knows(&self, service: &ServiceName) -> bool {
        self.named.contains_key(service) || self.seen().contains(service)
    }

    /// Finds the socket of the service that the permit is for; the permit is used up.
    ///
    /// # Errors
    /// Any refusal of [`crate::refusal::Stage::Upstream`] that needs no connection, or
    /// [`Refusal::UnknownService`].
    pub(super) fn find(&self, permit: Permit) -> Result<Found, Refused> {
        self.find_unasked(permit.service())
    }

    /// As [`Upstream::find`], for the operator: no scraper is there who could have a permit.
    pub(super) fn find_unasked(&self, service: &ServiceName) -> Result<Found, Refused> {
        let settings = self.settings(service);
        let turn = Running::begin(&self.running, service, settings.max_concurrent)?;
        Ok(Found {
            socket: self.open_socket(service)?,
            owner: settings.owner,
            turn,
            closer: Arc::clone(&self.closer),
        })
    }

    /// Opens the socket of a service, after every check that needs no connection.
    fn open_socket(&self, service: &ServiceName) -> Result<Socket, Refused> {
        let named = self.named.get(service);
        let opened = match named.and_then(|named| named.elsewhere.as_ref()) {
            Some((directory, file)) => directory.open_socket(file),
            None => self.socket_dir.open_socket(&format!("{service}.sock")),
        };
        let socket = match opened {
            Err(refused) if refused.refusal == Refusal::Missing && !self.knows(service) => {
                return Err(Refusal::UnknownService.into());
            }
            Err(refused) => {
                if matches!(refused.refusal, Refusal::Escapes | Refusal::NotASocket) {
                    self.remember(service);
                }
                return Err(refused);
            }
            Ok(socket) => socket,
        };
        self.remember(service);
        let owner = self.settings(service).owner;
        if owner.is_some_and(|owner| owner != socket.owner) {
            let detail = format_args!("uid {} owns the socket", socket.owner);
            return Err(Refused::new(Refusal::Owner, detail));
        }
        Ok(socket)
    }

    fn seen(&self) -> MutexGuard<'_, HashSet<ServiceName>> {
        self.seen.lock().unwrap_or_else(|held| held.into_inner())
    }

    fn remember(&self, service: &ServiceName) {
        note(&mut self.seen(), service);
    }

    /// Remembers what is there now. What vanished makes room for it, where there is too much.
    fn remember_all(&self, listing: &Listing) {
        let there = &listing.services;
        let is_cut = listing.is_cut || there.len() > MAX_SERVICES;
        self.is_cut.store(is_cut, Ordering::Relaxed);
        let mut seen = self.seen();
        let fresh = there.iter().filter(|service| !seen.contains(*service));
        if seen.len() + fresh.count() > MAX_SERVICES {
            let there: BTreeSet<ServiceName> = there.iter().cloned().collect();
            seen.retain(|service| there.contains(service));
        }
        there.iter().for_each(|service| note(&mut seen, service));
    }
}

fn note(seen: &mut HashSet<ServiceName>, service: &ServiceName) {
    if seen.len() < MAX_SERVICES && !seen.contains(service) {
        seen.insert(service.clone());
    }
}

/// A service's socket after every check that needs no connection, and the place among its
/// scrapes that is taken.
#[derive(Debug)]
pub(super) struct Found {
    socket: Socket,
    owner: Option<u32>,
    turn: Turn,
    closer: Arc<Closer>,
}

impl Found {
    /// Connects to the service.
    ///
    /// # Errors
    /// [`Refusal::Connect`], or [`Refusal::Owner`] if another user answers than must.
    pub(super) async fn connect(self, deadline: Instant) -> Result<Connected, Refused> {
        let Self {
            socket,
            owner,
            turn,
            closer,
        } = self;
        let (stream, passing) = dial(&socket.descriptor, deadline).await?;
        // Who called listen(2): the owner of a file says nothing of who has it open.
        let credentials = stream.peer_cred();
        let stream = PeerStream::new(stream, turn, passing, &closer);
        let stream = stream.map_err(|error| Refused::new(Refusal::Connect, error))?;
        if let Some(owner) = owner {
            let credentials = credentials.map_err(|error| Refused::new(Refusal::Owner, error))?;
            let uid = credentials.uid();
            if uid != owner {
                let detail = format_args!("uid {uid} answers on the socket");
                return Err(Refused::new(Refusal::Owner, detail));
            }
        }
        Ok(stream)
    }
}

/// A connection with a service, and the place among its scrapes that it takes.
pub(super) type Connected = PeerStream<Turn>;

/// Connects to what a descriptor refers to.
async fn dial(socket: &OwnedFd, deadline: Instant) -> Result<(UnixStream, Passing), Refused> {
    let through = by_descriptor(socket);
    let mut pause = SHORTEST_PAUSE;
    loop {
        match connect_now(&through) {
            Ok(connected) => return Ok(connected),
            // A full backlog is refused at once (connect(2), EAGAIN), and nothing tells when
            // there is room again. A service that accepts slowly is no dead service.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if Instant::now() + pause >= deadline {
                    return Err(Refused::new(Refusal::Connect, "its backlog stayed full"));
                }
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            Err(error) => return Err(Refused::new(Refusal::Connect, error)),
        }
    }
}

/// Connects without waiting: a Unix socket is connected at once or not at all (unix(7)).
fn connect_now(path: &str) -> io::Result<(UnixStream, Passing)> {
    let NewSocket { socket, passing } = NewSocket::open()?;
    #[expect(clippy::disallowed_methods, reason = "the one place that connects")]
    net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok((UnixStream::from_std(socket.into())?, passing))
}

const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// The process's own descriptors as paths; connecting to one connects to what it refers to,
/// whatever has its name by now. It also lifts the 108 bytes of `sun_path` (unix(7)).
const DESCRIPTORS: &str = "/proc/self/fd";

/// Whether that is the working directory.
static WORKS_IN_DESCRIPTORS: AtomicBool = AtomicBool::new(false);

/// Makes it the working directory, for good: the paths of descriptors are then shorter than any
/// address of a network, and the sandbox can refuse to connect by what is longer.
pub(crate) fn work_in_descriptors() -> io::Result<()> {
    rustix::process::chdir(DESCRIPTORS)?;
    WORKS_IN_DESCRIPTORS.store(true, Ordering::Release);
    Ok(())
}

fn by_descriptor(socket: &OwnedFd) -> String {
    let number = socket.as_raw_fd();
    if WORKS_IN_DESCRIPTORS.load(Ordering::Acquire) {
        number.to_string()
    } else {
        format!("{DESCRIPTORS}/{number}")
    }
}

/// More sockets than any host has; a bound, should somebody try.
const MAX_SERVICES: usize = 1000;

/// What to do about a socket directory that cannot be opened.
fn unreadable(directory: &Path, error: &io::Error) -> String {
    let remedy = match error.raw_os_error().map(Errno::from_raw_os_error) {
        // By its mode, or by the sandbox, which leaves what was named at the start.
        Some(Errno::ACCESS | Errno::PERM) => {
            "let aegis's user list it; one that was not named at the start takes a restart"
        }
        Some(Errno::LOOP) => {
            "a link is on the way that was none before; if it is yours, restart aegis"
        }
        _ => "create the directory, or name another",
    };
    let directory = directory.display();
    format!("{directory} cannot be opened: {error}; {remedy}")
}

/// The folder and the file name of a socket.
fn split(socket: &Path) -> Option<(&Path, String)> {
    let file = socket.file_name()?.to_str()?.to_owned();
    let folder = match socket.parent()? {
        here if here.as_os_str().is_empty() => Path::new("."),
        folder => folder,
    };
    Some((folder, file))
}

/// How many scrapes of each service are running.
#[derive(Debug, Default)]
struct Running(Mutex<HashMap<ServiceName, usize>>);

impl Running {
    fn begin(running: &Arc<Self>, service: &ServiceName, most: usize) -> Result<Turn, Refusal> {
        let mut counts = running.0.lock().unwrap_or_else(|held| held.into_inner());
        let count = counts.entry(service.clone()).or_insert(0);
        if *count >= most {
            return Err(Refusal::Busy);
        }
        *count += 1;
        Ok(Turn {
            running: Arc::clone(running),
            service: service.clone(),
        })
    }
}

/// A counted scrape of a service; dropping it ends it.
#[derive(Debug)]
pub(super) struct Turn {
    running: Arc<Running>,
    service: ServiceName,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let counts = self.running.0.lock();
        let mut counts = counts.unwrap_or_else(|held| held.into_inner());
        if let Some(count) = counts.get_mut(&self.service) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.service);
            }
        }
    }
}
