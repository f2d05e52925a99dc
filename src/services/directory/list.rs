//! Lists the sockets of a directory by name, up to a limit.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{self, FileType, Mode, OFlags};

use crate::policy::service_name::ServiceName;
use crate::text::escaped::Escaped;

/// How many files `*.sock` a listing reads: four for each service that aegis remembers.
pub(in super::super) const MAX_SOCKET_FILES: usize = 4000;

/// How many files of any name a listing reads. Reading so many names takes about 10 ms.
pub(in super::super) const MAX_FILES: usize = 20_000;

/// As many as a warning names.
const MAX_OTHER_SOCKETS: usize = 5;

/// The sockets of a directory by name.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(in super::super) services: Vec<ServiceName>,
    /// Sockets whose names make them unusable, and why.
    pub(super) unusable: Vec<String>,
    /// Sockets that are not named `*.sock`, up to [`MAX_OTHER_SOCKETS`].
    pub(super) others: Vec<String>,
    /// Whether the directory holds more files than were read.
    pub(in super::super) is_truncated: bool,
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
                listing.is_truncated = true;
                break;
            }
            let Some(stem) = file.strip_suffix(b".sock") else {
                let is_other = entry.file_type() == FileType::Socket && !file.starts_with(b".");
                if is_other && listing.others.len() < MAX_OTHER_SOCKETS {
                    let file = Escaped(file);
                    listing.others.push(format!(
                        "{file}: is a socket, but its name does not end in .sock; rename it, or name it under [services.NAME]"
                    ));
                }
                continue;
            };
            let name = str::from_utf8(stem).ok();
            match name.and_then(|name| name.parse::<ServiceName>().ok()) {
                Some(name) if name.is_reserved() => listing.unusable.push(format!(
                    "{}: the name is reserved for aegis's own metrics; rename the socket",
                    Escaped(file)
                )),
                Some(name) => listing.services.push(name),
                None => listing.unusable.push(format!(
                    "{}: {}",
                    Escaped(file),
                    crate::policy::service_name::InvalidServiceName
                )),
            }
        }
        Ok(listing)
    }
}
