//! A connection to a service that is read only after the request is written, and only while the
//! answer is well formed.
//!
//! Some services, such as a shell script behind a socket, answer at once and hang up. hyper treats
//! bytes before its request as a broken connection, and a request that it cannot write as a failed
//! exchange, even if the answer has arrived.
//!
//! A fresh socket has room for a request. It is written without asking the reactor, which would cost
//! an iteration of the event loop for every scrape.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Connected;
use super::strict::StrictParser;

/// A stream that is read only after the first write, and passes on only well-formed bytes.
#[derive(Debug)]
pub(super) struct WriteFirstStream {
    stream: Connected,
    request: RequestState,
    answer: StrictParser,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RequestState {
    Unsent,
    Sent,
}

impl WriteFirstStream {
    pub(super) fn over(stream: Connected, max_head: usize) -> Self {
        Self {
            stream,
            request: RequestState::Unsent,
            answer: StrictParser::new(max_head),
        }
    }
}

impl AsyncRead for WriteFirstStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.request == RequestState::Unsent {
            // The first write wakes the task again.
            return Poll::Pending;
        }
        if let Some(refused) = self.answer.refused() {
            return Poll::Ready(Err(refused));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let read = buffer.filled().get(before..).unwrap_or_default();
        let valid = self.answer.feed(read);
        // Bytes before the error are passed on first. A read of no bytes would mean the end.
        match self.answer.refused().filter(|_| valid == 0) {
            Some(refused) => Poll::Ready(Err(refused)),
            None => {
                buffer.set_filled(before + valid);
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for WriteFirstStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let sent = match self.request {
            RequestState::Unsent => self.stream.send_now(bytes),
            RequestState::Sent => Err(Errno::AGAIN),
        };
        let written = match sent {
            Err(Errno::AGAIN) => Pin::new(&mut self.stream).poll_write(cx, bytes),
            done => Poll::Ready(done.map_err(io::Error::from)),
        };
        if written.is_ready() && self.request == RequestState::Unsent {
            self.request = RequestState::Sent;
            cx.waker().wake_by_ref();
        }
        written.map(|written| match written {
            // The service hung up without reading. The next read shows whether it has answered.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(bytes.len()),
            written => written,
        })
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Does nothing: the socket is closed at the end of the scrape anyway.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
