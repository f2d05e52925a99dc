//! Stub: a command, not part of a connection.

pub struct Explained;
pub struct Shows;
pub fn explain() {}
