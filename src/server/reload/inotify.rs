//! Watches for everything that can change what a path leads to (inotify(7)).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use crate::io::file_systems;
use crate::io::route::Route;

/// An inotify instance and its watches.
///
/// An event only says that it is time to look. It can be lost, and there is none for a write through
/// a shared mapping, for a mount over a path, or for what another host writes.
#[derive(Debug)]
pub(super) struct Inotify {
    descriptor: OwnedFd,
    /// The descriptors of the current watches.
    watches: Mutex<BTreeSet<i32>>,
}

/// Why files cannot be watched, as in "FILE is on a file system ...".
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unwatchable(String);

#[cfg(test)]
impl Unwatchable {
    pub(super) fn of_a_test() -> Self {
        Self("for a test".to_owned())
    }
}

impl fmt::Display for Unwatchable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether the paths stayed as they are while the watches were set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Armed {
    /// Any later change is an event.
    Steady,
    /// They did not: a change may have no event.
    Moving,
}

impl Inotify {
    /// Must precede the sandbox, which forbids it.
    ///
    /// # Errors
    /// The system has no more instances.
    pub(super) fn new() -> Result<Self, Unwatchable> {
        let created = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK);
        let descriptor = created.map_err(|error| {
            let limit = match error {
                Errno::MFILE => " (fs.inotify.max_user_instances, or open files)",
                _ => "",
            };
            let error = io::Error::from(error);
            Unwatchable(format!(
                "the system has no inotify instance left{limit}: {error}"
            ))
        })?;
        Ok(Self {
            descriptor,
            watches: Mutex::default(),
        })
    }

    /// Watches these files and everything on the way to them, and nothing else. Can block.
    ///
    /// # Errors
    /// One of them cannot be watched. Then nothing is.
    pub(super) fn arm(&self, files: &[PathBuf]) -> Result<Armed, Unwatchable> {
        let armed = self.try_arm(files);
        if armed.is_err() {
            // They count towards a limit of this user, and their events would fill the queue unread.
            for watch in std::mem::take(&mut *self.watches.lock()) {
                inotify::remove_watch(&self.descriptor, watch).ok();
            }
            self.drain();
        }
        armed
    }

    fn try_arm(&self, files: &[PathBuf]) -> Result<Armed, Unwatchable> {
        let mut places = places(files)?;
        for _ in 0..MAX_ROUNDS {
            let is_whole = self.watch(&places)?;
            // A change before its watch was set had no event.
            let now = self::places(files)?;
            if is_whole && now == places {
                return Ok(Armed::Steady);
            }
            places = now;
        }
        Ok(Armed::Moving)
    }

    /// Returns false if a place no longer exists.
    fn watch(&self, places: &Places) -> Result<bool, Unwatchable> {
        let mut is_whole = true;
        let mut watched: BTreeMap<i32, WatchFlags> = BTreeMap::new();
        for (path, flags) in places {
            match self.add(path, *flags, &mut watched) {
                Ok(()) => {}
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => is_whole = false,
                Err(error) => {
                    self.watches.lock().extend(watched.into_keys());
                    return Err(unwatchable(path, error));
                }
            }
        }
        let now = BTreeSet::from_iter(watched.into_keys());
        let before = std::mem::replace(&mut *self.watches.lock(), now.clone());
        for stale in before.difference(&now) {
            // It is gone already if its file is.
            inotify::remove_watch(&self.descriptor, *stale).ok();
        }
        Ok(is_whole)
    }

    fn add(
        &self,
        path: &Path,
        flags: WatchFlags,
        watched: &mut BTreeMap<i32, WatchFlags>,
    ) -> Result<(), Errno> {
        let watch = inotify::add_watch(&self.descriptor, path, flags)?;
        let all = watched.entry(watch).or_insert(WatchFlags::empty());
        // Two paths can lead to one file, and each call replaces its flags.
        if !flags.contains(*all) {
            inotify::add_watch(&self.descriptor, path, flags | *all)?;
        }
        *all |= flags;
        Ok(())
    }

    /// Discards the events so far, and returns whether there were any. Full buffers of them cannot
    /// keep it busy: the rest waits until the next call.
    pub(super) fn drain(&self) -> bool {
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut any = false;
        for _ in 0..MAX_READS {
            match rustix::io::read(&self.descriptor, buffer.as_mut_slice()) {
                Ok(1..) => any = true,
                Ok(0) | Err(_) => break,
            }
        }
        any
    }
}

impl AsFd for Inotify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

fn unwatchable(path: &Path, error: Errno) -> Unwatchable {
    let limit = match error {
        Errno::NOSPC => " (fs.inotify.max_user_watches)",
        _ => "",
    };
    let (path, error) = (path.display(), io::Error::from(error));
    Unwatchable(format!("{path} cannot be watched{limit}: {error}"))
}

/// What is watched, and for which events.
type Places = BTreeMap<PathBuf, WatchFlags>;

/// All places where a change can lead one of these paths to another file, and the files.
///
/// These are: each directory that has the file or a link to it, or the nearest one that exists; and
/// the directories above them, as those can be renamed.
fn places(files: &[PathBuf]) -> Result<Places, Unwatchable> {
    let mut places = Places::new();
    for file in files {
        let Some(Route { links, end }) = Route::of(file) else {
            let file = file.display();
            return Err(Unwatchable(format!("{file} has too many links")));
        };
        for path in links.iter().chain([&end]) {
            let mut directories = path.ancestors().skip(1);
            for directory in directories.by_ref() {
                if note(&mut places, directory, ENTRIES)? {
                    break;
                }
            }
            for directory in directories {
                note(&mut places, directory, ITSELF)?;
            }
        }
        // Itself, too: a file can be a mount, or have a name in another directory.
        note(&mut places, &end, CONTENT)?;
    }
    Ok(places)
}

/// Adds a place if it exists, and returns whether it does.
fn note(places: &mut Places, path: &Path, flags: WatchFlags) -> Result<bool, Unwatchable> {
    if let Some(known) = places.get_mut(path) {
        *known |= flags;
        return Ok(true);
    }
    // Landlock does not restrict O_PATH.
    match openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
        Ok(place) if file_systems::is_local(&place) => {
            places.insert(path.to_owned(), flags);
            Ok(true)
        }
        Ok(_) => Err(Unwatchable(format!(
            "{} is on a file system that does not report all changes",
            path.display()
        ))),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(false),
        Err(error) => Err(unwatchable(path, error)),
    }
}

/// Events of a file.
const CONTENT: WatchFlags = WatchFlags::MODIFY.union(WatchFlags::ATTRIB).union(ITSELF);

/// Events of a directory and of the names in it.
const ENTRIES: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::ATTRIB)
    .union(ITSELF);

/// Events of a directory, without its contents: others write to /run and /var.
const ITSELF: WatchFlags = WatchFlags::DELETE_SELF.union(WatchFlags::MOVE_SELF);

/// A deployment that keeps moving its files meanwhile is looked at again soon.
const MAX_ROUNDS: usize = 3;

/// Of all reads together, more than the queue of events holds by default (16,384 of 16 bytes and a name).
const BUFFER_BYTES: usize = 64 * 1024;
const MAX_READS: usize = 16;

#[cfg(test)]
mod tests;
