//! A session over any stream, for the rehearsal alone: nothing of it is in the binary.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::Instant;

use super::{Presented, Session, Slot};

impl<S> Session<S> {
    /// Makes the session of a scraper whose chain was judged, but by no handshake.
    pub(in crate::scrape) fn rehearsed(
        stream: S,
        presented: Presented,
        reached: SocketAddr,
        slot: Slot,
    ) -> Self {
        Self {
            stream,
            presented: Arc::new(presented),
            accepted: Instant::now(),
            reached,
            slot,
        }
    }
}
