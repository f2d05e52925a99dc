//! Services on Unix sockets: good ones, and every kind of bad one.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use super::PATIENCE;

/// A service that runs until it is dropped, and notes the requests that it saw.
pub struct Service {
    path: PathBuf,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    requests: Mutex<(Vec<String>, usize)>,
    more: Condvar,
}

impl Service {
    /// Answers every request with the same bytes and hangs up.
    pub fn answering(path: &Path, answer: Vec<u8>) -> Self {
        Self::with(path, move |stream| drop(stream.write_all(&answer)))
    }

    /// Does this with every connection, once its request was read.
    pub fn with(path: &Path, serve: impl Fn(&mut UnixStream) + Send + Sync + 'static) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let seen = Arc::new(Seen::default());
        let (noted, serve) = (Arc::clone(&seen), Arc::new(serve));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (noted, serve) = (Arc::clone(&noted), Arc::clone(&serve));
                noted.requests.lock().unwrap().1 += 1;
                noted.more.notify_all();
                std::thread::spawn(move || {
                    let mut stream = stream;
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    stream.set_write_timeout(Some(PATIENCE)).unwrap();
                    if let Some(request) = read_head(&mut stream) {
                        noted.requests.lock().unwrap().0.push(request);
                        noted.more.notify_all();
                        serve(&mut stream);
                    }
                });
            }
        });
        Self {
            path: path.to_owned(),
            seen,
        }
    }

    /// How often something connected.
    pub fn connections(&self) -> usize {
        self.seen.requests.lock().unwrap().1
    }

    /// The heads of the requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.seen.requests.lock().unwrap().0.clone()
    }

    /// Waits until so many requests have come.
    pub fn asked(&self, times: usize) {
        let deadline = Instant::now() + PATIENCE;
        let mut requests = self.seen.requests.lock().unwrap();
        while requests.0.len() < times {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "asked {} times, not {times}",
                requests.0.len()
            );
            requests = self.seen.more.wait_timeout(requests, left).unwrap().0;
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.path));
    }
}

/// Reads a request's head; `None` if the connection ends before it does.
pub fn read_head(stream: &mut UnixStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return None,
        }
    }
    String::from_utf8(head).ok()
}

/// Waits until the other side closes.
pub fn until_closed(stream: &mut UnixStream) {
    let mut bin = [0; 1024];
    while matches!(stream.read(&mut bin), Ok(1..)) {}
}
