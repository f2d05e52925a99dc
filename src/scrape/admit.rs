//! Stage 1. Decides by the source address whether a connection is admitted.
//!
//! It reads no byte: a connection refused here costs an accept and a reset.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::config::Limits;
use crate::policy::Policy;
use crate::policy::peer::Peer;
use crate::refusal::{Refusal, Refused};
use crate::state::{ConnectionGuard, ConnectionLimiter};

/// Admits a connection, or resets it.
///
/// # Errors
/// [`Refusal::Network`], [`Refusal::Rate`] or [`Refusal::ConnectionLimit`].
pub fn admit(
    stream: TcpStream,
    source: SocketAddr,
    policy: &Policy,
    limits: &Limits,
    limiter: &Arc<ConnectionLimiter>,
) -> Result<Admitted, Refused> {
    let peer = Peer::new(source);
    let admitted = if policy.admits(&peer) {
        ConnectionLimiter::take(limiter, &peer, limits)
    } else {
        Err(Refusal::Network.into())
    };
    match admitted {
        Ok(guard) => {
            // Otherwise the last small packet of a large body waits for the scraper's ACK.
            drop(stream.set_nodelay(true));
            Ok(Admitted {
                stream,
                peer,
                accepted: Instant::now(),
                guard,
            })
        }
        Err(refused) => {
            // A reset leaves no TIME_WAIT, and tells a scan no more than a closed port does.
            drop(stream.set_zero_linger());
            Err(refused)
        }
    }
}

/// Proof that a connection's address was admitted and that the connection is counted.
///
/// The handshake takes no bare stream:
///
/// ```
/// fn handshake(_: aegis::scrape::Admitted) {}
/// fn accept(admitted: aegis::scrape::Admitted) { handshake(admitted); }
/// ```
/// ```compile_fail
/// fn handshake(_: aegis::scrape::Admitted) {}
/// fn accept(admitted: tokio::net::TcpStream) { handshake(admitted); }
/// ```
#[derive(Debug)]
pub struct Admitted {
    pub(super) stream: TcpStream,
    pub(super) peer: Peer,
    pub(super) accepted: Instant,
    pub(super) guard: ConnectionGuard,
}

impl Admitted {
    /// The address that was admitted.
    #[must_use]
    pub fn peer(&self) -> Peer {
        self.peer
    }
}
