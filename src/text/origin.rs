//! Where a setting is written.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a setting is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A line of the configuration file, counted from 1.
    File(Arc<Path>, usize),
    /// The configuration file as a whole: a default, or a setting that is missing there.
    Whole(Arc<Path>),
    /// A flag, or its variable in the environment.
    Flag(&'static str),
    /// Nowhere: as [`Origin::Whole`], but no file was read.
    Unset,
}

impl Origin {
    /// Resolves a path of a setting: relative to the directory of the file that holds it, or to the
    /// working directory for a flag.
    #[must_use]
    pub fn resolve(&self, path: &str) -> PathBuf {
        match self {
            Self::File(file, _) | Self::Whole(file) => {
                file.parent().unwrap_or(Path::new("")).join(path)
            }
            Self::Flag(_) | Self::Unset => PathBuf::from(path),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file, line) => write!(f, "{}:{line}", file.display()),
            Self::Whole(file) => file.display().fmt(f),
            Self::Flag(name) => f.write_str(name),
            Self::Unset => f.write_str("configuration"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_paths_resolve_against_their_file() {
        let file = Origin::File(Arc::from(Path::new("/etc/aegis/aegis.toml")), 7);
        assert_eq!(file.to_string(), "/etc/aegis/aegis.toml:7");
        assert_eq!(file.resolve("ca.pem"), Path::new("/etc/aegis/ca.pem"));
        assert_eq!(file.resolve("/ca.pem"), Path::new("/ca.pem"));
        let flag = Origin::Flag("--client-ca");
        assert_eq!(flag.to_string(), "--client-ca");
        assert_eq!(flag.resolve("ca.pem"), Path::new("ca.pem"));
        assert_eq!(Origin::Unset.to_string(), "configuration");
    }
}
