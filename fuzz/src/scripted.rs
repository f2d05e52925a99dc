//! A scraper in memory: it sends what is in its script, in pieces, and keeps what it is told.
//!
//! At the end of its script it waits. It leaves only when it is told to, so that no answer is
//! cut off by a scraper that was gone too soon.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A scraper; its clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Scripted(Rc<RefCell<State>>);

#[derive(Debug, Default)]
struct State {
    script: Vec<u8>,
    given: usize,
    piece: usize,
    waits: bool,
    leaves: bool,
    told: Vec<u8>,
}

impl Scripted {
    /// A scraper that sends this, at most so many bytes at once.
    pub fn new(script: &[u8], piece: usize) -> Self {
        Self(Rc::new(RefCell::new(State {
            script: script.to_owned(),
            piece,
            ..State::default()
        })))
    }

    /// Whether more was awaited from it than it has, since this was last asked.
    pub fn was_waited_for(&self) -> bool {
        std::mem::take(&mut self.0.borrow_mut().waits)
    }

    /// It closes its side once its script is over.
    pub fn leave(&self) {
        self.0.borrow_mut().leaves = true;
    }

    /// All that it was told.
    pub fn told(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.borrow_mut().told)
    }
}

impl AsyncRead for Scripted {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.0.borrow_mut();
        let left = state.script.len() - state.given;
        let now = left.min(state.piece).min(buffer.remaining());
        if now > 0 {
            let from = state.given;
            buffer.put_slice(&state.script[from..from + now]);
            state.given += now;
            return Poll::Ready(Ok(()));
        }
        if state.leaves {
            return Poll::Ready(Ok(()));
        }
        // Nobody has to be woken: whoever lets it leave polls again at once.
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
        self.0.borrow_mut().told.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
