//! One exchange with a service: a request written from nothing, and the rules of its answer.

mod head;
mod request_first;
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

use super::super::route::{Asked, TIMEOUT_HEADER};
use super::super::upstream::Connected;
use super::Framing;
use crate::config::Limits;
use crate::refusal::{Refusal, Refused};
use head::AnswerHead;
use request_first::RequestFirst;

/// The request that a service sees. Nothing of the scraper's is in it but what stands here.
#[derive(Debug)]
pub(in crate::scrape) struct ServiceRequest<'a> {
    /// The path of the configuration, with the query that was allowed.
    pub(in crate::scrape) target: String,
    pub(in crate::scrape) asked: &'a Asked,
    /// What remains of the scrape's time.
    pub(in crate::scrape) remaining: Duration,
}

impl ServiceRequest<'_> {
    fn written(&self) -> Result<Request<Empty<Bytes>>, Refused> {
        let mut request = Request::get(&self.target)
            .header(HOST, "localhost")
            .header(USER_AGENT, concat!("aegis/", env!("CARGO_PKG_VERSION")))
            .header(CONNECTION, "close")
            .header(
                TIMEOUT_HEADER,
                format!("{:.3}", self.remaining.as_secs_f64()),
            );
        if let Some(accept) = &self.asked.accept {
            request = request.header(ACCEPT, accept);
        }
        if let Some(accept_encoding) = &self.asked.accept_encoding {
            request = request.header(ACCEPT_ENCODING, accept_encoding);
        }
        request
            .body(Empty::new())
            .map_err(|error| Refused::new(Refusal::Target, error))
    }
}

/// A service's answer, its body still to come.
///
/// The connection is driven by whoever waits for it: no task of its own, and no pool, so that
/// no answer can ever reach another scrape.
pub(super) struct Answer {
    headers: HeaderMap,
    body: Incoming,
    framing: Framing,
    /// How the body ended, if that was found while small pieces were gathered.
    ended: Option<Result<(), Refused>>,
    connection: Driven,
}

impl Answer {
    /// Asks the service and waits for the head of its answer.
    pub(super) async fn ask(
        connected: Connected,
        request: &ServiceRequest<'_>,
        limits: &Limits,
    ) -> Result<Self, Refused> {
        let (mut sender, connection) = Builder::new()
            .read_buf_exact_size(Some(READ_BUFFER.max(limits.response_head)))
            .max_header_size(limits.response_head)
            .handshake(TokioIo::new(RequestFirst::over(
                connected,
                limits.response_head,
            )))
            .await
            .map_err(|error| refused(&error))?;
        let mut connection = Driven {
            connection: Box::pin(connection),
            over: false,
        };
        let response = connection
            .until(sender.send_request(request.written()?))
            .await;
        let (head, body) = response.map_err(|error| refused(&error))?.into_parts();
        // Before its length: what is wrong with it is that. A redirect too: Prometheus would follow
        // it, with its certificate.
        if head.status != StatusCode::OK {
            let detail = format_args!("status {}", head.status.as_u16());
            return Err(Refused::new(Refusal::Status, detail));
        }
        let framing = head::framing(&head.headers)?;
        Ok(Self {
            headers: head.headers,
            body,
            framing,
            ended: None,
            connection,
        })
    }

    /// Applies the rules of an answer's head.
    pub(super) fn check(&self, max_body: u64) -> Result<AnswerHead, Refused> {
        let head = AnswerHead::of(&self.headers, self.framing)?;
        if let Framing::Length(length) = self.framing
            && length > max_body
        {
            let detail = format_args!("{length} bytes, more than {max_body}");
            return Err(Refused::new(Refusal::TooLarge, detail));
        }
        Ok(head)
    }

    pub(super) fn framing(&self) -> Framing {
        self.framing
    }

    /// The next bytes of the body; `None` once it is whole. Trailers are left out.
    ///
    /// Small pieces that have already come are gathered into one.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Refused> {
        let first = match self.piece().await? {
            None => return Ok(None),
            Some(piece) if piece.len() >= SMALL => return Ok(Some(piece)),
            Some(piece) => piece,
        };
        let mut gathered = BytesMut::new();
        let mut size = first.len();
        // How it ended is for the next call; what came before goes out first.
        for _ in 1..MOST_GATHERED {
            if size >= ENOUGH {
                break;
            }
            match self.piece_that_came().await {
                Poll::Ready(Ok(Some(piece))) => {
                    if gathered.is_empty() {
                        gathered.reserve(ENOUGH + SMALL);
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
        match gathered.is_empty() {
            true => Ok(Some(first)),
            false => Ok(Some(gathered.freeze())),
        }
    }

    /// Whether the body is known to have ended as a whole, after what [`Answer::next`] gave.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self.ended, Some(Ok(())))
    }

    async fn piece_that_came(&mut self) -> Poll<Result<Option<Bytes>, Refused>> {
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

/// A piece below this is worth copying to save a TLS record and a system call.
const SMALL: usize = 16 * 1024;

/// TLS takes it in one write, with a head and framing (`MOST_UNSENT` of the handshake): nine of the
/// chunks of 4 KiB that services in Go send.
const ENOUGH: usize = 36 * 1024;

/// Chunks of one byte must not keep the other scrapes from their turn.
const MOST_GATHERED: usize = 128;

/// Bounds the memory of a scrape, together with what TLS holds. More is no faster.
const READ_BUFFER: usize = 64 * 1024;

/// A connection that makes progress while something is awaited from it.
struct Driven {
    connection: Pin<Box<Connection<TokioIo<RequestFirst>, Empty<Bytes>>>>,
    over: bool,
}

impl Driven {
    async fn until<F: Future>(&mut self, awaited: F) -> F::Output {
        let mut awaited = pin!(awaited);
        poll_fn(|cx| {
            // Its outcome reaches the scrape through what is awaited.
            self.over = self.over || self.connection.as_mut().poll(cx).is_ready();
            awaited.as_mut().poll(cx)
        })
        .await
    }
}

/// Which refusal a failed exchange is.
fn refused(error: &hyper::Error) -> Refused {
    let source = error.source();
    let system = source.and_then(|source| source.downcast_ref::<io::Error>());
    match system.map(io::Error::kind) {
        // The rules of [`strict::Strict`], and of hyper's reader of chunks.
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
