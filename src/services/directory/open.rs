//! Opens directories and sockets without following links, with and without openat2.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Once;

use rustix::fs::{self, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Whether the path of a directory may contain symbolic links.
#[derive(Clone, Copy, Debug)]
pub(super) enum Links {
    /// It contained one when a configuration first named it: the operator made it.
    Followed,
    /// It contained none: a new link could be an attack.
    Refused,
}

pub(super) fn open(directory: &Path, links: Links) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match links {
        Links::Followed => fs::openat(CWD, directory, flags, Mode::empty()),
        Links::Refused => {
            let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            match fs::openat2(CWD, directory, flags, Mode::empty(), resolve) {
                Err(Errno::NOSYS | Errno::PERM) => open_step_by_step(directory),
                opened => opened,
            }
        }
    }
}

/// Opens a directory without following links and without openat2: one path component at a time.
fn open_step_by_step(directory: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = |from: BorrowedFd<'_>, step: &OsStr| fs::openat(from, step, flags, Mode::empty());
    let mut reached = open(CWD, OsStr::new("."))?;
    for step in directory.components() {
        reached = open(reached.as_fd(), step.as_os_str())?;
        let kind = FileType::from_raw_mode(fs::fstat(&reached)?.st_mode);
        if kind == FileType::Symlink {
            return Err(Errno::LOOP);
        }
        if kind != FileType::Directory {
            return Err(Errno::NOTDIR);
        }
    }
    Ok(reached)
}

/// Opens a name beneath a directory, following no link of any kind.
///
/// `O_PATH` without `O_NOFOLLOW`: with both, openat2 would open a final symbolic link itself
/// instead of refusing it.
pub(super) fn open_beneath(directory: &OwnedFd, file: &str) -> io::Result<OwnedFd> {
    if WITHOUT_OPENAT2.is_completed() {
        return open_by_one_name(directory, file);
    }
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match fs::openat2(directory, file, flags, Mode::empty(), resolve) {
        Err(error @ (Errno::NOSYS | Errno::PERM)) => {
            WITHOUT_OPENAT2.call_once(|| {
                // As the units of systemd do, by RestrictSUIDSGID=.
                tracing::info!(%error, "openat2 is not available here: aegis opens sockets by openat with O_NOFOLLOW, which is as safe");
            });
            open_by_one_name(directory, file)
        }
        opened => Ok(opened?),
    }
}

/// Opens a file of the directory that is at a path now, in one system call: following no link, to the
/// directory or of it. `None` if that fails, or is not possible.
pub(super) fn open_by_path(directory: &Path, links: Links, file: &str) -> Option<OwnedFd> {
    let is_one_step = matches!(links, Links::Refused) && !file.contains('/') && file != "..";
    if !is_one_step || WITHOUT_OPENAT2.is_completed() {
        return None;
    }
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    fs::openat2(CWD, directory.join(file), flags, Mode::empty(), resolve).ok()
}

/// Why a name beneath a directory cannot be opened for lack of permission.
pub(super) fn not_searchable(error: &io::Error) -> String {
    let ours = rustix::process::geteuid().as_raw();
    format!(
        "{error}: aegis runs as uid {ours}, and may not search the directory of the socket; chmod o+x the directory, or give it a group of aegis"
    )
}

/// Completed once openat2 has failed for want of the system call.
static WITHOUT_OPENAT2: Once = Once::new();

/// Opens a name beneath a directory on kernels before 5.6, and in containers without openat2.
///
/// A name of one component can only be a link itself, which its type shows.
pub(super) fn open_by_one_name(directory: &OwnedFd, file: &str) -> io::Result<OwnedFd> {
    if file.contains('/') {
        return Err(Errno::XDEV.into());
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(fs::openat(directory, file, flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fallback_without_openat2_opens_the_same_paths() {
        use std::os::unix::fs::symlink;
        let parent = tempfile::tempdir().unwrap();
        // The temporary folder itself may lie behind a link.
        let parent = parent.path().canonicalize().unwrap();
        std::fs::create_dir_all(parent.join("a/b")).unwrap();
        std::fs::write(parent.join("a/file"), "").unwrap();
        symlink("a", parent.join("link")).unwrap();
        for (path, expected) in [
            ("a/b", Ok(())),
            ("a/./b/../b", Ok(())),
            ("a/b/c", Err(Errno::NOENT)),
            ("a/file", Err(Errno::NOTDIR)),
            ("a/file/b", Err(Errno::NOTDIR)),
            ("link", Err(Errno::LOOP)),
            ("link/b", Err(Errno::LOOP)),
            ("a/../link/b", Err(Errno::LOOP)),
        ] {
            let path = parent.join(path);
            let opened = [open(&path, Links::Refused), open_step_by_step(&path)];
            let inodes = opened.map(|opened| opened.map(|it| fs::fstat(it).unwrap().st_ino));
            assert_eq!(inodes[0], inodes[1], "{}", path.display());
            assert_eq!(inodes[1].map(drop), expected, "{}", path.display());
        }
        assert!(open_step_by_step(Path::new("src")).is_ok());
    }

    #[test]
    fn a_file_is_opened_by_path_only_in_its_directory_and_through_no_link() {
        use std::os::unix::fs::symlink;
        let parent = tempfile::tempdir().unwrap();
        let parent = parent.path().canonicalize().unwrap();
        std::fs::create_dir_all(parent.join("a/b")).unwrap();
        std::fs::write(parent.join("a/file"), "").unwrap();
        std::fs::write(parent.join("outside"), "").unwrap();
        symlink("a", parent.join("link")).unwrap();
        symlink("file", parent.join("a/other")).unwrap();
        for (directory, links, file, is_opened) in [
            ("a", Links::Refused, "file", true),
            ("a", Links::Followed, "file", false),
            ("a", Links::Refused, "other", false),
            ("a", Links::Refused, "absent", false),
            ("a", Links::Refused, "../outside", false),
            ("a", Links::Refused, "b/..", false),
            ("a", Links::Refused, "..", false),
            ("link", Links::Refused, "file", false),
        ] {
            let opened = open_by_path(&parent.join(directory), links, file);
            assert_eq!(opened.is_some(), is_opened, "{directory} {file}");
        }
        assert!(open_by_path(&parent.join("a"), Links::Refused, "/etc/passwd").is_none());
    }
}
