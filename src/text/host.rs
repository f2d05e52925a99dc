//! The value of `Host` (RFC 9112, section 3.2): `uri-host [ ":" port ]`, and never empty.
//!
//! aegis does not route by it. But a proxy in front of aegis may, so a value that some reader could
//! take for a list or a URL is refused.

use std::net::Ipv6Addr;

use super::percent::begins_with_two_digits;

/// Whether a value names a host.
///
/// It is stricter than RFC 3986, section 3.2.2: it also refuses the comma, which joins two `Host`
/// headers into one, the other sub-delimiters, and addresses of future IP versions.
pub(crate) fn is_host(value: &[u8]) -> bool {
    let Ok(value) = str::from_utf8(value) else {
        return false;
    };
    let (is_host, port) = match value.strip_prefix('[') {
        Some(literal) => match literal.split_once(']') {
            Some((address, port)) => (address.parse::<Ipv6Addr>().is_ok(), port),
            None => return false,
        },
        None => {
            let (name, port) = value.split_at(value.find(':').unwrap_or(value.len()));
            (is_name(name), port)
        }
    };
    is_host && is_port(port)
}

/// `1*( unreserved / pct-encoded )`
fn is_name(name: &str) -> bool {
    let mut parts = name.split('%');
    let is_plain = |text: &str| {
        let mut letters = text.chars();
        letters.all(|letter| letter.is_ascii_alphanumeric() || "-._~".contains(letter))
    };
    let is_encoded = |text: &str| begins_with_two_digits(text) && is_plain(text);
    !name.is_empty() && parts.next().is_some_and(is_plain) && parts.all(is_encoded)
}

/// `[ ":" *DIGIT ]`
fn is_port(port: &str) -> bool {
    let digits = port.strip_prefix(':').unwrap_or(port);
    (port.is_empty() || port.starts_with(':')) && digits.bytes().all(|digit| digit.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_address_with_an_optional_port() {
        const CASES: &[(&str, bool)] = &[
            ("a", true),
            ("localhost", true),
            ("node-1.example.org:9443", true),
            ("node_1.svc.cluster.local.", true),
            ("192.0.2.7:9443", true),
            ("[2001:db8::1]", true),
            ("[2001:db8::1]:9443", true),
            ("[::ffff:192.0.2.7]:1", true),
            ("a:", true),
            ("%2Frun%2faegis.sock", true),
            ("xn--bcher-kva.example", true),
            ("", false),
            (":9443", false),
            ("a, b", false),
            ("a,b", false),
            ("a b", false),
            ("a\tb", false),
            ("http://a/", false),
            ("a/", false),
            ("a/b", false),
            ("/a", false),
            ("user@a", false),
            ("a?b", false),
            ("a#b", false),
            ("a\\b", false),
            ("a:b", false),
            ("a:80:80", false),
            ("a:-1", false),
            ("a: 80", false),
            ("2001:db8::1", false),
            ("[2001:db8::1", false),
            ("2001:db8::1]", false),
            ("[2001:db8::1]9443", false),
            ("[2001:db8::1]:x", false),
            ("[192.0.2.7]", false),
            ("[a]", false),
            ("[]", false),
            ("[fe80::1%25eth0]", false),
            ("[v1.a]", false),
            ("a[b]", false),
            ("%", false),
            ("%2", false),
            ("%2x", false),
            ("a%\u{f6}", false),
            ("n\u{f6}de", false),
            ("a\"", false),
            ("<a>", false),
            ("a;b", false),
            ("*", false),
        ];
        for (value, expected) in CASES {
            assert_eq!(is_host(value.as_bytes()), *expected, "{value:?}");
        }
        assert!(!is_host(b"\xff"));
    }
}
