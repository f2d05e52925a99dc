use std::future::poll_fn;
use std::path::Path;
use std::pin::{Pin, pin};
use std::task::Poll;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::*;
use crate::config::Overrides;

const SCRAPER: &str = "prometheus.example.org";

/// Writes the files of a configuration, and gives the scraper's chain.
fn write_files(folder: &Path) -> Vec<CertificateDer<'static>> {
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
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

/// The configuration that grants the scraper this service.
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

/// A scraper that is granted aegis's own metrics.
fn rehearsal() -> (TempDir, Rehearsal<DuplexStream>) {
    let folder = tempfile::tempdir().unwrap();
    let chain = write_files(folder.path());
    let config = granting("metrics", folder.path());
    let source = "192.0.2.7:40000".parse().unwrap();
    let rehearsal = Rehearsal::new(config, source, chain, duplex(1).0).unwrap();
    (folder, rehearsal)
}

/// Asks for aegis's own metrics, and reads what came first of the answer.
async fn status(scraper: &mut DuplexStream) -> String {
    scraper.write_all(REQUEST).await.unwrap();
    first_line(scraper).await
}

async fn first_line(scraper: &mut DuplexStream) -> String {
    let mut answer = vec![0; ROOM];
    let count = scraper.read(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..count]).into_owned();
    answer.lines().next().unwrap_or_default().to_owned()
}

async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

const REQUEST: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n";
/// Holds a whole answer, so that it is read at once.
const ROOM: usize = 1024 * 1024;

#[tokio::test]
async fn a_request_that_comes_together_with_another_gate_is_judged_by_that_one() {
    let (folder, mut rehearsal) = rehearsal();
    let endpoint = Arc::clone(rehearsal.endpoint());
    let (mut scraper, stream) = duplex(ROOM);
    let asking = async {
        // A wrong order would be seen in every round, a random one in half of them.
        for _ in 0..32 {
            assert_eq!(status(&mut scraper).await, "HTTP/1.1 200 OK");
            let narrow = Gate::build(granting("other", folder.path()), None).unwrap();
            // Neither waits, so that the connection finds both when it runs next.
            scraper.write_all(REQUEST).await.unwrap();
            endpoint.replace(narrow);
            assert_eq!(first_line(&mut scraper).await, "HTTP/1.1 404 Not Found");
            let wide = Gate::build(granting("metrics", folder.path()), None).unwrap();
            endpoint.replace(wide);
            scraper.write_all(REQUEST).await.unwrap();
            assert_eq!(first_line(&mut scraper).await, "HTTP/1.1 200 OK");
        }
        drop(scraper);
    };
    let (ended, ()) = tokio::join!(rehearsal.connection(stream), asking);
    assert_eq!(ended, Ended::Closed);
}

#[tokio::test]
async fn of_requests_that_come_together_one_is_answered_at_a_turn() {
    let (_folder, mut rehearsal) = rehearsal();
    let (mut scraper, stream) = duplex(ROOM);
    scraper.write_all(&REQUEST.repeat(3)).await.unwrap();
    let mut serving = pin!(rehearsal.connection(stream));
    for _ in 0..3 {
        let mut answers = vec![0; ROOM];
        assert!(poll_once(serving.as_mut()).await.is_pending());
        let count = scraper.read(&mut answers).await.unwrap();
        let answers = String::from_utf8_lossy(&answers[..count]);
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 1);
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_scraper_whose_network_is_taken_away_is_not_answered_any_more() {
    let (folder, mut rehearsal) = rehearsal();
    let endpoint = Arc::clone(rehearsal.endpoint());
    let (mut scraper, stream) = duplex(ROOM);
    let asking = async {
        assert_eq!(status(&mut scraper).await, "HTTP/1.1 200 OK");
        let file = folder.path().join("aegis.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace("192.0.2.0/24", "198.51.100.0/24")).unwrap();
        let config = Some(file);
        let elsewhere = Config::load(&Overrides {
            config,
            ..Overrides::default()
        });
        scraper.write_all(REQUEST).await.unwrap();
        endpoint.replace(Gate::build(elsewhere.unwrap(), None).unwrap());
        assert_eq!(first_line(&mut scraper).await, "");
    };
    let connection = async {
        let ended = rehearsal.connection(stream).await;
        // What closes a connection is its end.
        drop(rehearsal);
        ended
    };
    let (ended, ()) = tokio::join!(connection, asking);
    assert_eq!(ended, Ended::Closed);
}
