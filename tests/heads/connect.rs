//! Sends bytes to a server and counts what it answers.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use crate::servers::{Peer, Servers};

/// How a server read the bytes of a connection.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Method and target of each request that it took and answered.
    pub requests: Vec<Vec<u8>>,
    /// The status with which it refused what followed them.
    pub refusal: Option<u16>,
}

/// What aegis read. It knows no service, so that 404 answers a request with a good head.
pub fn aegis(servers: &Servers, bytes: &[u8], quiet: Duration) -> Seen {
    let tcp = connect(|| {
        #[expect(clippy::disallowed_methods, reason = "the scraper's side")]
        TcpStream::connect(servers.aegis)
    });
    tcp.set_nodelay(true).unwrap();
    tcp.set_write_timeout(Some(PATIENCE)).unwrap();
    let name = ServerName::from(servers.aegis.ip());
    let tls = ClientConnection::new(Arc::clone(&servers.tls), name).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = StreamOwned::new(tls, tcp);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).unwrap();
    }
    let mut seen = seen(&exchange(&mut stream, bytes, quiet), |status| {
        matches!(status, 400 | 405 | 431)
    });
    // aegis does not repeat them.
    for (request, head) in seen.requests.iter_mut().zip(heads(bytes)) {
        *request = request_line(head);
    }
    seen
}

/// What another server read.
pub fn peer(servers: &Servers, peer: Peer, bytes: &[u8], quiet: Duration) -> Seen {
    let mut stream = connect(|| {
        #[expect(clippy::disallowed_methods, reason = "a client in a test")]
        UnixStream::connect(servers.socket(peer))
    });
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    seen(&exchange(&mut stream, bytes, quiet), |status| status >= 300)
}

/// Connects, and waits for a server that is still starting.
fn connect<S>(mut once: impl FnMut() -> io::Result<S>) -> S {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match once() {
            Ok(stream) => return stream,
            Err(error) => assert!(Instant::now() < deadline, "no connection: {error}"),
        }
        std::thread::yield_now();
    }
}

/// Much longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(30);

trait Stream: Read + Write {
    fn wait_at_most(&self, time: Duration);
    /// Closes the side on which it writes.
    fn end(&mut self);
}

impl Stream for UnixStream {
    fn wait_at_most(&self, time: Duration) {
        self.set_read_timeout(Some(time)).unwrap();
    }

    fn end(&mut self) {
        drop(self.shutdown(Shutdown::Write));
    }
}

impl Stream for StreamOwned<ClientConnection, TcpStream> {
    fn wait_at_most(&self, time: Duration) {
        self.sock.set_read_timeout(Some(time)).unwrap();
    }

    fn end(&mut self) {
        self.conn.send_close_notify();
        drop(self.flush());
        drop(self.sock.shutdown(Shutdown::Write));
    }
}

/// Sends the bytes and reads until the server closes.
///
/// A server that waits for more bytes learns that none follow once it is quiet. An earlier end could
/// make it forget requests that it has not answered: HAProxy and aegis give up those of a client
/// that has left.
fn exchange(stream: &mut impl Stream, bytes: &[u8], quiet: Duration) -> Vec<u8> {
    // A server may refuse the first bytes and close.
    drop(stream.write_all(bytes).and_then(|()| stream.flush()));
    stream.wait_at_most(quiet);
    let (mut received, mut piece, mut ended) = (Vec::new(), [0; 4096], false);
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return received,
            Ok(length) => received.extend_from_slice(&piece[..length]),
            Err(error) if is_timeout(&error) && !ended => {
                stream.end();
                stream.wait_at_most(PATIENCE);
                ended = true;
            }
            Err(error) if is_timeout(&error) => {
                panic!("not closed: {}", bytes.escape_ascii())
            }
            // Closed with bytes unread.
            Err(_) => return received,
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

/// Reads the status lines; no body has one in it.
fn seen(received: &[u8], refuses: impl Fn(u16) -> bool) -> Seen {
    let mut seen = Seen::default();
    for (place, window) in received.windows(b"HTTP/1.1 200".len()).enumerate() {
        let status = str::from_utf8(&window[9..])
            .ok()
            .and_then(|text| text.parse().ok());
        match status.filter(|_| window.starts_with(b"HTTP/1.") && window[8] == b' ') {
            Some(status) if refuses(status) => {
                seen.refusal = Some(status);
                break;
            }
            Some(200..) => seen.requests.push(repeated(&received[place..])),
            _ => {}
        }
    }
    seen
}

/// The method and target that the head of an answer repeats.
fn repeated(answer: &[u8]) -> Vec<u8> {
    let mut lines = answer.split(|byte| *byte == b'\n').skip(1);
    let mut lines = std::iter::from_fn(|| lines.next().filter(|line| *line != b"\r"));
    let found = lines.find_map(|line| {
        let (name, value) = line.split_at_checked(b"seen: ".len())?;
        name.eq_ignore_ascii_case(b"seen: ")
            .then(|| value.trim_ascii_end().to_vec())
    });
    found.unwrap_or_default()
}

/// The heads in the bytes as aegis splits them, each with its empty line: no request has a body.
pub fn heads(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let end = rest.windows(4).position(|window| window == b"\r\n\r\n")?;
        let (head, after) = rest.split_at(end + 4);
        rest = after;
        Some(head)
    })
}

/// Method and target of a head that aegis accepts.
fn request_line(head: &[u8]) -> Vec<u8> {
    let start = head.iter().position(|byte| !b"\r\n".contains(byte));
    let head = &head[start.unwrap_or(head.len())..];
    let mut words = head.split(|byte| *byte == b' ');
    [words.next().unwrap(), words.next().unwrap()].join(&b' ')
}
