//! An aegis without a network, built once and asked for as long as the fuzzer likes.
//!
//! All that follows the handshake is the code of production, by a configuration and files as
//! an operator has them. The scraper's chain is judged by the gate as any other.

use std::fs;
use std::future::poll_fn;
use std::path::Path;
use std::pin::pin;
use std::task::Poll;

use aegis::config::{Config, Overrides};
use aegis::scrape::{Ended, Rehearsal};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::scripted::Scripted;
use crate::services::Services;

/// What the scraper is granted, and what there is to meet.
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

/// The world around the path of a request.
#[derive(Debug)]
pub struct World {
    runtime: Runtime,
    rehearsal: Rehearsal<Scripted>,
    /// The services.
    pub services: Services,
    _folder: TempDir,
}

/// What came of one connection.
#[derive(Debug)]
pub struct Conversation {
    /// How it ended.
    pub ended: Ended,
    /// All that the scraper was told.
    pub told: Vec<u8>,
    /// The requests that the service saw.
    pub asked: Vec<Vec<u8>>,
}

impl World {
    /// Builds the world.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let services = Services::new(folder.path());
        write_pki(folder.path());
        fs::write(folder.path().join("aegis.toml"), CONFIG).unwrap();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let rehearsal = {
            let _inside = runtime.enter();
            rehearse(&folder.path().join("aegis.toml")).unwrap()
        };
        Self {
            runtime,
            rehearsal,
            services,
            _folder: folder,
        }
    }

    /// Lets a scraper say this, in pieces of this size, and leave once it was answered.
    pub fn converse(&mut self, script: &[u8], piece: usize) -> Conversation {
        let Self {
            runtime,
            rehearsal,
            services,
            ..
        } = self;
        let scraper = Scripted::new(script, piece);
        let ended = runtime.block_on(async {
            let mut serving = pin!(rehearsal.connection(scraper.clone()));
            poll_fn(|cx| {
                loop {
                    scraper.was_waited_for();
                    if let Poll::Ready(ended) = serving.as_mut().poll(cx) {
                        return Poll::Ready(ended);
                    }
                    let is_scraping = services.serve();
                    if is_scraping || !scraper.was_waited_for() {
                        // The socket, or whoever yielded, wakes it.
                        return Poll::Pending;
                    }
                    scraper.leave();
                }
            })
            .await
        });
        services.serve();
        if let Some(name) = services.trespassed() {
            panic!("{name} was connected with");
        }
        Conversation {
            ended,
            told: scraper.told(),
            asked: std::mem::take(&mut services.asked),
        }
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

/// Builds a gate from a configuration file, and judges the scraper by it.
pub fn rehearse(file: &Path) -> Result<Rehearsal<Scripted>, String> {
    let overrides = Overrides {
        config: Some(file.to_owned()),
        ..Overrides::default()
    };
    let config = Config::load(&overrides).map_err(|faults| format!("{faults:?}"))?;
    let chain = vec![CertificateDer::from_pem_slice(CLIENT).unwrap()];
    let source = "192.0.2.7:40000".parse().unwrap();
    Rehearsal::new(config, source, chain, Scripted::default())
}

/// Writes certificates and a key. Those of the scraper are fixed, and their keys thrown away;
/// the server's are new every time.
pub fn write_pki(folder: &Path) {
    let server = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.join(name), bytes).unwrap();
    write("server.pem", server.cert.pem().as_bytes());
    write("server.key", server.signing_key.serialize_pem().as_bytes());
    write("ca.pem", CA);
    write("crl.pem", CRL);
}

/// The CA that vouches for the scraper.
pub const CA: &[u8] = include_bytes!("../pki/ca.pem");
/// The scraper's certificate.
pub const CLIENT: &[u8] = include_bytes!("../pki/client.pem");
/// A CRL on which the scraper is not.
pub const CRL: &[u8] = include_bytes!("../pki/crl.pem");
/// A CRL on which it is.
pub const CRL_OF_CLIENT: &[u8] = include_bytes!("../pki/crl-of-client.pem");
