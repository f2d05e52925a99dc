//! Percent-encoding (RFC 3986, section 2.1), which aegis checks and never decodes in a path.

/// Whether a text begins with two hex digits, as it must after a `%`.
pub(crate) fn begins_with_two_digits(text: &str) -> bool {
    let digits = text.as_bytes().first_chunk::<2>();
    digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
}
