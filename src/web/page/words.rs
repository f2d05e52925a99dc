//! Times, durations and sizes as people read them.

use std::time::{Duration, SystemTime};

use maud::{Markup, html};

use crate::text::time::{rfc3339, rfc3339_of};
use crate::tls::credentials::Expiry;

/// A time without line breaks.
pub(super) fn on(seconds: i64) -> Markup {
    html! { time { (rfc3339(seconds)) } }
}

pub(super) fn at(at: SystemTime) -> Markup {
    html! { time { (rfc3339_of(at)) } }
}

pub(super) fn expires(expiry: &Expiry) -> String {
    match expiry.left() {
        ..0 => format!("expired {}", left(expiry.left())),
        seconds => format!("expires {}", left(seconds)),
    }
}

pub(super) fn left(seconds: i64) -> String {
    let shown = rounded(Duration::from_secs(seconds.unsigned_abs()));
    match seconds {
        ..0 => format!("{shown} ago"),
        _ => format!("in {shown}"),
    }
}

pub(super) fn ago(at: SystemTime) -> String {
    format!("{} ago", lasting(at))
}

/// The time since then.
pub(super) fn lasting(since: SystemTime) -> String {
    // 0 if the clock was set back.
    rounded(SystemTime::now().duration_since(since).unwrap_or_default())
}

/// A duration in readable units, finer for short ones.
pub(super) fn rounded(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} days", seconds / 86_400),
    }
}

pub(super) fn milliseconds(duration: Duration) -> String {
    match duration.as_millis() {
        0 => "< 1 ms".to_owned(),
        few @ 1..1_000 => format!("{few} ms"),
        _ => format!("{:.1} s", duration.as_secs_f64()),
    }
}

pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{} KiB", bytes / 1024),
        _ => format!("{} MiB", bytes / 1024 / 1024),
    }
}

/// A sentence with a capital and a full stop.
pub(super) fn sentence(text: &str) -> String {
    capital(text) + "."
}

pub(super) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_abbreviated() {
        let rounded = |seconds| rounded(Duration::from_secs(seconds));
        let shown = [0, 59, 60, 3_599, 3_725, 172_799, 172_800].map(rounded);
        let expected = [
            "0 s",
            "59 s",
            "1 min",
            "59 min",
            "1 h 2 min",
            "47 h 59 min",
            "2 days",
        ];
        assert_eq!(shown, expected);
        let milliseconds = |micros| milliseconds(Duration::from_micros(micros));
        let shown = [400, 17_200, 999_999, 1_260_000].map(milliseconds);
        assert_eq!(shown, ["< 1 ms", "17 ms", "999 ms", "1.3 s"]);
        assert_eq!(size(9_999), "9999 B");
        assert_eq!(size(20 * 1024 * 1024), "20 MiB");
        assert_eq!(sentence("it is gone"), "It is gone.");
    }
}
