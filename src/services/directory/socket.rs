//! An open socket of a service, and the checks that need no connection.

use std::os::fd::OwnedFd;

use rustix::fs::{self, AtFlags, FileType, StatxFlags};

use super::refused;
use crate::refusal::{Refusal, Refused};

/// A socket as an `O_PATH` descriptor, after every check that needs no connection.
#[derive(Debug)]
pub(in crate::services) struct Socket {
    pub(in crate::services) descriptor: OwnedFd,
    pub(in crate::services) owner: u32,
}

impl Socket {
    /// Checks that it is a socket without other hard links. Can block on a remote file system.
    pub(super) fn check(descriptor: OwnedFd) -> Result<Self, Refused> {
        let found = fs::fstat(&descriptor).map_err(|error| refused(&error.into()))?;
        Self::check_attributes(descriptor, found.st_mode, found.st_nlink, found.st_uid)
    }

    /// The same by cached attributes; `None` if it is not on the given device.
    pub(super) fn check_at_once(
        descriptor: OwnedFd,
        device: Option<u64>,
    ) -> Option<Result<Self, Refused>> {
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let found = fs::statx(&descriptor, "", flags, StatxFlags::BASIC_STATS).ok()?;
        let found_on = fs::makedev(found.stx_dev_major, found.stx_dev_minor);
        let mode = found.stx_mode.into();
        let check = || Self::check_attributes(descriptor, mode, found.stx_nlink, found.stx_uid);
        device.is_none_or(|device| found_on == device).then(check)
    }

    fn check_attributes(
        descriptor: OwnedFd,
        mode: u32,
        links: impl Into<u64>,
        owner: u32,
    ) -> Result<Self, Refused> {
        let links = links.into();
        let kind = FileType::from_raw_mode(mode);
        if kind == FileType::Symlink {
            return Err(Refused::new(Refusal::Escapes, "it is a symbolic link"));
        }
        if kind != FileType::Socket {
            return Err(Refused::new(
                Refusal::NotASocket,
                format_args!("it is {}", kind_of_file(kind)),
            ));
        }
        // Its service removed it in the meantime.
        if links == 0 {
            return Err(Refusal::Missing.into());
        }
        // The other link may be the one that was meant to be reachable.
        if links != 1 {
            let detail = format_args!("it has {links} hard links");
            return Err(Refused::new(Refusal::Escapes, detail));
        }
        Ok(Self { descriptor, owner })
    }
}

fn kind_of_file(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "a regular file",
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::CharacterDevice => "a character device",
        FileType::BlockDevice => "a block device",
        FileType::Unknown => "a file of unknown type",
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsRawFd as _;
    use std::os::unix::net::UnixListener;
    use std::path::Path;

    use rustix::fs::{Mode, OFlags};

    use super::*;

    #[test]
    fn a_socket_on_another_device_is_not_checked_in_the_event_loop() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        // Through a descriptor, because the path can be longer than a socket's may be.
        let held = File::open(folder.path()).unwrap();
        let short = format!("/proc/self/fd/{}/a.sock", held.as_raw_fd());
        let _listener = UnixListener::bind(short).unwrap();
        let open = |path: &Path| {
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            fs::open(path, flags, Mode::empty()).unwrap()
        };
        let device = fs::stat(folder.path()).unwrap().st_dev;
        let checked = Socket::check_at_once(open(&path), Some(device)).unwrap();
        assert_eq!(checked.unwrap().owner, fs::stat(&path).unwrap().st_uid);
        let elsewhere = open(Path::new("/proc/self/stat"));
        assert!(Socket::check_at_once(elsewhere, Some(device)).is_none());
    }
}
