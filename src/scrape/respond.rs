//! Stage 6. From the service's answer to the scraper's: passed on byte for byte, or failed visibly.
//!
//! Memory stays the same whatever the size of a body: one chunk is on its way at a time. A
//! body that breaks off is never ended in good order, so that no scraper takes it for whole.

mod answer;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout_at};

use super::route::{Afterwards, AnswerWith};
use super::upstream::Connected;
use crate::config::{Limits, Service};
use crate::refusal::{Refusal, Refused, SeenAs};
use answer::Answer;
pub(super) use answer::ServiceRequest;

/// Passes a service's answer on to the scraper, and says how many bytes its body had.
///
/// # Errors
/// Why not, and whether the scraper has seen a part of the answer by then.
pub(super) async fn respond(
    stream: &mut (impl AsyncWrite + Unpin),
    connected: Connected,
    request: &ServiceRequest<'_>,
    settings: &Service,
    limits: &Limits,
    with: (AnswerWith, Afterwards),
    deadline: Instant,
) -> Result<u64, Failed> {
    let mut to_scraper = ToScraper {
        stream,
        deadline,
        limits,
    };
    let asked = Answer::ask(connected, request, limits);
    let mut answer = timeout_at(deadline, asked)
        .await
        .unwrap_or_else(|_| Err(Refusal::Timeout.into()))
        .map_err(Failed::unseen)?;
    let head = answer.check(settings.max_body).map_err(Failed::unseen)?;
    let (body, afterwards) = with;
    let head = Bytes::from(head.written(afterwards));
    if body == AnswerWith::HeadAlone {
        to_scraper.write(head).await.map_err(Failed::seen)?;
        return Ok(0);
    }
    // The head waits for the first bytes of the body: until then, a failure has a status.
    let mut unsent = head;
    let mut size = 0;
    loop {
        let next = answer.next(deadline).await;
        let seen = unsent.is_empty();
        let next = next.and_then(|next| within(next, &mut size, settings.max_body));
        let Some(data) = next.map_err(|refused| Failed { refused, seen })? else {
            break;
        };
        let head = std::mem::take(&mut unsent);
        match answer.framing() {
            Framing::Chunked => {
                let length = Bytes::from(format!("{:x}\r\n", data.len()));
                let framed = head.chain(length).chain(data).chain(&b"\r\n"[..]);
                to_scraper.write(framed).await
            }
            Framing::Length(_) => to_scraper.write(head.chain(data)).await,
        }
        .map_err(Failed::seen)?;
    }
    let end: &[u8] = match answer.framing() {
        Framing::Chunked => b"0\r\n\r\n",
        Framing::Length(_) => b"",
    };
    to_scraper
        .write(unsent.chain(end))
        .await
        .map_err(Failed::seen)?;
    Ok(size)
}

/// Counts a chunk, unless with it the body is too large.
fn within(next: Option<Bytes>, size: &mut u64, most: u64) -> Result<Option<Bytes>, Refused> {
    *size += next.as_ref().map_or(0, |data| data.len() as u64);
    match *size > most {
        true => Err(Refused::new(
            Refusal::TooLarge,
            format_args!("more than {most} bytes"),
        )),
        false => Ok(next),
    }
}

/// A scrape that failed at this stage.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) refused: Refused,
    /// Whether a part of an answer is on its way; then the connection can only be cut.
    pub(super) seen: bool,
}

impl Failed {
    fn unseen(refused: Refused) -> Self {
        Self {
            refused,
            seen: false,
        }
    }

    fn seen(refused: Refused) -> Self {
        Self {
            refused,
            seen: true,
        }
    }
}

/// How an answer says where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Chunked,
    Length(u64),
}

/// Whether the scraper may learn the reason of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reveal {
    /// It is granted the service, so that the reason is its business.
    Reason,
    /// All that it learns is the status.
    Nothing,
}

/// Answers with a refusal's status and fixed sentence.
///
/// # Errors
/// The scraper does not take it.
pub(super) async fn refuse(
    stream: &mut (impl AsyncWrite + Unpin),
    refusal: Refusal,
    reveal: Reveal,
    with: (AnswerWith, Afterwards),
    limits: &Limits,
) -> Result<(), Refused> {
    let SeenAs::Status(status) = refusal.seen_as() else {
        return Err(refusal.into());
    };
    let (phrase, text) = sentence(refusal, status);
    let mut answer = format!(
        "HTTP/1.1 {status} {phrase}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n",
        text.len()
    );
    if reveal == Reveal::Reason {
        answer.push_str(&format!("Aegis-Reason: {}\r\n", refusal.reason()));
    }
    if status == 405 {
        answer.push_str("Allow: GET, HEAD\r\n");
    }
    let (body, afterwards) = with;
    answer.push_str(end_of_head(afterwards));
    if body == AnswerWith::Body {
        answer.push_str(text);
    }
    write(stream, Bytes::from(answer), limits).await
}

/// Answers with a text of aegis's own.
///
/// # Errors
/// The scraper does not take it.
pub(super) async fn own(
    stream: &mut (impl AsyncWrite + Unpin),
    content_type: &str,
    text: &str,
    with: (AnswerWith, Afterwards),
    limits: &Limits,
) -> Result<(), Refused> {
    let (body, afterwards) = with;
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n{}",
        text.len(),
        end_of_head(afterwards)
    );
    if body == AnswerWith::Body {
        answer.push_str(text);
    }
    write(stream, Bytes::from(answer), limits).await
}

async fn write(
    stream: &mut (impl AsyncWrite + Unpin),
    answer: Bytes,
    limits: &Limits,
) -> Result<(), Refused> {
    let mut to_scraper = ToScraper {
        stream,
        deadline: Instant::now() + limits.stall_timeout,
        limits,
    };
    to_scraper.write(answer).await
}

fn end_of_head(afterwards: Afterwards) -> &'static str {
    match afterwards {
        Afterwards::KeepAlive => "\r\n",
        Afterwards::Close => "Connection: close\r\n\r\n",
    }
}

/// What a scraper is told: a fixed sentence for each status, nothing that aegis knows.
fn sentence(refusal: Refusal, status: u16) -> (&'static str, &'static str) {
    match (refusal, status) {
        (Refusal::Query, _) => (
            "Bad Request",
            "this service takes no such query parameter; to pass it on, list it under params of the service in aegis's configuration\n",
        ),
        (_, 400) => (
            "Bad Request",
            "ask for /NAME with GET: one segment, nothing encoded, no body\n",
        ),
        (_, 404) => ("Not Found", "no such service\n"),
        (_, 405) => ("Method Not Allowed", "only GET and HEAD\n"),
        (_, 431) => (
            "Request Header Fields Too Large",
            "a header is too large or has no usable value\n",
        ),
        (_, 503) => (
            "Service Unavailable",
            "the service is being scraped too often at once\n",
        ),
        (_, 504) => (
            "Gateway Timeout",
            "the service's answer was not whole in time\n",
        ),
        _ => ("Bad Gateway", "the service gave no usable metrics\n"),
    }
}

/// The way to the scraper: every write ends by the scrape's deadline, and sooner if the
/// scraper takes nothing.
struct ToScraper<'a, S> {
    stream: &'a mut S,
    deadline: Instant,
    limits: &'a Limits,
}

impl<S: AsyncWrite + Unpin> ToScraper<'_, S> {
    async fn write(&mut self, mut bytes: impl Buf) -> Result<(), Refused> {
        while bytes.has_remaining() {
            let patience = self.patience();
            match timeout_at(patience, self.stream.write_buf(&mut bytes)).await {
                Ok(Ok(1..)) => {}
                Ok(Ok(0)) => return Err(Refusal::Abandoned.into()),
                Ok(Err(error)) => return Err(Refused::new(Refusal::Abandoned, error)),
                Err(_) => return Err(Refusal::Stalled.into()),
            }
        }
        match timeout_at(self.patience(), self.stream.flush()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Refused::new(Refusal::Abandoned, error)),
            Err(_) => Err(Refusal::Stalled.into()),
        }
    }

    fn patience(&self) -> Instant {
        self.deadline
            .min(Instant::now() + self.limits.stall_timeout)
    }
}
