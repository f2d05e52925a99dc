//! Writes the answers of aegis itself: refusals and views.

use serde_json::Value;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use super::request::{BodyPolicy, Persistence, Reply};
use crate::config::Limits;
use crate::refusal::{Refusal, Refused, SeenAs, Stage};

/// An answer that aegis writes itself.
#[derive(Debug)]
pub(crate) struct LocalResponse {
    /// The HTTP status.
    pub(crate) status: u16,
    /// Its content type.
    pub(crate) content_type: &'static str,
    /// Its Content-Security-Policy. `None` allows nothing.
    pub(crate) csp: Option<String>,
    /// The allowed methods (`Allow`) of a 405.
    pub(crate) allow: &'static [&'static str],
    /// The body.
    pub(crate) text: String,
}

impl LocalResponse {
    /// A line of text.
    #[must_use]
    pub(crate) fn line(status: u16, text: &str) -> Self {
        Self {
            status,
            content_type: "text/plain; charset=utf-8",
            csp: None,
            allow: &[],
            text: format!("{text}\n"),
        }
    }

    /// Refuses a method that the target does not take (RFC 9110, section 15.5.6).
    #[must_use]
    pub(crate) fn method(methods: &'static [&'static str], hint: &str) -> Self {
        let text = format!("that takes {}; {hint}", methods.join(" or "));
        Self {
            allow: methods,
            ..Self::line(405, &text)
        }
    }

    /// A JSON value.
    #[must_use]
    pub(crate) fn json(value: &Value) -> Self {
        Self {
            status: 200,
            content_type: "application/json",
            csp: None,
            allow: &[],
            text: format!("{value}\n"),
        }
    }
}

/// An answer that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) refused: Refused,
    /// Whether a part of the answer was sent: then the connection can only be aborted.
    pub(crate) response_started: bool,
}

impl Failure {
    pub(crate) fn before_response(refused: Refused) -> Self {
        Self {
            refused,
            response_started: false,
        }
    }

    pub(crate) fn during_response(refused: Refused) -> Self {
        Self {
            refused,
            response_started: true,
        }
    }
}

/// Whether the scraper may learn the reason of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReasonVisibility {
    /// The scraper is granted the service, so it may learn the reason.
    Visible,
    /// The scraper learns only the status.
    Hidden,
}

impl ReasonVisibility {
    /// The visibility for a scraper that is granted the service.
    pub(crate) fn of(refusal: Refusal) -> Self {
        match refusal.stage() {
            Stage::Route | Stage::Upstream | Stage::Respond => Self::Visible,
            Stage::Admit | Stage::Handshake | Stage::Authorize => Self::Hidden,
        }
    }
}

/// Sends the status of a refusal. A scraper that may learn the reason finds it in the status line,
/// which Prometheus shows, in the body, which vmagent shows, and in `Aegis-Reason`.
///
/// # Errors
/// [`Refusal::Abandoned`] or [`Refusal::Stalled`]; the refusal itself, if it has no status.
pub(crate) async fn respond_refusal(
    stream: &mut (impl AsyncWrite + Unpin),
    refusal: Refusal,
    visibility: ReasonVisibility,
    reply: Reply,
    limits: &Limits,
) -> Result<(), Refused> {
    let SeenAs::Status(status) = refusal.seen_as() else {
        return Err(refusal.into());
    };
    let mut phrase = phrase(status).to_owned();
    let text = match visibility {
        ReasonVisibility::Visible => {
            let explanation = refusal.explanation();
            phrase.push_str(&format!(": {explanation}"));
            format!("{explanation}\n{}\n", refusal.remedy())
        }
        ReasonVisibility::Hidden => hidden_sentence(refusal, status).to_owned(),
    };
    let mut answer = format!(
        "HTTP/1.1 {status} {phrase}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n",
        text.len()
    );
    answer.push_str(NO_SCRIPTS);
    if visibility == ReasonVisibility::Visible {
        answer.push_str(&format!("Aegis-Reason: {}\r\n", refusal.reason()));
    }
    if status == 405 {
        answer.push_str("Allow: GET, HEAD\r\n");
    }
    answer.push_str(end_of_head(reply.persistence));
    if reply.body == BodyPolicy::Send {
        answer.push_str(&text);
    }
    write(stream, answer, limits).await
}

/// Sends an answer of aegis itself, and returns the size of its body in bytes.
///
/// # Errors
/// [`Refusal::Abandoned`] or [`Refusal::Stalled`].
pub(crate) async fn respond_local(
    stream: &mut (impl AsyncWrite + Unpin),
    response: LocalResponse,
    reply: Reply,
    limits: &Limits,
) -> Result<u64, Failure> {
    let LocalResponse {
        status,
        content_type,
        csp,
        allow,
        text,
    } = response;
    let length = text.len();
    let phrase = phrase(status);
    let mut answer = format!(
        "HTTP/1.1 {status} {phrase}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n{NO_STORE}"
    );
    match csp {
        Some(policy) => answer.push_str(&with_csp(&policy)),
        None => answer.push_str(NO_SCRIPTS),
    }
    if !allow.is_empty() {
        answer.push_str(&format!("Allow: {}\r\n", allow.join(", ")));
    }
    answer.push_str(end_of_head(reply.persistence));
    let mut size = 0;
    if reply.body == BodyPolicy::Send {
        answer.push_str(&text);
        size = length as u64;
    }
    // A slow scraper must not keep two copies in memory.
    drop(text);
    let written = write(stream, answer, limits).await;
    written.map_err(Failure::during_response)?;
    Ok(size)
}

/// Writes an answer within `stall_timeout`.
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

/// An answer is valid only at this moment.
const NO_STORE: &str = "Cache-Control: no-store\r\n";

/// For browsers: do not guess the type, run nothing, and treat the answer as another origin. A page
/// from a service could otherwise act as aegis itself, with the certificate of the operator who opens
/// it.
pub(crate) const NO_SCRIPTS: &str =
    "X-Content-Type-Options: nosniff\r\nContent-Security-Policy: sandbox; default-src 'none'\r\n";

/// The headers for browsers, with this Content-Security-Policy.
fn with_csp(policy: &str) -> String {
    format!("X-Content-Type-Options: nosniff\r\nContent-Security-Policy: {policy}\r\n")
}

fn phrase(status: u16) -> &'static str {
    let status = hyper::StatusCode::from_u16(status).ok();
    let phrase = status.and_then(|status| status.canonical_reason());
    phrase.unwrap_or_default()
}

/// The last lines of an answer's head.
pub(crate) fn end_of_head(persistence: Persistence) -> &'static str {
    match persistence {
        Persistence::KeepAlive => "\r\n",
        Persistence::Close => "Connection: close\r\n\r\n",
    }
}

/// The text for a client that may not learn the reason: a fixed sentence for each status.
fn hidden_sentence(refusal: Refusal, status: u16) -> &'static str {
    match (refusal, status) {
        (Refusal::Version, _) => "aegis needs HTTP/1.1, and this request has another version\n",
        (_, 400) => "ask for /NAME with GET: one segment, nothing encoded, no body\n",
        (_, 404) => "no such service\n",
        (_, 405) => "only GET and HEAD\n",
        (_, 431) => "a header is too large or has no usable value\n",
        _ => "refused\n",
    }
}
