//! Detects changes of files by their metadata.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::config::{Config, Overrides, Tls};
use crate::io::file_deadline::{self, Pending};

/// Files and their stamps from the last look. A stamp is always taken before the file is read, so that
/// the next look finds a change in between.
#[derive(Debug)]
pub(crate) struct Watched {
    files: Vec<(PathBuf, Option<Stamp>)>,
    /// Whether a file did not answer the last look in time.
    any_hangs: bool,
}

/// Metadata that differs once a file is written in place, replaced by rename, or behind another link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// Begins to read the stamp of a file.
    fn begin(path: &Path) -> Pending<Option<Self>> {
        let file = path.to_owned();
        file_deadline::begin(path, move || Self::of(&file))
    }

    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            file: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

impl Watched {
    /// Watches the configuration file. Call it before the file is read.
    pub(crate) fn configuration(overrides: &Overrides) -> Self {
        let path = Config::file(overrides);
        Self {
            files: vec![(path.to_owned(), Stamp::of(path))],
            any_hangs: false,
        }
    }

    /// Also watches these files. Call it before they are read.
    pub(super) fn add(&mut self, tls: &Tls) {
        let begun = tls.files().map(|path| (path, Stamp::begin(path)));
        let begun = Vec::from_iter(begun);
        let deadline = Instant::now() + LOOK_TIMEOUT;
        for (path, begun) in begun {
            // A file whose stamp comes too late counts as changed at the next look.
            let stamp = begun.wait(deadline).ok().flatten();
            if self.files.iter().all(|(known, _)| known != path) {
                self.files.push((path.to_owned(), stamp));
            }
        }
    }

    /// Stops watching all files but these and the configuration file.
    pub(super) fn keep_only(&mut self, overrides: &Overrides, of: &[&Tls]) {
        let own = Config::file(overrides);
        let is_named = |path: &Path| of.iter().any(|tls| tls.files().any(|named| named == path));
        self.files.retain(|(path, _)| path == own || is_named(path));
    }

    /// Whether any file has changed since the last look. A file whose stamp cannot be read in time has
    /// not.
    pub(super) fn look(&mut self) -> bool {
        let begun = self.files.iter().map(|(path, _)| Stamp::begin(path));
        let begun = Vec::from_iter(begun);
        let deadline = Instant::now() + LOOK_TIMEOUT;
        let mut any_hangs = false;
        let stamps = self.files.iter().zip(begun).map(|((_, before), begun)| {
            let stamp = begun.wait(deadline);
            any_hangs |= stamp.is_err();
            stamp.unwrap_or(*before)
        });
        let stamps = Vec::from_iter(stamps);
        self.any_hangs = any_hangs;
        self.update(stamps)
    }

    /// Whether a file did not answer the last [`Watched::look`] in time.
    pub(super) fn any_hangs(&self) -> bool {
        self.any_hangs
    }

    /// The paths of the files, for [`Watched::stamps`].
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.files.iter().map(|(path, _)| path.clone()).collect()
    }

    /// Reads the stamps of all these files. Can block.
    pub(super) fn stamps(paths: &[PathBuf]) -> Vec<Option<Stamp>> {
        paths.iter().map(|path| Stamp::of(path)).collect()
    }

    /// As [`Watched::look`], with the stamps of all files.
    pub(super) fn update(&mut self, stamps: Vec<Option<Stamp>>) -> bool {
        let mut changed = false;
        for ((_, before), now) in self.files.iter_mut().zip(stamps) {
            changed |= now != *before;
            *before = now;
        }
        changed
    }
}

/// For all files together. A file that has not answered by then is not asked again until it has.
const LOOK_TIMEOUT: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_look_finds_a_change_between_stamp_and_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("aegis.toml");
        fs::write(&file, "old").unwrap();
        let overrides = Overrides {
            config: Some(file.clone()),
            ..Overrides::default()
        };
        let mut watched = Watched::configuration(&overrides);
        fs::write(&file, "newer").unwrap();
        assert!(watched.look());
        assert!(!watched.look());
    }
}
