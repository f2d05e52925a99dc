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
    /// What stands between the data of chunks, and behind them.
    Line(Line),
    /// This much is left of a chunk's data.
    Data(u64),
    /// What follows has no lines: a body of a known length, or what is not read.
    Rest,
    Refused(io::ErrorKind, String),
}

#[derive(Clone, Copy, Debug)]
enum Line {
    Size {
        digits: usize,
        size: u64,
    },
    /// The chunk extensions behind a size.
    Extensions(u64),
    /// The line feed behind a size.
    SizeEnd(u64),
    DataEnd,
    DataLineFeed,
    /// A trailer that has this many bytes so far.
    Trailer(usize),
    TrailerEnd(usize),
}

impl Strict {
    pub(super) fn new(max_head: usize) -> Self {
        Self {
            part: Part::Head(Vec::with_capacity(USUAL_HEAD)),
            interim_answers: 0,
            max_head,
        }
    }

    /// Follows the next bytes, and says how many of them are good.
    pub(super) fn follow(&mut self, read: &[u8]) -> usize {
        let mut left = read;
        while let [byte, ..] = left {
            let good = match &mut self.part {
                Part::Rest => left.len(),
                Part::Refused(..) => break,
                Part::Head(head) => match take_line(head, left, self.max_head) {
                    Ok(taken) if head.ends_with(b"\r\n\r\n") => {
                        let head = std::mem::take(head);
                        let next = self.behind(&head);
                        self.becomes(next, taken)
                    }
                    Ok(taken) => taken,
                    Err((good, fault)) => self.becomes(Err(fault), good + 1),
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
                    let next = line.with(*byte);
                    self.becomes(next, 1)
                }
            };
            left = left.get(good..).unwrap_or_default();
        }
        read.len() - left.len()
    }

    /// Goes on with the next part behind these bytes, and says how many are good: all, but for the
    /// last where there is a fault.
    fn becomes(&mut self, next: Result<Part, Fault>, bytes: usize) -> usize {
        let good = bytes - usize::from(next.is_err());
        self.part = next.unwrap_or_else(|(kind, why)| Part::Refused(kind, why));
        good
    }

    /// Why the byte behind the good ones is refused.
    pub(super) fn refused(&self) -> Option<io::Error> {
        match &self.part {
            Part::Refused(kind, why) => Some(io::Error::new(*kind, why.clone())),
            Part::Head(_) | Part::Line(_) | Part::Data(_) | Part::Rest => None,
        }
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
            // A service that switches protocols (101) gives no other answer.
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
                    true => Ok(Part::Line(Line::NEXT)),
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

/// Takes a line of a head, or as much of it as there is; or says how much is good.
fn take_line(head: &mut Vec<u8>, read: &[u8], max_head: usize) -> Result<usize, (usize, Fault)> {
    let end = read.iter().position(|byte| *byte == b'\n');
    let line = end.and_then(|end| read.get(..=end)).unwrap_or(read);
    if head.is_empty() && matches!(line, [b'\r' | b'\n', ..]) {
        return malformed("an empty line before the answer").map_err(|fault| (0, fault));
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
        let good = line.len() - 1;
        return malformed("a bare line feed in the head").map_err(|fault| (good, fault));
    }
    Ok(line.len())
}

impl Line {
    const NEXT: Self = Self::Size { digits: 0, size: 0 };

    /// RFC 9112, section 7.1, but without white space, and with no more digits than a size can have.
    fn with(self, byte: u8) -> Result<Part, Fault> {
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

/// As many as Go's client takes.
const MAX_INTERIM_ANSWERS: usize = 5;

/// Exporters in Go send some 180 bytes.
const USUAL_HEAD: usize = 256;

/// As many as hyper takes.
const MAX_HEADERS: usize = 100;

/// Of a number of 64 bits.
const MAX_SIZE_DIGITS: usize = 16;

#[cfg(test)]
mod tests;
