//! A scraper's TCP connection below TLS, of which little is read before its scraper has proved
//! who it is.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A connection that ends in an error if a stranger sends more than a handshake takes.
///
/// rustls alone gathers up to 64 KiB of an unfinished handshake: as many strangers as there are
/// places could have it hold several times what aegis needs.
#[derive(Debug)]
pub struct Wire {
    tcp: TcpStream,
    /// What may still be read; no bound once the scraper is known.
    left: Option<usize>,
}

/// A hello of about 2 KiB, certificates of which [`super::verify`] looks at 24 KiB, a signature.
/// With the 4 KiB that rustls reads at once, it is a buffer of 32 KiB at the most.
const MOST_BEFORE_PROOF: usize = 28 * 1024;

impl Wire {
    /// The connection of a stranger.
    pub(super) fn of_a_stranger(tcp: TcpStream) -> Self {
        Self {
            tcp,
            left: Some(MOST_BEFORE_PROOF),
        }
    }

    /// Reads on without that bound.
    pub(super) fn is_known_now(&mut self) {
        self.left = None;
    }

    /// Closes a refused connection so that the scraper gets to read the TLS alert: closing with
    /// unread bytes would reset the connection, and the alert would be lost.
    pub(super) async fn linger(mut self) {
        drop(timeout(LINGER, self.shutdown()).await);
        self.discard().await;
    }

    /// Reads what the scraper has sent by now, and throws it away.
    pub(super) async fn discard(&mut self) {
        let mut bin = [0; 1024];
        let reading = async {
            for _ in 0..LINGER_READS {
                if !matches!(self.tcp.read(&mut bin).await, Ok(1..)) {
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

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.tcp).poll_read(cx, buffer))?;
        if let Some(left) = self.left {
            let read = buffer.filled().len().saturating_sub(before);
            let Some(left) = left.checked_sub(read) else {
                return Poll::Ready(Err(io::Error::other(format!(
                    "more than {MOST_BEFORE_PROOF} bytes before the scraper had proved who it is"
                ))));
            };
            self.left = Some(left);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
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
