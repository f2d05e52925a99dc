//! A connection between a scraper and aegis, in memory: every read and write is a scheduling point.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A request that is answered at once.
pub(crate) const QUICK: u8 = 1;
/// A request that is answered when the scraper has sent another byte.
pub(crate) const SLOW: u8 = 2;
/// aegis closes the connection in order; without it, an answer is truncated.
pub(crate) const CLOSED: u8 = 255;
const DENIED: u8 = 254;

/// How aegis answers a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// By which gates: the one that accepted the certificate, and the one that granted the service.
    Served { accepted_by: u8, granted_by: u8 },
    /// Status 404.
    Denied,
    /// The connection has ended in order.
    Closed,
    /// The connection has ended without a close.
    Aborted,
}

impl Answer {
    /// One gate decided everything.
    pub(crate) fn served_by(gate: u8) -> Self {
        Self::Served {
            accepted_by: gate,
            granted_by: gate,
        }
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        match self {
            Self::Served {
                accepted_by,
                granted_by,
            } => vec![accepted_by, granted_by],
            Self::Denied => vec![DENIED],
            Self::Closed | Self::Aborted => vec![CLOSED],
        }
    }
}

#[derive(Debug, Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    has_ended: bool,
    reader: Option<Waker>,
}

/// One end.
#[derive(Debug)]
pub struct Wire {
    incoming: Arc<Mutex<Pipe>>,
    outgoing: Arc<Mutex<Pipe>>,
}

/// Both ends.
pub(crate) fn wire() -> (Wire, Wire) {
    let pipes = [Arc::<Mutex<Pipe>>::default(), Arc::default()];
    let [a, b] = pipes;
    let one = Wire {
        incoming: Arc::clone(&a),
        outgoing: Arc::clone(&b),
    };
    let other = Wire {
        incoming: b,
        outgoing: a,
    };
    (one, other)
}

impl Wire {
    /// Sends one byte, as a scraper: a handshake, a request, or the permission to answer.
    pub(crate) fn send(&self, byte: u8) {
        let mut pipe = self.outgoing.lock();
        pipe.bytes.push_back(byte);
        let reader = pipe.reader.take();
        drop(pipe);
        reader.into_iter().for_each(Waker::wake);
    }

    /// Waits for an answer, as a scraper.
    pub(crate) async fn answer(&mut self) -> Answer {
        use tokio::io::AsyncReadExt as _;
        match self.read_u8().await {
            Err(_) => Answer::Aborted,
            Ok(CLOSED) => Answer::Closed,
            Ok(DENIED) => Answer::Denied,
            Ok(accepted_by) => match self.read_u8().await {
                Ok(granted_by) => Answer::Served {
                    accepted_by,
                    granted_by,
                },
                Err(_) => Answer::Aborted,
            },
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let mut pipe = self.outgoing.lock();
        pipe.has_ended = true;
        let reader = pipe.reader.take();
        drop(pipe);
        reader.into_iter().for_each(Waker::wake);
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut pipe = self.incoming.lock();
        match pipe.bytes.pop_front() {
            Some(byte) => buffer.put_slice(&[byte]),
            None if pipe.has_ended => {}
            None => {
                pipe.reader = Some(context.waker().clone());
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        bytes.iter().for_each(|byte| self.send(*byte));
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
