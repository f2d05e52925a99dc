//! A connection with a service on which nothing is read before the request is written, and no
//! byte that is refused.
//!
//! Some services, such as a shell script behind a socket, answer at once and hang up. hyper
//! takes bytes that come before its request for a broken connection, and a request that
//! cannot be written any more for a failed exchange, though the answer may be there.
//!
//! A socket that was connected a moment ago has room for a request: it is written at once,
//! without asking the reactor, which would cost a turn of the event loop for every scrape.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Connected;
use super::strict::Strict;

/// A stream that reads only once something was written to it, and only what is well-formed.
#[derive(Debug)]
pub(super) struct RequestFirst {
    stream: Connected,
    asked: Asked,
    answer: Strict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    No,
    Yes,
}

impl RequestFirst {
    pub(super) fn over(stream: Connected, max_head: usize) -> Self {
        Self {
            stream,
            asked: Asked::No,
            answer: Strict::new(max_head),
        }
    }
}

impl AsyncRead for RequestFirst {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.asked == Asked::No {
            // The first write wakes the task again.
            return Poll::Pending;
        }
        if let Some(refused) = self.answer.refused() {
            return Poll::Ready(Err(refused));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let read = buffer.filled().get(before..).unwrap_or_default();
        let good = self.answer.follow(read);
        // What came before the fault goes on first: nothing read would mean the end.
        match self.answer.refused().filter(|_| good == 0) {
            Some(refused) => Poll::Ready(Err(refused)),
            None => {
                buffer.set_filled(before + good);
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for RequestFirst {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let at_once = match self.asked {
            Asked::No => self.stream.send_now(bytes),
            Asked::Yes => Err(Errno::AGAIN),
        };
        let written = match at_once {
            Err(Errno::AGAIN) => Pin::new(&mut self.stream).poll_write(cx, bytes),
            done => Poll::Ready(done.map_err(io::Error::from)),
        };
        if written.is_ready() && self.asked == Asked::No {
            self.asked = Asked::Yes;
            cx.waker().wake_by_ref();
        }
        written.map(|written| match written {
            // It has hung up without reading; whether it has answered shows when reading.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(bytes.len()),
            written => written,
        })
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// It is closed in a moment, which says as much.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
