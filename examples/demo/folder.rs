//! A temporary folder in which sockets can be bound, even if `TMPDIR` is long.

use std::io;

use tempfile::{Builder, TempDir};

/// Makes a folder in `TMPDIR`, or in `/tmp` if that is so long that the paths of sockets in the
/// folder might not fit.
pub(crate) fn temporary(builder: &Builder<'_, '_>) -> io::Result<TempDir> {
    let usual = std::env::temp_dir();
    if usual.as_os_str().len() <= MAX_PARENT_BYTES {
        builder.tempdir_in(usual)
    } else {
        builder.tempdir_in("/tmp")
    }
}

/// A socket's path has at most 107 bytes (`sun_path` in unix(7)). This leaves 67 for the folder's
/// own name and for what is in it.
const MAX_PARENT_BYTES: usize = 40;
