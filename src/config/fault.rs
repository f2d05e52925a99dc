//! Settings with their place, and what is wrong with them.

use std::fmt;

use crate::escaped::visible;
use crate::origin::Origin;

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
    ///
    /// Files and certificates may have put something into it that a terminal would obey: it is
    /// escaped here, for all of them.
    #[must_use]
    pub fn new(origin: &Origin, key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            origin: origin.clone(),
            key: visible(&key.into()),
            problem: visible(&problem.into()),
        }
    }

    /// Where it was written.
    #[must_use]
    pub fn at(&self) -> String {
        self.origin.to_string()
    }

    /// The key's full name; empty if it is about a file as a whole.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What is wrong, and what to do.
    #[must_use]
    pub fn problem(&self) -> &str {
        &self.problem
    }

    /// Whether it is of what would stand in a file, and none was read.
    pub(super) fn is_of_no_file(&self) -> bool {
        self.origin == Origin::Unset
    }

    /// Where the fault is, for listing faults in the order of the file.
    #[must_use]
    pub fn line(&self) -> usize {
        match self.origin {
            Origin::File(_, line) => line,
            Origin::Whole(_) | Origin::Flag(_) | Origin::Unset => 0,
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
