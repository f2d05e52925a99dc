//! Attacks by hostile scrapers, as fast as possible. `benches/attacks/run` and `tests/soak/run`
//! start it.
//!
//! It uses the source addresses of a block of 127.0.0.0/8 in turn: `--from 127.0.1.0 --addresses
//! 64`. It resets connections, so that no port stays in TIME_WAIT.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use crate::Options;
use crate::client::tls;
use crate::malformed::{Random, Shape, is_request};

/// A block of source addresses, taken in turn.
pub(crate) struct Sources {
    first: u32,
    count: u64,
    next: AtomicU64,
}

impl Sources {
    pub(crate) fn new(options: &Options) -> Result<Self, Box<dyn Error>> {
        let first: Ipv4Addr = options.or("from", Ipv4Addr::LOCALHOST)?;
        Ok(Self {
            first: first.into(),
            count: options.or("addresses", 1)?,
            next: AtomicU64::new(0),
        })
    }

    pub(crate) fn connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.count.max(1);
        let from = Ipv4Addr::from(self.first + u32::try_from(turn).unwrap_or(0));
        let socket = rustix::net::socket_with(
            AddressFamily::INET,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        rustix::net::bind(&socket, &SocketAddrV4::new(from, 0))?;
        sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
        rustix::net::connect(&socket, &to)?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(IO_TIMEOUT))?;
        stream.set_write_timeout(Some(IO_TIMEOUT))?;
        Ok(stream)
    }
}

/// Longer than every default deadline that applies to such a connection.
const IO_TIMEOUT: Duration = Duration::from_secs(15);

/// The results of many attempts.
#[derive(Default)]
struct Tally {
    attempts: AtomicU64,
    /// Refused before a byte of TLS.
    refused: AtomicU64,
    /// Answered by TLS: aegis computed the costly part of the handshake, or sent an alert.
    answered: AtomicU64,
    /// Status classes: 2xx to 5xx.
    statuses: [AtomicU64; 6],
    /// Connections that ended without an answer.
    silent: AtomicU64,
    /// The first few results that must never happen.
    wrong: Mutex<Vec<String>>,
}

impl Tally {
    fn wrong(&self, what: String) {
        let mut wrong = self.wrong.lock().unwrap_or_else(|held| held.into_inner());
        if wrong.len() < 20 {
            wrong.push(what);
        }
    }

    fn print(&self, seconds: f64) {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let statuses: Vec<String> = self
            .statuses
            .iter()
            .map(|count| of(count).to_string())
            .collect();
        let wrong = self.wrong.lock().unwrap_or_else(|held| held.into_inner());
        println!(
            "{{\"attempts\": {}, \"refused\": {}, \"answered\": {}, \"statuses\": [{}], \"silent\": {}, \"wrong\": {:?}, \"seconds\": {seconds:.3}}}",
            of(&self.attempts),
            of(&self.refused),
            of(&self.answered),
            statuses.join(", "),
            of(&self.silent),
            wrong,
        );
    }
}

/// Attempts `--count` connections (or as many as there is time for in `--seconds`) by `--threads`,
/// of one `--kind`: `hello`, `malformed` or `strangers`. Prints one JSON object.
pub(crate) fn attack(options: &Options) -> Result<(), Box<dyn Error>> {
    let kind = options.text("kind")?.to_owned();
    let to: SocketAddr = options.text("tls")?.parse()?;
    let threads: usize = options.or("threads", 16)?;
    let count: u64 = options.or("count", u64::MAX)?;
    let seconds: f64 = options.or("seconds", 1e9)?;
    let seed: u64 = options.or("seed", 1)?;
    // The pause between two attempts of a thread, so that a soak is not a flood.
    let pause = Duration::from_secs_f64(options.or("pause", 0.0)?);
    let path = options.or("path", "/l10k".to_owned())?;
    let sources = Sources::new(options)?;
    let configs = match kind.as_str() {
        "strangers" => vec![
            tls(&options.with("pair", "none"))?,
            tls(&options.with("pair", "stranger"))?,
            tls(&options.with("pki", options.text("other-pki")?))?,
        ],
        _ => vec![tls(options)?],
    };
    let hello = hello(&configs[0])?;
    let tally = Tally::default();
    let begun = Instant::now();
    thread::scope(|scope| {
        for number in 0..threads {
            let (configs, tally, sources, kind, path, hello) = (
                &configs,
                &tally,
                &sources,
                kind.as_str(),
                path.as_str(),
                &hello,
            );
            scope.spawn(move || {
                let mut random = Random::new(seed.wrapping_mul(1_000_003) + number as u64);
                while begun.elapsed().as_secs_f64() < seconds {
                    let turn = tally.attempts.fetch_add(1, Ordering::Relaxed);
                    if turn >= count {
                        tally.attempts.fetch_sub(1, Ordering::Relaxed);
                        return;
                    }
                    let done = match kind {
                        "hello" => say_hello(sources, to, hello, tally),
                        "malformed" => {
                            malformed(sources, to, &configs[0], path, &mut random, tally)
                        }
                        _ => stranger(sources, to, configs, path, &mut random, tally),
                    };
                    if done.is_err() {
                        tally.refused.fetch_add(1, Ordering::Relaxed);
                    }
                    if !pause.is_zero() {
                        thread::sleep(pause);
                    }
                }
            });
        }
    });
    tally.print(begun.elapsed().as_secs_f64());
    Ok(())
}

/// The bytes of a ClientHello, created once. They cost nothing to send, and make a server compute
/// the costly part of a handshake.
pub(crate) fn hello(config: &Arc<ClientConfig>) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut session = session(config)?;
    let mut bytes = Vec::new();
    session.write_tls(&mut bytes)?;
    Ok(bytes)
}

fn session(config: &Arc<ClientConfig>) -> io::Result<ClientConnection> {
    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
    ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)
}

fn say_hello(sources: &Sources, to: SocketAddr, hello: &[u8], tally: &Tally) -> io::Result<()> {
    let mut stream = sources.connect(to)?;
    stream.write_all(hello)?;
    match stream.read(&mut [0; 256])? {
        0 => Err(io::ErrorKind::ConnectionReset.into()),
        _ => {
            tally.answered.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    }
}

/// One handshake and one malformed request.
fn malformed(
    sources: &Sources,
    to: SocketAddr,
    config: &Arc<ClientConfig>,
    path: &str,
    random: &mut Random,
    tally: &Tally,
) -> io::Result<()> {
    let mut stream = sources.connect(to)?;
    let mut session = session(config)?;
    while session.is_handshaking() {
        session.complete_io(&mut stream)?;
    }
    tally.answered.fetch_add(1, Ordering::Relaxed);
    let request = Shape::mutated(path, random);
    session.writer().write_all(&request)?;
    let whole = request.windows(4).any(|four| four == b"\r\n\r\n");
    if !whole {
        // Ends the connection in the middle of the request.
        session.send_close_notify();
    }
    let answer = read_all(&mut session, &mut stream);
    note(&request, &answer, tally);
    Ok(())
}

/// Reads until an answer is complete, the connection ends or a read times out.
fn read_all(session: &mut ClientConnection, stream: &mut TcpStream) -> Vec<u8> {
    let mut read = Vec::new();
    while session.wants_write() {
        if session.write_tls(stream).is_err() {
            break;
        }
    }
    loop {
        match session.read_tls(stream) {
            Ok(1..) => {}
            Ok(0) | Err(_) => return read,
        }
        let Ok(state) = session.process_new_packets() else {
            return read;
        };
        let mut piece = vec![0; state.plaintext_bytes_to_read()];
        if session.reader().read_exact(&mut piece).is_ok() {
            read.extend(piece);
        }
        if state.peer_has_closed() || is_whole(&read) {
            return read;
        }
    }
}

/// Whether the head has a length and that much body has arrived. Sufficient for refusals.
fn is_whole(read: &[u8]) -> bool {
    let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") else {
        return false;
    };
    let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
    // A connection that aegis closes is read to its end, so that a second answer is noticed.
    if head.contains("connection: close") {
        return false;
    }
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"));
    let length = length.and_then(|length| length.trim().parse::<usize>().ok());
    read.len() >= end + 4 + length.unwrap_or(0)
}

/// A text that only the service outside the socket directory sends.
const CANARY: &[u8] = b"outside_the_directory";

fn note(request: &[u8], answer: &[u8], tally: &Tally) {
    let shown = || {
        request
            .escape_ascii()
            .to_string()
            .chars()
            .take(300)
            .collect::<String>()
    };
    if answer.windows(CANARY.len()).any(|part| part == CANARY) {
        tally.wrong(format!("the canary was read: {}", shown()));
    }
    let answers = answer
        .windows(9)
        .filter(|nine| *nine == b"HTTP/1.1 ")
        .count();
    // aegis may refuse an incomplete head before it ends.
    let ends = |part: &&[u8]| **part == *b"\r\n\r\n";
    let asked =
        request.windows(4).filter(ends).count() + usize::from(!request.ends_with(b"\r\n\r\n"));
    if answers > asked {
        tally.wrong(format!("{answers} answers: {}", shown()));
    }
    let hundred = match answer.strip_prefix(b"HTTP/1.1 ") {
        Some([digit @ b'1'..=b'5', ..]) => usize::from(digit - b'0'),
        Some(_) => 0,
        None => {
            if !answer.is_empty() {
                tally.wrong(format!("a malformed answer: {}", shown()));
            }
            tally.silent.fetch_add(1, Ordering::Relaxed);
            return;
        }
    };
    tally.statuses[hundred].fetch_add(1, Ordering::Relaxed);
    if hundred == 2 && !is_request(request) {
        tally.wrong(format!("served: {}", shown()));
    }
    if hundred == 1 || hundred == 3 {
        tally.wrong(format!("{hundred}xx: {}", shown()));
    }
}

/// A client that may not scrape: without a certificate, with one of another name or CA, or without
/// TLS. It must get no HTTP answer.
fn stranger(
    sources: &Sources,
    to: SocketAddr,
    configs: &[Arc<ClientConfig>],
    path: &str,
    random: &mut Random,
    tally: &Tally,
) -> io::Result<()> {
    let mut stream = sources.connect(to)?;
    let kind = random.below(configs.len() + 2);
    let Some(config) = configs.get(kind) else {
        let junk = match kind - configs.len() {
            0 => format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes(),
            _ => (0..random.below(600) + 1).map(|_| random.byte()).collect(),
        };
        let mut answer = Vec::new();
        stream.write_all(&junk)?;
        // Otherwise aegis would wait for the rest of the record.
        stream.shutdown(std::net::Shutdown::Write)?;
        let _ = stream.read_to_end(&mut answer);
        if !answer.is_empty() && !answer.starts_with(b"\x15\x03") {
            tally.wrong(format!("answered in the clear: {}", answer.escape_ascii()));
        }
        return Ok(());
    };
    let mut session = session(config)?;
    while session.is_handshaking() {
        session.complete_io(&mut stream)?;
    }
    tally.answered.fetch_add(1, Ordering::Relaxed);
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    session.writer().write_all(request.as_bytes())?;
    let answer = read_all(&mut session, &mut stream);
    if !answer.is_empty() {
        tally.wrong(format!(
            "stranger {kind} was told {}",
            answer.escape_ascii()
        ));
    }
    Ok(())
}

/// Opens `--count` silent connections. Prints how long each stayed open, and how many at once.
/// After `--hold` seconds, it closes the rest.
pub(crate) fn silent(options: &Options) -> Result<(), Box<dyn Error>> {
    let to: SocketAddr = options.text("tls")?.parse()?;
    let count: usize = options.or("count", 1)?;
    let per_second: f64 = options.or("rate", 1e9)?;
    let hold = Duration::from_secs_f64(options.or("hold", 30.0)?);
    let sources = Sources::new(options)?;
    let mut open: Vec<(TcpStream, Instant)> = Vec::new();
    let (mut ended, mut refused, mut most, mut longest) = (0_u64, 0_u64, 0, 0.0_f64);
    let begun = Instant::now();
    let mut last = begun;
    let mut attempts = 0;
    loop {
        while attempts < count && attempts as f64 <= begun.elapsed().as_secs_f64() * per_second {
            attempts += 1;
            match sources.connect(to) {
                Ok(stream) => {
                    stream.set_nonblocking(true)?;
                    open.push((stream, Instant::now()));
                }
                Err(_) => refused += 1,
            }
            last = Instant::now();
            if attempts % 64 == 0 {
                break;
            }
        }
        open.retain(|(stream, since)| {
            let mut byte = [0; 64];
            let over = match (&*stream).read(&mut byte) {
                Ok(0) => true,
                Ok(_) => false,
                Err(error) => error.kind() != io::ErrorKind::WouldBlock,
            };
            if over {
                ended += 1;
                longest = longest.max(since.elapsed().as_secs_f64());
            }
            !over
        });
        most = most.max(open.len());
        if attempts >= count && (open.is_empty() || last.elapsed() >= hold) {
            break;
        }
        thread::sleep(Duration::from_millis(2));
    }
    println!(
        "{{\"attempts\": {attempts}, \"refused\": {refused}, \"ended\": {ended}, \"left\": {}, \"most\": {most}, \"longest\": {longest:.3}, \"opening\": {:.3}}}",
        open.len(),
        last.duration_since(begun).as_secs_f64(),
    );
    Ok(())
}

/// `--count` readers take one byte a second of `--path`; `{}` in it is a number below
/// `--services`. Prints how many got an answer's first byte; ends after `--seconds`.
pub(crate) fn sip(options: &Options) -> Result<(), Box<dyn Error>> {
    let to: SocketAddr = options.text("tls")?.parse()?;
    let count: usize = options.or("count", 1)?;
    let services: usize = options.or("services", 1)?;
    let seconds = Duration::from_secs_f64(options.or("seconds", 15.0)?);
    let timeout: f64 = options.or("timeout", 10.0)?;
    let path = options.text("path")?;
    let sources = Sources::new(options)?;
    let config = tls(options)?;
    let mut readers = Vec::new();
    let mut failed = 0;
    for number in 0..count {
        let path = path.replace("{}", &(number % services).to_string());
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nX-Prometheus-Scrape-Timeout-Seconds: {timeout}\r\n\r\n"
        );
        let begin = || -> io::Result<TcpStream> {
            let mut stream = sources.connect(to)?;
            sockopt::set_socket_recv_buffer_size(&stream, 4096)?;
            let mut session = session(&config)?;
            while session.is_handshaking() {
                session.complete_io(&mut stream)?;
            }
            session.writer().write_all(request.as_bytes())?;
            while session.wants_write() {
                session.write_tls(&mut stream)?;
            }
            Ok(stream)
        };
        match begin() {
            Ok(stream) => readers.push(stream),
            Err(_) => failed += 1,
        }
    }
    println!("reading");
    let begun = Instant::now();
    let mut taken = 0;
    while begun.elapsed() < seconds {
        for stream in &mut readers {
            stream.set_nonblocking(true)?;
            taken += stream.read(&mut [0]).unwrap_or(0);
        }
        thread::sleep(Duration::from_secs(1));
    }
    println!(
        "{{\"readers\": {}, \"failed\": {failed}, \"bytes\": {taken}}}",
        readers.len()
    );
    Ok(())
}
