//! Stage 2. TLS with a client certificate, and the identity of its verified leaf.
//!
//! No resumption, no tickets, no early data: every connection is verified in full, because a
//! resumed session would be a certificate check from the past (CVE-2025-23419, golang/go#77217).

mod cause;
mod refused;
mod turns;
mod verify;
mod wire;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::{Acceptor, NoServerSessionStorage};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, version};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::admit::{Admitted, Slot, Standing};
use crate::config::{self, Fault, Limits, TlsVersion};
use crate::credentials::{Credentials, seconds_until};
use crate::deadline;
use crate::identity::Identity;
use crate::peer::Peer;
use crate::policy::Policy;
use crate::refusal::{Refusal, Refused};
use refused::{noting_certificates, refused};
use turns::Turns;
use verify::{ClientVerifier, soonest_not_after};
use wire::LINGER;
pub use wire::Wire;

/// What TLS holds of an answer that is not taken: with the two pieces of 64 KiB that are on their
/// way, a scrape's memory has its bound. Such a piece is two writes, one that was gathered from small
/// ones (`ENOUGH` of the answer) is one.
const MOST_UNSENT: usize = 38 * 1024;

/// A connection whose scraper has proved who it is.
///
/// Only the handshake makes one, so that an [`Identity`] which decides anything is
/// always that of a verified leaf.
#[derive(Debug)]
pub struct Session<S = TlsStream<Wire>> {
    pub(super) stream: S,
    pub(super) presented: Arc<Presented>,
    pub(super) accepted: Instant,
    /// The address of aegis that the scraper reached.
    pub(super) reached: SocketAddr,
    slot: Slot,
}

/// What a scraper has presented: all that it can be judged by again.
#[derive(Debug)]
pub(super) struct Presented {
    pub(super) peer: Peer,
    pub(super) identity: Identity,
    chain: Vec<CertificateDer<'static>>,
    /// When the first certificate of the chain runs out, in seconds since the Unix epoch.
    not_after: i64,
}

/// How TLS is spoken: the part of the gate that handshakes are made by.
#[derive(Debug)]
pub struct Handshake {
    tls: Arc<ServerConfig>,
    verifier: Arc<ClientVerifier>,
    deadline: Duration,
    turns: Turns,
}

impl Handshake {
    /// Prepares TLS from the credentials.
    ///
    /// # Errors
    /// The key does not belong to the certificate.
    pub fn new(
        credentials: Credentials,
        settings: &config::Tls,
        limits: &Limits,
    ) -> Result<Self, Vec<Fault>> {
        let (tls, verifier) = server_config(credentials, settings).map_err(|fault| vec![fault])?;
        Ok(Self {
            tls: Arc::new(tls),
            verifier,
            deadline: limits.handshake_timeout,
            turns: Turns::new(limits.handshakes),
        })
    }

    /// Makes the handshake and asks the policy whether it knows the identity at all.
    ///
    /// # Errors
    /// Any refusal of [`crate::refusal::Stage::Handshake`].
    pub(super) async fn accept(
        &self,
        admitted: Admitted,
        policy: &Policy,
    ) -> Result<Session, Refused> {
        let Admitted {
            stream,
            peer,
            accepted,
            slot,
        } = admitted;
        let deadline = accepted + self.deadline;
        let reached = stream.local_addr();
        let reached = reached.map_err(|error| Refused::new(Refusal::Tls, error))?;
        let negotiated = noting_certificates(self.negotiate(stream, slot.standing()));
        let stream = match deadline::by(deadline, negotiated).await {
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
        let presented = Presented::by(peer, chain.to_vec())?;
        let mut session = Session {
            presented: Arc::new(presented),
            stream,
            accepted,
            reached,
            slot,
        };
        if let Err(refused) = session.presented.is_known_to(policy) {
            session.close().await;
            return Err(refused);
        }
        session.stream.get_mut().0.is_known_now();
        session.slot.is_proven_now();
        Ok(session)
    }

    /// Judges by this gate what a scraper presented under another.
    ///
    /// # Errors
    /// [`Refusal::Network`], or any refusal of a certificate.
    pub(super) fn judge(&self, presented: &Presented, policy: &Policy) -> Result<(), Refused> {
        is_admitted(&presented.peer, policy)?;
        self.verify(&presented.chain)?;
        presented.is_known_to(policy)
    }

    /// Judges a chain, leaf first, as if a scraper had presented it from this address.
    ///
    /// # Errors
    /// [`Refusal::Network`], or any refusal of a certificate.
    pub(super) fn judge_chain(
        &self,
        peer: Peer,
        chain: Vec<CertificateDer<'static>>,
        policy: &Policy,
    ) -> Result<Presented, Refused> {
        is_admitted(&peer, policy)?;
        self.verify(&chain)?;
        let presented = Presented::by(peer, chain)?;
        presented.is_known_to(policy)?;
        Ok(presented)
    }

    fn verify(&self, chain: &[CertificateDer<'static>]) -> Result<(), Refused> {
        let (leaf, intermediates) = chain.split_first().ok_or(Refusal::NoCertificate)?;
        let verified = self.verifier.check(leaf, intermediates, UnixTime::now());
        verified.map_err(|cause| Refused::from(&cause))
    }

    /// Speaks TLS. A failure comes with the stream, if the scraper was sent an alert on it.
    async fn negotiate(
        &self,
        stream: TcpStream,
        standing: Standing,
    ) -> Result<TlsStream<Wire>, (Refused, Option<Wire>)> {
        let wire = Wire::of_a_stranger(stream);
        let mut hello = pin!(LazyConfigAcceptor::new(Acceptor::default(), wire));
        let hello = match hello.as_mut().await {
            Ok(hello) => hello,
            Err(error) => return Err((refused(error), hello.take_io())),
        };
        let rest = hello.into_stream_with(Arc::clone(&self.tls), |connection| {
            connection.set_buffer_limit(Some(MOST_UNSENT));
        });
        let ended = self.turns.make(rest.into_fallible(), standing).await;
        ended.map_err(|(error, stream)| (refused(error), Some(stream)))
    }
}

/// Judges names and a key that nobody has proved, for an explanation.
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
    match policy.admits(peer) {
        true => Ok(()),
        false => Err(Refusal::Network.into()),
    }
}

fn is_known(peer: &Peer, identity: &Identity, policy: &Policy) -> Result<(), Refused> {
    if policy.knows(peer, identity) {
        return Ok(());
    }
    let shown = identity.shown();
    Err(match identity.names() {
        [] => {
            let why = "no subject alternative name, and a common name does not count";
            Refused::new(Refusal::Identity, format_args!("{shown}; {why}"))
        }
        _ => Refused::new(Refusal::Identity, shown),
    })
}

impl Presented {
    /// Reads the identity of a chain that was verified.
    fn by(peer: Peer, chain: Vec<CertificateDer<'static>>) -> Result<Self, Refused> {
        let (leaf, above) = chain.split_first().ok_or(Refusal::NoCertificate)?;
        let identity =
            Identity::from_leaf(leaf).map_err(|error| Refused::new(Refusal::Untrusted, error))?;
        Ok(Self {
            peer,
            not_after: identity.not_after().min(soonest_not_after(above)),
            identity,
            chain,
        })
    }

    fn is_known_to(&self, policy: &Policy) -> Result<(), Refused> {
        is_known(&self.peer, &self.identity, policy)
    }

    /// Whether a certificate of the chain has run out since the handshake.
    pub(super) fn has_expired(&self) -> bool {
        seconds_until(self.not_after) < 0
    }
}

impl Session {
    /// Ends the connection in good order, so that the scraper reads the last answer.
    pub(super) async fn close(&mut self) {
        drop(timeout(LINGER, self.stream.shutdown()).await);
        self.stream.get_mut().0.discard().await;
    }
}

fn server_config(
    credentials: Credentials,
    settings: &config::Tls,
) -> Result<(ServerConfig, Arc<ClientVerifier>), Fault> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let own = CertifiedKey::from_der(credentials.chain, credentials.key, &provider);
    let own = own.map_err(|error| unusable(&error, settings))?;
    let verifier = Arc::new(ClientVerifier::new(
        credentials.client_cas,
        credentials.client_crls,
        settings.expired_crls,
        &provider,
    ));
    let versions: &[_] = match settings.min_version {
        TlsVersion::V1_3 => &[&version::TLS13],
        TlsVersion::V1_2 => &[&version::TLS13, &version::TLS12],
    };
    let mut tls = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(|error| Fault::new(&settings.cert_file.origin, "tls", error.to_string()))?
        .with_client_cert_verifier(Arc::clone(&verifier) as _)
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(own)));
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    tls.session_storage = Arc::new(NoServerSessionStorage {});
    tls.send_tls13_tickets = 0;
    tls.max_early_data_size = 0;
    // Only TLS 1.2 knows it; without it a session is open to a triple handshake (RFC 7627).
    tls.require_ems = true;
    Ok((tls, verifier))
}

/// What is wrong with aegis's own certificate and key.
#[expect(clippy::wildcard_enum_match_arm, reason = "the enum grows with rustls")]
fn unusable(error: &rustls::Error, settings: &config::Tls) -> Fault {
    let (certificate, key) = (&settings.cert_file, &settings.key_file);
    let (cert_file, key_file) = (certificate.value.display(), key.value.display());
    match error {
        rustls::Error::InconsistentKeys(_) => {
            let problem = format!("{key_file} is not the key of the certificate in {cert_file}");
            Fault::new(&key.origin, "tls.key_file", problem)
        }
        rustls::Error::InvalidCertificate(_) => {
            let problem = format!(
                "{cert_file} holds a certificate that TLS cannot use; it must be of version 3 and follow RFC 5280"
            );
            Fault::new(&certificate.origin, "tls.cert_file", problem)
        }
        _ => {
            let problem = format!(
                "{key_file} holds a key that TLS cannot use; make one of P-256, P-384, P-521, Ed25519, or RSA of 2048 bits or more"
            );
            Fault::new(&key.origin, "tls.key_file", problem)
        }
    }
}

#[cfg(test)]
mod limbo;
#[cfg(any(test, fuzzing))]
mod rehearsed;
