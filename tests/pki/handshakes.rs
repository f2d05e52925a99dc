//! Verdicts by real TLS 1.3 handshakes with the running binary.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs::{default_provider, sign::any_supported_type};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ClientConnection, RootCertStore, SignatureScheme, StreamOwned};

use crate::generate::Case;
use crate::judges::Verdict;
use crate::keys::Key;

/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Starts aegis with the files of a folder, and scrapes it with the certificate of the case.
///
/// It is `None` if TLS cannot use the leaf's key. An error names the reason as `aegis explain` does, without the detail.
pub fn verdict(folder: &Path, case: &Case, key: &Key) -> Option<Verdict> {
    let key = key.private()?;
    let Some(mut aegis) = Aegis::start(folder, case) else {
        return Some(Err("load".to_owned()));
    };
    let config = client(folder, case, key);
    Some(match scrapes(config, aegis.address) {
        true => Ok(()),
        false => Err(aegis.reason()),
    })
}

/// Whether there is an answer: in TLS 1.3 the client learns only after its handshake whether the
/// server accepts it.
#[expect(
    clippy::disallowed_methods,
    reason = "a scraper connects; aegis itself does not"
)]
fn scrapes(config: Arc<ClientConfig>, address: SocketAddr) -> bool {
    let tcp = TcpStream::connect(address).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    let name = "localhost".try_into().unwrap();
    let mut tls = StreamOwned::new(ClientConnection::new(config, name).unwrap(), tcp);
    let request = b"GET /node HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut answer = Vec::new();
    // The alert may arrive while the request is being written.
    let sent = tls.write_all(request);
    let read = sent.and_then(|()| tls.read_to_end(&mut answer));
    assert!(
        read.is_err() || answer.starts_with(b"HTTP/1.1 404 "),
        "an answer of aegis: {:?}",
        String::from_utf8_lossy(&answer)
    );
    read.is_ok()
}

fn client(folder: &Path, case: &Case, key: Vec<u8>) -> Arc<ClientConfig> {
    let key = PrivatePkcs8KeyDer::from(key);
    let key = any_supported_type(&key.into()).unwrap();
    let chain = case.chain.iter().map(|der| der.clone().into()).collect();
    let mut roots = RootCertStore::empty();
    let server = CertificateDer::from_pem_file(folder.join("server.pem")).unwrap();
    roots.add(server).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_cert_resolver(Arc::new(Always(Arc::new(CertifiedKey::new(chain, key)))));
    Arc::new(config)
}

/// Presents its certificate, however invalid it is.
#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesClientCert for Always {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// A running `aegis serve`; dropping it kills it.
struct Aegis {
    child: Child,
    log: BufReader<ChildStderr>,
    address: SocketAddr,
}

impl Aegis {
    /// `None` if it does not start with these files.
    fn start(folder: &Path, case: &Case) -> Option<Self> {
        let mut command = Command::new(binary());
        command.args(["serve", "--log-level", "debug", "--config"]);
        command.arg(folder.join("aegis.toml"));
        if !case.crls.is_empty() {
            command.arg("--client-crl").arg(folder.join("crls.pem"));
        }
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let Some(ready) = line_with(&mut log, "ready") else {
            assert!(
                !child.wait().unwrap().success(),
                "aegis ended before it was ready"
            );
            return None;
        };
        let address = field(&ready, "listen=").parse().unwrap();
        Some(Self {
            child,
            log,
            address,
        })
    }

    /// The reason of the first refusal in the log.
    fn reason(&mut self) -> String {
        let line = line_with(&mut self.log, "stage=handshake");
        field(&line.unwrap(), "reason=")
    }
}

impl Drop for Aegis {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn line_with(log: &mut impl std::io::BufRead, text: &str) -> Option<String> {
    log.lines()
        .map_while(Result::ok)
        .find(|line| line.contains(text))
}

/// The value of a field of a log line, without its quotes.
fn field(line: &str, name: &str) -> String {
    let mut words = line.split(' ');
    let value = words.find_map(|word| word.strip_prefix(name));
    let value = value.unwrap_or_else(|| panic!("no {name} in {line}"));
    value.trim_matches('"').to_owned()
}

/// The binary that `AEGIS_BINARY` names, or the one next to this example.
fn binary() -> PathBuf {
    if let Some(binary) = std::env::var_os("AEGIS_BINARY") {
        return binary.into();
    }
    let example = fs::canonicalize(std::env::current_exe().unwrap()).unwrap();
    example.ancestors().nth(2).unwrap().join("aegis")
}
