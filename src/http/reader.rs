//! Reads the heads of requests from a connection, one after the other.

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::Instant;

use super::Reply;
use crate::config::Limits;
use crate::io::deadline;
use crate::refusal::{Refusal, Refused};

/// The result of reading a head.
#[derive(Debug)]
pub(crate) enum ReadHead {
    /// A complete head, with its empty line.
    Head(Vec<u8>),
    /// The client closed the connection, or was idle for too long.
    Eof,
}

/// Reads the heads of one connection. Bytes after a head are kept for the next one.
#[derive(Debug, Default)]
pub(crate) struct RequestReader {
    read: Vec<u8>,
    /// When the first byte of the current head arrived.
    begun: Option<Instant>,
}

impl RequestReader {
    /// Reads the next head. It is cancel safe: the next call continues the same head, with the same
    /// deadline.
    ///
    /// # Errors
    /// [`Refusal::HeadTimeout`], [`Refusal::Header`] if it is too large, or
    /// [`Refusal::Syntax`] for a bare line feed, which some parsers accept as the end of a line.
    pub(crate) async fn next(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        idle_until: Instant,
        limits: &Limits,
    ) -> Result<ReadHead, Refused> {
        if self.read.is_empty() {
            // Most connections are idle, and an idle one holds no more memory than this.
            self.read = Vec::with_capacity(FIRST_READ);
            match deadline::by(idle_until, stream.read_buf(&mut self.read)).await {
                Some(Ok(1..)) => {}
                Some(Ok(0) | Err(_)) | None => return Ok(ReadHead::Eof),
            }
        }
        let begun = *self.begun.get_or_insert_with(Instant::now);
        let deadline = begun + limits.head_timeout;
        // Each byte is checked once: a head that arrives byte by byte must not cost quadratic time.
        let mut checked = 0;
        loop {
            let end = end_of_head(&self.read, checked);
            let fresh = checked..end.unwrap_or(self.read.len());
            if fresh.clone().any(|at| is_bare_line_feed(&self.read, at)) {
                return Err(Refused::new(Refusal::Syntax, "bare line feed"));
            }
            if fresh.end > limits.request_head {
                return Err(Refused::new(Refusal::Header, "the head is too large"));
            }
            if let Some(end) = end {
                let rest = self.read.split_off(end);
                self.begun = None;
                return Ok(ReadHead::Head(std::mem::replace(&mut self.read, rest)));
            }
            checked = fresh.end;
            match deadline::by(deadline, stream.read_buf(&mut self.read)).await {
                Some(Ok(1..)) => {}
                Some(Ok(0) | Err(_)) => return Ok(ReadHead::Eof),
                None => return Err(Refusal::HeadTimeout.into()),
            }
        }
    }
}

impl RequestReader {
    /// How to answer a head that was refused before it was complete.
    pub(crate) fn reply_to_unparsed(&self) -> Reply {
        Reply::to_unparsed(&self.read)
    }

    /// Whether a part of the next head has arrived already.
    pub(crate) fn has_begun(&self) -> bool {
        !self.read.is_empty()
    }

    /// Waits until the scraper disconnects. Bytes that arrive meanwhile are kept for the next head, up
    /// to `request_head`.
    pub(crate) async fn wait_for_disconnect(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        limits: &Limits,
    ) -> Refused {
        loop {
            if self.read.len() > limits.request_head {
                std::future::pending::<()>().await;
            }
            match stream.read_buf(&mut self.read).await {
                Ok(1..) => {}
                Ok(0) => return Refusal::Abandoned.into(),
                Err(error) => return Refused::new(Refusal::Abandoned, error),
            }
        }
    }
}

/// Holds what Prometheus sends in one read.
const FIRST_READ: usize = 1024;

const EMPTY_LINE: &[u8] = b"\r\n\r\n";

/// Where the head ends, if its empty line is complete. The bytes before `checked` have no empty line.
fn end_of_head(read: &[u8], checked: usize) -> Option<usize> {
    let from = checked.saturating_sub(EMPTY_LINE.len() - 1);
    let start = read
        .get(from..)?
        .windows(EMPTY_LINE.len())
        .position(|window| window == EMPTY_LINE)?;
    Some(from + start + EMPTY_LINE.len())
}

fn is_bare_line_feed(read: &[u8], at: usize) -> bool {
    let before = at.checked_sub(1).and_then(|before| read.get(before));
    read.get(at) == Some(&b'\n') && before != Some(&b'\r')
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    async fn next(reader: &mut RequestReader, mut bytes: &[u8]) -> Result<ReadHead, Refusal> {
        let idle_until = Instant::now() + Limits::default().idle_timeout;
        let next = reader
            .next(&mut bytes, idle_until, &Limits::default())
            .await;
        next.map_err(|refused| refused.refusal)
    }

    #[tokio::test]
    async fn pipelined_heads_are_read_one_by_one() {
        let mut reader = RequestReader::default();
        let both = b"GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\nGET /c";
        let ReadHead::Head(first) = next(&mut reader, both).await.unwrap() else {
            panic!("no head");
        };
        assert_eq!(first, b"GET /a HTTP/1.1\r\n\r\n");
        let ReadHead::Head(second) = next(&mut reader, b"").await.unwrap() else {
            panic!("no second head");
        };
        assert_eq!(second, b"GET /b HTTP/1.1\r\n\r\n");
        assert!(matches!(next(&mut reader, b"").await, Ok(ReadHead::Eof)));
    }

    #[tokio::test]
    async fn large_heads_and_bare_line_feeds_are_refused() {
        let large = format!("GET /a HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(17 * 1024));
        let cases: &[(&[u8], Refusal)] = &[
            (large.as_bytes(), Refusal::Header),
            (b"GET /a HTTP/1.1\n\n", Refusal::Syntax),
            (b"\nGET /a HTTP/1.1\r\n\r\n", Refusal::Syntax),
            (b"GET /a HTTP/1.1\r\nA: b\nC: d\r\n\r\n", Refusal::Syntax),
        ];
        for (bytes, expected) in cases {
            let refused = next(&mut RequestReader::default(), bytes)
                .await
                .unwrap_err();
            assert_eq!(refused, *expected, "{}", bytes.escape_ascii());
        }
    }

    #[tokio::test]
    async fn a_head_read_byte_by_byte_is_the_same() {
        let whole = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
        for bare in [&b"GET /a HTTP/1.1\r\n\n"[..], b"\n", b"GET /a HTTP/1.1\n"] {
            assert!(matches!(byte_by_byte(bare).await, Err(Refusal::Syntax)));
        }
        let Ok(ReadHead::Head(head)) = byte_by_byte(whole).await else {
            panic!("no head");
        };
        assert_eq!(head, whole);
    }

    async fn byte_by_byte(bytes: &[u8]) -> Result<ReadHead, Refusal> {
        let mut stream = one_at_a_time(bytes);
        let limits = Limits::default();
        let idle_until = Instant::now() + limits.idle_timeout;
        let next = RequestReader::default()
            .next(&mut stream, idle_until, &limits)
            .await;
        next.map_err(|refused| refused.refusal)
    }

    /// A stream that gives one byte at a time.
    fn one_at_a_time(bytes: &[u8]) -> impl AsyncRead + Unpin {
        let (mut scraper, stream) = tokio::io::duplex(1);
        let bytes = bytes.to_owned();
        #[expect(clippy::disallowed_methods, reason = "the scraper in this test")]
        tokio::spawn(async move {
            drop(tokio::io::AsyncWriteExt::write_all(&mut scraper, &bytes).await);
        });
        stream
    }

    #[tokio::test(start_paused = true)]
    async fn idle_connections_and_slow_heads_time_out() {
        let (mut scraper, mut stream) = tokio::io::duplex(64);
        let limits = Limits::default();
        let idle_until = Instant::now() + limits.idle_timeout;
        let mut reader = RequestReader::default();
        let idle = reader.next(&mut stream, idle_until, &limits).await;
        assert!(matches!(idle, Ok(ReadHead::Eof)));
        assert_eq!(Instant::now(), idle_until);

        tokio::io::AsyncWriteExt::write_all(&mut scraper, b"GET /")
            .await
            .unwrap();
        let begun = Instant::now();
        let late = reader
            .next(&mut stream, begun + limits.idle_timeout, &limits)
            .await;
        assert_eq!(late.unwrap_err().refusal, Refusal::HeadTimeout);
        assert_eq!(Instant::now(), begun + limits.head_timeout);
    }

    #[tokio::test]
    async fn a_scraper_that_always_sends_more_times_out() {
        let limits = Limits {
            head_timeout: Duration::ZERO,
            ..Limits::default()
        };
        let idle_until = Instant::now() + limits.idle_timeout;
        let mut pieces = Pieces(b"GET /a HTTP/1.1\r\n\r\n", 1);
        let late = RequestReader::default()
            .next(&mut pieces, idle_until, &limits)
            .await;
        assert_eq!(late.unwrap_err().refusal, Refusal::HeadTimeout);
    }

    /// Reads all heads from bytes that arrive in pieces of this size, and the refusal at the end.
    fn heads(bytes: &[u8], piece: usize) -> (Vec<Vec<u8>>, Option<Refusal>) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_time().build().unwrap().block_on(async {
            let mut pieces = Pieces(bytes, piece);
            let (mut reader, mut all) = (RequestReader::default(), Vec::new());
            let limits = Limits::default();
            loop {
                let idle_until = Instant::now() + limits.idle_timeout;
                match reader.next(&mut pieces, idle_until, &limits).await {
                    Ok(ReadHead::Head(head)) => all.push(head),
                    Ok(ReadHead::Eof) => return (all, None),
                    Err(refused) => return (all, Some(refused.refusal)),
                }
            }
        })
    }

    struct Pieces<'a>(&'a [u8], usize);

    impl AsyncRead for Pieces<'_> {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            buffer: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            let length = self.0.len().min(self.1).min(buffer.remaining());
            let (now, rest) = self.0.split_at(length);
            self.0 = rest;
            buffer.put_slice(now);
            std::task::Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn a_head_larger_than_request_head_is_refused() {
        let of_size = |size: usize| {
            let (line, end) = ("GET /a HTTP/1.1\r\nX: ", "\r\n\r\n");
            format!("{line}{}{end}", "x".repeat(size - line.len() - end.len()))
        };
        let max = Limits::default().request_head;
        for piece in [1, 1000, usize::MAX] {
            let (read, refused) = heads(of_size(max).as_bytes(), piece);
            assert_eq!((read.len(), refused), (1, None), "{piece}");
            for size in [max + 1, max + 500, 2 * max] {
                let (read, refused) = heads(of_size(size).as_bytes(), piece);
                let too_large = Some(Refusal::Header);
                assert_eq!((read.len(), refused), (0, too_large), "{size}, {piece}");
            }
        }
    }

    #[test]
    fn bytes_sent_during_a_scrape_are_read_up_to_request_head() {
        let limits = Limits::default();
        let gone = |size: usize, piece: usize| {
            let sent = vec![b'x'; size];
            let (mut pieces, mut reader) = (Pieces(&sent, piece), RequestReader::default());
            let mut gone = std::pin::pin!(reader.wait_for_disconnect(&mut pieces, &limits));
            let context = &mut std::task::Context::from_waker(std::task::Waker::noop());
            gone.as_mut().poll(context).is_ready()
        };
        for piece in [1, 1000, usize::MAX] {
            assert!(gone(0, piece));
            assert!(gone(limits.request_head, piece), "{piece}");
            assert!(!gone(10 * limits.request_head, piece), "{piece}");
        }
    }

    proptest! {
        #[test]
        fn heads_end_at_empty_lines_for_any_split(
            parts in prop::collection::vec(prop::sample::select(&["\r\n", "\r\n\r\n", "\r", "GET", "a"][..]), 0..12),
            bare in prop::option::of(0usize..40),
            piece in 1usize..9,
        ) {
            let mut text = parts.concat();
            if let Some(at) = bare.filter(|at| *at <= text.len()) {
                text.insert(at, '\n');
            }
            let mut expected = Vec::new();
            let mut rest = text.as_str();
            let refusal = loop {
                let end = rest.find("\r\n\r\n").map(|end| end + 4);
                let (head, after) = rest.split_at(end.unwrap_or(rest.len()));
                if head.replace("\r\n", "").contains('\n') {
                    break Some(Refusal::Syntax);
                }
                if end.is_none() {
                    break None;
                }
                expected.push(head.as_bytes().to_vec());
                rest = after;
            };
            prop_assert_eq!(heads(text.as_bytes(), piece), (expected, refusal), "{:?}", text);
        }
    }
}
