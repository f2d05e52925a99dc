//! Checks the head of a service's answer, and writes the head that the scraper gets instead.

use hyper::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, LOCATION, TRANSFER_ENCODING,
};
use hyper::{HeaderMap, StatusCode};

use super::super::Framing;
use super::super::end::EndCheck;
use crate::http::{NO_SCRIPTS, Persistence, end_of_head};
use crate::refusal::{Refusal, Refused};
use crate::text::media_type::{MetricsFormat, is_list_of_tokens};

/// The fields of a service's head that are relayed. All others are dropped.
#[derive(Debug)]
pub(in crate::scrape::respond) struct AnswerHead {
    content_type: String,
    format: MetricsFormat,
    content_encoding: Option<String>,
    framing: Framing,
}

impl AnswerHead {
    /// Checks the fields. `content_type` replaces the service's own.
    pub(super) fn check(
        headers: &HeaderMap,
        framing: Framing,
        content_type: Option<&str>,
    ) -> Result<Self, Refused> {
        let content_type = match content_type {
            Some(configured) => configured.to_owned(),
            None => single(headers, &CONTENT_TYPE)?.unwrap_or_else(|| DEFAULT_TYPE.to_owned()),
        };
        let Some(format) = MetricsFormat::of(&content_type) else {
            return Err(Refused::new(Refusal::ContentType, content_type));
        };
        let content_encoding = match single(headers, &CONTENT_ENCODING)? {
            Some(encoding) if !is_list_of_tokens(&encoding) => {
                return Err(unusable(&CONTENT_ENCODING));
            }
            content_encoding => content_encoding,
        };
        Ok(Self {
            content_type,
            format,
            content_encoding,
            framing,
        })
    }

    /// The check of the body's end, for an answer without a length.
    pub(in crate::scrape::respond) fn end_check(&self) -> Option<EndCheck> {
        let is_encoded = self.content_encoding.as_deref().is_some_and(|coding| {
            // "identity" says that there is no coding.
            !coding.eq_ignore_ascii_case("identity")
        });
        (self.framing == Framing::Close && !is_encoded).then(|| EndCheck::new(self.format))
    }

    pub(in crate::scrape::respond) fn to_http(&self, persistence: Persistence) -> String {
        let begin = "HTTP/1.1 200 OK\r\nContent-Type: ";
        let mut head = [begin, &self.content_type, "\r\n", NO_SCRIPTS].concat();
        if let Some(encoding) = &self.content_encoding {
            head.push_str(&format!("Content-Encoding: {encoding}\r\n"));
        }
        match self.framing {
            Framing::Chunked | Framing::Close => head.push_str("Transfer-Encoding: chunked\r\n"),
            Framing::Length(length) => head.push_str(&format!("Content-Length: {length}\r\n")),
        }
        head.push_str(end_of_head(persistence));
        head
    }
}

/// What Prometheus assumes for an answer without a type. A browser would guess, and could take it for
/// a page.
const DEFAULT_TYPE: &str = "text/plain; version=0.0.4";

/// How the answer marks the end of its body.
///
/// An answer with two lengths is refused.
pub(super) fn framing(headers: &HeaderMap, close_delimited: bool) -> Result<Framing, Refused> {
    let malformed = |detail: &str| Err(Refused::new(Refusal::Malformed, detail));
    let lengths: Vec<_> = headers.get_all(CONTENT_LENGTH).iter().collect();
    let chunked = headers
        .get_all(TRANSFER_ENCODING)
        .iter()
        .map(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    match (lengths.as_slice(), chunked.collect::<Vec<_>>().as_slice()) {
        ([], [true]) => Ok(Framing::Chunked),
        ([length], []) => {
            let length = length.to_str().ok().and_then(|text| text.parse().ok());
            length.map_or_else(
                || malformed("an unreadable Content-Length"),
                |length| Ok(Framing::Length(length)),
            )
        }
        ([], []) if close_delimited => Ok(Framing::Close),
        ([], []) => malformed("neither Content-Length nor chunked, and close_delimited is false"),
        ([], _) => malformed("a Transfer-Encoding other than chunked"),
        (_, []) => malformed("more than one Content-Length line"),
        _ => malformed("both Content-Length and Transfer-Encoding"),
    }
}

/// The status of an answer, and where it redirects to. The scraper must not follow it: Prometheus would
/// do so with its certificate.
pub(super) fn describe_status(status: StatusCode, headers: &HeaderMap) -> String {
    let code = status.as_u16();
    let location = headers.get(LOCATION).filter(|_| status.is_redirection());
    match location {
        Some(location) => {
            let location = String::from_utf8_lossy(location.as_bytes());
            format!(
                "status {code}, a redirect to {location}; set path to what answers with status 200"
            )
        }
        None => format!("status {code}"),
    }
}

/// The value of a header that may occur once. It must be printable and bounded; an empty one counts as
/// absent.
fn single(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>, Refused> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    match (value.to_str(), values.next()) {
        (Ok(text), None) if text.len() <= MAX_VALUE_BYTES && !text.contains('\t') => {
            Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
        }
        (_, Some(_)) => {
            let detail = format_args!("more than one {name} line");
            Err(Refused::new(Refusal::Malformed, detail))
        }
        (_, None) => Err(unusable(name)),
    }
}

const MAX_VALUE_BYTES: usize = 512;

fn unusable(name: &HeaderName) -> Refused {
    Refused::new(Refusal::Malformed, format_args!("an unusable {name}"))
}

#[cfg(test)]
mod tests;
