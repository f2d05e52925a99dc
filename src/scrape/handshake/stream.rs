//! A scraper's TCP connection below TLS. It limits how much is read before the scraper authenticates.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A stream that fails if an unauthenticated client sends more than a handshake needs.
///
/// rustls alone buffers up to 64 KiB of an unfinished handshake. With `limits.connections` of them,
/// unauthenticated clients could make aegis use several times the memory that it needs.
#[derive(Debug)]
pub struct HandshakeStream {
    tcp: TcpStream,
    /// How many bytes may still be read; `None` once the scraper has authenticated.
    remaining: Option<usize>,
}

/// A hello of about 2 KiB, certificates of at most 24 KiB, and a signature. With the 4 KiB that
/// rustls reads at once, its buffer grows to at most 32 KiB.
const MAX_UNAUTHENTICATED_BYTES: usize = 28 * 1024;

impl HandshakeStream {
    /// The stream of a client that has not authenticated.
    pub(super) fn limited(tcp: TcpStream) -> Self {
        Self {
            tcp,
            remaining: Some(MAX_UNAUTHENTICATED_BYTES),
        }
    }

    /// Lifts the limit once the scraper has authenticated.
    pub(super) fn lift_limit(&mut self) {
        self.remaining = None;
    }

    /// Closes a refused connection so that the scraper can read the TLS alert. Closing with unread bytes
    /// would reset the connection, and the alert would be lost.
    pub(super) async fn linger(mut self) {
        drop(timeout(LINGER, self.shutdown()).await);
        self.discard().await;
    }

    /// Reads and discards what the scraper has sent.
    pub(super) async fn discard(&mut self) {
        let mut buffer = [0; 1024];
        let reading = async {
            for _ in 0..LINGER_READS {
                if !matches!(self.tcp.read(&mut buffer).await, Ok(1..)) {
                    break;
                }
            }
        };
        drop(timeout(LINGER, reading).await);
    }
}

/// Long enough for a round trip around the world.
pub(super) const LINGER: Duration = Duration::from_millis(500);
const LINGER_READS: usize = 64;

impl AsyncRead for HandshakeStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.tcp).poll_read(cx, buffer))?;
        if let Some(remaining) = self.remaining {
            let read = buffer.filled().len().saturating_sub(before);
            let Some(remaining) = remaining.checked_sub(read) else {
                return Poll::Ready(Err(io::Error::other(format!(
                    "more than {MAX_UNAUTHENTICATED_BYTES} bytes before the client authenticated"
                ))));
            };
            self.remaining = Some(remaining);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for HandshakeStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}
