//! Times as text, by RFC 3339.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use humantime::format_rfc3339_seconds;

/// A time in seconds since the Unix epoch. Earlier times become 1970, and those after the year 9999
/// its last second.
pub(crate) fn rfc3339(seconds: i64) -> String {
    let seconds = u64::try_from(seconds).unwrap_or_default();
    let since = Duration::from_secs(seconds.min(MAX_SECOND));
    let at = UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH);
    format_rfc3339_seconds(at).to_string()
}

/// The same for a [`SystemTime`].
pub(crate) fn rfc3339_of(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    rfc3339(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// The end of the year 9999.
const MAX_SECOND: u64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_outside_1970_to_9999_are_clamped() {
        assert_eq!(rfc3339(i64::MIN), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(1_700_000_000), "2023-11-14T22:13:20Z");
        assert_eq!(rfc3339(i64::MAX), "9999-12-31T23:59:59Z");
        let before = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(rfc3339_of(before), "1970-01-01T00:00:00Z");
    }
}
