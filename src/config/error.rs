//! Settings with their location, and the errors in them.

use std::fmt;

use crate::text::escaped::visible;
use crate::text::origin::Origin;

/// A value and where it is written.
#[derive(Clone, Debug)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where it is written.
    pub origin: Origin,
}

/// One error in the configuration: its location, its key, the problem and the remedy.
#[derive(Clone, Debug)]
pub struct ConfigError {
    origin: Origin,
    key: String,
    problem: String,
}

impl ConfigError {
    /// Makes an error; the problem continues the key, as in "is not an address".
    ///
    /// Text from files and certificates may contain terminal escapes: it is escaped here.
    #[must_use]
    pub fn new(origin: &Origin, key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            origin: origin.clone(),
            key: visible(&key.into()),
            problem: visible(&problem.into()),
        }
    }

    /// Where it is written.
    #[must_use]
    pub fn at(&self) -> String {
        self.origin.to_string()
    }

    /// The key's full name; empty if the error concerns the whole file.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The problem and its remedy.
    #[must_use]
    pub fn problem(&self) -> &str {
        &self.problem
    }

    /// Whether it concerns a setting of a file, and no file was read.
    pub(super) fn is_of_no_file(&self) -> bool {
        self.origin == Origin::Unset
    }

    /// The line, for sorting; 0 for an error without one.
    #[must_use]
    pub fn line(&self) -> usize {
        match self.origin {
            Origin::File(_, line) => line,
            Origin::Whole(_) | Origin::Flag(_) | Origin::Unset => 0,
        }
    }
}

/// A file of another kind can have an error in each line.
const MAX_ERRORS: usize = 50;

/// The first errors, and the number of the others.
pub(crate) fn bounded(mut faults: Vec<ConfigError>) -> Vec<ConfigError> {
    let more = faults.len().saturating_sub(MAX_ERRORS);
    faults.truncate(MAX_ERRORS);
    if let (1.., Some(last)) = (more, faults.last()) {
        let problem = format!("{more} more errors are not shown; fix these first");
        faults.push(ConfigError::new(&last.origin, "", problem));
    }
    faults
}

impl fmt::Display for ConfigError {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_beyond_the_limit_are_counted() {
        let faults = |count| vec![ConfigError::new(&Origin::Unset, "key", "is wrong"); count];
        assert_eq!(bounded(faults(MAX_ERRORS)).len(), MAX_ERRORS);
        let many = bounded(faults(MAX_ERRORS + 7));
        assert_eq!(many.len(), MAX_ERRORS + 1);
        let last = many.last().unwrap().to_string();
        assert!(last.contains("7 more errors"), "{last}");
    }
}
