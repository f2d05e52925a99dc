//! Checks the end of an answer without a length, which ends with the connection (RFC 9112, section
//! 6.3).
//!
//! A crash of the service ends the connection too. What shows the difference is the format: text ends
//! with a line feed, and OpenMetrics with `# EOF`. Protobuf and compressed bodies carry their own
//! lengths, which the scraper checks. What remains is a crash exactly at the end of a line.

use crate::refusal::{Refusal, Refused};
use crate::text::media_type::MetricsFormat;

/// The last bytes of a body so far, and the format that they must end.
#[derive(Debug)]
pub(super) struct EndCheck {
    format: MetricsFormat,
    tail: Vec<u8>,
}

impl EndCheck {
    pub(super) fn new(format: MetricsFormat) -> Self {
        Self {
            format,
            tail: Vec::with_capacity(2 * TAIL_BYTES),
        }
    }

    /// Adds the next bytes of the body.
    pub(super) fn add(&mut self, piece: &[u8]) {
        let last = piece.last_chunk::<TAIL_BYTES>();
        self.tail.extend_from_slice(last.map_or(piece, |last| last));
        let old = self.tail.len().saturating_sub(TAIL_BYTES);
        self.tail.drain(..old);
    }

    /// Checks that the body may end here.
    pub(super) fn check(&self) -> Result<(), Refused> {
        let detail = match self.format {
            MetricsFormat::Text if self.tail.ends_with(b"\n") => return Ok(()),
            MetricsFormat::OpenMetrics if self.ends_with_eof() => return Ok(()),
            MetricsFormat::Protobuf => return Ok(()),
            MetricsFormat::Text => "it has no length, and does not end with a line feed",
            MetricsFormat::OpenMetrics => "it has no length, and does not end with # EOF",
        };
        Err(Refused::new(Refusal::HungUp, detail))
    }

    /// Whether the last line is `# EOF`, whose line feed is optional (OpenMetrics 1.0).
    fn ends_with_eof(&self) -> bool {
        let text = self.tail.strip_suffix(b"\n").unwrap_or(&self.tail);
        matches!(text.strip_suffix(b"# EOF"), Some([] | [.., b'\n']))
    }
}

/// The refusal of an answer without a body: `up` would be 1 without a sample.
pub(super) fn empty() -> Refused {
    Refused::new(Refusal::Malformed, "empty answer")
}

/// A line feed, `# EOF` and another line feed.
const TAIL_BYTES: usize = 7;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Whether a body in these pieces may end.
    fn may_end(format: MetricsFormat, pieces: &[&[u8]]) -> bool {
        let mut end = EndCheck::new(format);
        for piece in pieces {
            end.add(piece);
        }
        end.check().is_ok()
    }

    #[test]
    fn a_body_ends_where_its_format_ends() {
        use MetricsFormat::{OpenMetrics, Protobuf, Text};
        const CASES: &[(MetricsFormat, &str, bool)] = &[
            (Text, "up 1\n", true),
            (Text, "up 1\r\n", true),
            (Text, "\n", true),
            (Text, "up 1", false),
            (Text, "", false),
            (OpenMetrics, "up 1\n# EOF\n", true),
            (OpenMetrics, "up 1\n# EOF", true),
            (OpenMetrics, "# EOF\n", true),
            (OpenMetrics, "# EOF", true),
            (OpenMetrics, "up 1\n", false),
            (OpenMetrics, "up 1\n# EOF\n\n", false),
            (OpenMetrics, "up 1 # EOF\n", false),
            (OpenMetrics, "x# EOF", false),
            (OpenMetrics, "up 1\n# EO", false),
            (OpenMetrics, "", false),
            (Protobuf, "\u{1}", true),
        ];
        for (format, body, expected) in CASES {
            assert_eq!(may_end(*format, &[body.as_bytes()]), *expected, "{body:?}");
        }
    }

    proptest! {
        #[test]
        fn the_pieces_of_a_body_do_not_matter(
            body in "[a# \nEOF]{0,20}",
            cut in 0usize..20,
            then in 0usize..20,
        ) {
            let (first, rest) = body.split_at(cut.min(body.len()));
            let (second, third) = rest.split_at(then.min(rest.len()));
            let pieces = [first, second, third].map(str::as_bytes);
            for format in [MetricsFormat::Text, MetricsFormat::OpenMetrics] {
                prop_assert_eq!(may_end(format, &pieces), may_end(format, &[body.as_bytes()]));
            }
        }
    }
}
