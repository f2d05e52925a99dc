//! Text from outside as logs may show it.

use std::fmt::{self, Write as _};

/// Text from outside, such as a path or a name in a certificate: escaped, and cut at a bound.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.0.iter().take(LONGEST_FOREIGN_TEXT);
        shown.try_for_each(|byte| match byte {
            b'"' | b'\\' => write!(f, "\\{}", char::from(*byte)),
            b' '..=b'~' => f.write_char(char::from(*byte)),
            byte => write!(f, "\\x{byte:02x}"),
        })?;
        if self.0.len() > LONGEST_FOREIGN_TEXT {
            f.write_str("…")?;
        }
        Ok(())
    }
}

/// Long enough for every sensible name and error; short enough that nobody fills a disk with
/// one.
const LONGEST_FOREIGN_TEXT: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_is_escaped_and_cut() {
        let shown = |bytes: &[u8]| Escaped(bytes).to_string();
        assert_eq!(shown(b"/node"), "/node");
        assert_eq!(shown(b"/\x1b[31m\n\"\\"), "/\\x1b[31m\\x0a\\\"\\\\");
        assert_eq!(shown("/n\u{f6}".as_bytes()), "/n\\xc3\\xb6");
        assert_eq!(shown(&[b'a'; 300]), format!("{}…", "a".repeat(256)));
    }
}
