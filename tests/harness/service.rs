//! Services on Unix sockets: good and hostile ones.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use rustix::net::{Shutdown, shutdown};

use super::PATIENCE;

/// A service that runs until it is dropped, and records its requests.
pub struct Service {
    path: PathBuf,
    listener: Arc<UnixListener>,
    seen: Arc<Seen>,
    probes: AtomicUsize,
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

    /// Runs `serve` on every connection after its request was read.
    pub fn with(path: &Path, serve: impl Fn(&mut UnixStream) + Send + Sync + 'static) -> Self {
        let listener = Arc::new(UnixListener::bind(path).unwrap());
        let accepted = Arc::clone(&listener);
        let seen = Arc::new(Seen::default());
        let (noted, serve) = (Arc::clone(&seen), Arc::new(serve));
        std::thread::spawn(move || {
            for stream in accepted.incoming().map_while(Result::ok) {
                let (noted, serve) = (Arc::clone(&noted), Arc::clone(&serve));
                noted.requests.lock().unwrap().1 += 1;
                noted.more.notify_all();
                std::thread::spawn(move || {
                    let mut stream = stream;
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    stream.set_write_timeout(Some(PATIENCE)).unwrap();
                    if let Some(request) = read_head(&mut stream).filter(|head| head != PROBE) {
                        noted.requests.lock().unwrap().0.push(request);
                        noted.more.notify_all();
                        serve(&mut stream);
                    }
                });
            }
        });
        Self {
            path: path.to_owned(),
            listener,
            seen,
            probes: AtomicUsize::new(0),
        }
    }

    /// The number of connections so far.
    ///
    /// It connects too, and so waits until the earlier connections were accepted.
    pub fn connections(&self) -> usize {
        #[expect(clippy::disallowed_methods, reason = "not aegis")]
        let mut probe = UnixStream::connect(&self.path).unwrap();
        probe.write_all(PROBE.as_bytes()).unwrap();
        until_closed(&mut probe);
        let probes = self.probes.fetch_add(1, Ordering::Relaxed) + 1;
        self.seen.requests.lock().unwrap().1 - probes
    }

    /// The heads of the requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.seen.requests.lock().unwrap().0.clone()
    }

    /// Waits until this many requests have arrived.
    pub fn wait_for_requests(&self, times: usize) {
        let deadline = Instant::now() + PATIENCE;
        let mut requests = self.seen.requests.lock().unwrap();
        while requests.0.len() < times {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "{} requests came, not {times}",
                requests.0.len()
            );
            requests = self.seen.more.wait_timeout(requests, left).unwrap().0;
        }
    }
}

/// The text that [`Service::connections`] sends in place of a request.
const PROBE: &str = "PROBE\r\n\r\n";

impl Drop for Service {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.path));
        // Ends the accepting thread. Otherwise hundreds of sockets would stay open.
        shutdown(&*self.listener, Shutdown::Both).ok();
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
