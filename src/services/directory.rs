//! A directory of sockets that is kept open, and the only way to open a socket in it.

mod list;
mod open;
mod socket;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rustix::fs::{self, Mode, Stat};
use rustix::io::Errno;

use crate::io::files::OneThread;
use crate::io::{file_deadline, file_systems};
use crate::refusal::{Refusal, Refused};
pub(crate) use list::Listing;
pub(super) use list::{MAX_FILES, MAX_SOCKET_FILES};
use open::{Links, not_searchable, open, open_beneath, open_by_path};
pub(super) use socket::Socket;

/// A directory, by its configured path and by a descriptor. Sockets are opened beneath the
/// descriptor, whatever happens to the path.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    links: Links,
    held: Mutex<Option<Held>>,
    /// Whether its file system is local, so that it answers at once.
    is_local: AtomicBool,
    thread: OneThread,
}

/// An open directory.
#[derive(Debug)]
struct Held {
    descriptor: Arc<OwnedFd>,
    /// Unique while the directory is open.
    device_and_inode: (u64, u64),
}

/// How many unusable sockets a warning names.
const MAX_NAMED: usize = 10;

/// Device and inode identify a file.
fn device_and_inode(file: &Stat) -> (u64, u64) {
    (file.st_dev, file.st_ino)
}

impl Directory {
    /// Refers to a directory, and opens it on first use.
    pub(super) fn at(path: &Path) -> Self {
        let own = path.to_owned();
        let opened = file_deadline::ask(path, super::DIRECTORY_TIMEOUT, move || {
            open(&own, Links::Refused)
        });
        let links = match opened {
            Ok(Err(Errno::LOOP)) => Links::Followed,
            // A directory that does not exist yet must not become a link.
            Ok(Ok(_) | Err(_)) | Err(_) => Links::Refused,
        };
        Self {
            path: path.to_owned(),
            links,
            held: Mutex::new(None),
            is_local: AtomicBool::new(false),
            thread: OneThread::default(),
        }
    }

    /// Refers to the same directory for another configuration, with the same rule for links.
    pub(super) fn reopen(&self) -> Self {
        Self {
            path: self.path.clone(),
            links: self.links,
            held: Mutex::new(None),
            is_local: AtomicBool::new(false),
            // A hung directory also hangs for the next configuration.
            thread: self.thread.clone(),
        }
    }

    /// Whether its file system is local; false until it is open.
    pub(super) fn is_local(&self) -> bool {
        self.is_local.load(Ordering::Relaxed)
    }

    /// Its slot for a thread that may block.
    pub(super) fn thread(&self) -> &OneThread {
        &self.thread
    }

    /// Its configured path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a socket of this directory by its file name. That can block.
    pub(super) fn open_socket(&self, file: &str) -> Result<Socket, Refused> {
        Socket::check(self.open_file(file)?)
    }

    /// The same without blocking, for the event loop; `None` if the file is a mount point.
    pub(super) fn open_socket_at_once(&self, file: &str) -> Option<Result<Socket, Refused>> {
        let by_path = open_by_path(&self.path, self.links, file);
        let descriptor = match by_path.map_or_else(|| self.open_file(file), Ok) {
            Ok(descriptor) => descriptor,
            Err(refused) => return Some(Err(refused)),
        };
        let held = self.held.lock();
        let (device, _) = held.as_ref()?.device_and_inode;
        drop(held);
        Socket::check_at_once(descriptor, Some(device))
    }

    /// The owner of a socket. Uses cached attributes, so that a mount at that name is not contacted.
    pub(super) fn owner_of(&self, file: &str) -> Result<u32, Refused> {
        let checked = Socket::check_at_once(self.open_file(file)?, None);
        let socket = checked.unwrap_or_else(|| self.open_socket(file))?;
        Ok(socket.owner)
    }

    fn open_file(&self, file: &str) -> Result<OwnedFd, Refused> {
        let directory = self.current_fd();
        let opened = directory.and_then(|directory| open_beneath(&directory, file));
        opened.map_err(|error| refused(&error))
    }

    /// Sockets whose names make them unusable, and why; at most [`MAX_NAMED`] are named.
    pub(super) fn unusable(&self) -> Vec<String> {
        let Listing {
            mut unusable,
            others,
            ..
        } = self.list().unwrap_or_default();
        let more = unusable.len().saturating_sub(MAX_NAMED);
        if more > 0 {
            unusable.truncate(MAX_NAMED);
            unusable.push(format!("{more} more in the socket directory"));
        }
        unusable.extend(others);
        unusable
    }

    /// Warns if every user of this host can create sockets in the directory.
    pub(super) fn world_writable_warning(&self) -> Option<String> {
        let directory = self.current_fd().ok()?;
        let mode = Mode::from_raw_mode(fs::fstat(&directory).ok()?.st_mode);
        mode.contains(Mode::WOTH).then(|| {
            format!("{}: every user of this host can create a socket here and pose as any service; chmod o-w it", self.path.display())
        })
    }

    /// Warns if a user other than root and aegis's own can replace the directory, or make it a link.
    pub(super) fn replaceable_by_other_user(&self) -> Option<String> {
        let ours = rustix::process::geteuid().as_raw();
        let our_group = rustix::process::getegid().as_raw();
        let mut below_is_trusted = None;
        for path in self.path.ancestors() {
            let Ok(found) = fs::stat(path) else { continue };
            let is_trusted = found.st_uid == 0 || found.st_uid == ours;
            let mode = Mode::from_raw_mode(found.st_mode);
            let others_write = mode.contains(Mode::WOTH)
                || (mode.contains(Mode::WGRP) && ![0, our_group].contains(&found.st_gid));
            // In a sticky directory, users can rename only their own files.
            let can_move = |below_is_trusted| {
                let is_sticky = mode.contains(Mode::SVTX);
                !is_trusted || (others_write && !(is_sticky && below_is_trusted))
            };
            if below_is_trusted.is_some_and(can_move) {
                return Some(format!(
                    "another user can replace {} and redirect scrapes to another socket; set owner",
                    self.path.display()
                ));
            }
            below_is_trusted = Some(is_trusted);
        }
        None
    }

    /// Checks that the directory exists at its path.
    pub(super) fn check_exists(&self) -> io::Result<()> {
        fs::stat(&self.path)?;
        self.current_fd().map(drop)
    }

    /// Lists the services whose sockets are in the directory. Ignores other files.
    pub(super) fn list(&self) -> io::Result<Listing> {
        Listing::of(&*self.current_fd()?)
    }

    /// The descriptor of the directory that is at the path now, or else of the last one there.
    ///
    /// A service may recreate its directory at every start (RuntimeDirectory=), and a file system
    /// may be mounted over it. Sockets in the old directory must then not be used any longer.
    fn current_fd(&self) -> io::Result<Arc<OwnedFd>> {
        let mut held = self.held.lock();
        if let Some(before) = &*held {
            match fs::stat(&self.path) {
                Ok(now) if device_and_inode(&now) != before.device_and_inode => {}
                Ok(_) | Err(_) => return Ok(Arc::clone(&before.descriptor)),
            }
        }
        let descriptor = Arc::new(open(&self.path, self.links)?);
        let is_local = file_systems::is_local(&descriptor);
        self.is_local.store(is_local, Ordering::Relaxed);
        let opened = Held {
            device_and_inode: device_and_inode(&fs::fstat(&descriptor)?),
            descriptor: Arc::clone(&descriptor),
        };
        if held.replace(opened).is_some() {
            tracing::info!(directory = %self.path.display(), "directory was replaced; reopened it");
        }
        Ok(descriptor)
    }
}

fn refused(error: &io::Error) -> Refused {
    let refusal = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT | Errno::NOTDIR) => return Refusal::Missing.into(),
        Some(Errno::LOOP | Errno::XDEV) => Refusal::Escapes,
        Some(Errno::ACCESS | Errno::PERM) => {
            return Refused::new(Refusal::Permission, not_searchable(error));
        }
        _ => Refusal::Connect,
    };
    Refused::new(refusal, error)
}
