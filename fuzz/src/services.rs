//! The services behind aegis: one that answers, and others that must never be connected with.
//!
//! They have no thread: the world serves them by hand whenever aegis waits.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// What the service answers with if nothing else is said.
pub const METRICS: &[u8] = b"# TYPE up gauge\nup 1\n";

/// The sockets of a world.
#[derive(Debug)]
pub struct Services {
    node: UnixListener,
    never: Vec<(&'static str, UnixListener)>,
    open: Option<Exchange>,
    answer: Vec<u8>,
    piece: usize,
    /// The requests that the service was sent, as they came.
    pub asked: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct Exchange {
    stream: UnixStream,
    request: Vec<u8>,
    answered: usize,
}

impl Services {
    /// Makes the sockets: `services/node.sock` answers; around it lies all that must not.
    pub fn new(folder: &Path) -> Self {
        let inside = folder.join("services");
        fs::create_dir_all(inside.join("below")).unwrap();
        fs::create_dir_all(folder.join("outside")).unwrap();
        let listen = |path: &Path| {
            let listener = UnixListener::bind(path).unwrap();
            listener.set_nonblocking(true).unwrap();
            listener
        };
        let never = [
            "services/denied.sock",
            "services/.hidden.sock",
            "services/below/node.sock",
            "services/metrics.sock",
            "services/twice.sock",
            "outside/canary.sock",
            "canary.sock",
        ];
        let never = never
            .into_iter()
            .map(|name| (name, listen(&folder.join(name))))
            .collect();
        symlink("../outside/canary.sock", inside.join("escape.sock")).unwrap();
        symlink("../outside", inside.join("outside")).unwrap();
        fs::hard_link(inside.join("twice.sock"), inside.join("again.sock")).unwrap();
        fs::write(inside.join("file.sock"), "CANARY").unwrap();
        Self {
            node: listen(&inside.join("node.sock")),
            never,
            open: None,
            answer: Vec::new(),
            piece: usize::MAX,
            asked: Vec::new(),
        }
    }

    /// Answers with these bytes from now on, at most so many at once.
    pub fn answer_with(&mut self, answer: &[u8], piece: usize) {
        self.answer = answer.to_owned();
        self.piece = piece;
        self.asked.clear();
    }

    /// Does what can be done now; whether an exchange is still going on.
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
                    self.asked.extend(self.open.take().map(|over| over.request));
                }
            }
        }
    }

    /// Says which socket was connected with that must never be.
    pub fn trespassed(&self) -> Option<&'static str> {
        let mut never = self.never.iter();
        let met = never.find(|(_, listener)| listener.accept().is_ok());
        met.map(|(name, _)| *name)
    }
}

impl Exchange {
    /// Reads what came; whether aegis has closed the connection.
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
