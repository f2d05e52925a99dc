//! A scraper in memory: it sends its script in pieces and records what it receives.
//!
//! At the end of its script it waits. It closes only after a call of `leave`, so that it does not
//! cut off an answer.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A scraper. Its clones share its state.
#[derive(Clone, Debug, Default)]
pub struct Scripted(Rc<RefCell<State>>);

#[derive(Debug, Default)]
struct State {
    script: Vec<u8>,
    sent: usize,
    piece: usize,
    waits: bool,
    leaves: bool,
    received: Vec<u8>,
}

impl Scripted {
    /// A scraper that sends this script, in pieces of at most this size.
    pub fn new(script: &[u8], piece: usize) -> Self {
        Self(Rc::new(RefCell::new(State {
            script: script.to_owned(),
            piece,
            ..State::default()
        })))
    }

    /// Whether aegis has waited for more than the script has, since the last call.
    pub fn was_waited_for(&self) -> bool {
        std::mem::take(&mut self.0.borrow_mut().waits)
    }

    /// Closes the scraper's side at the end of the script.
    pub fn leave(&self) {
        self.0.borrow_mut().leaves = true;
    }

    /// The bytes received since the last call.
    pub fn received(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.borrow_mut().received)
    }
}

impl AsyncRead for Scripted {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.0.borrow_mut();
        let left = state.script.len() - state.sent;
        let now = left.min(state.piece).min(buffer.remaining());
        if now > 0 {
            let from = state.sent;
            buffer.put_slice(&state.script[from..from + now]);
            state.sent += now;
            return Poll::Ready(Ok(()));
        }
        if state.leaves {
            return Poll::Ready(Ok(()));
        }
        // No waker is needed: the caller of `leave` polls again at once.
        state.waits = true;
        Poll::Pending
    }
}

impl AsyncWrite for Scripted {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().received.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
