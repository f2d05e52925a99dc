//! The type of a service's answer, read whole by its grammar (RFC 9110, section 8.3.1).
//!
//! A prefix that is known is not enough: Chromium takes the last type of a list, and for
//! `text/plain;,text/html` runs the scripts of a page.

/// Whether a type is one of the formats of metrics (Prometheus, OpenMetrics 1.0, protobuf), and is
/// one type.
pub(super) fn is_metrics(content_type: &str) -> bool {
    const FORMATS: [&str; 3] = [
        "text/plain",
        "application/openmetrics-text",
        "application/vnd.google.protobuf",
    ];
    let (format, parameters) = match content_type.find([' ', ';']) {
        Some(end) => content_type.split_at(end),
        None => (content_type, ""),
    };
    FORMATS
        .iter()
        .any(|known| known.eq_ignore_ascii_case(format))
        && are_parameters(parameters)
        // In a quoted string the grammar has it, but browsers do not agree on where that ends.
        && !content_type.contains(',')
}

/// `*( OWS ";" OWS [ parameter ] )`. Its white space is blanks alone here.
fn are_parameters(mut text: &str) -> bool {
    loop {
        text = text.trim_start_matches(' ');
        let Some(after) = text.strip_prefix(';') else {
            return text.is_empty();
        };
        text = after.trim_start_matches(' ');
        if text.is_empty() || text.starts_with(';') {
            continue;
        }
        let Some((name, value)) = text.split_once('=') else {
            return false;
        };
        let end = match value.strip_prefix('"') {
            Some(quoted) => behind_quoted_string(quoted),
            None => Some(value.trim_start_matches(is_token_letter)).filter(|end| *end != value),
        };
        match end {
            Some(end) if is_token(name) => text = end,
            _ => return false,
        }
    }
}

/// What follows a quoted string (RFC 9110, section 5.6.4) whose first quote is cut off.
fn behind_quoted_string(quoted: &str) -> Option<&str> {
    let mut letters = quoted.chars();
    loop {
        match letters.next()? {
            '"' => return Some(letters.as_str()),
            '\\' => {
                letters.next()?;
            }
            _ => {}
        }
    }
}

/// Whether a text is `token *( OWS "," OWS token )`, as content codings are.
pub(super) fn is_list_of_tokens(text: &str) -> bool {
    text.split(',')
        .all(|token| is_token(token.trim_matches(' ')))
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.chars().all(is_token_letter)
}

/// RFC 9110, section 5.6.2.
fn is_token_letter(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_formats_of_metrics_pass_and_only_as_one_whole_type() {
        const CASES: &[(&str, bool)] = &[
            ("text/plain", true),
            ("text/plain; version=0.0.4", true),
            (
                "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
                true,
            ),
            ("Text/Plain ;charset=utf-8", true),
            ("text/plain;", true),
            ("text/plain; ;;charset=utf-8 ; ", true),
            (r#"text/plain; charset="utf-8""#, true),
            (r#"text/plain; a="x;\" y\\";b=c"#, true),
            (
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
                true,
            ),
            (
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
                true,
            ),
            ("application/vnd.google.protobuf", true),
            ("text/html", false),
            ("image/svg+xml", false),
            ("text/plainer", false),
            ("text/plain/html", false),
            ("text / plain", false),
            ("text", false),
            ("", false),
            (" ", false),
            (" text/plain", false),
            (";text/plain", false),
            ("text/html, text/plain", false),
            ("text/plain, text/html", false),
            ("text/plain,text/html", false),
            ("text/plain;,text/html", false),
            ("text/plain; a=b,text/html", false),
            ("text/plain;a=b, text/html", false),
            (
                "application/openmetrics-text;, text/html;charset=utf-8",
                false,
            ),
            (r#"text/plain; a="b,text/html""#, false),
            (r#"text/plain; a="\",text/html"#, false),
            (r#"text/plain; a="b"#, false),
            (r#"text/plain; a="b\"#, false),
            (r#"text/plain; a="b"c"#, false),
            (r#"text/plain; a=b"c""#, false),
            ("text/plain text/html", false),
            ("text/plain; text/html", false),
            ("text/plain; a", false),
            ("text/plain; a=", false),
            ("text/plain; =b", false),
            ("text/plain; a =b", false),
            ("text/plain; a= b", false),
            ("text/plain; a=b c", false),
            ("text/plain; a=<b>", false),
        ];
        for (content_type, expected) in CASES {
            assert_eq!(is_metrics(content_type), *expected, "{content_type:?}");
        }
    }

    #[test]
    fn content_codings_are_tokens() {
        const CASES: &[(&str, bool)] = &[
            ("gzip", true),
            ("gzip, br", true),
            ("x-a,b", true),
            ("gzip,", false),
            ("gzip br", false),
            ("gzip;q=1", false),
            ("<script>", false),
        ];
        for (codings, expected) in CASES {
            assert_eq!(is_list_of_tokens(codings), *expected, "{codings:?}");
        }
    }
}
