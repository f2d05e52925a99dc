//! The paths that the process needs inside the sandbox, and which of them a reload can still read
//! after they are replaced.

use std::collections::BTreeSet;
use std::env;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};

use crate::config::Config;
use crate::io::route::Route;

/// The paths that the process needs inside the sandbox.
#[derive(Clone, Debug, Default)]
pub(crate) struct Paths {
    /// What a reload reads. Files are replaced by rename, and a rule for a file would only allow the
    /// old one. So these are the directories in which a file or a link to it is replaced; and the
    /// files themselves where that directory is too broad to allow.
    pub(super) read: BTreeSet<PathBuf>,
    /// Directories to list, and whose sockets are connected.
    pub(super) sockets: BTreeSet<PathBuf>,
    /// Configured paths in directories that are too broad to allow.
    too_wide: BTreeSet<PathBuf>,
    /// The directories in which each file can be replaced.
    replacements: BTreeSet<Replacement>,
}

/// A directory in which a file, or a link on the way to it, can be replaced.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Replacement {
    file: PathBuf,
    directory: PathBuf,
}

impl Paths {
    /// The paths that a configuration names.
    pub(crate) fn of(config: &Config, file: &Path) -> Self {
        let mut paths = Self::default();
        for file in config.tls.files().chain([file]) {
            paths.add_file(file);
        }
        let external_sockets = config.services.values();
        let external_sockets = external_sockets.filter_map(|service| service.socket.as_deref());
        for path in external_sockets.chain([config.socket_dir.value.as_path()]) {
            paths.add_socket(path);
        }
        paths.sockets.insert(config.socket_dir.value.clone());
        paths
    }

    fn add_file(&mut self, file: &Path) {
        // A path that cannot be resolved cannot be read either, which is reported when it is read.
        let Some(Route { links, end }) = Route::of(file) else {
            return;
        };
        for link in links {
            let target = link.canonicalize().unwrap_or_default();
            let leads_to_file = target == end;
            match [directory(&link), directory(&target)].map(if_narrow) {
                [Some(directory), _] => self.allow(file, directory),
                // The next target will be here, as in /run/secrets.d for /run/secrets.
                [None, Some(directory)] if !leads_to_file => self.allow(file, directory),
                // A link of the system, such as /var/run.
                [None, None] if !leads_to_file && if_narrow(&target).is_none() => {}
                [None, _] => self.note_too_wide(&link),
            }
        }
        match if_narrow(directory(&end)) {
            Some(directory) => self.allow(file, directory),
            None => {
                self.note_too_wide(&end);
                self.read.insert(end);
            }
        }
    }

    fn allow(&mut self, file: &Path, directory: &Path) {
        self.read.insert(directory.to_owned());
        self.replacements.insert(Replacement {
            file: file.to_owned(),
            directory: directory.to_owned(),
        });
    }

    /// Allows the parent directory: a socket directory can be removed and created again, as by
    /// `RuntimeDirectory=`, and a rule for the directory itself would only allow the old one.
    fn add_socket(&mut self, path: &Path) {
        let Some(Route { links, end }) = Route::of(path) else {
            return;
        };
        let links = links.iter().filter_map(|link| if_narrow(directory(link)));
        self.sockets.extend(links.map(Path::to_owned));
        // Broad directories are allowed here: the rule exposes only names, and sockets belong in /run.
        match directory(&end) {
            root if root == Path::new("/") => {
                self.note_too_wide(&end);
                self.sockets.insert(end);
            }
            directory => {
                self.sockets.insert(directory.to_owned());
            }
        }
    }

    fn note_too_wide(&mut self, end: &Path) {
        // A mount point cannot be replaced by a rename.
        if !is_mounted(end) {
            self.too_wide.insert(end.to_owned());
        }
    }

    /// One sentence for each path that the sandbox cannot follow once it is replaced.
    pub(super) fn too_wide(&self) -> impl Iterator<Item = String> {
        self.too_wide.iter().map(|path| {
            let (path, directory) = (path.display(), directory(path).display());
            format!(
                "{path} is in {directory}, which is too broad for the sandbox to allow: once {path} is replaced, aegis cannot read it until a restart; move it to its own directory"
            )
        })
    }

    /// Opens each directory in which a file can be replaced. The rules are for directories, so a file
    /// that is created there later can be read if its directory can be opened.
    pub(super) fn open_directories(&self) -> Vec<io::Result<()>> {
        let opened = self.replacements.iter();
        opened
            .map(|one| File::open(&one.directory).map(drop))
            .collect()
    }

    /// Opens the directories from inside the sandbox. For each that could be opened before, returns
    /// "FILE in DIRECTORY", or a sentence if it cannot be opened now.
    pub(super) fn compare(&self, before: &[io::Result<()>]) -> Vec<Result<String, String>> {
        let after = self.open_directories();
        let compared = self.replacements.iter().zip(before.iter().zip(after));
        let compared = compared.filter_map(|(Replacement { file, directory }, opened)| {
            let what = format!("{} in {}", file.display(), directory.display());
            match opened {
                (Ok(()), Ok(())) => Some(Ok(what)),
                (Ok(()), Err(error)) => Some(Err(format!(
                    "once {what} is replaced, aegis cannot read it until a restart: {error}"
                ))),
                // The process lacks permission to list it, whatever the sandbox allows.
                (Err(_), _) => None,
            }
        });
        compared.collect()
    }
}

/// The directory that contains a path.
fn directory(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

/// The directory, unless it is too broad to allow.
fn if_narrow(directory: &Path) -> Option<&Path> {
    (!is_too_wide(directory)).then_some(directory)
}

/// Whether a rule for a directory would allow so much that the sandbox would protect little.
fn is_too_wide(directory: &Path) -> bool {
    let above = directory.parent();
    let is_home = HOMES.iter().any(|homes| above == Some(Path::new(homes)));
    let is_home = is_home || is_own_home(directory);
    is_home || TOO_WIDE.iter().any(|wide| directory == Path::new(wide))
}

/// Whether it is the home of the user who runs aegis. The home of a service user, such as
/// /var/lib/aegis, contains only the service's files and does not count.
fn is_own_home(directory: &Path) -> bool {
    let home = env::var_os("HOME").and_then(|home| Path::new(&home).canonicalize().ok());
    let service_homes = ["/run", "/srv", "/var"];
    home.is_some_and(|home| home == directory)
        && !service_homes
            .iter()
            .any(|above| directory.starts_with(above))
}

fn is_mounted(path: &Path) -> bool {
    let attributes = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty());
    attributes.is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Parents of home directories. With OSTree, /home is a link to /var/home.
const HOMES: &[&str] = &["/export/home", "/home", "/var/home"];

/// System directories (hier(7)) that hold unrelated files.
const TOO_WIDE: &[&str] = &[
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/etc/ssl",
    "/export",
    "/export/home",
    "/home",
    "/lib",
    "/lib64",
    "/media",
    "/mnt",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/srv",
    "/sys",
    "/tmp",
    "/usr",
    "/usr/bin",
    "/usr/lib",
    "/usr/local",
    "/usr/local/etc",
    "/usr/share",
    "/var",
    "/var/cache",
    "/var/home",
    "/var/lib",
    "/var/log",
    "/var/spool",
    "/var/tmp",
    "/var/www",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_directories_and_homes_are_too_wide() {
        for (directory, expected) in [
            ("/", true),
            ("/etc", true),
            ("/home/ann", true),
            ("/root", true),
            ("/etc/ssl", true),
            ("/usr/local/etc", true),
            ("/var/www", true),
            ("/var/home", true),
            ("/var/home/ann", true),
            ("/export/home", true),
            ("/export/home/ann", true),
            ("/run", true),
            ("/etc/aegis", false),
            ("/home/ann/aegis", false),
            ("/certs", false),
            ("/run/credentials/aegis.service", false),
            ("/etc/ssl/private", false),
            ("/usr/local/etc/aegis", false),
            ("/var/home/ann/aegis", false),
            ("/var/www/metrics", false),
        ] {
            assert_eq!(is_too_wide(Path::new(directory)), expected, "{directory}");
        }
    }
}
