//! A scraper that speaks TLS and HTTP by hand, so that tests see every byte.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::{Certified, PATIENCE, Pki, metric};

/// Connects with or without a certificate.
#[derive(Clone)]
pub struct Scraper {
    pub address: SocketAddr,
    pub tls: Arc<ClientConfig>,
}

impl Scraper {
    pub fn new(address: SocketAddr, trusts: &Pki, certificate: Option<&Certified>) -> Self {
        let mut tls = client_config(trusts, certificate, rustls::DEFAULT_VERSIONS);
        tls.resumption = Resumption::disabled();
        Self {
            address,
            tls: Arc::new(tls),
        }
    }

    /// Connects and completes the handshake. In TLS 1.3, a refusal is visible only at the first
    /// read.
    pub fn connect(&self) -> io::Result<Connection> {
        self.connect_over(connect(self.address)?)
    }

    /// As [`Scraper::connect`], over this connection.
    pub fn connect_over(&self, tcp: TcpStream) -> io::Result<Connection> {
        let name = ServerName::from(self.address.ip());
        let tls = ClientConnection::new(Arc::clone(&self.tls), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(tls, tcp);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Connection {
            stream,
            read: Vec::new(),
        })
    }

    /// Scrapes once over a connection of its own.
    pub fn get(&self, target: &str) -> Answer {
        self.try_get(target).unwrap()
    }

    pub fn try_get(&self, target: &str) -> io::Result<Answer> {
        let mut connection = self.connect()?;
        connection.get(target)
    }
}

/// A plain TCP connection that gives up after [`PATIENCE`].
#[expect(clippy::disallowed_methods, reason = "the scraper's side")]
pub fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect(address)?;
    tcp.set_read_timeout(Some(PATIENCE))?;
    tcp.set_write_timeout(Some(PATIENCE))?;
    tcp.set_nodelay(true)?;
    Ok(tcp)
}

/// As [`connect`], from an address of this host, such as any of 127.0.0.0/8.
pub fn connect_from(source: IpAddr, address: SocketAddr) -> io::Result<TcpStream> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    // Programs that other tests start at the same time must not inherit it.
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    rustix::net::bind(&socket, &SocketAddr::new(source, 0))?;
    #[expect(clippy::disallowed_methods, reason = "the scraper's side")]
    rustix::net::connect(&socket, &address)?;
    let tcp = TcpStream::from(socket);
    tcp.set_read_timeout(Some(PATIENCE))?;
    tcp.set_write_timeout(Some(PATIENCE))?;
    tcp.set_nodelay(true)?;
    Ok(tcp)
}

pub fn client_config(
    trusts: &Pki,
    certificate: Option<&Certified>,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(trusts.ca_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    match certificate {
        Some(certificate) => builder
            .with_client_auth_cert(certificate.chain.clone(), certificate.private_key())
            .unwrap(),
        None => builder.with_no_client_auth(),
    }
}

/// A connection to aegis.
pub struct Connection {
    pub stream: StreamOwned<ClientConnection, TcpStream>,
    read: Vec<u8>,
}

/// An answer of aegis.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
    /// The number of chunks of the body.
    pub chunks: usize,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Connection {
    pub fn get(&mut self, target: &str) -> io::Result<Answer> {
        self.request("GET", target, "")
    }

    /// The number of open descriptors of aegis, including this connection.
    ///
    /// It is from aegis's own metrics: only root can read `/proc/PID/fd` of a process that is not
    /// dumpable.
    pub fn open_descriptors(&mut self) -> f64 {
        let own = self.get("/metrics").unwrap().text();
        metric(&own, "process_open_fds").unwrap()
    }

    /// Sends a request, with more headers if given, and reads the answer.
    pub fn request(&mut self, method: &str, target: &str, headers: &str) -> io::Result<Answer> {
        self.send(
            format!("{method} {target} HTTP/1.1\r\nHost: aegis\r\n{headers}\r\n").as_bytes(),
        )?;
        self.answer(method == "HEAD")
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Reads an answer. An incomplete one is an error.
    pub fn answer(&mut self, head_alone: bool) -> io::Result<Answer> {
        let mut body = Vec::new();
        let mut answer =
            self.answer_into(head_alone, &mut |bytes| body.extend_from_slice(bytes))?;
        answer.body = body;
        Ok(answer)
    }

    /// Reads an answer, and passes its body on in pieces.
    pub fn answer_into(
        &mut self,
        head_alone: bool,
        body: &mut dyn FnMut(&[u8]),
    ) -> io::Result<Answer> {
        let head = self.read_until(b"\r\n\r\n")?;
        let head = String::from_utf8(head).map_err(io::Error::other)?;
        let status = head.split(' ').nth(1).and_then(|text| text.parse().ok());
        let mut answer = Answer {
            status: status.ok_or_else(|| io::Error::other(head.clone()))?,
            head,
            body: Vec::new(),
            chunks: 0,
        };
        if head_alone {
            return Ok(answer);
        }
        if answer.header("Transfer-Encoding") == Some("chunked") {
            loop {
                let line = self.read_until(b"\r\n")?;
                let line = String::from_utf8(line).map_err(io::Error::other)?;
                let size = usize::from_str_radix(line.trim_end(), 16).map_err(io::Error::other)?;
                self.read_exactly(size, body)?;
                let mut end = Vec::new();
                self.read_exactly(2, &mut |bytes| end.extend_from_slice(bytes))?;
                assert_eq!(end, b"\r\n");
                if size == 0 {
                    return Ok(answer);
                }
                answer.chunks += 1;
            }
        }
        let length = answer
            .header("Content-Length")
            .and_then(|text| text.parse().ok());
        self.read_exactly(length.ok_or_else(|| io::Error::other("no length"))?, body)?;
        Ok(answer)
    }

    /// Whether the other side closes without another byte. After a timeout it counts as open.
    pub fn is_closed(&mut self) -> bool {
        let silent = [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut];
        self.read.is_empty()
            && match self.read_more() {
                Ok(size) => size == 0,
                Err(error) => !silent.contains(&error.kind()),
            }
    }

    fn read_until(&mut self, end: &[u8]) -> io::Result<Vec<u8>> {
        loop {
            if let Some(at) = self
                .read
                .windows(end.len())
                .position(|window| window == end)
            {
                let rest = self.read.split_off(at + end.len());
                return Ok(std::mem::replace(&mut self.read, rest));
            }
            self.read_some()?;
        }
    }

    fn read_exactly(&mut self, mut size: usize, body: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        while size > 0 {
            if self.read.is_empty() {
                self.read_some()?;
            }
            let rest = self.read.split_off(size.min(self.read.len()));
            let piece = std::mem::replace(&mut self.read, rest);
            size -= piece.len();
            body(&piece);
        }
        Ok(())
    }

    fn read_some(&mut self) -> io::Result<()> {
        match self.read_more()? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    fn read_more(&mut self) -> io::Result<usize> {
        let mut piece = [0; 65536];
        let size = self.stream.read(&mut piece)?;
        self.read.extend_from_slice(&piece[..size]);
        Ok(size)
    }
}
