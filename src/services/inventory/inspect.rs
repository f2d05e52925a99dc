//! Inspects all directories at once, on threads that may block, with deadlines.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use super::super::ServiceRegistry;
use super::super::directory::{Directory, Listing};
use crate::io::deadline;
use crate::policy::service_name::ServiceName;
use crate::refusal::{Refusal, Refused};

/// How much to inspect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Which services have a socket.
    Names,
    /// Also whether each socket can be scraped.
    Sockets,
}

/// A snapshot of the services.
#[derive(Debug)]
pub(crate) struct Inventory {
    /// All services that are configured, or have or had a socket since aegis started.
    pub(crate) known: BTreeSet<ServiceName>,
    /// The services that have a socket now.
    pub(crate) there: BTreeSet<ServiceName>,
    /// The services that this inspection has forgotten, because they were gone for `forget_after`.
    pub(crate) forgotten: Vec<ServiceName>,
    pub(crate) socket_dir: SocketDir,
    unusable: HashMap<ServiceName, Refusal>,
}

/// The result of reading the socket directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SocketDir {
    Listed,
    Missing,
    /// aegis's user may not read or enter it.
    Denied,
    /// Any other error, such as a symbolic link in place of the directory.
    Unreadable,
    /// No result within the deadline.
    Silent,
}

impl SocketDir {
    fn of(listing: &io::Result<Listing>) -> Self {
        match listing.as_ref().map_err(io::Error::kind) {
            Ok(_) => Self::Listed,
            Err(io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Self::Missing,
            Err(io::ErrorKind::PermissionDenied) => Self::Denied,
            Err(_) => Self::Unreadable,
        }
    }

    /// Why no service can be scraped in it, if so.
    pub(crate) fn problem(self) -> Option<&'static str> {
        match self {
            Self::Listed => None,
            Self::Missing => Some("the socket directory is missing"),
            Self::Denied => Some(
                "the socket directory cannot be read: Permission denied; let aegis's user read and enter it",
            ),
            Self::Unreadable => {
                Some("the socket directory cannot be read; reload aegis to see why")
            }
            Self::Silent => {
                Some("the socket directory does not answer; check whether its mount hangs")
            }
        }
    }
}

impl Inventory {
    /// Why a service cannot be scraped, as far as is known without connecting to it.
    pub(crate) fn problem(&self, service: &ServiceName) -> Option<Refusal> {
        self.unusable.get(service).copied()
    }
}

/// The result for one directory.
#[derive(Debug, Default)]
struct Inspected {
    /// For the socket directory only.
    listing: Option<io::Result<Listing>>,
    /// The owners of its sockets, or why they cannot be scraped.
    sockets: Vec<(ServiceName, Result<u32, Refused>)>,
}

/// What to inspect in one directory.
struct Inspection {
    directory: Arc<Directory>,
    /// For the socket directory: how deeply to inspect it.
    listed: Option<Depth>,
    sockets: Vec<(ServiceName, String)>,
}

/// A directory that does not answer in this time is left out: its file system hangs.
const DIRECTORY_TIMEOUT: Duration = Duration::from_millis(500);

/// The same for the socket directory. It is longer because a slow host must not look as if its
/// directory hung.
const SOCKET_DIR_TIMEOUT: Duration = Duration::from_secs(5);

/// The result for one directory; `None` after its deadline.
type Answer = Pin<Box<dyn Future<Output = Option<io::Result<Inspected>>> + Send>>;

impl ServiceRegistry {
    /// Inspects all services.
    pub(crate) async fn inspect(&self, depth: Depth) -> Inventory {
        let answers = self.inspections(depth).into_iter().map(|inspection| {
            let thread = inspection.directory.thread().clone();
            let files = Arc::clone(self.shared.files());
            let wait = match inspection.listed {
                Some(_) => SOCKET_DIR_TIMEOUT,
                None => DIRECTORY_TIMEOUT,
            };
            let end = Instant::now() + wait;
            let asked = async move { files.run(&thread, move || inspection.run()).await };
            Box::pin(deadline::by(end, asked)) as Answer
        });
        let mut there = BTreeSet::new();
        let mut forgotten = Vec::new();
        let mut socket_dir = SocketDir::Silent;
        let mut answered = HashMap::new();
        for inspected in join_all(answers.collect()).await {
            let Inspected { listing, sockets } = inspected;
            answered.extend(sockets);
            let Some(listing) = listing else { continue };
            socket_dir = SocketDir::of(&listing);
            if let Ok(listing) = listing {
                self.note(&listing);
                forgotten = self.expire();
                there.extend(listing.services);
            }
        }
        let mut known: BTreeSet<ServiceName> = self.configured.keys().cloned().collect();
        known.extend(self.seen().names());
        let mut unusable = HashMap::new();
        for service in &known {
            let is_external = self.is_external(service);
            if !is_external && depth == Depth::Names {
                continue;
            }
            let hangs = || {
                Err(Refused::new(
                    Refusal::Connect,
                    "its directory does not answer",
                ))
            };
            let found = answered.remove(service).unwrap_or_else(hangs);
            let is_there = found.is_ok();
            if let Err(refused) = self.check_socket(service, found, |owner| *owner) {
                unusable.insert(service.clone(), refused.refusal);
            }
            if is_external && is_there {
                there.insert(service.clone());
            } else if is_external {
                there.remove(service);
            }
        }
        Inventory {
            known,
            there,
            forgotten,
            socket_dir,
            unusable,
        }
    }

    fn is_external(&self, service: &ServiceName) -> bool {
        let named = self.configured.get(service);
        named.is_some_and(|named| named.external_socket.is_some())
    }

    /// The inspections, one for each directory.
    fn inspections(&self, depth: Depth) -> Vec<Inspection> {
        let mut external: BTreeMap<_, Inspection> = BTreeMap::new();
        for (service, named) in &self.configured {
            if let Some((directory, file)) = &named.external_socket {
                let inspection = external
                    .entry(directory.path())
                    .or_insert_with(|| Inspection {
                        directory: Arc::clone(directory),
                        listed: None,
                        sockets: Vec::new(),
                    });
                inspection.sockets.push((service.clone(), file.clone()));
            }
        }
        let mut sockets = BTreeSet::new();
        if depth == Depth::Sockets {
            sockets.extend(self.seen().names());
            sockets.extend(self.configured.keys().cloned());
            sockets.retain(|service| !self.is_external(service));
        }
        let in_directory = sockets.into_iter().map(|service| {
            let file = format!("{service}.sock");
            (service, file)
        });
        let socket_dir = Inspection {
            directory: Arc::clone(&self.socket_dir),
            listed: Some(depth),
            sockets: in_directory.collect(),
        };
        std::iter::once(socket_dir)
            .chain(external.into_values())
            .collect()
    }
}

impl Inspection {
    /// Runs the inspection, which can block.
    fn run(self) -> Inspected {
        let Self {
            directory,
            listed,
            mut sockets,
        } = self;
        let list = || directory.check_exists().and_then(|()| directory.list());
        let listing = listed.map(|_| list());
        if let (Some(Ok(listing)), Some(Depth::Sockets)) = (&listing, listed) {
            let named: BTreeSet<&ServiceName> =
                sockets.iter().map(|(service, _)| service).collect();
            let new = listing
                .services
                .iter()
                .filter(|service| !named.contains(service));
            let new: Vec<_> = new
                .map(|service| (service.clone(), format!("{service}.sock")))
                .collect();
            sockets.extend(new);
        }
        let look = |(service, file): (ServiceName, String)| {
            let owner = directory.owner_of(&file);
            (service, owner)
        };
        Inspected {
            listing,
            sockets: sockets.into_iter().map(look).collect(),
        }
    }
}

/// Waits for all results at once. Each has its own deadline, and late ones are left out.
async fn join_all(mut waiting: Vec<Answer>) -> Vec<Inspected> {
    let mut results = Vec::new();
    poll_fn(|context| {
        waiting.retain_mut(|asked| match asked.as_mut().poll(context) {
            Poll::Ready(answer) => {
                results.extend(answer.and_then(Result::ok));
                false
            }
            Poll::Pending => true,
        });
        if waiting.is_empty() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    results
}
