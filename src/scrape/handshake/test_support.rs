//! A session over any stream, for tests and fuzzing. Nothing of it is in the binary.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::Instant;

use super::{ConnectionGuard, Presented, RequestReader, Session};

impl<S> Session<S> {
    /// Makes the session of a scraper whose chain was judged without a handshake.
    pub(in crate::scrape) fn in_memory(
        stream: S,
        presented: Presented,
        reached: SocketAddr,
        guard: ConnectionGuard,
    ) -> Self {
        Self {
            stream,
            reader: RequestReader::default(),
            presented: Arc::new(presented),
            accepted: Instant::now(),
            reached,
            guard,
        }
    }
}
