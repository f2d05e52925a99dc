//! A scraper on blocking sockets: over TLS as Go's crypto/tls offers it, or without TLS for limits.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
    StreamOwned,
};

use crate::Options;

/// Where and how to scrape.
#[derive(Clone)]
pub(crate) struct Client {
    target: Target,
    request: Vec<u8>,
    /// Bytes of the body; anything else is an error.
    expect: usize,
}

#[derive(Clone)]
enum Target {
    Tls(SocketAddr, Arc<ClientConfig>),
    Tcp(SocketAddr),
    Unix(String),
}

impl Client {
    /// Of `--tls`, `--tcp` or `--unix` ADDRESS, `--path`, `--expect`, `--pki`, `--check yes|no`.
    pub(crate) fn new(options: &Options) -> Result<Self, Box<dyn Error>> {
        let target = if let Ok(address) = options.text("tls") {
            Target::Tls(address.parse()?, tls(options)?)
        } else if let Ok(address) = options.text("tcp") {
            Target::Tcp(address.parse()?)
        } else {
            Target::Unix(options.text("unix")?.to_owned())
        };
        // The headers that Prometheus sends.
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: Prometheus/2.42.0\r\n\
             Accept: application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1\r\n\
             Accept-Encoding: gzip\r\nX-Prometheus-Scrape-Timeout-Seconds: 10\r\n\r\n",
            options.text("path")?
        );
        Ok(Self {
            target,
            request: request.into_bytes(),
            expect: options.or("expect", 0)?,
        })
    }

    /// Connects; with TLS, the first scrape makes the handshake.
    pub(crate) fn connect(&self) -> io::Result<Link> {
        let tcp = |address| {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(IO_TIMEOUT))?;
            stream.set_write_timeout(Some(IO_TIMEOUT))?;
            io::Result::Ok(stream)
        };
        Ok(match &self.target {
            Target::Tls(address, config) => {
                let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
                let session =
                    ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
                Link::Tls(Box::new(StreamOwned::new(
                    session,
                    Roomy::new(tcp(*address)?),
                )))
            }
            Target::Tcp(address) => Link::Tcp(tcp(*address)?),
            Target::Unix(path) => {
                let stream = UnixStream::connect(Path::new(path))?;
                stream.set_read_timeout(Some(IO_TIMEOUT))?;
                Link::Unix(stream)
            }
        })
    }

    /// Scrapes once, and passes on every piece of the answer as it arrives.
    pub(crate) fn scrape(
        &self,
        link: &mut Link,
        buffer: &mut [u8],
        mut came: impl FnMut(usize),
    ) -> io::Result<()> {
        link.write_all(&self.request)?;
        let mut answer = Answer::default();
        loop {
            let count = link.read(buffer)?;
            if count == 0 {
                return Err(io::Error::other("the answer broke off"));
            }
            came(count);
            if answer.take(&buffer[..count])? {
                break;
            }
        }
        match answer.body == self.expect {
            true => Ok(()),
            false => Err(io::Error::other(format!(
                "{} bytes in place of {}",
                answer.body, self.expect
            ))),
        }
    }
}

/// Much longer than anything that is measured.
const IO_TIMEOUT: Duration = Duration::from_secs(20);

/// A connection.
pub(crate) enum Link {
    Tls(Box<StreamOwned<ClientConnection, Roomy>>),
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Link {
    /// The parameters that the handshake negotiated.
    pub(crate) fn agreed(&self) -> String {
        let Self::Tls(stream) = self else {
            return "no TLS".to_owned();
        };
        let group = stream
            .conn
            .negotiated_key_exchange_group()
            .map(|group| group.name());
        let suite = stream
            .conn
            .negotiated_cipher_suite()
            .map(|suite| suite.suite());
        format!(
            "{:?} {group:?} {suite:?} {:?}",
            stream.conn.protocol_version(),
            stream.conn.handshake_kind()
        )
        .replace("Some(", "")
        .replace(')', "")
    }

    /// Closes with a close_notify alert.
    pub(crate) fn close(mut self) {
        if let Self::Tls(stream) = &mut self {
            stream.conn.send_close_notify();
            let _ = stream.conn.write_tls(&mut stream.sock);
        }
    }
}

impl Read for Link {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tls(stream) => stream.read(buffer),
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Link {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tls(stream) => stream.write(bytes),
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tls(stream) => stream.flush(),
            Self::Tcp(stream) => stream.flush(),
            Self::Unix(stream) => stream.flush(),
        }
    }
}

/// A socket with a large read buffer. rustls reads 4 KiB at a time, which would make the client the
/// bottleneck.
pub(crate) struct Roomy {
    stream: TcpStream,
    room: Vec<u8>,
    from: usize,
    to: usize,
}

impl Roomy {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            room: Vec::new(),
            from: 0,
            to: 0,
        }
    }
}

impl Read for Roomy {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.from == self.to {
            self.room.resize(128 << 10, 0);
            self.from = 0;
            self.to = self.stream.read(&mut self.room)?;
        }
        let count = buffer.len().min(self.to - self.from);
        buffer[..count].copy_from_slice(&self.room[self.from..self.from + count]);
        self.from += count;
        Ok(count)
    }
}

impl Write for Roomy {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The part of an answer that has arrived.
#[derive(Default)]
struct Answer {
    head: Vec<u8>,
    framing: Option<Framing>,
    body: usize,
}

enum Framing {
    Length(usize),
    /// The bytes left of a chunk and its line end; the part of the size line that has arrived.
    Chunks {
        left: usize,
        line: Vec<u8>,
    },
}

impl Answer {
    /// Takes a piece, and returns whether the answer is complete.
    fn take(&mut self, mut piece: &[u8]) -> io::Result<bool> {
        if self.framing.is_none() {
            let already = self.head.len();
            self.head.extend(piece);
            let from = already.saturating_sub(3);
            let Some(end) = self.head[from..]
                .windows(4)
                .position(|four| four == b"\r\n\r\n")
            else {
                return Ok(false);
            };
            let end = from + end + 4;
            piece = &piece[end - already..];
            self.framing = Some(framing(&self.head[..end])?);
        }
        match &mut self.framing {
            Some(Framing::Chunks { left, line }) => {
                while !piece.is_empty() {
                    if *left > 0 {
                        let count = piece.len().min(*left);
                        piece = &piece[count..];
                        *left -= count;
                        continue;
                    }
                    let Some(end) = piece.iter().position(|&byte| byte == b'\n') else {
                        line.extend(piece);
                        return Ok(false);
                    };
                    line.extend(&piece[..end]);
                    piece = &piece[end + 1..];
                    let text = String::from_utf8_lossy(line);
                    let size = usize::from_str_radix(text.trim(), 16).map_err(io::Error::other)?;
                    line.clear();
                    if size == 0 {
                        // Only the empty line after it may arrive later.
                        return Ok(true);
                    }
                    self.body += size;
                    *left = size + 2;
                }
                Ok(false)
            }
            Some(Framing::Length(length)) => {
                self.body += piece.len();
                Ok(self.body >= *length)
            }
            None => Ok(false),
        }
    }
}

fn framing(head: &[u8]) -> io::Result<Framing> {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    if !head.starts_with("http/1.1 200 ") {
        let line = head.lines().next().unwrap_or_default();
        return Err(io::Error::other(format!("the answer was {line}")));
    }
    for line in head.lines() {
        if let Some(length) = line.strip_prefix("content-length:") {
            return Ok(Framing::Length(
                length.trim().parse().map_err(io::Error::other)?,
            ));
        }
        if line.starts_with("transfer-encoding:") {
            return Ok(Framing::Chunks {
                left: 0,
                line: Vec::new(),
            });
        }
    }
    Err(io::Error::other(
        "the answer has neither a length nor chunks",
    ))
}

/// Full handshakes only; groups and suites in Go's order, with both key shares sent as Go does.
/// `--pair NAME` presents another certificate of the folder, or `none`.
pub(crate) fn tls(options: &Options) -> Result<Arc<ClientConfig>, Box<dyn Error>> {
    let pki = Path::new(options.text("pki")?);
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(pki.join("ca.pem"))?)?;
    let pair = options.or("pair", "prometheus".to_owned())?;
    let provider = Arc::new(CryptoProvider {
        cipher_suites: vec![
            aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
            aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384,
            aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![
            aws_lc_rs::kx_group::X25519MLKEM768,
            aws_lc_rs::kx_group::X25519,
            aws_lc_rs::kx_group::SECP256R1,
        ],
        ..aws_lc_rs::default_provider()
    });
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?;
    let builder = match options.or("check", "yes".to_owned())?.as_str() {
        "no" => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Unchecked(provider))),
        _ => builder.with_root_certificates(roots),
    };
    let mut config = if pair == "none" {
        builder.with_no_client_auth()
    } else {
        let chain = CertificateDer::pem_file_iter(pki.join(format!("{pair}.pem")))?;
        let key = PrivateKeyDer::from_pem_file(pki.join(format!("{pair}.key")))?;
        builder.with_client_auth_cert(chain.collect::<Result<Vec<_>, _>>()?, key)?
    };
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Trusts every server, so that the client needs less CPU time than the server.
#[derive(Debug)]
struct Unchecked(Arc<CryptoProvider>);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
