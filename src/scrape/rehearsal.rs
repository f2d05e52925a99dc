//! Requests without a network: all that follows the handshake, over any stream.
//!
//! For tests and for `cargo fuzz` alone; nothing of it is in the binary. What it leaves out is
//! TLS: the scraper's chain is judged by the gate as any other, and from there on it is the
//! path that every request takes.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Connection;
use super::admit::Places;
use super::handshake::Session;
use crate::config::Config;
use crate::gate::{Endpoint, Gate};
use crate::peer::Peer;

/// A scraper that has proved who it is, and the endpoint that it is connected with.
#[derive(Debug)]
pub struct Rehearsal<S> {
    endpoint: Arc<Endpoint>,
    session: Session<S>,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// In good order.
    Closed,
    /// In the middle of an answer, so that the scraper sees that it is not whole.
    Cut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Rehearsal<S> {
    /// Makes an endpoint by this configuration, and a scraper with this chain, leaf first.
    ///
    /// # Errors
    /// What is wrong with the files of the configuration, or why the scraper is refused.
    pub fn new(
        config: Config,
        source: SocketAddr,
        chain: Vec<CertificateDer<'static>>,
        stream: S,
    ) -> Result<Self, String> {
        let reached = config
            .listen
            .first()
            .and_then(|given| given.value.address());
        let reached = reached.ok_or("nothing is listened on")?;
        let gate = Gate::build(config, None).map_err(|faults| format!("{faults:?}"))?;
        let peer = Peer::new(source);
        let presented = gate.handshake.judge_chain(peer, chain, &gate.policy);
        let presented = presented.map_err(|refused| format!("{refused:?}"))?;
        let slot = Places::take(&Arc::default(), &peer, &gate.limits);
        let slot = slot.map_err(|refusal| refusal.to_string())?;
        let (reloads, _) = mpsc::channel(1);
        Ok(Self {
            endpoint: Arc::new(Endpoint::new(gate, vec![reached], reloads)),
            session: Session::rehearsed(stream, presented, reached, slot),
        })
    }

    /// The endpoint.
    #[must_use]
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Serves one connection.
    pub async fn connection(&mut self, stream: S) -> Ended {
        self.session.stream = stream;
        self.session.accepted = Instant::now();
        let (mut gates, gate) = (self.endpoint.gates(), self.endpoint.gate());
        let ended = super::requests(&mut self.session, &mut gates, gate, &self.endpoint).await;
        match ended {
            Connection::Whole => Ended::Closed,
            Connection::Cut => Ended::Cut,
        }
    }
}

#[cfg(test)]
mod tests;
