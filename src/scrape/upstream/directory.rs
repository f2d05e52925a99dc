//! A directory of sockets, held open, and the one way in which a socket in it is opened.

mod list;
mod open;

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustix::fs::{self, FileType, Mode, Stat};
use rustix::io::Errno;

use crate::refusal::{Refusal, Refused};
pub(super) use list::{Listing, MAX_FILES, MAX_SOCKET_FILES};
use open::{Links, open, open_beneath};

/// A directory by its path, which is configuration, and by a descriptor: a socket is opened
/// beneath that, whatever becomes of the path meanwhile.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    links: Links,
    held: Mutex<Option<Held>>,
}

/// A directory that was opened.
#[derive(Debug)]
struct Held {
    descriptor: Arc<OwnedFd>,
    /// No other directory is the same as long as this one is held.
    identity: (u64, u64),
}

/// Unusable sockets that are named.
const MOST_NAMED: usize = 10;

/// What tells a file from all others: its device and inode.
fn identity(file: &Stat) -> (u64, u64) {
    (file.st_dev, file.st_ino)
}

/// A socket, by a descriptor that only names it, after every check that needs no connection.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) descriptor: OwnedFd,
    pub(super) owner: u32,
}

impl Directory {
    /// Names a directory; it is held from when it is first needed.
    pub(super) fn at(path: &Path) -> Self {
        let links = match open(path, Links::Refused) {
            Err(Errno::LOOP) => Links::Followed,
            Ok(_) | Err(_) => Links::Refused,
        };
        Self {
            path: path.to_owned(),
            links,
            held: Mutex::new(None),
        }
    }

    /// Names it for another configuration: what was no link is none by that either.
    pub(super) fn anew(&self) -> Self {
        Self {
            path: self.path.clone(),
            links: self.links,
            held: Mutex::new(None),
        }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a socket of this directory by its file name.
    pub(super) fn open_socket(&self, file: &str) -> Result<Socket, Refused> {
        let directory = self.hold();
        let opened = directory.and_then(|directory| open_beneath(&directory, file));
        Socket::check(opened.map_err(|error| refused(&error))?)
    }

    /// Sockets in the directory that cannot be scraped by their names, and why; of many, a few.
    pub(super) fn unusable(&self) -> Vec<String> {
        let mut unusable = self.list().unwrap_or_default().unusable;
        let more = unusable.len().saturating_sub(MOST_NAMED);
        if more > 0 {
            unusable.truncate(MOST_NAMED);
            unusable.push(format!("{more} more in the socket directory"));
        }
        unusable
    }

    /// Says if every user of this host can put a socket into the directory.
    pub(super) fn open_to_all(&self) -> Option<String> {
        let directory = self.hold().ok()?;
        let mode = Mode::from_raw_mode(fs::fstat(&directory).ok()?.st_mode);
        mode.contains(Mode::WOTH).then(|| {
            format!("{}: every user of this host can put a socket here and answer as any service; chmod o-w it", self.path.display())
        })
    }

    /// Says if a user who is neither root nor that of aegis can put another directory, or a link
    /// to one, in its place.
    pub(super) fn in_the_hands_of_others(&self) -> Option<String> {
        let ours = rustix::process::geteuid().as_raw();
        let our_group = rustix::process::getegid().as_raw();
        let mut below_is_trusted = None;
        for path in self.path.ancestors() {
            let Ok(found) = fs::stat(path) else { continue };
            let is_trusted = found.st_uid == 0 || found.st_uid == ours;
            let mode = Mode::from_raw_mode(found.st_mode);
            let others_write = mode.contains(Mode::WOTH)
                || (mode.contains(Mode::WGRP) && ![0, our_group].contains(&found.st_gid));
            // In a sticky directory, each can move what is its own.
            let can_move = |below_is_trusted| {
                let is_sticky = mode.contains(Mode::SVTX);
                !is_trusted || (others_write && !(is_sticky && below_is_trusted))
            };
            if below_is_trusted.is_some_and(can_move) {
                return Some(format!(
                    "another user can have {} lead to the socket of somebody else; set owner",
                    self.path.display()
                ));
            }
            below_is_trusted = Some(is_trusted);
        }
        None
    }

    /// Whether there is a directory at its path.
    pub(super) fn look(&self) -> io::Result<()> {
        fs::stat(&self.path)?;
        self.hold().map(drop)
    }

    /// Lists the services whose sockets are in the directory. Files of other names do not count.
    pub(super) fn list(&self) -> io::Result<Listing> {
        Listing::of(&*self.hold()?)
    }

    /// Holds the directory that has the path now; if none has, the one that had it last.
    ///
    /// A service may make its directory anew at every start (RuntimeDirectory=), and a file
    /// system may be mounted over it: what is left in the old one would answer for ever.
    fn hold(&self) -> io::Result<Arc<OwnedFd>> {
        let mut held = self.held.lock().unwrap_or_else(|held| held.into_inner());
        if let Some(before) = &*held {
            match fs::stat(&self.path) {
                Ok(now) if identity(&now) != before.identity => {}
                Ok(_) | Err(_) => return Ok(Arc::clone(&before.descriptor)),
            }
        }
        let descriptor = Arc::new(open(&self.path, self.links)?);
        let opened = Held {
            identity: identity(&fs::fstat(&descriptor)?),
            descriptor: Arc::clone(&descriptor),
        };
        if held.replace(opened).is_some() {
            tracing::info!(directory = %self.path.display(), "the directory was made anew");
        }
        Ok(descriptor)
    }
}

impl Socket {
    /// Checks what was opened: a socket, and by its only name.
    fn check(descriptor: OwnedFd) -> Result<Self, Refused> {
        let found = fs::fstat(&descriptor).map_err(|error| refused(&error.into()))?;
        let kind = FileType::from_raw_mode(found.st_mode);
        if kind == FileType::Symlink {
            return Err(Refused::new(Refusal::Escapes, "it is a symbolic link"));
        }
        if kind != FileType::Socket {
            return Err(Refused::new(
                Refusal::NotASocket,
                format_args!("it is a {kind:?}"),
            ));
        }
        // Its service took it away in between.
        if found.st_nlink == 0 {
            return Err(Refusal::Missing.into());
        }
        // A second link to the same socket may be the one that was meant to be reachable.
        if found.st_nlink != 1 {
            let detail = format_args!("it has {} hard links", found.st_nlink);
            return Err(Refused::new(Refusal::Escapes, detail));
        }
        Ok(Socket {
            descriptor,
            owner: found.st_uid,
        })
    }
}

fn refused(error: &io::Error) -> Refused {
    let refusal = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT | Errno::NOTDIR) => return Refusal::Missing.into(),
        Some(Errno::LOOP | Errno::XDEV) => Refusal::Escapes,
        _ => Refusal::Connect,
    };
    Refused::new(refusal, error)
}

#[cfg(test)]
mod tests {
    use super::open::open_by_one_name;
    use super::*;
    use std::fs::File;
    use std::os::fd::AsRawFd as _;
    use std::os::unix::net::UnixListener;

    /// Listens at a path of any length, by way of its folder's descriptor.
    fn listen(path: &Path) -> UnixListener {
        let folder = File::open(path.parent().unwrap()).unwrap();
        let short = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string());
        UnixListener::bind(short.join(path.file_name().unwrap())).unwrap()
    }

    fn reason(directory: &Directory, file: &str) -> Option<Refusal> {
        directory
            .open_socket(file)
            .err()
            .map(|refused| refused.refusal)
    }

    #[test]
    fn only_a_socket_with_one_name_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let _listener = listen(&at("good.sock"));
        let _linked = listen(&at("linked.sock"));
        std::fs::hard_link(at("linked.sock"), at("second.sock")).unwrap();
        std::os::unix::fs::symlink("good.sock", at("symlink.sock")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", at("outside.sock")).unwrap();
        std::fs::write(at("file.sock"), "").unwrap();
        std::fs::create_dir(at("folder.sock")).unwrap();
        let directory = Directory::at(folder.path());
        let cases = [
            ("good.sock", None),
            ("linked.sock", Some(Refusal::Escapes)),
            ("second.sock", Some(Refusal::Escapes)),
            ("symlink.sock", Some(Refusal::Escapes)),
            ("outside.sock", Some(Refusal::Escapes)),
            ("file.sock", Some(Refusal::NotASocket)),
            ("folder.sock", Some(Refusal::NotASocket)),
            ("absent.sock", Some(Refusal::Missing)),
            ("../good.sock", Some(Refusal::Escapes)),
            ("/etc/passwd", Some(Refusal::Escapes)),
        ];
        let held = directory.hold().unwrap();
        for (file, expected) in cases {
            assert_eq!(reason(&directory, file), expected, "{file}");
            let opened = open_by_one_name(&held, file).map_err(|error| refused(&error));
            let otherwise = opened.and_then(Socket::check);
            let otherwise = otherwise.err().map(|refused| refused.refusal);
            assert_eq!(otherwise, expected, "{file}, without openat2");
        }
    }

    #[test]
    fn a_socket_that_is_taken_away_meanwhile_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.sock");
        let _listener = listen(&path);
        let held = Directory::at(folder.path()).hold().unwrap();
        let opened = open_beneath(&held, "node.sock").unwrap();
        std::fs::remove_file(&path).unwrap();
        let refused = Socket::check(opened).unwrap_err();
        assert_eq!(refused.refusal, Refusal::Missing);
    }

    #[test]
    fn a_directory_made_anew_is_the_one_that_counts() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("services");
        std::fs::create_dir(&folder).unwrap();
        let directory = Directory::at(&folder);
        assert_eq!(reason(&directory, "node.sock"), Some(Refusal::Missing));
        std::fs::remove_dir(&folder).unwrap();
        assert_eq!(reason(&directory, "node.sock"), Some(Refusal::Missing));
        std::fs::create_dir(&folder).unwrap();
        let _listener = listen(&folder.join("node.sock"));
        assert_eq!(reason(&directory, "node.sock"), None);
        // Another takes its place, though there still is a socket in the old one.
        std::fs::rename(&folder, parent.path().join("old")).unwrap();
        assert_eq!(reason(&directory, "node.sock"), None);
        std::fs::create_dir(&folder).unwrap();
        assert_eq!(reason(&directory, "node.sock"), Some(Refusal::Missing));
        assert_eq!(directory.list().unwrap().services, []);
    }

    #[test]
    fn a_link_in_place_of_a_directory_leads_nowhere_unless_there_was_one_at_first() {
        use std::os::unix::fs::symlink;
        let parent = tempfile::tempdir().unwrap();
        let at = |name: &str| parent.path().join(name);
        for folder in ["own", "other"] {
            std::fs::create_dir(at(folder)).unwrap();
        }
        symlink("own", at("link")).unwrap();
        let _own = listen(&at("own/a.sock"));
        let _other = listen(&at("other/b.sock"));
        let (plain, linked) = (Directory::at(&at("own")), Directory::at(&at("link")));
        let absent = Directory::at(&at("later"));
        assert_eq!(reason(&plain, "a.sock"), None);
        assert_eq!(reason(&linked, "a.sock"), None);
        std::fs::rename(at("own"), at("old")).unwrap();
        symlink("other", at("own")).unwrap();
        assert_eq!(reason(&plain, "b.sock"), Some(Refusal::Escapes));
        assert_eq!(reason(&linked, "b.sock"), None);
        // One that nobody had needed before.
        symlink("other", at("later")).unwrap();
        assert_eq!(reason(&absent, "b.sock"), Some(Refusal::Escapes));
        // The directory is back.
        std::fs::remove_file(at("own")).unwrap();
        std::fs::rename(at("old"), at("own")).unwrap();
        assert_eq!(reason(&plain, "a.sock"), None);
    }

    #[test]
    fn of_a_directory_that_is_too_full_only_so_much_is_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..50 {
            std::fs::write(folder.path().join(format!("-{number}.sock")), "").unwrap();
        }
        let unusable = Directory::at(folder.path()).unusable();
        assert_eq!(unusable.len(), 11);
        assert_eq!(unusable[10], "40 more in the socket directory");
        assert!(!Directory::at(folder.path()).list().unwrap().is_cut);
        for number in 50..=MAX_SOCKET_FILES {
            std::fs::write(folder.path().join(format!("{number}.sock")), "").unwrap();
        }
        let listing = Directory::at(folder.path()).list().unwrap();
        assert!(listing.is_cut);
        assert!(listing.services.len() < MAX_SOCKET_FILES);
    }

    #[test]
    fn sockets_with_unusable_names_are_named() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["node.sock", "metrics.sock", "-x.sock", "readme.txt"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let directory = Directory::at(folder.path());
        let services = directory.list().unwrap().services;
        assert_eq!(services, ["node".parse().unwrap()]);
        let mut unusable = directory.unusable();
        unusable.sort();
        assert!(unusable[0].starts_with("-x.sock: is not a service name"));
        assert!(unusable[1].starts_with("metrics.sock: the name is that of"));
        assert_eq!(unusable.len(), 2);
    }
}
