//! Parsers for answers: a strict one for those of aegis, a lenient one for those of a service.

use crate::requests::Method;

/// An answer of aegis.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Body,
}

/// The result of reading its body.
#[derive(Debug, PartialEq, Eq)]
pub enum Body {
    /// A complete body, according to the head.
    Whole(Vec<u8>),
    /// A part of a body that visibly breaks off.
    Broken(Vec<u8>),
}

impl Answer {
    /// The value of a header that may occur once.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut named = self.headers.iter().filter(|(other, _)| other == name);
        let found = named.next();
        assert!(named.next().is_none(), "two {name}");
        found.map(|(_, value)| value.as_str())
    }

    /// The body, which must be complete.
    pub fn whole(&self) -> &[u8] {
        match &self.body {
            Body::Whole(body) => body,
            Body::Broken(_) => panic!("broken off: {self:?}"),
        }
    }
}

/// Reads the next answer of aegis. Panics if it violates RFC 9112.
pub fn next(received: &mut &[u8], to: Method) -> Option<Answer> {
    if received.is_empty() {
        return None;
    }
    let end = received.windows(4).position(|window| window == b"\r\n\r\n");
    let head = &received[..end.expect("a whole head")];
    let mut rest = &received[head.len() + 4..];
    let head = std::str::from_utf8(head).expect("a head in ASCII");
    assert!(
        head.bytes()
            .all(|byte| matches!(byte, b' '..=b'~' | b'\r' | b'\n')),
        "{head:?}"
    );
    let mut lines = head.split("\r\n");
    let line = lines.next().unwrap();
    let status = PHRASES.iter().find(|(status, phrase)| {
        let after = line.strip_prefix(&format!("HTTP/1.1 {status} {phrase}"));
        // A reason and its sentence can follow.
        after.is_some_and(|after| after.is_empty() || after.starts_with(": "))
    });
    let (status, _) = *status.unwrap_or_else(|| panic!("{line:?}"));
    let headers = lines.map(|line| {
        let (name, value) = line.split_once(": ").expect("a header");
        assert!(HEADERS.contains(&name), "{line:?}");
        assert!(!value.contains(['\r', '\n']), "{line:?}");
        (name.to_owned(), value.to_owned())
    });
    let mut answer = Answer {
        status,
        headers: headers.collect(),
        body: Body::Whole(Vec::new()),
    };
    let length = answer
        .header("Content-Length")
        .map(|length| length.parse::<usize>().unwrap());
    let is_chunked = answer
        .header("Transfer-Encoding")
        .map(|coding| assert_eq!(coding, "chunked"));
    answer.body = match (length, is_chunked) {
        (None, None) | (Some(_), Some(())) => panic!("of no or two lengths: {head:?}"),
        _ if to == Method::Head => Body::Whole(Vec::new()),
        (Some(length), None) if rest.len() >= length => take(&mut rest, length),
        (Some(_), None) => Body::Broken(std::mem::take(&mut rest).to_vec()),
        (None, Some(())) => unchunked(&mut rest),
    };
    *received = rest;
    Some(answer)
}

fn take(bytes: &mut &[u8], length: usize) -> Body {
    let (taken, rest) = bytes.split_at(length);
    *bytes = rest;
    Body::Whole(taken.to_vec())
}

/// Chunks as aegis writes them: no extension, no trailer.
fn unchunked(bytes: &mut &[u8]) -> Body {
    let mut body = Vec::new();
    loop {
        let Some(end) = bytes.windows(2).position(|window| window == b"\r\n") else {
            *bytes = &[];
            return Body::Broken(body);
        };
        let size = std::str::from_utf8(&bytes[..end]).expect("a size");
        let size = usize::from_str_radix(size, 16).expect("a size");
        let rest = &bytes[end + 2..];
        if rest.len() < size + 2 {
            body.extend_from_slice(&rest[..rest.len().min(size)]);
            *bytes = &[];
            return Body::Broken(body);
        }
        assert_eq!(&rest[size..size + 2], b"\r\n", "the end of a chunk");
        body.extend_from_slice(&rest[..size]);
        *bytes = &rest[size + 2..];
        if size == 0 {
            return Body::Whole(body);
        }
    }
}

const PHRASES: &[(u16, &str)] = &[
    (200, "OK"),
    (400, "Bad Request"),
    (404, "Not Found"),
    (405, "Method Not Allowed"),
    (431, "Request Header Fields Too Large"),
    (502, "Bad Gateway"),
    (503, "Service Unavailable"),
    (504, "Gateway Timeout"),
];

const HEADERS: &[&str] = &[
    "Aegis-Reason",
    "Allow",
    "Cache-Control",
    "Connection",
    "Content-Encoding",
    "Content-Length",
    "Content-Security-Policy",
    "Content-Type",
    "Transfer-Encoding",
    "X-Content-Type-Options",
];

/// The answer of a service, parsed by comparing texts.
#[derive(Debug)]
pub struct Parsed {
    pub content_type: Option<Vec<u8>>,
    pub content_encoding: Option<Vec<u8>>,
    /// Whether its head names no length.
    pub ends_with_connection: bool,
    /// Its body, if it is complete and its chunks are well-formed.
    pub body: Option<Vec<u8>>,
}

/// Parses a service's answer; `None` if its status is not 200, its end is not defined, or a line of
/// its head has a wrong line end.
pub fn parse(bytes: &[u8]) -> Option<Parsed> {
    let mut rest = bytes;
    let mut interim = 0;
    loop {
        let first = line(&mut rest)?;
        let words: Vec<&[u8]> = first.splitn(3, |byte| *byte == b' ').collect();
        let status = match words[..] {
            [b"HTTP/1.1" | b"HTTP/1.0", status] | [b"HTTP/1.1" | b"HTTP/1.0", status, _] => status,
            _ => return None,
        };
        let mut headers = Vec::new();
        loop {
            let next = line(&mut rest)?;
            if next.is_empty() {
                break;
            }
            let colon = next.iter().position(|byte| *byte == b':')?;
            headers.push((
                next[..colon].to_ascii_lowercase(),
                next[colon + 1..].trim_ascii(),
            ));
        }
        match status {
            [b'1', ..] if status != b"101" && interim < 5 => interim += 1,
            b"200" => return body(&headers, rest),
            _ => return None,
        }
    }
}

fn body(headers: &[(Vec<u8>, &[u8])], rest: &[u8]) -> Option<Parsed> {
    let all = |name: &[u8]| -> Vec<&[u8]> {
        let named = headers.iter().filter(|(other, _)| other == name);
        named.map(|(_, value)| *value).collect()
    };
    let once = |name: &[u8]| match all(name)[..] {
        [] => Some(None),
        [value] => Some(Some(value.to_vec())),
        _ => None,
    };
    let body = match (&all(b"content-length")[..], &all(b"transfer-encoding")[..]) {
        ([length], []) => {
            let length: usize = std::str::from_utf8(length).ok()?.parse().ok()?;
            rest.get(..length).map(<[u8]>::to_vec)
        }
        ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") => dechunked(rest),
        ([], []) => Some(rest.to_vec()),
        _ => return None,
    };
    Some(Parsed {
        content_type: once(b"content-type")?,
        content_encoding: once(b"content-encoding")?,
        ends_with_connection: headers
            .iter()
            .all(|(name, _)| name != b"content-length" && name != b"transfer-encoding"),
        body,
    })
}

fn dechunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let size = line(&mut rest)?;
        if !size.iter().all(|byte| (b'!'..=b'~').contains(byte)) {
            return None;
        }
        let size = size.split(|byte| *byte == b';').next()?;
        let size = std::str::from_utf8(size).ok()?;
        if size.len() > 16 || size.starts_with('+') {
            return None;
        }
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            while !line(&mut rest)?.is_empty() {}
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size..)?.strip_prefix(b"\r\n")?;
    }
}

/// A line, which must end with a carriage return and a line feed.
fn line<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    let line = &rest[..end];
    *rest = &rest[end + 1..];
    line.strip_suffix(b"\r")
}

/// Whether a content type is one of metrics, and contains no second type.
pub fn is_of_metrics(content_type: &str) -> bool {
    const KNOWN: [&str; 3] = [
        "text/plain",
        "application/openmetrics-text",
        "application/vnd.google.protobuf",
    ];
    let lower = content_type.to_ascii_lowercase();
    let after = KNOWN.iter().find_map(|known| lower.strip_prefix(known));
    let is_alone = after.is_some_and(|after| {
        after.trim_start_matches(' ').starts_with(';') || after.trim_matches(' ').is_empty()
    });
    // A second type needs a slash. Within quotes it is allowed if there is no comma.
    is_alone && !lower.contains(',') && (lower.matches('/').count() == 1 || lower.contains('"'))
}
