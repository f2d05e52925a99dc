//! The heads of requests, read one after the other from a connection.

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::Instant;

use super::AnswerWith;
use crate::config::Limits;
use crate::deadline;
use crate::refusal::{Refusal, Refused};

/// What a connection brings next.
#[derive(Debug)]
pub(in crate::scrape) enum NextHead {
    /// A whole head, with its empty line.
    Head(Vec<u8>),
    /// The scraper closed the connection, or was idle for as long as it may be.
    Over,
}

/// The heads of one connection. Bytes beyond a head wait for their turn.
#[derive(Debug, Default)]
pub(in crate::scrape) struct Heads {
    read: Vec<u8>,
}

impl Heads {
    /// Reads the next head.
    ///
    /// # Errors
    /// [`Refusal::HeadTimeout`], [`Refusal::Header`] if it is too large, or
    /// [`Refusal::Syntax`] for a bare line feed, which some parser might read as a line's end.
    pub(in crate::scrape) async fn next(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        idle_until: Instant,
        limits: &Limits,
    ) -> Result<NextHead, Refused> {
        if self.read.is_empty() {
            // An idle connection, and most are, holds no more than this.
            self.read = Vec::with_capacity(FIRST_READ);
            match deadline::by(idle_until, stream.read_buf(&mut self.read)).await {
                Some(Ok(1..)) => {}
                Some(Ok(0) | Err(_)) | None => return Ok(NextHead::Over),
            }
        }
        let deadline = Instant::now() + limits.head_timeout;
        // Bytes are looked at once, or a head that drips in would cost the square of its size.
        let mut looked_at = 0;
        loop {
            let fresh = looked_at..self.read.len();
            let end = end_of_head(&self.read, looked_at);
            let fresh = fresh.start..end.unwrap_or(fresh.end);
            if fresh.clone().any(|at| is_bare_line_feed(&self.read, at)) {
                return Err(Refused::new(Refusal::Syntax, "bare line feed"));
            }
            if fresh.end > limits.request_head {
                return Err(Refused::new(Refusal::Header, "the head is too large"));
            }
            if let Some(end) = end {
                let rest = self.read.split_off(end);
                return Ok(NextHead::Head(std::mem::replace(&mut self.read, rest)));
            }
            looked_at = fresh.end;
            match deadline::by(deadline, stream.read_buf(&mut self.read)).await {
                Some(Ok(1..)) => {}
                Some(Ok(0) | Err(_)) => return Ok(NextHead::Over),
                None => return Err(Refusal::HeadTimeout.into()),
            }
        }
    }
}

impl Heads {
    /// What to answer a head with that was refused before it was whole.
    pub(in crate::scrape) fn answer_to_unread(&self) -> AnswerWith {
        AnswerWith::to_unread(&self.read)
    }

    /// Whether a part of another head has come already.
    pub(in crate::scrape) fn has_begun(&self) -> bool {
        !self.read.is_empty()
    }

    /// Waits until the scraper is gone. What it sends meanwhile waits for its turn, and is read
    /// no further than the bound of a head.
    pub(in crate::scrape) async fn until_gone(
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

/// Where a head ends whose empty line is not among the bytes before `looked_at`.
fn end_of_head(read: &[u8], looked_at: usize) -> Option<usize> {
    let from = looked_at.saturating_sub(EMPTY_LINE.len() - 1);
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

    async fn next(heads: &mut Heads, mut bytes: &[u8]) -> Result<NextHead, Refusal> {
        let idle_until = Instant::now() + Limits::default().idle_timeout;
        let next = heads.next(&mut bytes, idle_until, &Limits::default()).await;
        next.map_err(|refused| refused.refusal)
    }

    #[tokio::test]
    async fn heads_are_cut_out_of_what_was_read() {
        let mut heads = Heads::default();
        let both = b"GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\nGET /c";
        let NextHead::Head(first) = next(&mut heads, both).await.unwrap() else {
            panic!("no head");
        };
        assert_eq!(first, b"GET /a HTTP/1.1\r\n\r\n");
        let NextHead::Head(second) = next(&mut heads, b"").await.unwrap() else {
            panic!("no second head");
        };
        assert_eq!(second, b"GET /b HTTP/1.1\r\n\r\n");
        assert!(matches!(next(&mut heads, b"").await, Ok(NextHead::Over)));
    }

    #[tokio::test]
    async fn a_head_that_is_too_large_or_has_bare_line_feeds_is_refused() {
        let large = format!("GET /a HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(17 * 1024));
        let cases: &[(&[u8], Refusal)] = &[
            (large.as_bytes(), Refusal::Header),
            (b"GET /a HTTP/1.1\n\n", Refusal::Syntax),
            (b"\nGET /a HTTP/1.1\r\n\r\n", Refusal::Syntax),
            (b"GET /a HTTP/1.1\r\nA: b\nC: d\r\n\r\n", Refusal::Syntax),
        ];
        for (bytes, expected) in cases {
            let refused = next(&mut Heads::default(), bytes).await.unwrap_err();
            assert_eq!(refused, *expected, "{}", bytes.escape_ascii());
        }
    }

    #[tokio::test]
    async fn a_head_is_the_same_however_it_is_cut() {
        let whole = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
        for bare in [&b"GET /a HTTP/1.1\r\n\n"[..], b"\n", b"GET /a HTTP/1.1\n"] {
            assert!(matches!(byte_by_byte(bare).await, Err(Refusal::Syntax)));
        }
        let Ok(NextHead::Head(head)) = byte_by_byte(whole).await else {
            panic!("no head");
        };
        assert_eq!(head, whole);
    }

    async fn byte_by_byte(bytes: &[u8]) -> Result<NextHead, Refusal> {
        let mut stream = one_at_a_time(bytes);
        let limits = Limits::default();
        let idle_until = Instant::now() + limits.idle_timeout;
        let next = Heads::default()
            .next(&mut stream, idle_until, &limits)
            .await;
        next.map_err(|refused| refused.refusal)
    }

    /// A stream that gives one byte at a time.
    fn one_at_a_time(bytes: &[u8]) -> impl AsyncRead + Unpin {
        let (mut scraper, stream) = tokio::io::duplex(1);
        let bytes = bytes.to_owned();
        #[expect(clippy::disallowed_methods, reason = "the scraper's side")]
        tokio::spawn(async move {
            drop(tokio::io::AsyncWriteExt::write_all(&mut scraper, &bytes).await);
        });
        stream
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends() {
        let (mut scraper, mut stream) = tokio::io::duplex(64);
        let limits = Limits::default();
        let idle_until = Instant::now() + limits.idle_timeout;
        let mut heads = Heads::default();
        let over = heads.next(&mut stream, idle_until, &limits).await;
        assert!(matches!(over, Ok(NextHead::Over)));
        assert_eq!(Instant::now(), idle_until);

        tokio::io::AsyncWriteExt::write_all(&mut scraper, b"GET /")
            .await
            .unwrap();
        let begun = Instant::now();
        let late = heads
            .next(&mut stream, begun + limits.idle_timeout, &limits)
            .await;
        assert_eq!(late.unwrap_err().refusal, Refusal::HeadTimeout);
        assert_eq!(Instant::now(), begun + limits.head_timeout);
    }

    #[tokio::test]
    async fn a_scraper_that_always_has_more_does_not_outlive_the_deadline() {
        let limits = Limits {
            head_timeout: Duration::ZERO,
            ..Limits::default()
        };
        let idle_until = Instant::now() + limits.idle_timeout;
        let mut pieces = Pieces(b"GET /a HTTP/1.1\r\n\r\n", 1);
        let late = Heads::default()
            .next(&mut pieces, idle_until, &limits)
            .await;
        assert_eq!(late.unwrap_err().refusal, Refusal::HeadTimeout);
    }

    /// Every head in some bytes that come in pieces of this size, and how it ended.
    fn heads(bytes: &[u8], piece: usize) -> (Vec<Vec<u8>>, Option<Refusal>) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_time().build().unwrap().block_on(async {
            let mut pieces = Pieces(bytes, piece);
            let (mut heads, mut all) = (Heads::default(), Vec::new());
            let limits = Limits::default();
            loop {
                let idle_until = Instant::now() + limits.idle_timeout;
                match heads.next(&mut pieces, idle_until, &limits).await {
                    Ok(NextHead::Head(head)) => all.push(head),
                    Ok(NextHead::Over) => return (all, None),
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
    fn a_head_may_be_as_large_as_its_bound_and_no_larger() {
        let of_size = |size: usize| {
            let (line, end) = ("GET /a HTTP/1.1\r\nX: ", "\r\n\r\n");
            format!("{line}{}{end}", "x".repeat(size - line.len() - end.len()))
        };
        let most = Limits::default().request_head;
        for piece in [1, 1000, usize::MAX] {
            let (read, refused) = heads(of_size(most).as_bytes(), piece);
            assert_eq!((read.len(), refused), (1, None), "{piece}");
            for size in [most + 1, most + 500, 2 * most] {
                let (read, refused) = heads(of_size(size).as_bytes(), piece);
                let too_large = Some(Refusal::Header);
                assert_eq!((read.len(), refused), (0, too_large), "{size}, {piece}");
            }
        }
    }

    #[test]
    fn what_comes_during_a_scrape_is_read_to_its_bound_and_no_further() {
        let limits = Limits::default();
        let gone = |size: usize, piece: usize| {
            let sent = vec![b'x'; size];
            let (mut pieces, mut heads) = (Pieces(&sent, piece), Heads::default());
            let mut gone = std::pin::pin!(heads.until_gone(&mut pieces, &limits));
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
        fn heads_end_at_empty_lines_however_they_are_cut(
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
