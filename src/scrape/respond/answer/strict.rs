//! Follows the bytes of an answer, and refuses what two readers could take in two ways.
//!
//! hyper reads answers, and forgives more than aegis forgives a scraper: an empty line before the
//! status line, bare line feeds, white space and endless zeros in the lines of chunks, interim
//! answers without end. What is refused here never reaches hyper, and hyper judges the rest.

use std::io;

use httparse::{EMPTY_HEADER, Response};

/// How far an answer has come.
#[derive(Debug)]
pub(super) struct Strict {
    part: Part,
    interim_answers: usize,
    max_head: usize,
}

#[derive(Debug)]
enum Part {
    /// The bytes of a head so far, of an interim answer or of the final one.
    Head(Vec<u8>),
    Size {
        digits: usize,
        size: u64,
    },
    /// The chunk extensions behind a size.
    Extensions(u64),
    /// The line feed behind a size.
    SizeEnd(u64),
    /// This much is left of a chunk's data.
    Data(u64),
    DataEnd,
    DataLineFeed,
    /// A trailer that has this many bytes so far.
    Trailer(usize),
    TrailerEnd(usize),
    /// What follows has no lines: a body of a known length, or what nobody reads.
    Rest,
    Refused(io::ErrorKind, String),
}

impl Strict {
    pub(super) fn new(max_head: usize) -> Self {
        Self {
            part: Part::Head(Vec::new()),
            interim_answers: 0,
            max_head,
        }
    }

    /// Follows the next bytes, and says how many of them are good.
    pub(super) fn follow(&mut self, read: &[u8]) -> usize {
        let mut left = read;
        loop {
            left = match (&mut self.part, left) {
                (_, []) | (Part::Rest, _) => return read.len(),
                (Part::Refused(..), _) => return read.len() - left.len(),
                (Part::Data(size), _) => {
                    let now =
                        usize::try_from(*size).map_or(left.len(), |size| size.min(left.len()));
                    *size -= now as u64;
                    if *size == 0 {
                        self.part = Part::DataEnd;
                    }
                    left.get(now..).unwrap_or_default()
                }
                (_, [byte, after @ ..]) => match self.step(*byte) {
                    Ok(()) => after,
                    Err((kind, why)) => {
                        self.part = Part::Refused(kind, why);
                        left
                    }
                },
            };
        }
    }

    /// Why the byte behind the good ones is refused.
    pub(super) fn refused(&self) -> Option<io::Error> {
        match &self.part {
            Part::Refused(kind, why) => Some(io::Error::new(*kind, why.clone())),
            Part::Head(_)
            | Part::Size { .. }
            | Part::Extensions(_)
            | Part::SizeEnd(_)
            | Part::Data(_)
            | Part::DataEnd
            | Part::DataLineFeed
            | Part::Trailer(_)
            | Part::TrailerEnd(_)
            | Part::Rest => None,
        }
    }

    fn step(&mut self, byte: u8) -> Result<(), Fault> {
        if let Part::Head(head) = &mut self.part {
            let before = head.last().copied();
            match (before, byte) {
                (None, b'\r' | b'\n') => return malformed("an empty line before the answer"),
                (Some(b'\r'), b'\n') => {}
                (_, b'\n') => return malformed("a bare line feed in the head"),
                _ => {}
            }
            if head.len() >= self.max_head {
                return Err((
                    io::ErrorKind::FileTooLarge,
                    "the head is too large".to_owned(),
                ));
            }
            head.push(byte);
            if head.ends_with(b"\r\n\r\n") {
                let head = std::mem::take(head);
                self.part = self.behind(&head)?;
            }
            return Ok(());
        }
        self.part = in_a_chunked_body(&self.part, byte)?;
        Ok(())
    }

    /// What follows a head.
    fn behind(&mut self, head: &[u8]) -> Result<Part, Fault> {
        let mut headers = [EMPTY_HEADER; MAX_HEADERS];
        let mut answer = Response::new(&mut headers);
        match answer.parse(head) {
            Ok(_) => {}
            Err(error @ httparse::Error::TooManyHeaders) => {
                return Err((io::ErrorKind::FileTooLarge, error.to_string()));
            }
            Err(error) => return Err((io::ErrorKind::InvalidData, error.to_string())),
        }
        match answer.code {
            // Whoever switches protocols (101) gives no answer of another status.
            Some(100 | 102..=199) => {
                self.interim_answers += 1;
                match self.interim_answers > MAX_INTERIM_ANSWERS {
                    true => malformed("too many interim answers"),
                    false => Ok(Part::Head(Vec::new())),
                }
            }
            _ => {
                let mut codings = answer
                    .headers
                    .iter()
                    .filter(|header| header.name.eq_ignore_ascii_case("transfer-encoding"));
                match codings.any(|coding| coding.value.eq_ignore_ascii_case(b"chunked")) {
                    true => Ok(NEXT_SIZE),
                    false => Ok(Part::Rest),
                }
            }
        }
    }
}

type Fault = (io::ErrorKind, String);

fn malformed<T>(why: &str) -> Result<T, Fault> {
    Err((io::ErrorKind::InvalidData, why.to_owned()))
}

const NEXT_SIZE: Part = Part::Size { digits: 0, size: 0 };

/// RFC 9112, section 7.1, without white space, and with no more digits than a size can have.
fn in_a_chunked_body(part: &Part, byte: u8) -> Result<Part, Fault> {
    match (part, byte) {
        (Part::Size { digits, size }, _) if byte.is_ascii_hexdigit() => {
            if *digits == MAX_SIZE_DIGITS {
                return malformed("a chunk size of more than 16 digits");
            }
            let digit = char::from(byte).to_digit(16).unwrap_or_default();
            Ok(Part::Size {
                digits: digits + 1,
                size: size << 4 | u64::from(digit),
            })
        }
        (Part::Size { digits: 1.., size }, b';') => Ok(Part::Extensions(*size)),
        (Part::Size { digits: 1.., size } | Part::Extensions(size), b'\r') => {
            Ok(Part::SizeEnd(*size))
        }
        (Part::Size { .. } | Part::Extensions(_), b' ' | b'\t') => {
            malformed("white space in the line of a chunk")
        }
        (Part::Size { .. }, _) => malformed("a chunk without a size"),
        (Part::Extensions(size), b'!'..=b'~') => Ok(Part::Extensions(*size)),
        (Part::Extensions(_), _) => malformed("an unusable chunk extension"),
        (Part::SizeEnd(0), b'\n') => Ok(Part::Trailer(0)),
        (Part::SizeEnd(size), b'\n') => Ok(Part::Data(*size)),
        (Part::DataEnd, b'\r') => Ok(Part::DataLineFeed),
        (Part::DataLineFeed, b'\n') => Ok(NEXT_SIZE),
        (Part::DataEnd | Part::DataLineFeed, _) => {
            malformed("a chunk that is longer than its size")
        }
        (Part::Trailer(length), b'\r') => Ok(Part::TrailerEnd(*length)),
        (Part::Trailer(_), b'\n') => malformed("a bare line feed in the trailers"),
        (Part::Trailer(length), _) => Ok(Part::Trailer(length.saturating_add(1))),
        (Part::TrailerEnd(0), b'\n') => Ok(Part::Rest),
        (Part::TrailerEnd(_), b'\n') => Ok(Part::Trailer(0)),
        (Part::SizeEnd(_) | Part::TrailerEnd(_), _) => malformed("a bare carriage return"),
        (Part::Head(_) | Part::Data(_) | Part::Rest | Part::Refused(..), _) => {
            malformed("a byte out of place")
        }
    }
}

/// As many as Go's client takes.
const MAX_INTERIM_ANSWERS: usize = 5;

/// As many as hyper takes.
const MAX_HEADERS: usize = 100;

/// Of a number of 64 bits.
const MAX_SIZE_DIGITS: usize = 16;

#[cfg(test)]
mod tests;
