//! Connections without network and TLS, for tests and `cargo fuzz`. The binary does not contain it.
//!
//! The gate judges the scraper's chain as in a handshake. From then on, a request takes the same path
//! as any other, over any stream.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::Disposition;
use super::handshake::{Session, judge_chain};
use crate::config::Config;
use crate::gate::Gate;
use crate::http::RequestReader;
use crate::policy::peer::Peer;
use crate::state::{ConnectionLimiter, State, reload_queue};

/// The connection of an authenticated scraper, and its state.
#[derive(Debug)]
pub struct InMemoryConnection<S> {
    state: Arc<State>,
    session: Session<S>,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionEnd {
    /// After a complete answer.
    Closed,
    /// In the middle of an answer, so that the scraper sees that it is truncated.
    Aborted,
}

impl<S: AsyncRead + AsyncWrite + Unpin> InMemoryConnection<S> {
    /// Makes a state from this configuration, and a scraper with this chain, leaf first.
    ///
    /// # Errors
    /// The errors in the files of the configuration, or the refusal of the scraper.
    pub fn new(
        config: Config,
        source: SocketAddr,
        chain: Vec<CertificateDer<'static>>,
        stream: S,
    ) -> Result<Self, String> {
        let reached = config
            .listen
            .first()
            .and_then(|listen| listen.value.address());
        let reached = reached.ok_or("no TCP listener")?;
        let gate = Gate::build(config, None).map_err(|faults| format!("{faults:?}"))?;
        let peer = Peer::new(source);
        let presented = judge_chain(peer, chain, &gate);
        let presented = presented.map_err(|refused| format!("{refused:?}"))?;
        let guard = ConnectionLimiter::take(&Arc::default(), &peer, &gate.limits);
        let guard = guard.map_err(|refused| refused.refusal.to_string())?;
        let (reloads, _) = reload_queue(1).map_err(|error| error.to_string())?;
        Ok(Self {
            state: Arc::new(State::new(gate, vec![reached], reloads)),
            session: Session::in_memory(stream, presented, reached, guard),
        })
    }

    /// The state.
    #[must_use]
    pub fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// Serves one connection.
    pub async fn serve(&mut self, stream: S) -> ConnectionEnd {
        self.session.stream = stream;
        // It may hold bytes of the connection before.
        self.session.reader = RequestReader::default();
        self.session.accepted = Instant::now();
        let (mut gates, gate) = (self.state.gates(), self.state.gate());
        let disposition = super::requests(&mut self.session, &mut gates, gate, &self.state).await;
        match disposition {
            Disposition::Reuse => ConnectionEnd::Closed,
            Disposition::Abort => ConnectionEnd::Aborted,
        }
    }
}

#[cfg(test)]
mod tests;
