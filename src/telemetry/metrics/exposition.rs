//! The two text formats of metrics, and their negotiation.
//!
//! The library writes OpenMetrics 1.0. The classic format (text/plain; version=0.0.4) has the same
//! samples. It includes `_total` in the family names of counters, and has no units and no EOF.

use std::fmt;

use prometheus_client::encoding::text::{encode, encode_registry};
use prometheus_client::registry::Registry;

use crate::http::accepts;

/// A text format of metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExpositionFormat {
    /// The default, for example for `promtool check metrics` and curl.
    #[default]
    Classic,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl ExpositionFormat {
    /// The format for an `Accept` header: OpenMetrics if the header names it.
    #[must_use]
    pub fn for_accept(accept: Option<&str>) -> Self {
        if accepts(accept, "application/openmetrics-text") {
            Self::OpenMetrics
        } else {
            Self::Classic
        }
    }

    /// Its content type.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    pub(super) fn render(self, registry: &Registry) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail. Scrapers would reject a text without its EOF.
        let written = match self {
            Self::OpenMetrics => encode(&mut text, registry),
            Self::Classic => encode_registry(&mut Classic::over(&mut text), registry),
        };
        debug_assert!(written.is_ok());
        text
    }
}

/// Rewrites the library's output, line by line.
struct Classic<'a> {
    text: &'a mut String,
    /// Where the current line begins.
    line: usize,
    /// Where the previous line begins: `# HELP` precedes the type.
    before: usize,
}

impl<'a> Classic<'a> {
    fn over(text: &'a mut String) -> Self {
        let (line, before) = (text.len(), text.len());
        Self { text, line, before }
    }

    fn end_line(&mut self) {
        let line = self.text.get(self.line..).unwrap_or_default();
        if line.starts_with("# UNIT ") {
            self.text.truncate(self.line);
            return;
        }
        if let Some(counter) = line
            .strip_prefix("# TYPE ")
            .and_then(|line| line.strip_suffix(" counter\n"))
        {
            let help = self.text.get(self.before..self.line).unwrap_or_default();
            let help = help
                .strip_prefix("# HELP ")
                .and_then(|help| help.strip_prefix(counter))
                .unwrap_or_default();
            let rewritten = format!("# HELP {counter}_total{help}# TYPE {counter}_total counter\n");
            self.text.truncate(self.before);
            self.text.push_str(&rewritten);
        }
        self.before = self.line;
        self.line = self.text.len();
    }
}

impl fmt::Write for Classic<'_> {
    fn write_str(&mut self, written: &str) -> fmt::Result {
        for piece in written.split_inclusive('\n') {
            self.text.push_str(piece);
            if piece.ends_with('\n') {
                self.end_line();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::gauge::Gauge;
    use prometheus_client::registry::Unit;

    #[test]
    fn both_formats_have_the_same_samples() {
        let mut registry = Registry::with_prefix("aegis");
        registry.register("scrapes", "Scrapes", Counter::<u64>::default());
        let seconds = Gauge::<i64>::default();
        registry.register_with_unit("age", "Age", Unit::Seconds, seconds);
        registry.register("open", "Open", Gauge::<i64>::default());
        assert_eq!(
            ExpositionFormat::OpenMetrics.render(&registry),
            "# HELP aegis_scrapes Scrapes.\n# TYPE aegis_scrapes counter\naegis_scrapes_total 0\n\
             # HELP aegis_age_seconds Age.\n# TYPE aegis_age_seconds gauge\n\
             # UNIT aegis_age_seconds seconds\naegis_age_seconds 0\n\
             # HELP aegis_open Open.\n# TYPE aegis_open gauge\naegis_open 0\n# EOF\n"
        );
        assert_eq!(
            ExpositionFormat::Classic.render(&registry),
            "# HELP aegis_scrapes_total Scrapes.\n# TYPE aegis_scrapes_total counter\naegis_scrapes_total 0\n\
             # HELP aegis_age_seconds Age.\n# TYPE aegis_age_seconds gauge\naegis_age_seconds 0\n\
             # HELP aegis_open Open.\n# TYPE aegis_open gauge\naegis_open 0\n"
        );
    }

    #[test]
    fn the_accept_header_selects_the_format() {
        let cases = [
            (None, ExpositionFormat::Classic),
            (Some("*/*"), ExpositionFormat::Classic),
            (
                Some("text/plain;version=0.0.4;q=0.3"),
                ExpositionFormat::Classic,
            ),
            (
                Some("application/openmetrics-text-of-another-kind"),
                ExpositionFormat::Classic,
            ),
            (
                Some("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3"),
                ExpositionFormat::OpenMetrics,
            ),
            (
                Some("text/plain, Application/OpenMetrics-Text"),
                ExpositionFormat::OpenMetrics,
            ),
        ];
        for (accept, expected) in cases {
            assert_eq!(ExpositionFormat::for_accept(accept), expected, "{accept:?}");
        }
    }
}
