//! A scraper over mutual TLS, in the place of Prometheus. It sends paths as they are.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::WantsClientCert;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, ConfigBuilder, RootCertStore, StreamOwned};

use crate::{Outcome, pki};

pub(crate) struct Scraper {
    tls: Arc<ClientConfig>,
    address: SocketAddr,
}

impl Scraper {
    /// A scraper with a certificate that the policy allows.
    pub(crate) fn with_certificate(folder: &Path, address: SocketAddr) -> Outcome<Self> {
        let chain = vec![CertificateDer::from_pem_file(folder.join(pki::SCRAPER))?];
        let key = PrivateKeyDer::from_pem_file(folder.join(pki::SCRAPER_KEY))?;
        let tls = trusting_ca(folder)?.with_client_auth_cert(chain, key)?;
        Ok(Self {
            tls: Arc::new(tls),
            address,
        })
    }

    /// A client without a certificate.
    pub(crate) fn without_certificate(folder: &Path, address: SocketAddr) -> Outcome<Self> {
        let tls = trusting_ca(folder)?.with_no_client_auth();
        Ok(Self {
            tls: Arc::new(tls),
            address,
        })
    }

    /// Scrapes, on a connection of its own.
    pub(crate) fn get(&self, path: &str) -> Saw {
        self.exchange(path).unwrap_or_else(|error| Saw {
            status: None,
            text: error.to_string(),
        })
    }

    fn exchange(&self, path: &str) -> io::Result<Saw> {
        let stream = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        // As Prometheus does; the request would wait 40 ms for the ACK of the handshake.
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let aegis = ServerName::from(self.address.ip());
        let connection = ClientConnection::new(Arc::clone(&self.tls), aegis);
        let connection = connection.map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, stream);
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nAccept: {ACCEPT}\r\nConnection: close\r\n\r\n",
            self.address
        );
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.take(LARGEST).read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        Ok(Saw {
            status,
            text: body.to_owned(),
        })
    }
}

fn trusting_ca(folder: &Path) -> Outcome<ConfigBuilder<ClientConfig, WantsClientCert>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.join(pki::CA))?)?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let tls =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(tls.with_root_certificates(roots))
}

const ACCEPT: &str = "application/openmetrics-text;version=1.0.0";
const PATIENCE: Duration = Duration::from_secs(10);
const LARGEST: u64 = 1024 * 1024;

/// What a scraper sees of its scrape.
pub(crate) struct Saw {
    /// The answer's status; none if there was no answer.
    pub(crate) status: Option<u16>,
    /// The answer's body, or the error that came instead.
    pub(crate) text: String,
}

impl fmt::Display for Saw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            Some(status) => write!(f, "status {status}\n{}", self.text),
            None => write!(f, "no answer: {}", self.text),
        }
    }
}
