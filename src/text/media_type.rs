//! The media types of metrics, checked completely by their grammar (RFC 9110, section 8.3.1).
//!
//! A known prefix is not enough: Chromium uses the last type of a list, and runs the scripts of a page
//! with the type `text/plain;,text/html`.

/// A format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetricsFormat {
    /// The text format of Prometheus.
    Text,
    /// OpenMetrics 1.0 as text.
    OpenMetrics,
    /// Length-delimited protobuf messages.
    Protobuf,
}

impl MetricsFormat {
    /// The format that a media type names; `None` if it is not exactly one type of metrics.
    pub(crate) fn of(content_type: &str) -> Option<Self> {
        const FORMATS: [(&str, MetricsFormat); 3] = [
            ("text/plain", MetricsFormat::Text),
            ("application/openmetrics-text", MetricsFormat::OpenMetrics),
            ("application/vnd.google.protobuf", MetricsFormat::Protobuf),
        ];
        let (name, parameters) = match content_type.find([' ', ';']) {
            Some(end) => content_type.split_at(end),
            None => (content_type, ""),
        };
        // The grammar allows a comma in a quoted string, but browsers disagree where such a string
        // ends.
        let is_one = are_parameters(parameters) && !content_type.contains(',');
        let known = FORMATS
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        known.filter(|_| is_one).map(|(_, format)| *format)
    }
}

/// `*( OWS ";" OWS [ parameter ] )`, with spaces as the only white space.
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
            Some(quoted) => after_quoted_string(quoted),
            None => Some(value.trim_start_matches(is_token_letter)).filter(|end| *end != value),
        };
        match end {
            Some(end) if is_token(name) => text = end,
            _ => return false,
        }
    }
}

/// The rest after a quoted string (RFC 9110, section 5.6.4), whose first quote is already removed.
fn after_quoted_string(quoted: &str) -> Option<&str> {
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
pub(crate) fn is_list_of_tokens(text: &str) -> bool {
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

    const MEDIA_TYPES: &[(&str, bool)] = &[
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

    #[test]
    fn only_single_metrics_media_types_are_accepted() {
        for (content_type, expected) in MEDIA_TYPES {
            let is_metrics = MetricsFormat::of(content_type).is_some();
            assert_eq!(is_metrics, *expected, "{content_type:?}");
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
