//! Whether a line begins or ends a block: exactly, visibly or not at all.

use super::LABELS;

/// A line that begins or ends a block, with the block's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark<'a> {
    Begin(&'a [u8]),
    End(&'a [u8]),
}

pub(super) const BOM: &[u8] = b"\xef\xbb\xbf";

pub(super) const ESCAPED: &str =
    "has line breaks that are written as \\n; replace them by real line breaks";

/// What a line begins or ends. Blanks and control characters at its end do not count, as OpenSSL
/// has it. A line that begins with `#` is a comment.
///
/// # Errors
/// What keeps a line from being one that it visibly is.
pub(super) fn of(line: &[u8]) -> Result<Option<Mark<'_>>, &'static str> {
    let trailing = line.iter().rev().take_while(|byte| **byte <= b' ').count();
    let (trimmed, _) = line.split_at(line.len().saturating_sub(trailing));
    if let Some(label) = labelled(trimmed, b"-----BEGIN ") {
        return Ok(Some(Mark::Begin(label)));
    }
    if let Some(label) = labelled(trimmed, b"-----END ") {
        return Ok(Some(Mark::End(label)));
    }
    if is_visibly_one(trimmed) {
        return Err(cause(trimmed));
    }
    Ok(None)
}

fn labelled<'a>(line: &'a [u8], start: &[u8]) -> Option<&'a [u8]> {
    let label = line.strip_prefix(start)?.strip_suffix(b"-----")?;
    let is_label = !label.is_empty() && !label.contains(&b'-');
    is_label.then_some(label)
}

/// Whether a person would take the line for one that begins or ends a block, whatever is wrong
/// with it.
fn is_visibly_one(line: &[u8]) -> bool {
    // Lines of base64, which are most, are done with here.
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=".contains(byte);
    let is_body = line.len() > MAX_MARK_BYTES && line.iter().all(is_plain);
    if is_body || line.trim_ascii_start().starts_with(b"#") {
        return false;
    }
    let seen = seen(line);
    let words = seen.trim_matches('-').to_ascii_uppercase();
    let kind = ["BEGIN", "END"].iter();
    let is_of_known_label = kind
        .filter_map(|kind| words.strip_prefix(kind))
        .any(is_known);
    let is_of_any_label = seen.contains("--BEGIN") || seen.contains("--END");
    let is_between_dashes = seen.starts_with("--") && seen.ends_with("--");
    is_of_known_label
        || is_of_any_label
        || is_between_dashes && HOLDINGS.iter().any(|holding| words.contains(holding))
}

/// Longer than any line that is visibly one and has no dashes.
const MAX_MARK_BYTES: usize = 40;

/// What a block is for, where the word BEGIN or END was mangled.
const HOLDINGS: [&str; 3] = ["CERTIFICATE", "X509CRL", "PRIVATEKEY"];

fn is_known(label: &str) -> bool {
    let mut labels = LABELS.iter();
    labels.any(|(known, ..)| seen(known.as_bytes()) == label)
}

/// The letters, digits and dashes of a line, whatever is between them and however they are
/// encoded.
fn seen(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let characters = text.chars().filter_map(|character| match character {
        dash if is_dash(dash) => Some('-'),
        other => other.is_ascii_alphanumeric().then_some(other),
    });
    characters.collect()
}

/// Word processors turn hyphens into these.
fn is_dash(character: char) -> bool {
    matches!(
        character,
        '-' | '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{fe63}' | '\u{ff0d}'
    )
}

/// Whether a line holds `\n` or `\r` in letters.
pub(super) fn has_escaped_breaks(line: &[u8]) -> bool {
    line.windows(2).any(|pair| matches!(pair, br"\n" | br"\r"))
}

/// What keeps a line from being one that begins or ends a block.
fn cause(line: &[u8]) -> &'static str {
    let text = String::from_utf8_lossy(line);
    if line.contains(&0) {
        return "holds NUL characters; save the file as ASCII or UTF-8 text, not as UTF-16";
    }
    if has_escaped_breaks(line) {
        return ESCAPED;
    }
    if text
        .chars()
        .any(|character| character != '-' && is_dash(character))
    {
        return "has other dashes than hyphens; copy the block again, not from a text document";
    }
    if line.starts_with(BOM) {
        return "has a byte-order mark before the block; remove it";
    }
    let inner = text.trim_matches(|character: char| character == '-' || character.is_whitespace());
    if inner.contains("--") {
        return "lacks line breaks; a BEGIN or END line must stand alone";
    }
    if line.first().is_some_and(u8::is_ascii_whitespace) {
        return "begins or ends a block, but is indented; remove the blanks";
    }
    "begins or ends a block, but is not exactly -----BEGIN LABEL----- or -----END LABEL-----, perhaps because the file was cut off; copy the block again"
}
