//! Stage 6. From the service's answer to the scraper's: passed on byte for byte, or failed visibly.
//!
//! Memory stays the same whatever the size of a body: one chunk is on its way at a time. A
//! body that breaks off is never ended in good order, so that no scraper takes it for whole.

mod answer;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::task::yield_now;
use tokio::time::{Instant, timeout, timeout_at};

use super::route::{Afterwards, AnswerWith, Heads};
use super::upstream::Connected;
use crate::config::{Limits, Service};
use crate::deadline;
use crate::refusal::{Refusal, Refused, SeenAs, Stage};
use crate::view::Shown;
use answer::Answer;
pub(super) use answer::ServiceRequest;

/// The scraper's side of a scrape: every wait for it ends by the scrape's deadline, and sooner
/// if it takes nothing.
pub(super) struct Scraper<'a, S> {
    pub(super) stream: &'a mut S,
    /// What the scraper sends meanwhile: its next request, or the end.
    pub(super) heads: &'a mut Heads,
    pub(super) deadline: Instant,
    pub(super) limits: &'a Limits,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Scraper<'_, S> {
    /// Passes a service's answer on, and says how many bytes its body had.
    ///
    /// # Errors
    /// Why not, and whether the scraper has seen a part of the answer by then.
    pub(super) async fn respond(
        &mut self,
        connected: Connected,
        request: &ServiceRequest<'_>,
        settings: &Service,
        (body, afterwards): (AnswerWith, Afterwards),
    ) -> Result<u64, Failed> {
        let asked = self.wait_for(Answer::ask(connected, request, self.limits));
        let mut answer = asked.await.map_err(Failed::unseen)?;
        let head = answer.check(settings.max_body).map_err(Failed::unseen)?;
        // The head waits for the first bytes of the body: until then, a failure has a status.
        let mut unsent = Bytes::from(head.written(afterwards));
        if body == AnswerWith::HeadAlone {
            self.write(unsent).await.map_err(Failed::seen)?;
            return Ok(0);
        }
        let mut size = 0;
        loop {
            let next = self.wait_for(answer.next()).await;
            let seen = unsent.is_empty();
            let next = next.and_then(|next| within(next, &mut size, settings.max_body));
            let Some(data) = next.map_err(|refused| Failed { refused, seen })? else {
                break;
            };
            let head = std::mem::take(&mut unsent);
            let is_whole = answer.is_whole();
            match answer.framing() {
                Framing::Chunked => {
                    let length = Bytes::from(format!("{:x}\r\n", data.len()));
                    let end: &[u8] = match is_whole {
                        true => b"\r\n0\r\n\r\n",
                        false => b"\r\n",
                    };
                    self.write(head.chain(length).chain(data).chain(end)).await
                }
                Framing::Length(_) => self.write(head.chain(data)).await,
            }
            .map_err(Failed::seen)?;
            if is_whole {
                return Ok(size);
            }
            // A service that never pauses must not keep the others from their turn.
            yield_now().await;
        }
        let end: &[u8] = match answer.framing() {
            Framing::Chunked => b"0\r\n\r\n",
            Framing::Length(_) => b"",
        };
        self.write(unsent.chain(end)).await.map_err(Failed::seen)?;
        Ok(size)
    }

    /// Waits for the service, as long as the scraper is there and the deadline is not.
    async fn wait_for<T>(
        &mut self,
        service: impl Future<Output = Result<T, Refused>>,
    ) -> Result<T, Refused> {
        tokio::select! {
            biased;
            came = deadline::by(self.deadline, service) => {
                came.unwrap_or_else(|| Err(Refusal::Timeout.into()))
            }
            refused = self.heads.until_gone(self.stream, self.limits) => Err(refused),
        }
    }

    /// Writes a piece. It is bounded, and before the next one the clock is looked at: only a scraper
    /// that is not ready has stalled.
    async fn write(&mut self, mut bytes: impl Buf) -> Result<(), Refused> {
        while bytes.has_remaining() {
            match timeout_at(self.patience(), self.stream.write_buf(&mut bytes)).await {
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

impl Reveal {
    /// Of a refusal to whoever is granted the service.
    pub(super) fn of(refusal: Refusal) -> Self {
        match refusal.stage() {
            Stage::Route | Stage::Upstream | Stage::Respond => Self::Reason,
            Stage::Admit | Stage::Handshake | Stage::Authorize => Self::Nothing,
        }
    }
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
    let (phrase, text) = (phrase(status), sentence(refusal, status));
    let mut answer = format!(
        "HTTP/1.1 {status} {phrase}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n",
        text.len()
    );
    answer.push_str(SANDBOXED);
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
    write(stream, answer, limits).await
}

/// Answers with something of aegis's own, and says how many bytes its body had.
///
/// # Errors
/// The scraper does not take it.
pub(super) async fn own(
    stream: &mut (impl AsyncWrite + Unpin),
    shown: Shown,
    with: (AnswerWith, Afterwards),
    limits: &Limits,
) -> Result<u64, Failed> {
    let (body, afterwards) = with;
    let Shown {
        status,
        content_type,
        browsers,
        text,
    } = shown;
    let length = text.len();
    let phrase = phrase(status);
    let mut answer = format!(
        "HTTP/1.1 {status} {phrase}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n{NOT_KEPT}"
    );
    match browsers {
        Some(policy) => answer.push_str(&confined_by(&policy)),
        None => answer.push_str(SANDBOXED),
    }
    if status == 405 {
        // Of what is aegis's own, only the admin socket says so (RFC 9110, section 15.5.6).
        answer.push_str("Allow: GET, HEAD, POST\r\n");
    }
    answer.push_str(end_of_head(afterwards));
    let mut size = 0;
    if body == AnswerWith::Body {
        answer.push_str(&text);
        size = length as u64;
    }
    // Nobody needs it twice while the scraper takes its time.
    drop(text);
    let written = write(stream, answer, limits).await;
    written.map_err(Failed::seen)?;
    Ok(size)
}

/// Writes a whole answer of aegis's own.
async fn write(
    stream: &mut (impl AsyncWrite + Unpin),
    answer: String,
    limits: &Limits,
) -> Result<(), Refused> {
    let writing = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.flush().await
    };
    match timeout(limits.stall_timeout, writing).await {
        Ok(written) => written.map_err(|error| Refused::new(Refusal::Abandoned, error)),
        Err(_) => Err(Refusal::Stalled.into()),
    }
}

/// What aegis says is so at this moment.
const NOT_KEPT: &str = "Cache-Control: no-store\r\n";

/// For browsers: an answer is of the type that it says, nothing in it runs, and it does not belong
/// to aegis's origin. A page from a service would else act as aegis itself, with the certificate
/// of the operator who opens it.
const SANDBOXED: &str =
    "X-Content-Type-Options: nosniff\r\nContent-Security-Policy: sandbox; default-src 'none'\r\n";

/// The same, but for what a policy of its own allows.
fn confined_by(policy: &str) -> String {
    format!("X-Content-Type-Options: nosniff\r\nContent-Security-Policy: {policy}\r\n")
}

fn phrase(status: u16) -> &'static str {
    let status = hyper::StatusCode::from_u16(status).ok();
    let phrase = status.and_then(|status| status.canonical_reason());
    phrase.unwrap_or_default()
}

fn end_of_head(afterwards: Afterwards) -> &'static str {
    match afterwards {
        Afterwards::KeepAlive => "\r\n",
        Afterwards::Close => "Connection: close\r\n\r\n",
    }
}

/// What a scraper is told: a fixed sentence for each status, nothing that aegis knows.
fn sentence(refusal: Refusal, status: u16) -> &'static str {
    match (refusal, status) {
        (Refusal::Query, _) => {
            "this service takes no such query parameter; to pass it on, list it under params of the service in aegis's configuration, and write its value in percent-encoded UTF-8\n"
        }
        (_, 400) => "ask for /NAME with GET: one segment, nothing encoded, no body\n",
        (_, 404) => "no such service\n",
        (_, 405) => "only GET and HEAD\n",
        (_, 431) => "a header is too large or has no usable value\n",
        (_, 503) => "the service is being scraped too often at once\n",
        (_, 504) => "the service's answer was not whole in time\n",
        _ => "the service gave no usable metrics\n",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_service_that_is_always_ready_does_not_outlive_the_deadline() {
        let (mut stream, _scraper) = tokio::io::duplex(64);
        let limits = Limits::default();
        let mut scraper = Scraper {
            stream: &mut stream,
            heads: &mut Heads::default(),
            deadline: Instant::now(),
            limits: &limits,
        };
        let came = scraper.wait_for(std::future::ready(Ok(()))).await;
        assert_eq!(came.unwrap_err().refusal, Refusal::Timeout);
    }
}
