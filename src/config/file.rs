//! Reads a file that the configuration names: bounded, and without waiting on it.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::fs::Access;

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
        .map_err(|error| with_remedy(error, path))?;
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

/// Says what to do where a file is not to be read: by its mode, or by the sandbox, which leaves
/// only the directories that were named at the start, and which access(2) does not ask.
fn with_remedy(error: io::Error, path: &Path) -> io::Error {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return error;
    }
    let remedy = match rustix::fs::access(path, Access::READ_OK) {
        Ok(()) => "nothing in its directory was named when aegis started: restart aegis",
        Err(_) => "let aegis's user read it",
    };
    io::Error::other(format!("{error}; {remedy}"))
}

/// CRLs of large CAs are the largest files there are here.
const LARGEST_FILE: u64 = 16 * 1024 * 1024;
