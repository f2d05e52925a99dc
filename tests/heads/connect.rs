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
    /// How many of them reached a service of aegis, which repeated them.
    pub asked: usize,
    /// The status with which it refused what followed them.
    pub refusal: Option<u16>,
}

/// What aegis read: what its services were asked. Elsewhere it does not repeat a request, and what
/// it answered must fit the target.
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
    let (mut heads, mut asked) = (heads(bytes), 0);
    let seen = seen(
        &exchange(&mut stream, bytes, quiet),
        // 502 and 503: a service that is broken or busy, which a valid case shows.
        |status| matches!(status, 400 | 405 | 431 | 502 | 503),
        |status, answer| {
            let [method, target] = heads.next().map(request_line).unwrap_or_default();
            let is_own = VIEWS.contains(&target);
            let target = match repeated(answer) {
                Some(target) => {
                    asked += 1;
                    target
                }
                None if status == 200 && method == b"GET" && !is_own => b"(a page of aegis)",
                None => target,
            };
            [method, target].join(&b' ')
        },
    );
    Seen { asked, ..seen }
}

/// The targets that aegis answers itself.
const VIEWS: &[&[u8]] = &[
    b"/",
    b"/?refresh=off",
    b"/-/sd",
    b"/-/healthy",
    b"/-/ready",
    b"/metrics",
];

/// What another server read.
pub fn peer(servers: &Servers, peer: Peer, bytes: &[u8], quiet: Duration) -> Seen {
    let mut stream = connect(|| {
        #[expect(clippy::disallowed_methods, reason = "a client in a test")]
        UnixStream::connect(servers.socket(peer))
    });
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    seen(
        &exchange(&mut stream, bytes, quiet),
        |status| status >= 300,
        |_, answer| repeated(answer).unwrap_or_default().to_vec(),
    )
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

/// Reads the answers, and the request of each that is no refusal.
fn seen(
    received: &[u8],
    refuses: impl Fn(u16) -> bool,
    mut request: impl FnMut(u16, &[u8]) -> Vec<u8>,
) -> Seen {
    let mut seen = Seen::default();
    for (status, answer) in answers(received) {
        if refuses(status) {
            seen.refusal = Some(status);
            break;
        }
        if status >= 200 {
            seen.requests
                .push(with_query_encoded(&request(status, answer)));
        }
    }
    seen
}

/// The status and bytes of each answer. No body has a status line in it.
fn answers(received: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let line = b"HTTP/1.1 200";
    let mut starts = received
        .windows(line.len())
        .enumerate()
        .filter_map(|(place, window)| {
            let status = str::from_utf8(window.strip_prefix(b"HTTP/1.")?).ok()?;
            let (_, status) = status.split_once(' ')?;
            Some((place, status.parse().ok()?))
        })
        .peekable();
    std::iter::from_fn(move || {
        let (start, status) = starts.next()?;
        let end = starts.peek().map_or(received.len(), |(next, _)| *next);
        Some((status, &received[start..end]))
    })
}

/// The request that an answer repeats, in its head or its body.
fn repeated(answer: &[u8]) -> Option<&[u8]> {
    let mut lines = answer.split(|byte| *byte == b'\n').skip(1);
    lines.find_map(|line| {
        let (name, value) = line.split_at_checked(b"seen: ".len())?;
        name.eq_ignore_ascii_case(b"seen: ")
            .then(|| value.trim_ascii_end())
    })
}

/// A request whose query is decoded and encoded again, as aegis does it for a service.
fn with_query_encoded(request: &[u8]) -> Vec<u8> {
    let Some(place) = request.iter().position(|byte| *byte == b'?') else {
        return request.to_vec();
    };
    let (request, query) = request.split_at(place + 1);
    let mut encoded = form_urlencoded::Serializer::new(String::new());
    encoded.extend_pairs(form_urlencoded::parse(query));
    [request, encoded.finish().as_bytes()].concat()
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
fn request_line(head: &[u8]) -> [&[u8]; 2] {
    let start = head.iter().position(|byte| !b"\r\n".contains(byte));
    let head = &head[start.unwrap_or(head.len())..];
    let mut words = head.split(|byte| *byte == b' ');
    [words.next().unwrap(), words.next().unwrap()]
}
