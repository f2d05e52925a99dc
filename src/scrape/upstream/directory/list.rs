//! What a directory holds that is named like a socket, up to a bound.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{self, Mode, OFlags};

use crate::escaped::Escaped;
use crate::service::ServiceName;

/// Files `*.sock` of a directory that are looked at for a list: four for each service that is
/// remembered.
pub(in super::super) const MAX_SOCKET_FILES: usize = 4000;

/// Files of any name that are passed over for that. To read so many names takes about 10 ms.
pub(in super::super) const MAX_FILES: usize = 20_000;

/// What a directory holds that is named like a socket.
#[derive(Debug, Default)]
pub(in super::super) struct Listing {
    pub(in super::super) services: Vec<ServiceName>,
    /// Sockets that cannot be scraped by their names, and why.
    pub(super) unusable: Vec<String>,
    /// Whether there is more than is looked at.
    pub(in super::super) is_cut: bool,
}

impl Listing {
    /// Reads the names in a directory.
    pub(super) fn of(directory: &OwnedFd) -> io::Result<Self> {
        let mut listing = Self::default();
        let readable = fs::openat(
            directory,
            ".",
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        for (passed, entry) in fs::Dir::new(readable)?.enumerate() {
            let entry = entry?;
            let file = entry.file_name().to_bytes();
            let listed = listing.services.len() + listing.unusable.len();
            if passed >= MAX_FILES || listed >= MAX_SOCKET_FILES {
                listing.is_cut = true;
                break;
            }
            let Some(stem) = file.strip_suffix(b".sock") else {
                continue;
            };
            let name = str::from_utf8(stem).ok();
            match name.and_then(|name| name.parse::<ServiceName>().ok()) {
                Some(name) if name.is_reserved() => listing.unusable.push(format!(
                    "{}: the name is that of aegis's own metrics; name the socket otherwise",
                    Escaped(file)
                )),
                Some(name) => listing.services.push(name),
                None => listing.unusable.push(format!(
                    "{}: {}",
                    Escaped(file),
                    crate::service::InvalidServiceName
                )),
            }
        }
        Ok(listing)
    }
}
