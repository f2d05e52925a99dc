//! One exchange with a service: writes its request from nothing, and applies the rules of answers.

mod head;
mod write_first;
mod strict;

use std::error::Error as _;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection};
use hyper::header::{ACCEPT, ACCEPT_ENCODING, CONNECTION, HOST, USER_AGENT};
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::TokioIo;

use super::super::upstream::Connected;
use super::Framing;
use super::end::empty;
use crate::config::{Limits, ServiceSettings};
use crate::http::TIMEOUT_HEADER;
use crate::refusal::{Refusal, Refused};
use head::AnswerHead;
use write_first::WriteFirstStream;

/// The request to a service. Of the scraper's request, it contains only these fields.
#[derive(Debug)]
pub(in crate::scrape) struct ServiceRequest<'a> {
    /// The configured path, with the allowed query.
    pub(in crate::scrape) target: String,
    /// The configured host name.
    pub(in crate::scrape) host: &'a str,
    pub(in crate::scrape) accept: Option<&'a str>,
    pub(in crate::scrape) accept_encoding: Option<&'a str>,
    /// The time until the scrape's deadline.
    pub(in crate::scrape) remaining: Duration,
}

impl ServiceRequest<'_> {
    fn to_http(&self) -> Result<Request<Empty<Bytes>>, Refused> {
        let mut request = Request::get(&self.target)
            .header(HOST, self.host)
            .header(USER_AGENT, concat!("aegis/", env!("CARGO_PKG_VERSION")))
            .header(CONNECTION, "close")
            .header(
                TIMEOUT_HEADER,
                format!("{:.3}", self.remaining.as_secs_f64()),
            );
        if let Some(accept) = self.accept {
            request = request.header(ACCEPT, accept);
        }
        if let Some(accept_encoding) = self.accept_encoding {
            request = request.header(ACCEPT_ENCODING, accept_encoding);
        }
        request
            .body(Empty::new())
            .map_err(|error| Refused::new(Refusal::Target, error))
    }
}

/// A service's answer, whose body is still to be read.
///
/// The scrape polls the connection itself. There is no other task and no pool, so that no answer can
/// reach another scrape.
pub(super) struct Answer {
    headers: HeaderMap,
    body: Incoming,
    framing: Framing,
    /// How the body ended, if the end was found while small pieces were gathered.
    ended: Option<Result<(), Refused>>,
    connection: ConnectionDriver,
}

impl Answer {
    /// Sends the request, and waits for the head of the answer.
    pub(super) async fn request(
        connected: Connected,
        request: &ServiceRequest<'_>,
        settings: &ServiceSettings,
        limits: &Limits,
    ) -> Result<Self, Refused> {
        let (mut sender, connection) = Builder::new()
            .read_buf_exact_size(Some(READ_BUFFER_BYTES.max(limits.response_head)))
            .max_header_size(limits.response_head)
            .handshake(TokioIo::new(WriteFirstStream::over(
                connected,
                limits.response_head,
            )))
            .await
            .map_err(|error| refused(&error))?;
        let mut connection = ConnectionDriver {
            connection: Box::pin(connection),
            finished: false,
        };
        let response = connection
            .until(sender.send_request(request.to_http()?))
            .await;
        let (head, body) = response.map_err(|error| refused(&error))?.into_parts();
        // Before the length, because the status explains more. A redirect is refused too: Prometheus
        // would follow it with its certificate.
        if head.status != StatusCode::OK {
            let detail = head::describe_status(head.status, &head.headers);
            return Err(Refused::new(Refusal::Status, detail));
        }
        let framing = head::framing(&head.headers, settings.close_delimited)?;
        Ok(Self {
            headers: head.headers,
            body,
            framing,
            ended: None,
            connection,
        })
    }

    /// Applies the rules of an answer's head.
    pub(super) fn check(&self, settings: &ServiceSettings) -> Result<AnswerHead, Refused> {
        let content_type = settings.content_type.as_deref();
        let head = AnswerHead::check(&self.headers, self.framing, content_type)?;
        match self.framing {
            Framing::Length(0) => Err(empty()),
            Framing::Length(length) if length > settings.max_body => {
                let detail = format_args!("{length} bytes, more than {}", settings.max_body);
                Err(Refused::new(Refusal::TooLarge, detail))
            }
            Framing::Length(_) | Framing::Chunked | Framing::Close => Ok(head),
        }
    }

    pub(super) fn framing(&self) -> Framing {
        self.framing
    }

    /// The next bytes of the body; `None` once it is complete. Trailers are dropped.
    ///
    /// Small pieces that have already arrived are joined. Those of an answer without a length are
    /// awaited.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Refused> {
        let first = match self.piece().await? {
            None => return Ok(None),
            Some(piece) if piece.len() >= MIN_PIECE_BYTES => return Ok(Some(piece)),
            Some(piece) => piece,
        };
        let mut gathered = BytesMut::new();
        let mut size = first.len();
        // An end is kept for the next call: the bytes before it are relayed first.
        for _ in 1..MAX_GATHERED_PIECES {
            if size >= MAX_GATHERED_BYTES {
                break;
            }
            let piece = match self.framing {
                // The head of a short answer is sent only after its end is checked.
                Framing::Close => Poll::Ready(Ok(self.piece().await?)),
                Framing::Chunked | Framing::Length(_) => self.available_piece().await,
            };
            match piece {
                Poll::Ready(Ok(Some(piece))) => {
                    if gathered.is_empty() {
                        gathered.reserve(MAX_GATHERED_BYTES + MIN_PIECE_BYTES);
                        gathered.extend_from_slice(&first);
                    }
                    gathered.extend_from_slice(&piece);
                    size += piece.len();
                }
                Poll::Ready(ended) => {
                    self.ended = Some(ended.map(|_| ()));
                    break;
                }
                Poll::Pending => break,
            }
        }
        if gathered.is_empty() {
            Ok(Some(first))
        } else {
            Ok(Some(gathered.freeze()))
        }
    }

    /// Whether the body is known to be complete after the last result of [`Answer::next`].
    pub(super) fn is_complete(&self) -> bool {
        matches!(self.ended, Some(Ok(())))
    }

    async fn available_piece(&mut self) -> Poll<Result<Option<Bytes>, Refused>> {
        let mut piece = pin!(self.piece());
        poll_fn(|cx| Poll::Ready(piece.as_mut().poll(cx))).await
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, Refused> {
        if let Some(ended) = self.ended.take() {
            return ended.map(|()| None);
        }
        loop {
            match self.connection.until(self.body.frame()).await {
                None => return Ok(None),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => return Ok(Some(data)),
                    Ok(_) | Err(_) => {}
                },
                Some(Err(error)) => return Err(refused(&error)),
            }
        }
    }
}

/// A smaller piece is worth copying, to save a TLS record and a system call.
const MIN_PIECE_BYTES: usize = 16 * 1024;

/// TLS takes it in one write, with a head and framing (`MAX_UNSENT_BYTES` of the handshake). It holds
/// nine of the 4 KiB chunks that services in Go send.
const MAX_GATHERED_BYTES: usize = 36 * 1024;

/// Chunks of one byte must not delay the other scrapes.
const MAX_GATHERED_PIECES: usize = 128;

/// Together with the TLS buffer, it bounds the memory of a scrape. A larger one is not faster.
const READ_BUFFER_BYTES: usize = 64 * 1024;

/// Polls a connection while something is awaited from it.
struct ConnectionDriver {
    connection: Pin<Box<Connection<TokioIo<WriteFirstStream>, Empty<Bytes>>>>,
    finished: bool,
}

impl ConnectionDriver {
    async fn until<F: Future>(&mut self, awaited: F) -> F::Output {
        let mut awaited = pin!(awaited);
        poll_fn(|cx| {
            // The awaited future reports the result of the connection.
            self.finished = self.finished || self.connection.as_mut().poll(cx).is_ready();
            awaited.as_mut().poll(cx)
        })
        .await
    }
}

/// The refusal of a failed exchange.
fn refused(error: &hyper::Error) -> Refused {
    let source = error.source();
    let system = source.and_then(|source| source.downcast_ref::<io::Error>());
    match system.map(io::Error::kind) {
        // From [`strict::StrictParser`], or from hyper's decoder of chunks.
        Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) => {
            Refused::new(Refusal::Malformed, source.unwrap_or(error))
        }
        Some(io::ErrorKind::FileTooLarge) => {
            Refused::new(Refusal::TooLarge, source.unwrap_or(error))
        }
        Some(_) => Refused::new(Refusal::HungUp, source.unwrap_or(error)),
        None if error.is_parse_too_large() => Refused::new(Refusal::TooLarge, error),
        None if error.is_parse() => Refused::new(Refusal::Malformed, error),
        None => Refused::new(Refusal::HungUp, error),
    }
}
