//! From when to when a certificate is valid.

/// Both times in seconds since the Unix epoch. Ordered by expiry: the derived order compares it first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Validity {
    /// When it expires.
    pub not_after: i64,
    /// When it became valid.
    pub not_before: i64,
}
