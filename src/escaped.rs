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

/// A text that others may have written a part of, as one line of visible characters.
///
/// What moves a cursor, ends a line or turns the direction of text is escaped; letters of every
/// script stay, and so does the length. Foreign names are [`Escaped`] before: this is for what
/// they stand in.
#[must_use]
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() || is_format(character) {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Separators of lines, and marks that turn the direction of text or join it.
fn is_format(character: char) -> bool {
    matches!(character, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Long enough for every sensible name and error; short enough that nobody fills a disk with
/// one.
const LONGEST_FOREIGN_TEXT: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn foreign_text_is_escaped_and_cut() {
        let shown = |bytes: &[u8]| Escaped(bytes).to_string();
        assert_eq!(shown(b"/node"), "/node");
        assert_eq!(shown(b"/\x1b[31m\n\"\\"), "/\\x1b[31m\\x0a\\\"\\\\");
        assert_eq!(shown("/n\u{f6}".as_bytes()), "/n\\xc3\\xb6");
        assert_eq!(shown(&[b'a'; 300]), format!("{}…", "a".repeat(256)));
        assert_eq!(shown(&[b'a'; 256]), "a".repeat(256));
    }

    #[test]
    fn what_moves_a_cursor_or_turns_text_is_not_shown_as_it_is() {
        for (text, shown) in [
            ("/srv/M\u{fc}ller \"CA\".pem", "/srv/M\u{fc}ller \"CA\".pem"),
            ("a\x1b[2Jb", "a\\u{1b}[2Jb"),
            ("a\nb\r\t\0", "a\\u{a}b\\u{d}\\u{9}\\u{0}"),
            ("\u{9b}31m\u{7f}", "\\u{9b}31m\\u{7f}"),
            ("\u{202e}drawkcab\u{2069}", "\\u{202e}drawkcab\\u{2069}"),
        ] {
            assert_eq!(visible(text), shown);
        }
    }

    /// What was escaped, from what is shown.
    fn unescaped(shown: &str) -> Vec<u8> {
        let mut bytes = shown.bytes();
        let mut unescaped = Vec::new();
        while let Some(byte) = bytes.next() {
            unescaped.push(match (byte, bytes.clone().next()) {
                (b'\\', Some(b'x')) => {
                    let digits: String = bytes.by_ref().skip(1).take(2).map(char::from).collect();
                    u8::from_str_radix(&digits, 16).unwrap()
                }
                (b'\\', Some(itself)) => {
                    bytes.next();
                    itself
                }
                (byte, _) => byte,
            });
        }
        unescaped
    }

    proptest! {
        #[test]
        fn escaped_text_is_one_line_that_hides_nothing(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let shown = Escaped(&bytes).to_string();
            let cut = shown.strip_suffix('…');
            prop_assert_eq!(cut.is_some(), bytes.len() > LONGEST_FOREIGN_TEXT);
            let whole = cut.unwrap_or(&shown);
            prop_assert!(whole.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{}", whole);
            prop_assert_eq!(unescaped(whole), &bytes[..bytes.len().min(LONGEST_FOREIGN_TEXT)]);
        }
    }
}
