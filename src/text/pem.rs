//! Finds every block that a PEM file visibly begins, each with its line.
//!
//! OpenSSL and rustls skip a block whose BEGIN line is not exactly right, and the certificate or
//! CRL in it is lost in silence. Here that is an error. What stands between the lines is decoded by
//! rustls. An error is a line number and a fixed sentence: the text could be that of a private key.

mod mark;
mod pasted;

use std::fmt;

use rustls::pki_types::pem::{PemObject, SectionKind};

use mark::Mark;
pub(crate) use pasted::{is_encoded_in, is_pasted};

/// What a block holds, by its label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Certificate,
    /// A certificate with OpenSSL's trust settings after it.
    TrustedCertificate,
    Crl,
    /// A private key that is not encrypted, as PKCS#8, SEC1 or PKCS#1.
    Key,
    /// A private key that is encrypted, or of a kind that TLS has no use for.
    UnusableKey,
    /// Several certificates in one structure of their own.
    Pkcs7,
    /// What tools write next to a key: its parameters, its public key, a request.
    Companion,
}

/// A label, what it stands for, and the label by which rustls knows that.
type Label = (&'static str, Kind, &'static str);

const LABELS: &[Label] = &[
    ("CERTIFICATE", Kind::Certificate, "CERTIFICATE"),
    ("X509 CERTIFICATE", Kind::Certificate, "CERTIFICATE"),
    (
        "TRUSTED CERTIFICATE",
        Kind::TrustedCertificate,
        "CERTIFICATE",
    ),
    ("X509 CRL", Kind::Crl, "X509 CRL"),
    ("PRIVATE KEY", Kind::Key, "PRIVATE KEY"),
    ("EC PRIVATE KEY", Kind::Key, "EC PRIVATE KEY"),
    ("RSA PRIVATE KEY", Kind::Key, "RSA PRIVATE KEY"),
    ("ENCRYPTED PRIVATE KEY", Kind::UnusableKey, ""),
    ("DSA PRIVATE KEY", Kind::UnusableKey, ""),
    ("ANY PRIVATE KEY", Kind::UnusableKey, ""),
    ("OPENSSH PRIVATE KEY", Kind::UnusableKey, ""),
    ("PKCS7", Kind::Pkcs7, ""),
    ("PKCS #7 SIGNED DATA", Kind::Pkcs7, ""),
    ("CMS", Kind::Pkcs7, ""),
    ("CERTIFICATE REQUEST", Kind::Companion, ""),
    ("NEW CERTIFICATE REQUEST", Kind::Companion, ""),
    ("PUBLIC KEY", Kind::Companion, ""),
    ("RSA PUBLIC KEY", Kind::Companion, ""),
    ("EC PARAMETERS", Kind::Companion, ""),
    ("DH PARAMETERS", Kind::Companion, ""),
    ("X9.42 DH PARAMETERS", Kind::Companion, ""),
];

/// What is wrong in a file, and in which line; it reads on from the file's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) line: usize,
    pub(crate) what: &'static str,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} {}", self.line, self.what)
    }
}

/// One block of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block<'a> {
    pub(crate) kind: Kind,
    /// The line that it begins on, counted from 1.
    pub(crate) line: usize,
    /// The label by which rustls knows it.
    label: &'static str,
    /// What stands between its first and its last line.
    body: &'a [u8],
}

impl Block<'_> {
    /// Decodes it: the bytes, and what rustls takes them for.
    ///
    /// # Errors
    /// It is not base64.
    pub(crate) fn decode<T: PemObject>(&self) -> Result<T, Problem> {
        let Self { label, body, .. } = self;
        let text = [
            b"-----BEGIN ",
            label.as_bytes(),
            b"-----\n",
            body,
            b"\n-----END ",
            label.as_bytes(),
            b"-----\n",
        ];
        T::from_pem_slice(&text.concat()).map_err(|_| self.broken())
    }

    /// Decodes what no key is in.
    ///
    /// # Errors
    /// It is not base64.
    pub(crate) fn der(&self) -> Result<Vec<u8>, Problem> {
        let (_, der): (SectionKind, Vec<u8>) = self.decode()?;
        Ok(der)
    }

    /// A problem of the block as a whole.
    pub(crate) fn problem(&self, what: &'static str) -> Problem {
        Problem {
            line: self.line,
            what,
        }
    }

    /// Whether it is encrypted as OpenSSL once did that: with headers before the base64.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.body.trim_ascii_start().starts_with(b"Proc-Type:")
    }

    /// Which line of it is not base64.
    fn broken(&self) -> Problem {
        let mut lines = Lines::of(self.body, self.line + 1);
        let foreign = lines.find(|line| !line.text.iter().all(|byte| is_base64(*byte)));
        match foreign {
            Some(line) if mark::has_escaped_breaks(line.text) => line.problem(mark::ESCAPED),
            Some(line) => {
                line.problem("is not base64, though it is inside a block; copy the block again")
            }
            None => self.problem("begins a block whose base64 is incomplete; copy the block again"),
        }
    }
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte.is_ascii_whitespace() || b"+/=\x0b".contains(&byte)
}

/// Finds the blocks of a file, in their order.
///
/// # Errors
/// The first line of a block that is not as it must be, or a block that does not end.
pub(crate) fn blocks(file: &[u8]) -> Result<Vec<Block<'_>>, Problem> {
    let file = without_bom(file);
    let mut blocks = Vec::new();
    let mut begun: Option<(Line<'_>, &Label)> = None;
    for line in Lines::of(file, 1) {
        let mark = mark::of(line.text).map_err(|what| line.problem(what))?;
        match (mark, begun) {
            (None, _) => {}
            (Some(Mark::Begin(label)), None) => {
                let known = LABELS.iter().find(|(known, ..)| known.as_bytes() == label);
                begun = Some((line, known.ok_or_else(|| line.problem(UNKNOWN))?));
            }
            (Some(Mark::Begin(_)), Some((first, _))) => return Err(first.problem(NOT_ENDED)),
            (Some(Mark::End(end)), Some((first, (known, kind, label))))
                if end == known.as_bytes() =>
            {
                blocks.push(Block {
                    kind: *kind,
                    line: first.number,
                    label,
                    body: file.get(first.end..line.start).unwrap_or_default(),
                });
                begun = None;
            }
            (Some(Mark::End(_)), Some(_)) => return Err(line.problem(OTHER_END)),
            (Some(Mark::End(_)), None) => return Err(line.problem(NOT_BEGUN)),
        }
    }
    match begun {
        None => Ok(blocks),
        Some((first, _)) => Err(first.problem(CUT_OFF)),
    }
}

const UNKNOWN: &str =
    "begins a block of a kind that aegis does not know; correct its label, or take the block out";
const NOT_ENDED: &str =
    "begins a block that does not end before the next one begins; its END line is missing";
const OTHER_END: &str = "ends a block of another kind than the one that was begun; its END line must have the label of its BEGIN line";
const NOT_BEGUN: &str = "ends a block that nothing begins; its BEGIN line is missing";
const CUT_OFF: &str = "begins a block that does not end; its END line is missing, perhaps because the file was cut off";

/// The line in which a text that should hold no PEM visibly begins or ends a block, if it does.
pub(crate) fn found_in(text: &str) -> Option<usize> {
    let mut lines = Lines::of(without_bom(text.as_bytes()), 1);
    let marked = lines.find(|line| !matches!(mark::of(line.text), Ok(None)));
    marked.map(|line| line.number)
}

/// What is wrong with a setting that holds PEM where it should name a file.
pub(crate) const PASTED: &str = "is PEM, not a path; write it to a file and give the path. If it is a private key, replace the key";

/// Whether a file is DER and not text: a SEQUENCE, as certificates, keys, CRLs and PKCS#12 are. A
/// length below 128, as that of small keys, could be a letter, so it must be that of the file.
pub(crate) fn is_der(file: &[u8]) -> bool {
    match file {
        [0x30, 0x80..=0x84, ..] => true,
        [0x30, length, rest @ ..] => usize::from(*length) == rest.len(),
        _ => false,
    }
}

/// Whether binary data is PKCS#12: a SEQUENCE that starts with the version 3 (RFC 7292, section 4).
pub(crate) fn is_pkcs12(file: &[u8]) -> bool {
    let contents = match file {
        [0x30, 0x80, contents @ ..]
        | [0x30, 0x81, _, contents @ ..]
        | [0x30, 0x82, _, _, contents @ ..]
        | [0x30, 0x83, _, _, _, contents @ ..] => contents,
        _ => return false,
    };
    contents.starts_with(&[0x02, 0x01, 0x03])
}

fn without_bom(file: &[u8]) -> &[u8] {
    file.strip_prefix(mark::BOM).unwrap_or(file)
}

/// A line without what ends it.
#[derive(Clone, Copy)]
struct Line<'a> {
    number: usize,
    text: &'a [u8],
    /// Where it starts in the text, and where the next one does.
    start: usize,
    end: usize,
}

impl Line<'_> {
    fn problem(&self, what: &'static str) -> Problem {
        Problem {
            line: self.number,
            what,
        }
    }
}

/// The lines of a text, which end as rustls has it: by a line feed, a carriage return, or both.
struct Lines<'a> {
    whole: &'a [u8],
    start: usize,
    number: usize,
}

impl<'a> Lines<'a> {
    fn of(whole: &'a [u8], number: usize) -> Self {
        Self {
            whole,
            start: 0,
            number,
        }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = Line<'a>;

    fn next(&mut self) -> Option<Line<'a>> {
        let (number, start) = (self.number, self.start);
        let rest = self.whole.get(start..).filter(|rest| !rest.is_empty())?;
        let length = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        let (text, after) = rest.split_at(length.unwrap_or(rest.len()));
        let ending = match after {
            [b'\r', b'\n', ..] => 2,
            [_, ..] => 1,
            [] => 0,
        };
        let end = start + text.len() + ending;
        self.start = end;
        self.number += 1;
        Some(Line {
            number,
            text,
            start,
            end,
        })
    }
}

#[cfg(test)]
mod tests;
