//! Closes connections that may hold passed descriptors.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use parking_lot::Mutex;
use rustix::net::{self, Shutdown};
use tokio::net::UnixStream;

use super::{can_refuse_descriptors, receive};

/// Closes connections on separate threads, because closing can take long.
///
/// One thread closes connections without passed descriptors, the other one the rest. If a descriptor
/// was passed, the concurrency guard of the scrape is released only after the close: a peer can delay
/// at most as many closes as it may have scrapes, and is then refused.
#[derive(Debug)]
pub(crate) struct Closer {
    empty: mpsc::Sender<Closing>,
    others: mpsc::Sender<Closing>,
    queues: Mutex<Vec<mpsc::Receiver<Closing>>>,
    /// How many connections without descriptors wait to be closed.
    waiting: Arc<AtomicUsize>,
}

/// Dropped on the threads, in this order.
struct Closing {
    _stream: std::os::unix::net::UnixStream,
    _guard: Option<Box<dyn Send>>,
    _waiting: Option<Waiting>,
}

/// More than ever wait when closing is fast. Further ones keep their guards until they are closed.
const MAX_WAITING: usize = 256;

/// Reads of 4 KiB to empty a connection: more than the kernel buffers by default.
const MAX_READS: usize = 128;

impl Default for Closer {
    fn default() -> Self {
        let (empty, empties) = mpsc::channel();
        let (others, rest) = mpsc::channel();
        Self {
            empty,
            others,
            queues: Mutex::new(vec![empties, rest]),
            waiting: Arc::default(),
        }
    }
}

impl Closer {
    /// Starts the threads, if this kernel needs them and they are not running.
    ///
    /// # Errors
    /// The system has no more threads.
    pub(crate) fn start(&self) -> io::Result<()> {
        if can_refuse_descriptors().is_ok() {
            return Ok(());
        }
        let mut queues = self.queues.lock();
        for queue in queues.drain(..) {
            let (up, ready) = mpsc::channel();
            let thread = thread::Builder::new().name("closer".to_owned());
            thread.spawn(move || {
                if up.send(()).is_ok() {
                    queue.iter().for_each(drop);
                }
            })?;
            // The sandbox forbids system calls that a thread makes when it starts.
            ready.recv().map_err(io::Error::other)?;
        }
        Ok(())
    }

    pub(super) fn close(&self, stream: UnixStream, guard: Option<impl Send + 'static>) {
        // From here on the peer can pass no more descriptors (shutdown(2)).
        let is_shut = net::shutdown(&stream, Shutdown::Both).is_ok();
        let is_empty = is_shut && drain_is_empty(&stream);
        // Deregisters from the event loop, as the last step on this thread.
        let Ok(stream) = stream.into_std() else {
            return;
        };
        let waiting = Waiting::among(&self.waiting).filter(|_| is_empty);
        let guard = guard.filter(|_| waiting.is_none());
        let queue = if is_empty { &self.empty } else { &self.others };
        // The threads end with the process.
        drop(queue.send(Closing {
            _stream: stream,
            _guard: guard.map(|guard| Box::new(guard) as Box<dyn Send>),
            _waiting: waiting,
        }));
    }
}

/// Reads to the end, and returns whether no descriptor was passed.
fn drain_is_empty(stream: &UnixStream) -> bool {
    let mut bin = [0; 4096];
    for _ in 0..MAX_READS {
        match receive(stream, &mut bin) {
            Ok(0) => return true,
            Ok(_) => {}
            // Reported once, if the peer closed before it read everything.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            Err(_) => return false,
        }
    }
    false
}

/// Counts a connection that waits for the first thread.
struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    /// Counts it, unless there are too many.
    fn among(waiting: &Arc<AtomicUsize>) -> Option<Self> {
        let joined = Self(Arc::clone(waiting));
        (waiting.fetch_add(1, Ordering::Relaxed) < MAX_WAITING).then_some(joined)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
