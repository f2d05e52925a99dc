//! The services behind aegis: one that answers, and others that aegis must never contact.
//!
//! They have no thread: the world calls `serve` when aegis waits.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// The default answer of the service.
pub const METRICS: &[u8] = b"# TYPE up gauge\nup 1\n";

/// The sockets of a world.
#[derive(Debug)]
pub struct Services {
    node: UnixListener,
    forbidden: Vec<(&'static str, UnixListener)>,
    open: Option<Exchange>,
    answer: Vec<u8>,
    piece: usize,
    /// The requests that the service got, in order.
    pub requests: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct Exchange {
    stream: UnixStream,
    request: Vec<u8>,
    answered: usize,
}

impl Services {
    /// Creates the sockets: aegis may connect only to `services/node.sock`.
    pub fn new(folder: &Path) -> Self {
        let inside = folder.join("services");
        fs::create_dir_all(inside.join("below")).unwrap();
        fs::create_dir_all(folder.join("outside")).unwrap();
        let listen = |path: &Path| {
            let listener = UnixListener::bind(path).unwrap();
            listener.set_nonblocking(true).unwrap();
            listener
        };
        let forbidden = [
            "services/denied.sock",
            "services/.hidden.sock",
            "services/below/node.sock",
            "services/metrics.sock",
            "services/twice.sock",
            "outside/canary.sock",
            "canary.sock",
        ];
        let forbidden = forbidden
            .into_iter()
            .map(|name| (name, listen(&folder.join(name))))
            .collect();
        symlink("../outside/canary.sock", inside.join("escape.sock")).unwrap();
        symlink("../outside", inside.join("outside")).unwrap();
        fs::hard_link(inside.join("twice.sock"), inside.join("again.sock")).unwrap();
        fs::write(inside.join("file.sock"), "CANARY").unwrap();
        Self {
            node: listen(&inside.join("node.sock")),
            forbidden,
            open: None,
            answer: Vec::new(),
            piece: usize::MAX,
            requests: Vec::new(),
        }
    }

    /// Answers with these bytes from now on, in pieces of at most this size.
    pub fn answer_with(&mut self, answer: &[u8], piece: usize) {
        self.answer = answer.to_owned();
        self.piece = piece;
        self.requests.clear();
    }

    /// Reads and writes without blocking. Returns whether an exchange is still open.
    pub fn serve(&mut self) -> bool {
        loop {
            match &mut self.open {
                None => match self.node.accept() {
                    Ok((stream, _)) => {
                        stream.set_nonblocking(true).unwrap();
                        self.open = Some(Exchange {
                            stream,
                            request: Vec::new(),
                            answered: 0,
                        });
                    }
                    Err(_) => return false,
                },
                Some(open) => {
                    let is_over = open.read();
                    if open.request.ends_with(b"\r\n\r\n") {
                        open.write(&self.answer, self.piece);
                    }
                    if !is_over {
                        return true;
                    }
                    self.requests
                        .extend(self.open.take().map(|over| over.request));
                }
            }
        }
    }

    /// A socket that aegis connected to although it must not.
    pub fn contacted_forbidden(&self) -> Option<&'static str> {
        let mut forbidden = self.forbidden.iter();
        let contacted = forbidden.find(|(_, listener)| listener.accept().is_ok());
        contacted.map(|(name, _)| *name)
    }
}

impl Exchange {
    /// Reads all available bytes. Returns whether aegis has closed the connection.
    fn read(&mut self) -> bool {
        let mut bytes = [0; 4096];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return true,
                Ok(count) => self.request.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(_) => return true,
            }
        }
    }

    /// Writes the next piece, and ends the answer after the last.
    fn write(&mut self, answer: &[u8], piece: usize) {
        let left = &answer[self.answered..];
        if !left.is_empty() {
            let now = &left[..left.len().min(piece)];
            match self.stream.write(now) {
                Ok(count) => self.answered += count,
                Err(_) => return,
            }
        }
        if self.answered == answer.len() {
            drop(self.stream.shutdown(Shutdown::Write));
        }
    }
}
