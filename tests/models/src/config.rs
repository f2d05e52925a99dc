//! Stub: the limits that the real files read.

use std::time::Duration;

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub connections: usize,
    pub connections_per_address: usize,
    pub connection_rate: u32,
    pub connection_burst: u32,
    pub handshakes: usize,
    pub handshake_timeout: Duration,
    pub idle_timeout: Duration,
    pub connection_age: Duration,
    pub drain_timeout: Duration,
}

/// Longer than any model lasts.
pub(crate) const NEVER: Duration = Duration::from_secs(1_000_000);

impl Limits {
    pub(crate) const WIDE: Self = Self {
        connections: 64,
        connections_per_address: 64,
        connection_rate: 1_000_000,
        connection_burst: 1_000_000,
        handshakes: 8,
        handshake_timeout: Duration::from_secs(5),
        idle_timeout: NEVER,
        connection_age: NEVER,
        drain_timeout: Duration::from_secs(30),
    };
}
