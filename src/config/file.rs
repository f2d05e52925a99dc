//! Reads a file that the configuration names: bounded, and without waiting on it.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Reads a regular file of at most [`LARGEST_FILE`] bytes.
///
/// # Errors
/// It cannot be read, is not a regular file (a FIFO would block for ever) or is too large.
pub(crate) fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    use std::os::unix::fs::OpenOptionsExt as _;

    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = File::options()
        .read(true)
        .custom_flags(nonblocking)
        .open(path)
        .map_err(with_remedy)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(io::Error::other("it is larger than 16 MiB"));
    }
    Ok(bytes)
}

/// Says if every user of this host can write a file.
pub(super) fn writable_by_all(path: &Path) -> Option<String> {
    let mode = path.metadata().ok()?.permissions().mode();
    (mode & 0o002 != 0).then(|| {
        format!(
            "{}: every user of this host can write it, and so grant what they like; chmod o-w it",
            path.display()
        )
    })
}

/// Says what to do where a file is not to be read: the sandbox leaves only the directories that
/// were named at the start.
fn with_remedy(error: io::Error) -> io::Error {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return error;
    }
    io::Error::other(format!(
        "{error}; let aegis's user read it, or restart aegis if nothing in its directory was named at the start"
    ))
}

/// CRLs of large CAs are the largest files there are here.
const LARGEST_FILE: u64 = 16 * 1024 * 1024;
