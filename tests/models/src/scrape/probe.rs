//! Stub: a command, not part of a connection.

pub struct Probed;
pub fn probe() {}
