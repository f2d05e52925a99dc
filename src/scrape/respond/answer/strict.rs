//! Checks the bytes of an answer before hyper parses them, and refuses what two parsers could read
//! differently.
//!
//! hyper is lenient with answers: it accepts an empty line before the status line, bare line feeds,
//! white space and any number of zeros in chunk lines, and any number of interim answers. aegis is as
//! strict with a service as with a scraper. Bytes refused here never reach hyper, which parses the
//! rest.

use std::io;

use httparse::{EMPTY_HEADER, Response};

/// The state of the check.
#[derive(Debug)]
pub(super) struct StrictParser {
    part: Part,
    interim_answers: usize,
    max_head: usize,
}

#[derive(Debug)]
enum Part {
    /// The bytes so far of a head, of an interim answer or the final one.
    Head(Vec<u8>),
    /// A line of the chunked coding: between the data of chunks, or after the last.
    Line(Line),
    /// The data of a chunk, of which this many bytes remain.
    Data(u64),
    /// Unchecked bytes: a body of known length, or bytes after the end.
    Rest,
    Refused(io::ErrorKind, String),
}

#[derive(Clone, Copy, Debug)]
enum Line {
    Size {
        digits: usize,
        size: u64,
    },
    /// The chunk extensions after a size.
    Extensions(u64),
    /// The line feed after a size.
    SizeEnd(u64),
    DataEnd,
    DataLineFeed,
    /// A trailer of this many bytes so far.
    Trailer(usize),
    TrailerEnd(usize),
}

impl StrictParser {
    pub(super) fn new(max_head: usize) -> Self {
        Self {
            part: Part::Head(Vec::with_capacity(USUAL_HEAD_BYTES)),
            interim_answers: 0,
            max_head,
        }
    }

    /// Checks the next bytes, and returns how many of them are valid.
    pub(super) fn feed(&mut self, read: &[u8]) -> usize {
        let mut left = read;
        while let [byte, ..] = left {
            let valid = match &mut self.part {
                Part::Rest => left.len(),
                Part::Refused(..) => break,
                Part::Head(head) => match take_line(head, left, self.max_head) {
                    Ok(taken) if head.ends_with(b"\r\n\r\n") => {
                        let head = std::mem::take(head);
                        let next = self.after_head(&head);
                        self.advance(next, taken)
                    }
                    Ok(taken) => taken,
                    Err((valid, error)) => self.advance(Err(error), valid + 1),
                },
                Part::Data(size) => {
                    let now =
                        usize::try_from(*size).map_or(left.len(), |size| size.min(left.len()));
                    *size -= now as u64;
                    if *size == 0 {
                        self.part = Part::Line(Line::DataEnd);
                    }
                    now
                }
                Part::Line(line) => {
                    let next = line.next(*byte);
                    self.advance(next, 1)
                }
            };
            left = left.get(valid..).unwrap_or_default();
        }
        read.len() - left.len()
    }

    /// Sets the next part after these bytes, and returns how many are valid: all of them, or all but
    /// the last if there is an error.
    fn advance(&mut self, next: Result<Part, ParseError>, bytes: usize) -> usize {
        let valid = bytes - usize::from(next.is_err());
        self.part = next.unwrap_or_else(|(kind, why)| Part::Refused(kind, why));
        valid
    }

    /// Why the byte after the valid ones is refused.
    pub(super) fn refused(&self) -> Option<io::Error> {
        match &self.part {
            Part::Refused(kind, why) => Some(io::Error::new(*kind, why.clone())),
            Part::Head(_) | Part::Line(_) | Part::Data(_) | Part::Rest => None,
        }
    }

    /// The part after a head.
    fn after_head(&mut self, head: &[u8]) -> Result<Part, ParseError> {
        let mut headers = [EMPTY_HEADER; MAX_HEADERS];
        let mut answer = Response::new(&mut headers);
        match answer.parse(head) {
            Ok(_) => {}
            Err(httparse::Error::TooManyHeaders) => {
                let why = format!("its head has more than {MAX_HEADERS} lines");
                return Err((io::ErrorKind::FileTooLarge, why));
            }
            Err(error) => return Err((io::ErrorKind::InvalidData, error.to_string())),
        }
        match answer.code {
            // After 101 (Switching Protocols), no other answer follows.
            Some(100 | 102..=199) => {
                self.interim_answers += 1;
                if self.interim_answers > MAX_INTERIM_ANSWERS {
                    malformed("too many interim answers")
                } else {
                    Ok(Part::Head(Vec::new()))
                }
            }
            _ => {
                let mut codings = answer
                    .headers
                    .iter()
                    .filter(|header| header.name.eq_ignore_ascii_case("transfer-encoding"));
                if codings.any(|coding| coding.value.eq_ignore_ascii_case(b"chunked")) {
                    Ok(Part::Line(Line::NEXT))
                } else {
                    Ok(Part::Rest)
                }
            }
        }
    }
}

type ParseError = (io::ErrorKind, String);

fn malformed<T>(why: &str) -> Result<T, ParseError> {
    Err((io::ErrorKind::InvalidData, why.to_owned()))
}

/// Takes a line of a head, or the available part of it. An error comes with the number of valid bytes.
fn take_line(
    head: &mut Vec<u8>,
    read: &[u8],
    max_head: usize,
) -> Result<usize, (usize, ParseError)> {
    let end = read.iter().position(|byte| *byte == b'\n');
    let line = end.and_then(|end| read.get(..=end)).unwrap_or(read);
    if head.is_empty() && matches!(line, [b'\r' | b'\n', ..]) {
        return malformed("an empty line before the response").map_err(|error| (0, error));
    }
    let room = max_head.saturating_sub(head.len());
    if line.len() > room {
        let too_large = (
            io::ErrorKind::FileTooLarge,
            "the head is too large".to_owned(),
        );
        return Err((room, too_large));
    }
    head.extend_from_slice(line);
    if head.ends_with(b"\n") && !head.ends_with(b"\r\n") {
        let valid = line.len() - 1;
        return malformed("a bare line feed in the head").map_err(|error| (valid, error));
    }
    Ok(line.len())
}

impl Line {
    const NEXT: Self = Self::Size { digits: 0, size: 0 };

    /// The part after this byte: RFC 9112, section 7.1, without white space, and with at most
    /// [`MAX_SIZE_DIGITS`] digits.
    fn next(self, byte: u8) -> Result<Part, ParseError> {
        Ok(Part::Line(match (self, byte) {
            (Self::Size { digits, size }, _) if byte.is_ascii_hexdigit() => {
                if digits == MAX_SIZE_DIGITS {
                    return malformed("a chunk size of more than 16 digits");
                }
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                Self::Size {
                    digits: digits + 1,
                    size: size << 4 | u64::from(digit),
                }
            }
            (Self::Size { digits: 1.., size }, b';') => Self::Extensions(size),
            (Self::Size { digits: 1.., size } | Self::Extensions(size), b'\r') => {
                Self::SizeEnd(size)
            }
            (Self::Size { .. } | Self::Extensions(_), b' ' | b'\t') => {
                return malformed("white space in the line of a chunk");
            }
            (Self::Size { .. }, _) => return malformed("a chunk without a size"),
            (Self::Extensions(size), b'!'..=b'~') => Self::Extensions(size),
            (Self::Extensions(_), _) => return malformed("an unusable chunk extension"),
            (Self::SizeEnd(0), b'\n') => Self::Trailer(0),
            (Self::SizeEnd(size), b'\n') => return Ok(Part::Data(size)),
            (Self::DataEnd, b'\r') => Self::DataLineFeed,
            (Self::DataLineFeed, b'\n') => Self::NEXT,
            (Self::DataEnd | Self::DataLineFeed, _) => {
                return malformed("a chunk that is longer than its size");
            }
            (Self::Trailer(length), b'\r') => Self::TrailerEnd(length),
            (Self::Trailer(_), b'\n') => return malformed("a bare line feed in the trailers"),
            (Self::Trailer(length), _) => Self::Trailer(length.saturating_add(1)),
            (Self::TrailerEnd(0), b'\n') => return Ok(Part::Rest),
            (Self::TrailerEnd(_), b'\n') => Self::Trailer(0),
            (Self::SizeEnd(_) | Self::TrailerEnd(_), _) => {
                return malformed("a bare carriage return");
            }
        }))
    }
}

/// The limit of Go's client.
const MAX_INTERIM_ANSWERS: usize = 5;

/// Exporters in Go send about 180 bytes.
const USUAL_HEAD_BYTES: usize = 256;

/// The limit of hyper.
const MAX_HEADERS: usize = 100;

/// The hex digits of a 64-bit number.
const MAX_SIZE_DIGITS: usize = 16;

#[cfg(test)]
mod tests;
