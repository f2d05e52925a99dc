//! The rules of the head of a service's answer, and the head that a scraper gets instead.

mod media_type;

use hyper::HeaderMap;
use hyper::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, TRANSFER_ENCODING,
};

use super::super::{Afterwards, Framing, SANDBOXED, end_of_head};
use crate::refusal::{Refusal, Refused};
use media_type::{is_list_of_tokens, is_metrics};

/// What of a service's head goes on to the scraper. All else of it stays here.
#[derive(Debug)]
pub(in crate::scrape::respond) struct AnswerHead {
    content_type: String,
    content_encoding: Option<String>,
    framing: Framing,
}

impl AnswerHead {
    pub(super) fn of(headers: &HeaderMap, framing: Framing) -> Result<Self, Refused> {
        let content_type = match single(headers, &CONTENT_TYPE)? {
            None => DEFAULT_TYPE.to_owned(),
            Some(content_type) if is_metrics(&content_type) => content_type,
            Some(content_type) => return Err(Refused::new(Refusal::ContentType, content_type)),
        };
        let content_encoding = match single(headers, &CONTENT_ENCODING)? {
            Some(encoding) if !is_list_of_tokens(&encoding) => {
                return Err(unusable(&CONTENT_ENCODING));
            }
            content_encoding => content_encoding,
        };
        Ok(Self {
            content_type,
            content_encoding,
            framing,
        })
    }

    pub(in crate::scrape::respond) fn written(&self, afterwards: Afterwards) -> String {
        let begin = "HTTP/1.1 200 OK\r\nContent-Type: ";
        let mut head = [begin, &self.content_type, "\r\n", SANDBOXED].concat();
        if let Some(encoding) = &self.content_encoding {
            head.push_str(&format!("Content-Encoding: {encoding}\r\n"));
        }
        match self.framing {
            Framing::Chunked => head.push_str("Transfer-Encoding: chunked\r\n"),
            Framing::Length(length) => head.push_str(&format!("Content-Length: {length}\r\n")),
        }
        head.push_str(end_of_head(afterwards));
        head
    }
}

/// What Prometheus takes an answer for that has no type. A browser would guess, and could find a
/// page in it.
const DEFAULT_TYPE: &str = "text/plain; version=0.0.4";

/// How the answer says where its body ends.
///
/// An answer that ends with the connection is refused: nothing tells a whole one from one
/// whose service crashed. So is one that says it twice.
pub(super) fn framing(headers: &HeaderMap) -> Result<Framing, Refused> {
    let malformed = |why| Err(Refused::new(Refusal::Malformed, why));
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
        ([], []) => {
            malformed("neither Content-Length nor chunked, so that a cut-off would not show")
        }
        _ => malformed("an unclear length"),
    }
}

/// The value of a header that may stand once, printable and bounded. An empty one is none.
fn single(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>, Refused> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    match (value.to_str(), values.next()) {
        (Ok(text), None) if text.len() <= MAX_VALUE && !text.contains('\t') => {
            Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
        }
        _ => Err(unusable(name)),
    }
}

const MAX_VALUE: usize = 512;

fn unusable(name: &HeaderName) -> Refused {
    Refused::new(Refusal::Malformed, format_args!("an unusable {name}"))
}

#[cfg(test)]
mod tests;
