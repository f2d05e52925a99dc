mod cut_answers;

use std::future::poll_fn;
use std::io;
use std::path::Path;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadBuf, duplex};
use tokio::time::advance;

use super::super::Target;
use super::super::revoked::{GRACE_PERIOD, wait_until_revoked};
use super::*;
use crate::config::Overrides;
use crate::refusal::Refusal;

const SCRAPER: &str = "prometheus.example.org";

/// Writes the files of a configuration, and returns the scraper's chain.
fn write_files(folder: &Path) -> Vec<CertificateDer<'static>> {
    let ca = new_ca();
    let mut scraper = CertificateParams::new([SCRAPER.to_owned()]).unwrap();
    scraper.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let scraper = scraper.signed_by(&KeyPair::generate().unwrap(), &ca);
    let server = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::create_dir(folder.join("services")).unwrap();
    for (name, text) in [
        ("ca.pem", ca.as_ref().pem()),
        ("server.pem", server.cert.pem()),
        ("server.key", server.signing_key.serialize_pem()),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
    }
    vec![scraper.unwrap().der().clone()]
}

fn new_ca() -> CertifiedIssuer<'static, KeyPair> {
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap()
}

/// A configuration that grants the scraper this service.
fn granting(service: &str, folder: &Path) -> Config {
    let file = folder.join("aegis.toml");
    let text = format!(
        r#"
        listen = ["127.0.0.1:1"]
        socket_dir = "services"
        [tls]
        cert_file = "server.pem"
        key_file = "server.key"
        client_ca_file = "ca.pem"
        [[allow]]
        networks = ["192.0.2.0/24"]
        identities = ["dns:{SCRAPER}"]
        services = ["{service}"]
        "#
    );
    std::fs::write(&file, text).unwrap();
    let config = Some(file);
    Config::load(&Overrides {
        config,
        ..Overrides::default()
    })
    .unwrap()
}

/// A connection of a scraper that is granted aegis's own metrics.
fn connect() -> (TempDir, InMemoryConnection<DuplexStream>) {
    connect_over(duplex(1).0)
}

fn connect_over<S: AsyncRead + AsyncWrite + Unpin>(stream: S) -> (TempDir, InMemoryConnection<S>) {
    let folder = tempfile::tempdir().unwrap();
    let chain = write_files(folder.path());
    let config = granting("metrics", folder.path());
    let source = "192.0.2.7:40000".parse().unwrap();
    let connection = InMemoryConnection::new(config, source, chain, stream).unwrap();
    (folder, connection)
}

/// Requests aegis's own metrics, and returns the status line of the answer.
async fn status(scraper: &mut DuplexStream) -> String {
    scraper.write_all(REQUEST).await.unwrap();
    first_line(scraper).await
}

async fn first_line(scraper: &mut DuplexStream) -> String {
    let mut answer = vec![0; BUFFER_BYTES];
    let count = scraper.read(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..count]).into_owned();
    answer.lines().next().unwrap_or_default().to_owned()
}

async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

const REQUEST: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n";
/// Holds a complete answer, so that one read returns it.
const BUFFER_BYTES: usize = 1024 * 1024;

#[tokio::test]
async fn a_request_that_arrives_with_a_new_gate_is_judged_by_the_new_gate() {
    let (folder, mut connection) = connect();
    let state = Arc::clone(connection.state());
    let (mut scraper, stream) = duplex(BUFFER_BYTES);
    let client = async {
        // A wrong order fails in every round, a random one in half of them.
        for _ in 0..32 {
            assert_eq!(status(&mut scraper).await, "HTTP/1.1 200 OK");
            let narrow = Gate::build(granting("other", folder.path()), None).unwrap();
            // Neither waits, so that the connection finds both when it runs again.
            scraper.write_all(REQUEST).await.unwrap();
            state.replace(narrow);
            assert_eq!(first_line(&mut scraper).await, "HTTP/1.1 404 Not Found");
            let wide = Gate::build(granting("metrics", folder.path()), None).unwrap();
            state.replace(wide);
            scraper.write_all(REQUEST).await.unwrap();
            assert_eq!(first_line(&mut scraper).await, "HTTP/1.1 200 OK");
        }
        drop(scraper);
    };
    let (ended, ()) = tokio::join!(connection.serve(stream), client);
    assert_eq!(ended, ConnectionEnd::Closed);
}

/// A stream whose first read replaces the gate, and then finds a request: both come after the
/// connection has looked for another gate.
#[derive(Default)]
struct LateRequest {
    replaced_by: Option<(Arc<State>, Gate)>,
    answers: Vec<u8>,
}

impl AsyncRead for LateRequest {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some((state, gate)) = self.replaced_by.take() {
            drop(state.replace(gate));
            buffer.put_slice(REQUEST);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for LateRequest {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        answer: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.answers.extend(answer);
        Poll::Ready(Ok(answer.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_request_that_arrives_just_after_a_new_gate_is_judged_by_it() {
    for (ca, is_answered) in [(None, true), (Some(new_ca()), false)] {
        let (folder, mut connection) = connect_over(LateRequest::default());
        if let Some(ca) = ca {
            std::fs::write(folder.path().join("ca.pem"), ca.as_ref().pem()).unwrap();
        }
        let gate = Gate::build(granting("metrics", folder.path()), None).unwrap();
        let stream = LateRequest {
            replaced_by: Some((Arc::clone(connection.state()), gate)),
            answers: Vec::new(),
        };
        connection.serve(stream).await;
        let answers = &connection.session.stream.answers;
        assert_eq!(answers.starts_with(b"HTTP/1.1 200 OK\r\n"), is_answered);
        assert_eq!(answers.is_empty(), !is_answered);
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_one_per_poll() {
    let (_folder, mut connection) = connect();
    let (mut scraper, stream) = duplex(BUFFER_BYTES);
    scraper.write_all(&REQUEST.repeat(3)).await.unwrap();
    let mut serving = pin!(connection.serve(stream));
    for _ in 0..3 {
        let mut answers = vec![0; BUFFER_BYTES];
        assert!(poll_once(serving.as_mut()).await.is_pending());
        let count = scraper.read(&mut answers).await.unwrap();
        let answers = String::from_utf8_lossy(&answers[..count]);
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 1);
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_scraper_whose_network_was_removed_gets_no_answer() {
    let (folder, mut connection) = connect();
    let state = Arc::clone(connection.state());
    let (mut scraper, stream) = duplex(BUFFER_BYTES);
    let client = async {
        assert_eq!(status(&mut scraper).await, "HTTP/1.1 200 OK");
        let file = folder.path().join("aegis.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace("192.0.2.0/24", "198.51.100.0/24")).unwrap();
        let config = Some(file);
        let other_network = Config::load(&Overrides {
            config,
            ..Overrides::default()
        });
        scraper.write_all(REQUEST).await.unwrap();
        state.replace(Gate::build(other_network.unwrap(), None).unwrap());
        assert_eq!(first_line(&mut scraper).await, "");
    };
    let connection = async {
        let ended = connection.serve(stream).await;
        // Dropping the stream closes the connection.
        drop(connection);
        ended
    };
    let (ended, ()) = tokio::join!(connection, client);
    assert_eq!(ended, ConnectionEnd::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_scrape_allowed_again_within_the_grace_period_continues() {
    let (folder, connection) = connect();
    let state = Arc::clone(connection.state());
    let granting = |service| Gate::build(granting(service, folder.path()), None).unwrap();
    let presented = Arc::clone(&connection.session.presented);
    let target = Target::Service("metrics".parse().unwrap());
    let mut refused = pin!(wait_until_revoked(&presented, &target, state.gates()));
    assert!(poll_once(refused.as_mut()).await.is_pending());
    state.replace(granting("other"));
    assert!(poll_once(refused.as_mut()).await.is_pending());
    advance(GRACE_PERIOD / 2).await;
    state.replace(granting("metrics"));
    assert!(poll_once(refused.as_mut()).await.is_pending());
    advance(GRACE_PERIOD * 2).await;
    assert!(poll_once(refused.as_mut()).await.is_pending());
    // Another gate that refuses it does not extend the grace period.
    for _ in 0..2 {
        state.replace(granting("other"));
        assert!(poll_once(refused.as_mut()).await.is_pending());
        advance(GRACE_PERIOD / 2 + Duration::from_millis(1)).await;
    }
    let Poll::Ready(refused) = poll_once(refused.as_mut()).await else {
        panic!("the scrape continues");
    };
    assert_eq!(refused.refusal, Refusal::NotGranted);
}

#[tokio::test(start_paused = true)]
async fn a_connection_past_its_age_answers_one_more_request_and_then_closes() {
    let (_folder, mut connection) = connect();
    let (mut scraper, stream) = duplex(BUFFER_BYTES);
    let client = async {
        let mut last = String::new();
        // Each pause is shorter than `idle_timeout`, and all of them are longer than
        // `connection_age`.
        for _ in 0..16 {
            assert!(!last.contains("Connection: close\r\n"), "{last}");
            scraper.write_all(REQUEST).await.unwrap();
            let mut answer = vec![0; BUFFER_BYTES];
            let count = scraper.read(&mut answer).await.unwrap();
            last = String::from_utf8_lossy(&answer[..count]).into_owned();
            assert!(last.starts_with("HTTP/1.1 200 OK\r\n"), "{last}");
            advance(Duration::from_secs(4 * 60)).await;
        }
        assert!(last.contains("Connection: close\r\n"), "{last}");
    };
    let (ended, ()) = tokio::join!(connection.serve(stream), client);
    assert_eq!(ended, ConnectionEnd::Closed);
}
