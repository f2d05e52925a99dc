//! An aegis without a network, built once and used for every input.
//!
//! All stages after the handshake are the production code, with a real configuration and files. The
//! gate verifies the scraper's chain as any other.

use std::fs;
use std::future::poll_fn;
use std::path::Path;
use std::pin::pin;
use std::task::Poll;

use aegis::config::{Config, Overrides};
use aegis::scrape::{ConnectionEnd, InMemoryConnection};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::scripted::Scripted;
use crate::services::Services;

/// The grants of the scraper and the services.
const CONFIG: &str = r#"
listen = ["127.0.0.1:1"]
socket_dir = "services"
[tls]
cert_file = "server.pem"
key_file = "server.key"
client_ca_file = "ca.pem"
client_crl_files = ["crl.pem"]
[[allow]]
networks = ["192.0.2.0/24"]
identities = ["dns:prometheus.example.org"]
services = ["node", "metrics", "escape", "again", "file", "gone", "unknown-*"]
[services.gone]
[services.node]
params = ["collect[]"]
max_body = "2KiB"
"#;

/// The gate, the services and the files that a request uses.
#[derive(Debug)]
pub struct World {
    runtime: Runtime,
    connection: InMemoryConnection<Scripted>,
    /// The services.
    pub services: Services,
    _folder: TempDir,
}

/// The result of one connection.
#[derive(Debug)]
pub struct Conversation {
    /// How it ended.
    pub ended: ConnectionEnd,
    /// The bytes that the scraper received.
    pub received: Vec<u8>,
    /// The requests that the service got.
    pub requests: Vec<Vec<u8>>,
}

impl World {
    /// Builds the world.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let services = Services::new(folder.path());
        write_pki(folder.path());
        fs::write(folder.path().join("aegis.toml"), CONFIG).unwrap();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let connection = {
            let _inside = runtime.enter();
            connect(&folder.path().join("aegis.toml")).unwrap()
        };
        Self {
            runtime,
            connection,
            services,
            _folder: folder,
        }
    }

    /// Runs a scraper that sends this script in pieces of this size and closes after the answer.
    pub fn converse(&mut self, script: &[u8], piece: usize) -> Conversation {
        let Self {
            runtime,
            connection,
            services,
            ..
        } = self;
        let scraper = Scripted::new(script, piece);
        let ended = runtime.block_on(async {
            let mut serving = pin!(connection.serve(scraper.clone()));
            poll_fn(|cx| {
                loop {
                    scraper.was_waited_for();
                    if let Poll::Ready(ended) = serving.as_mut().poll(cx) {
                        return Poll::Ready(ended);
                    }
                    let is_scraping = services.serve();
                    if is_scraping || !scraper.was_waited_for() {
                        // The socket or the task that yielded wakes it.
                        return Poll::Pending;
                    }
                    scraper.leave();
                }
            })
            .await
        });
        services.serve();
        if let Some(name) = services.contacted_forbidden() {
            panic!("{name} was connected to");
        }
        Conversation {
            ended,
            received: scraper.received(),
            requests: std::mem::take(&mut services.requests),
        }
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

/// Builds a gate from a configuration file, and judges the scraper by it.
pub fn connect(file: &Path) -> Result<InMemoryConnection<Scripted>, String> {
    let overrides = Overrides {
        config: Some(file.to_owned()),
        ..Overrides::default()
    };
    let config = Config::load(&overrides).map_err(|faults| format!("{faults:?}"))?;
    let chain = vec![CertificateDer::from_pem_slice(CLIENT).unwrap()];
    let source = "192.0.2.7:40000".parse().unwrap();
    InMemoryConnection::new(config, source, chain, Scripted::default())
}

/// Writes certificates and a key. Those of the scraper are fixed, and their keys are deleted. Those
/// of the server are new each time.
pub fn write_pki(folder: &Path) {
    let server = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.join(name), bytes).unwrap();
    write("server.pem", server.cert.pem().as_bytes());
    write("server.key", server.signing_key.serialize_pem().as_bytes());
    write("ca.pem", CA);
    write("crl.pem", CRL);
}

/// The CA of the scraper.
pub const CA: &[u8] = include_bytes!("../pki/ca.pem");
/// The scraper's certificate.
pub const CLIENT: &[u8] = include_bytes!("../pki/client.pem");
/// A CRL that does not list the scraper.
pub const CRL: &[u8] = include_bytes!("../pki/crl.pem");
/// A CRL that lists it.
pub const CRL_OF_CLIENT: &[u8] = include_bytes!("../pki/crl-of-client.pem");
