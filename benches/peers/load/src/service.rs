//! The service that is scraped: bodies in memory, one thread, a Unix socket for each body.
//!
//! It ignores the request's path, so that peers that cannot rewrite it can be measured.

use std::collections::HashMap;
use std::error::Error;
use std::io::{self, Write as _};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::rc::Rc;

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{self, SocketFlags};

use crate::Options;
use crate::ready::Ready;

/// The bodies, by name of their socket: `l` with a length, `c` in chunks.
pub(crate) const SIZES: [(&str, usize); 3] =
    [("10k", 10 << 10), ("1m", 1 << 20), ("20m", 20 << 20)];

/// Go's exporters write through a buffer of this size, and each write becomes a chunk.
const CHUNK: usize = 4096;

/// Serves every body on `--dir`/NAME.sock, and on a TCP port too for peers without Unix sockets;
/// with `--count`, only the smallest one, on that many sockets. Prints the ports as `NAME PORT` lines,
/// then `ready`.
pub(crate) fn serve(options: &Options) -> Result<(), Box<dyn Error>> {
    let dir = Path::new(options.text("dir")?).to_owned();
    let mut listeners: Vec<(OwnedFd, Rc<Vec<u8>>)> = Vec::new();
    for (name, answer) in bodies(options.or("count", 0)?) {
        let unix = UnixListener::bind(dir.join(format!("{name}.sock")))?;
        let tcp = TcpListener::bind("127.0.0.1:0")?;
        println!("{name} {}", tcp.local_addr()?.port());
        listeners.push((unix.into(), Rc::clone(&answer)));
        listeners.push((tcp.into(), answer));
    }
    let ready = Ready::new()?;
    for (number, (listener, _)) in listeners.iter().enumerate() {
        rustix::io::ioctl_fionbio(listener, true)?;
        ready.add(listener, number as u64, EventFlags::IN)?;
    }
    println!("ready");
    io::stdout().flush()?;

    let mut connections: HashMap<u64, Connection> = HashMap::new();
    let mut next = listeners.len() as u64;
    let mut numbers = Vec::new();
    loop {
        ready.wait(&mut numbers)?;
        for &number in &numbers {
            if let Some((listener, answer)) = listeners.get(number as usize) {
                let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
                while let Ok(stream) = net::accept_with(listener, flags) {
                    // Fails on a Unix socket, which does not need it.
                    let _ = net::sockopt::set_tcp_nodelay(&stream, true);
                    let mut connection = Connection::new(stream, Rc::clone(answer));
                    // The request is mostly there already.
                    if connection.proceed() == Wish::End {
                        continue;
                    }
                    ready.add(&connection.stream, next, connection.waits_for())?;
                    connections.insert(next, connection);
                    next += 1;
                }
            } else if let Some(connection) = connections.get_mut(&number) {
                let before = connection.waits_for();
                if connection.proceed() == Wish::End {
                    connections.remove(&number);
                } else if connection.waits_for() != before {
                    ready.change(&connection.stream, number, connection.waits_for())?;
                }
            }
        }
    }
}

/// The name and the answer of each socket.
fn bodies(count: usize) -> Vec<(String, Rc<Vec<u8>>)> {
    if count > 0 {
        let (name, size) = SIZES[0];
        let answer = Rc::new(with_length(size));
        let names = (0..count).map(|number| format!("l{name}-{number:03}"));
        return names.map(|name| (name, Rc::clone(&answer))).collect();
    }
    let both = |(name, size): (&str, usize)| {
        [
            (format!("l{name}"), Rc::new(with_length(size))),
            (format!("c{name}"), Rc::new(chunked(size))),
        ]
    };
    SIZES.into_iter().flat_map(both).collect()
}

fn with_length(size: usize) -> Vec<u8> {
    let mut answer = format!("{HEAD}Content-Length: {size}\r\n\r\n").into_bytes();
    answer.extend(metrics(size));
    answer
}

fn chunked(size: usize) -> Vec<u8> {
    let mut answer = format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    for chunk in metrics(size).chunks(CHUNK) {
        answer.extend(format!("{:x}\r\n", chunk.len()).bytes());
        answer.extend(chunk);
        answer.extend(b"\r\n");
    }
    answer.extend(b"0\r\n\r\n");
    answer
}

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n";

/// Exactly this many bytes of samples. The last line is a comment.
fn metrics(size: usize) -> Vec<u8> {
    let mut body = Vec::with_capacity(size);
    for n in 0.. {
        let line = format!("bench_jobs_total{{shard=\"{n:07}\",state=\"done\"}} {n}\n");
        if body.len() + line.len() + 8 > size {
            break;
        }
        body.extend(line.into_bytes());
    }
    body.extend(b"# ");
    body.resize(size - 1, b'-');
    body.push(b'\n');
    body
}

struct Connection {
    stream: OwnedFd,
    answer: Rc<Vec<u8>>,
    /// The part of the next request's head that has arrived.
    head: Vec<u8>,
    /// How far the answer is written, while one is.
    written: Option<usize>,
    last: bool,
}

#[derive(PartialEq, Eq)]
enum Wish {
    Wait,
    End,
}

impl Connection {
    fn new(stream: OwnedFd, answer: Rc<Vec<u8>>) -> Self {
        let head = Vec::with_capacity(1024);
        Self {
            stream,
            answer,
            head,
            written: None,
            last: false,
        }
    }

    fn waits_for(&self) -> EventFlags {
        match self.written {
            Some(_) => EventFlags::OUT,
            None => EventFlags::IN,
        }
    }

    /// Reads and writes until it would block.
    fn proceed(&mut self) -> Wish {
        loop {
            if let Some(written) = self.written {
                let Some(rest) = self.answer.get(written..).filter(|rest| !rest.is_empty()) else {
                    if self.last {
                        return Wish::End;
                    }
                    self.written = None;
                    return Wish::Wait;
                };
                match rustix::net::send(&self.stream, rest, net::SendFlags::NOSIGNAL) {
                    Ok(count) => self.written = Some(written + count),
                    Err(Errno::AGAIN) => return Wish::Wait,
                    Err(_) => return Wish::End,
                }
                continue;
            }
            let mut buffer = [0; 2048];
            match rustix::io::read(&self.stream, &mut buffer) {
                Ok(0) => return Wish::End,
                Ok(count) => self.head.extend(&buffer[..count]),
                Err(Errno::AGAIN) => return Wish::Wait,
                Err(_) => return Wish::End,
            }
            if self.head.ends_with(b"\r\n\r\n") {
                let head = self.head.to_ascii_lowercase();
                let close = b"\r\nconnection: close\r\n";
                self.last = head.windows(close.len()).any(|part| part == close);
                self.head.clear();
                self.written = Some(0);
            }
        }
    }
}
