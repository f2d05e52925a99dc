//! Escapes text from outside for logs, and removes parts of keys.

use std::fmt::{self, Write as _};

use crate::text::pem;

/// Text from outside, such as a path or a name in a certificate: escaped, and cut at a bound.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut length: usize = 0;
        for byte in self.0 {
            length += match byte {
                b'"' | b'\\' => 2,
                b' '..=b'~' => 1,
                _ => 4,
            };
            if length > MAX_CHARACTERS {
                return f.write_str("…");
            }
            match byte {
                b'"' | b'\\' => write!(f, "\\{}", char::from(*byte))?,
                b' '..=b'~' => f.write_char(char::from(*byte))?,
                byte => write!(f, "\\x{byte:02x}")?,
            }
        }
        Ok(())
    }
}

/// Escapes a text that may contain foreign parts; the result is one line of visible characters.
///
/// Control characters and direction marks are escaped; letters of every script stay. Possible key
/// material is cut, and so is a word that is too long. Foreign names are [`Escaped`] before: this
/// is for the text around them.
#[must_use]
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in discreet(text).chars() {
        if character.is_control() || is_format(character) {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Removes possible key material from a text.
pub(crate) fn discreet(text: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in text.split_inclusive(char::is_whitespace) {
        let runs = word.split_inclusive(|c| !is_encoding(c));
        let word: String = runs.map(without_key).collect();
        words.push(match word.char_indices().nth(MAX_CHARACTERS) {
            Some((end, _)) => {
                let blank = word.trim_start_matches(|c: char| !c.is_whitespace());
                word.get(..end).unwrap_or_default().to_owned() + "…" + blank
            }
            None => word,
        });
    }
    words.concat()
}

/// Whether base64 of either alphabet or hex could have it.
fn is_encoding(character: char) -> bool {
    character.is_ascii_alphanumeric() || "+/-_=".contains(character)
}

/// A run of what base64 could have, and at most one character after it.
fn without_key(run: &str) -> String {
    let (text, after) = run.split_at(run.trim_end_matches(|c| !is_encoding(c)).len());
    let is_pin = text.starts_with(PIN) && text.len() == PIN.len() + PIN_DIGITS;
    if is_pin {
        return run.to_owned();
    }
    let is_hex = text.len() > MAX_HEX_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut parts = text.split('/');
    let start = if is_hex || pem::is_encoded_in(text) {
        0
    } else if is_random(text, RANDOM)
        || parts.any(|part| is_random(part, RANDOM) || is_random(part, RANDOM_NAME))
    {
        start_of_random(text)
    } else {
        return run.to_owned();
    };
    let kept = text.get(..start + MAX_SECRET_CHARACTERS).unwrap_or(text);
    format!("{kept}…{after}")
}

/// Where in a path the first name is that looks random.
fn start_of_random(path: &str) -> usize {
    let mut start = 0;
    for part in path.split('/') {
        if is_random(part, START) {
            return start;
        }
        start += part.len() + 1;
    }
    0
}

/// Whether a text is long and looks like base64 of what has no pattern: upper and lower case and
/// digits take turns in it as they do in no name.
fn is_random(text: &str, (shortest, percent): (usize, usize)) -> bool {
    let class = |byte: &u8| match byte {
        b'A'..=b'Z' => Some(Class::Upper),
        b'a'..=b'z' => Some(Class::Lower),
        b'0'..=b'9' => Some(Class::Digit),
        _ => None,
    };
    let classes: Vec<Class> = text.as_bytes().iter().filter_map(class).collect();
    let has_both = classes.contains(&Class::Upper) && classes.contains(&Class::Lower);
    let next = classes.iter().skip(1);
    let turns = classes.iter().zip(next).filter(|(one, next)| one != next);
    text.len() >= shortest && has_both && turns.count() * 100 >= classes.len() * percent
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Upper,
    Lower,
    Digit,
}

/// What a key pin has before the base64 of its hash, and how long that is.
const PIN: &str = "sha256/";
const PIN_DIGITS: usize = 44;
/// Digits of a SHA-256 hash; serial numbers have fewer.
const MAX_HEX_DIGITS: usize = 64;
/// From so many characters on, and with so many turns in a hundred, a path looks random, or one name
/// in it. Base64 has 62 turns in a hundred; a name that is joined of words has fewer than 35.
const RANDOM: (usize, usize) = (24, 35);
const RANDOM_NAME: (usize, usize) = (16, 40);
/// The same for where to cut a path that has something random in it.
const START: (usize, usize) = (6, 25);
/// The part of a possible secret that is shown, so that it can be found.
const MAX_SECRET_CHARACTERS: usize = 8;

/// Separators of lines, and marks that turn the direction of text or join it.
fn is_format(character: char) -> bool {
    matches!(character, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// How many characters are shown: enough for every sensible name and error, and so few that no
/// message with one in it is long.
const MAX_CHARACTERS: usize = 256;

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
        assert_eq!(shown(&[0; 65]), format!("{}…", "\\x00".repeat(64)));
    }

    #[test]
    fn cursor_and_direction_characters_are_escaped() {
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

    #[test]
    fn possible_key_material_is_cut() {
        let line = "WoIBIx8b/P2q9tLk1mQ4eXv0RjZs7YcH3nUdK5wGfTaB+iNpO6lEgVyhJuCrMzSD";
        let hex = "3082".repeat(20);
        for (text, shown) in [
            (line.to_owned(), "WoIBIx8b…".to_owned()),
            (
                format!("/etc/aegis/{}.pem is", line.replace('/', "x")),
                "/etc/aegis/WoIBIx8b….pem is".to_owned(),
            ),
            (format!("\"{hex}\" is"), "\"30823082…\" is".to_owned()),
            ("z".repeat(300) + " b", "z".repeat(256) + "… b"),
        ] {
            assert_eq!(visible(&text), shown);
        }
        for text in [
            "spki:sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
            "begins a block, but is not exactly -----BEGIN LABEL-----",
            "serial 7f3a9c01d4e5b6a7f8091a2b3c4d5e6f70819203 is revoked",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "/nix/store/v4k9xv8r8ny6bwxv0kwqy6l8gjq0znbd-aegis-0.1.0/etc/aegis.toml",
            "/srv/PrometheusNodeExporter/TLSCertificates/K8sClusterA/Server1",
            "/var/lib/kubelet/pods/3f2a9c01-d4e5-46a7-8091-1a2b3c4d5e6f/volumes/tls",
            "systemd-private-6e5d4c3b2a1908f7e6d5c4b3a2918070-aegis.service-Ab3dEf",
            "spiffe://Example.org/ns/Monitoring/sa/Prometheus-0",
        ] {
            assert_eq!(visible(text), text);
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
        fn escaped_text_is_one_printable_line(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let shown = Escaped(&bytes).to_string();
            let cut = shown.strip_suffix('…');
            let whole = cut.unwrap_or(&shown);
            prop_assert!(whole.len() <= MAX_CHARACTERS, "{}", whole);
            prop_assert!(cut.is_none() || whole.len() > MAX_CHARACTERS - 4, "{}", whole);
            prop_assert!(whole.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{}", whole);
            let unescaped = unescaped(whole);
            prop_assert!(bytes.starts_with(&unescaped));
            prop_assert_eq!(cut.is_some(), unescaped.len() < bytes.len());
        }
    }
}
