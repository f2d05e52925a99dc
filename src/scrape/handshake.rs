//! Stage 2. Performs the TLS handshake with a client certificate, and reads the identity of its leaf.

mod stream;
#[cfg(any(test, fuzzing))]
mod test_support;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::server::Acceptor;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::admit::Admitted;
use crate::gate::Gate;
use crate::http::RequestReader;
use crate::io::deadline;
use crate::policy::Policy;
use crate::policy::identity::Identity;
use crate::policy::peer::Peer;
use crate::refusal::{Refusal, Refused};
use crate::state::{ConnectionGuard, HandshakeLimiter, PeerHistory};
use crate::telemetry::recorder::Client;
use crate::tls::credentials::seconds_until;
use crate::tls::{
    ServerTls, refusal_of_handshake_error, soonest_not_after, with_rejected_leaf_capture,
};
pub use stream::HandshakeStream;
use stream::LINGER;

/// The bytes that TLS buffers for a slow scraper. Together with two pieces of 64 KiB in flight, this
/// bounds the memory of a scrape. Such a piece takes two writes; one that was gathered from small
/// pieces (`MAX_GATHERED_BYTES` of the answer) takes one.
const MAX_UNSENT_BYTES: usize = 38 * 1024;

/// A connection whose scraper has authenticated.
///
/// Only the handshake makes one, so that every [`Identity`] that decides anything comes from a
/// verified leaf.
#[derive(Debug)]
pub struct Session<S = TlsStream<HandshakeStream>> {
    pub(super) stream: S,
    /// Reads the requests of the connection.
    pub(super) reader: RequestReader,
    pub(super) presented: Arc<Presented>,
    pub(super) accepted: Instant,
    /// The address of aegis that the scraper connected to.
    pub(super) reached: SocketAddr,
    pub(super) guard: ConnectionGuard,
}

/// What a scraper has presented. A later gate judges the scraper by it again.
#[derive(Debug)]
pub(super) struct Presented {
    pub(super) peer: Peer,
    pub(super) identity: Identity,
    chain: Vec<CertificateDer<'static>>,
    /// When the first certificate of the chain expires, in seconds since the Unix epoch.
    not_after: i64,
}

/// Performs the handshake, and asks the policy whether any entry names the identity.
///
/// # Errors
/// Any refusal of [`crate::refusal::Stage::Handshake`].
pub(super) async fn accept(
    admitted: Admitted,
    gate: &Gate,
    limiter: &HandshakeLimiter,
) -> Result<Session, Refused> {
    let Admitted {
        stream,
        peer,
        accepted,
        guard,
    } = admitted;
    let deadline = accepted + gate.limits.handshake_timeout;
    let reached = stream.local_addr();
    let reached = reached.map_err(|error| Refused::new(Refusal::Tls, error))?;
    let negotiated = negotiate(stream, &gate.tls, limiter, guard.history());
    // rustls returns no certificate that it rejects, and only its own reason. The verifier leaves both
    // where this scope finds them.
    // Pinned: passed by value, these 10 KiB would be copied at each call.
    let negotiated = pin!(with_rejected_leaf_capture(negotiated));
    let negotiated = tokio::select! {
        biased;
        negotiated = deadline::by(deadline, negotiated) => negotiated,
        () = guard.signals().evicted() => {
            let why = "this address has the most handshakes and others are waiting (limits.connections)";
            return Err(Refused::new(Refusal::ConnectionLimit, why));
        }
    };
    let stream = match negotiated {
        Some(Ok(stream)) => stream,
        Some(Err((refused, stream))) => {
            if let Some(stream) = stream {
                stream.linger().await;
            }
            return Err(refused);
        }
        None => return Err(Refusal::HandshakeTimeout.into()),
    };
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let presented = Presented::from_verified(peer, chain.to_vec())?;
    let mut session = Session {
        presented: Arc::new(presented),
        stream,
        reader: RequestReader::default(),
        accepted,
        reached,
        guard,
    };
    let scraper = session.presented.identity.scraper();
    let known = session.presented.is_known_to(&gate.policy);
    if let Err(refused) = known.and_then(|()| session.guard.authenticated(scraper)) {
        session.close().await;
        return Err(refused);
    }
    session.stream.get_mut().0.lift_limit();
    Ok(session)
}

/// Negotiates TLS. An error comes with the stream if an alert was sent on it.
async fn negotiate(
    stream: TcpStream,
    tls: &ServerTls,
    limiter: &HandshakeLimiter,
    history: PeerHistory,
) -> Result<TlsStream<HandshakeStream>, (Refused, Option<HandshakeStream>)> {
    let stream = HandshakeStream::limited(stream);
    let mut hello = pin!(LazyConfigAcceptor::new(Acceptor::default(), stream));
    let hello = match hello.as_mut().await {
        Ok(hello) => hello,
        Err(error) => return Err((refusal_of_handshake_error(error), hello.take_io())),
    };
    let rest = hello.into_stream_with(Arc::clone(tls.config()), |connection| {
        connection.set_buffer_limit(Some(MAX_UNSENT_BYTES));
    });
    let negotiated = limiter.run(rest.into_fallible(), history).await;
    negotiated.map_err(|(error, stream)| (refusal_of_handshake_error(error), Some(stream)))
}

/// Judges by this gate what a scraper presented to another.
///
/// # Errors
/// [`Refusal::Network`], or any refusal of a certificate.
pub(super) fn judge(presented: &Presented, gate: &Gate) -> Result<(), Refused> {
    is_admitted(&presented.peer, &gate.policy)?;
    gate.tls.verify(&presented.chain)?;
    presented.is_known_to(&gate.policy)
}

/// Judges a chain, leaf first, as if a scraper had presented it from this address.
///
/// # Errors
/// [`Refusal::Network`], or any refusal of a certificate.
pub(super) fn judge_chain(
    peer: Peer,
    chain: Vec<CertificateDer<'static>>,
    gate: &Gate,
) -> Result<Presented, Refused> {
    is_admitted(&peer, &gate.policy)?;
    gate.tls.verify(&chain)?;
    let presented = Presented::from_verified(peer, chain)?;
    presented.is_known_to(&gate.policy)?;
    Ok(presented)
}

/// Judges names and a key without proof, to explain a decision.
///
/// # Errors
/// [`Refusal::Network`] or [`Refusal::Identity`].
pub(super) fn judge_claimed(
    peer: &Peer,
    claimed: &Identity,
    policy: &Policy,
) -> Result<(), Refused> {
    is_admitted(peer, policy)?;
    is_known(peer, claimed, policy)
}

fn is_admitted(peer: &Peer, policy: &Policy) -> Result<(), Refused> {
    if policy.admits(peer) {
        Ok(())
    } else {
        Err(Refusal::Network.into())
    }
}

fn is_known(peer: &Peer, identity: &Identity, policy: &Policy) -> Result<(), Refused> {
    if policy.knows(peer, identity) {
        return Ok(());
    }
    let shown = identity.shown();
    Err(match identity.names() {
        [] => {
            let why = "no subject alternative name; the common name is ignored";
            Refused::new(Refusal::Identity, format_args!("{shown}; {why}"))
        }
        _ => Refused::new(Refusal::Identity, shown),
    })
}

impl Presented {
    /// The scraper as the log and the metrics show it.
    pub(super) fn client(&self) -> Client<'_> {
        Client {
            peer: &self.peer,
            identity: &self.identity,
        }
    }

    /// Reads the identity of a verified chain.
    fn from_verified(peer: Peer, chain: Vec<CertificateDer<'static>>) -> Result<Self, Refused> {
        let (leaf, issuers) = chain.split_first().ok_or(Refusal::NoCertificate)?;
        let identity =
            Identity::from_leaf(leaf).map_err(|error| Refused::new(Refusal::Untrusted, error))?;
        Ok(Self {
            peer,
            not_after: identity.not_after().min(soonest_not_after(issuers)),
            identity,
            chain,
        })
    }

    fn is_known_to(&self, policy: &Policy) -> Result<(), Refused> {
        is_known(&self.peer, &self.identity, policy)
    }

    /// Whether a certificate of the chain has expired since the handshake.
    pub(super) fn has_expired(&self) -> bool {
        seconds_until(self.not_after) < 0
    }
}

impl Session {
    /// Closes the connection with a TLS close_notify, so that the scraper reads the last answer.
    pub(super) async fn close(&mut self) {
        drop(timeout(LINGER, self.stream.shutdown()).await);
        self.stream.get_mut().0.discard().await;
    }
}
