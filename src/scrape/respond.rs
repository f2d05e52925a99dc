//! Stage 6. Relays the service's answer to the scraper byte for byte, or fails visibly.
//!
//! It relays one piece at a time, so that memory does not depend on the size of a body. A truncated
//! body aborts the connection, so that no scraper takes it for complete.

mod end;
mod answer;
mod pace;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout_at};

use super::upstream::Connected;
use crate::config::{Limits, ServiceSettings};
use crate::http::{BodyPolicy, Failure, Reply, RequestReader};
use crate::io::deadline;
use crate::refusal::{Refusal, Refused};
use answer::Answer;
pub(super) use answer::ServiceRequest;
use end::{EndCheck, empty};
use pace::Pace;

/// Writes an answer to the scraper. Every wait ends at the scrape's deadline, or earlier if the scraper
/// stops reading.
pub(super) struct ScraperWriter<'a, S> {
    pub(super) stream: &'a mut S,
    /// Reads what the scraper sends meanwhile: its next request, or a disconnect.
    pub(super) reader: &'a mut RequestReader,
    pub(super) deadline: Instant,
    pub(super) limits: &'a Limits,
}

impl<S: AsyncRead + AsyncWrite + Unpin> ScraperWriter<'_, S> {
    /// Relays a service's answer, and returns the size of its body in bytes.
    ///
    /// # Errors
    /// The refusal, and whether a part of the answer was sent before it.
    pub(super) async fn respond(
        &mut self,
        connected: Connected,
        request: &ServiceRequest<'_>,
        settings: &ServiceSettings,
        reply: Reply,
    ) -> Result<u64, Failure> {
        let request = Answer::request(connected, request, settings, self.limits);
        let answer = self
            .wait_for(request)
            .await
            .map_err(Failure::before_response)?;
        let head = answer.check(settings).map_err(Failure::before_response)?;
        // The head is sent with the first bytes of the body. Until then, a failure can have a status.
        let unsent = Bytes::from(head.to_http(reply.persistence));
        if reply.body == BodyPolicy::Omit {
            self.write(unsent).await.map_err(Failure::during_response)?;
            return Ok(0);
        }
        let mut body = Body {
            answer,
            head: unsent,
            end: head.end_check(),
            size: 0,
            max_size: settings.max_body,
        };
        let mut pace = Pace::default();
        while pace.work(self.relay(&mut body)).await? == Progress::More {
            pace.rest().await;
        }
        Ok(body.size)
    }

    /// Relays the next piece of a body, the first one together with the answer's head.
    async fn relay(&mut self, body: &mut Body) -> Result<Progress, Failure> {
        let next = self.wait_for(body.answer.next()).await;
        let response_started = body.head.is_empty();
        let piece = next.and_then(|next| body.check(next));
        let (data, is_last) = piece.map_err(|refused| Failure {
            refused,
            response_started,
        })?;
        let head = std::mem::take(&mut body.head);
        match body.answer.framing() {
            Framing::Chunked | Framing::Close => {
                let (length, end) = chunk_framing(&data, is_last);
                self.write(head.chain(length).chain(data).chain(end)).await
            }
            Framing::Length(_) => self.write(head.chain(data)).await,
        }
        .map_err(Failure::during_response)?;
        if is_last {
            Ok(Progress::Complete)
        } else {
            Ok(Progress::More)
        }
    }

    /// Waits for the service until the deadline, or until the scraper disconnects.
    async fn wait_for<T>(
        &mut self,
        service: impl Future<Output = Result<T, Refused>>,
    ) -> Result<T, Refused> {
        tokio::select! {
            biased;
            result = deadline::by(self.deadline, service) => {
                result.unwrap_or_else(|| Err(Refusal::Timeout.into()))
            }
            refused = self.reader.wait_for_disconnect(self.stream, self.limits) => Err(refused),
        }
    }

    /// Writes a piece. Each partial write restarts `stall_timeout`, so that only a scraper that reads
    /// nothing has stalled.
    async fn write(&mut self, mut bytes: impl Buf) -> Result<(), Refused> {
        while bytes.has_remaining() {
            match timeout_at(self.write_deadline(), self.stream.write_buf(&mut bytes)).await {
                Ok(Ok(1..)) => {}
                Ok(Ok(0)) => return Err(Refusal::Abandoned.into()),
                Ok(Err(error)) => return Err(Refused::new(Refusal::Abandoned, error)),
                Err(_) => return Err(Refusal::Stalled.into()),
            }
        }
        match timeout_at(self.write_deadline(), self.stream.flush()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Refused::new(Refusal::Abandoned, error)),
            Err(_) => Err(Refusal::Stalled.into()),
        }
    }

    fn write_deadline(&self) -> Instant {
        self.deadline
            .min(Instant::now() + self.limits.stall_timeout)
    }
}

/// A body that is being relayed.
struct Body {
    answer: Answer,
    /// The head of the answer, until it is sent.
    head: Bytes,
    /// For an answer without a length.
    end: Option<EndCheck>,
    /// The bytes of the body so far.
    size: u64,
    max_size: u64,
}

impl Body {
    /// Counts and checks the next piece, and tells whether it is the last one.
    fn check(&mut self, next: Option<Bytes>) -> Result<(Bytes, bool), Refused> {
        let is_last = next.is_none() || self.answer.is_complete();
        let data = next.unwrap_or_default();
        self.size += data.len() as u64;
        if self.size > self.max_size {
            let detail = format_args!("max_body = {}", self.max_size);
            return Err(Refused::new(Refusal::TooLarge, detail));
        }
        if is_last && self.size == 0 {
            return Err(empty());
        }
        if let Some(end) = &mut self.end {
            end.add(&data);
            if is_last {
                end.check()?;
            }
        }
        Ok((data, is_last))
    }
}

/// Whether a body is complete.
#[derive(PartialEq, Eq)]
enum Progress {
    More,
    Complete,
}

/// The bytes before and after a piece of a chunked body.
fn chunk_framing(data: &Bytes, is_last: bool) -> (Bytes, &'static [u8]) {
    if data.is_empty() {
        return (Bytes::new(), b"0\r\n\r\n");
    }
    let length = Bytes::from(format!("{:x}\r\n", data.len()));
    if is_last {
        (length, b"\r\n0\r\n\r\n")
    } else {
        (length, b"\r\n")
    }
}

/// How an answer marks its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Chunked,
    Length(u64),
    /// By the end of the connection.
    Close,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_service_that_is_always_ready_times_out_at_the_deadline() {
        let (mut stream, _scraper) = tokio::io::duplex(64);
        let limits = Limits::default();
        let mut scraper = ScraperWriter {
            stream: &mut stream,
            reader: &mut RequestReader::default(),
            deadline: Instant::now(),
            limits: &limits,
        };
        let result = scraper.wait_for(std::future::ready(Ok(()))).await;
        assert_eq!(result.unwrap_err().refusal, Refusal::Timeout);
    }
}
