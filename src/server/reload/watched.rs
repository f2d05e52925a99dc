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
pub(crate) struct Watched(Vec<(PathBuf, Option<Stamp>)>);

/// Metadata that differs once a file is written in place, replaced by rename, or behind another link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
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
        Self(vec![(path.to_owned(), Stamp::of(path))])
    }

    /// Also watches these files. Call it before they are read.
    pub(super) fn add(&mut self, tls: &Tls) {
        let begun = tls.files().map(|path| (path, Stamp::begin(path)));
        let begun = Vec::from_iter(begun);
        let deadline = Instant::now() + LOOK_TIMEOUT;
        for (path, begun) in begun {
            // A file whose stamp comes too late counts as changed at the next look.
            let stamp = begun.wait(deadline).ok().flatten();
            if self.0.iter().all(|(known, _)| known != path) {
                self.0.push((path.to_owned(), stamp));
            }
        }
    }

    /// Stops watching all files but these and the configuration file.
    pub(super) fn keep_only(&mut self, overrides: &Overrides, of: &[&Tls]) {
        let own = Config::file(overrides);
        let is_named = |path: &Path| of.iter().any(|tls| tls.files().any(|named| named == path));
        self.0.retain(|(path, _)| path == own || is_named(path));
    }

    /// Whether any file has changed since the last look. A file whose stamp cannot be read in time has
    /// not.
    pub(super) fn look(&mut self) -> bool {
        let mut changed = false;
        let begun = self.0.iter().map(|(path, _)| Stamp::begin(path));
        let begun = Vec::from_iter(begun);
        let deadline = Instant::now() + LOOK_TIMEOUT;
        for ((_, before), begun) in self.0.iter_mut().zip(begun) {
            let Ok(now) = begun.wait(deadline) else {
                continue;
            };
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
