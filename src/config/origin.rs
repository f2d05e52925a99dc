//! Where a setting was written, and what is wrong with it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a setting was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A line of the configuration file, counted from 1.
    File(Arc<Path>, usize),
    /// A flag, or its variable in the environment.
    Flag(&'static str),
    /// Nowhere: a default, or a setting that is missing.
    Unset,
}

impl Origin {
    /// The path that a setting names: relative ones start from the folder of the file they
    /// stand in; those of a flag from the working directory.
    #[must_use]
    pub fn resolve(&self, path: &str) -> PathBuf {
        match self {
            Self::File(file, _) => file.parent().unwrap_or(Path::new("")).join(path),
            Self::Flag(_) | Self::Unset => PathBuf::from(path),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file, line) => write!(f, "{}:{line}", file.display()),
            Self::Flag(name) => f.write_str(name),
            Self::Unset => f.write_str("configuration"),
        }
    }
}

/// A value and where it was written.
#[derive(Clone, Debug)]
pub struct Given<T> {
    /// The value.
    pub value: T,
    /// Where it was written.
    pub origin: Origin,
}

/// One thing that is wrong with the configuration: where, which key, what, and what to do.
#[derive(Clone, Debug)]
pub struct Fault {
    origin: Origin,
    key: String,
    problem: String,
}

impl Fault {
    /// Makes a fault; the problem reads on from the key, as in "is not an address".
    #[must_use]
    pub fn new(origin: &Origin, key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            origin: origin.clone(),
            key: key.into(),
            problem: problem.into(),
        }
    }

    /// Where the fault is, for listing faults in the order of the file.
    #[must_use]
    pub fn line(&self) -> usize {
        match self.origin {
            Origin::File(_, line) => line,
            Origin::Flag(_) | Origin::Unset => 0,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            origin,
            key,
            problem,
        } = self;
        match key.as_str() {
            "" => write!(f, "{origin}: {problem}"),
            key => write!(f, "{origin}: {key}: {problem}"),
        }
    }
}
