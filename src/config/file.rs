//! Reads a file that the configuration names, with a size limit and a deadline.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::fs::Access;

use crate::io::file_deadline;

/// Reads a regular file of at most [`MAX_FILE_BYTES`] bytes.
///
/// # Errors
/// It cannot be read, is not a regular file (a FIFO would block for ever) or is too large; at a
/// reload, its file system does not answer.
pub(crate) fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let file = path.to_owned();
    file_deadline::ask(path, TIMEOUT, move || read(&file))?
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    use std::os::unix::fs::OpenOptionsExt as _;

    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = File::options()
        .read(true)
        .custom_flags(nonblocking)
        .open(path)
        .map_err(|error| with_remedy(error, path))?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other("it is larger than 16 MiB"));
    }
    Ok(bytes)
}

/// Returns a warning if every user of this host can write a file.
pub(super) fn writable_by_all(path: &Path) -> Option<String> {
    let mode = path.metadata().ok()?.permissions().mode();
    (mode & 0o002 != 0).then(|| {
        format!(
            "{}: every user of this host can write it, and grant themselves access; run chmod o-w on it",
            path.display()
        )
    })
}

/// Adds the remedy if access is denied: by the file's mode, or by the sandbox, which allows only the
/// paths that were configured at start. access(2) ignores the sandbox.
fn with_remedy(error: io::Error, path: &Path) -> io::Error {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return error;
    }
    let remedy = match rustix::fs::access(path, Access::READ_OK) {
        Ok(()) => "the sandbox allows only the paths that were configured at start; restart aegis",
        Err(_) => "make it readable by aegis's user",
    };
    io::Error::other(format!("{error}; {remedy}"))
}

/// CRLs of large CAs are the largest files.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// Enough for a slow disk that has to spin up. The look before a reload finds most file systems that
/// hang, so that this wait is rare.
const TIMEOUT: Duration = Duration::from_secs(5);
