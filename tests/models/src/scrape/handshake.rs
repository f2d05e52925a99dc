//! Stub: a handshake waits for one byte of the scraper. The number of each gate that has accepted
//! the scraper's certificate is noted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, timeout};

use super::admit::Admitted;
pub(crate) use crate::wire::Wire;
pub type HandshakeStream = Wire;
use crate::gate::{Gate, Trust};
use crate::http::RequestReader;
use crate::io::deadline;
use crate::policy::identity::{Identity, ScraperId};
use crate::policy::peer::Peer;
use crate::refusal::{Refusal, Refused};
use crate::state::{ConnectionGuard, HandshakeLimiter};
use crate::telemetry::recorder::Client;
use crate::wire::CLOSED;

#[derive(Debug)]
pub struct Session<S = Wire> {
    pub(super) stream: S,
    pub(super) reader: RequestReader,
    pub(super) presented: Arc<Presented>,
    pub(super) accepted: Instant,
    pub(super) guard: ConnectionGuard,
}

#[derive(Debug)]
pub(super) struct Presented {
    pub(super) peer: Peer,
    pub(super) identity: Identity,
    /// The last gate that accepted the certificate.
    pub(super) accepted_by: AtomicU8,
}

impl Presented {
    pub(super) fn client(&self) -> Client<'_> {
        Client {
            peer: &self.peer,
            identity: &self.identity,
        }
    }

    pub(super) fn has_expired(&self) -> bool {
        false
    }
}

pub(super) fn judge(presented: &Presented, gate: &Gate) -> Result<(), Refused> {
    match gate.trust {
        Trust::Valid => {
            presented.accepted_by.store(gate.number, Ordering::SeqCst);
            Ok(())
        }
        Trust::Revoked => Err(Refusal::Revoked.into()),
    }
}

pub(super) async fn accept(
    admitted: Admitted,
    gate: &Gate,
    limiter: &HandshakeLimiter,
) -> Result<Session, Refused> {
    let Admitted {
        mut wire,
        peer,
        accepted,
        guard,
    } = admitted;
    let deadline = accepted + gate.limits.handshake_timeout;
    let hello = limiter.run(wire.read_u8(), guard.history());
    let hello = tokio::select! {
        biased;
        hello = deadline::by(deadline, hello) => hello,
        () = guard.signals().evicted() => return Err(Refusal::ConnectionLimit.into()),
    };
    let scraper = ScraperId(
        hello
            .ok_or(Refusal::HandshakeTimeout)?
            .map_err(|_| Refusal::Tls)?,
    );
    let presented = Presented {
        peer,
        identity: Identity(scraper),
        accepted_by: AtomicU8::new(0),
    };
    judge(&presented, gate)?;
    guard.authenticated(scraper)?;
    Ok(Session {
        presented: Arc::new(presented),
        stream: wire,
        reader: RequestReader,
        accepted,
        guard,
    })
}

impl Session {
    pub(super) async fn close(&mut self) {
        let second = std::time::Duration::from_secs(1);
        drop(timeout(second, self.stream.write_u8(CLOSED)).await);
    }
}
