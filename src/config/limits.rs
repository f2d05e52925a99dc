//! The `[limits]` table: the bounds of everything that scrapers and services could make grow.

use std::ops::RangeInclusive;
use std::sync::LazyLock;
use std::time::Duration;

use super::reader::Reader;
use super::section::Section;

/// All limits, with the defaults of the configuration reference.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections open at once, shared by the scrapers; a quarter is reserved for addresses that have
    /// authenticated before.
    pub connections: usize,
    /// Connections open at once from one address; an IPv6 /64 is one address.
    pub connections_per_address: usize,
    /// New connections per second from one address.
    pub connection_rate: u32,
    /// New connections that one address may open above its rate, in one burst.
    pub connection_burst: u32,
    /// TLS handshakes computed at once. New addresses share one. A handshake that waits for its
    /// scraper does not count.
    pub handshakes: usize,
    /// From accept to the end of the TLS handshake.
    pub handshake_timeout: Duration,
    /// From the first byte of a request to the end of its head.
    pub head_timeout: Duration,
    /// Between two requests of one connection.
    pub idle_timeout: Duration,
    /// Age from which a connection answers one more request, and then closes.
    pub connection_age: Duration,
    /// A scrape as a whole, when the scraper names no timeout of its own.
    pub scrape_timeout: Duration,
    /// The maximum timeout that a scraper can request.
    pub scrape_timeout_max: Duration,
    /// Subtracted from the scraper's timeout, so that the scraper still receives the reason.
    pub timeout_offset: Duration,
    /// A scraper that reads nothing for this long is disconnected.
    pub stall_timeout: Duration,
    /// Bytes of a request's head.
    pub request_head: usize,
    /// Bytes of the head of a service's answer.
    pub response_head: usize,
    /// Bytes of the body of a service's answer.
    pub response_body: u64,
    /// Scrapes of one service at once.
    pub scrapes_per_service: usize,
    /// From SIGTERM to the end of the scrapes in flight.
    pub drain_timeout: Duration,
}

impl Limits {
    pub(super) fn read(mut limits: Reader<'_>) -> Self {
        let checked = Self {
            connections: limits.count("connections", 512),
            connections_per_address: limits.count("connections_per_address", 384),
            connection_rate: limits.count("connection_rate", 200),
            connection_burst: limits.count("connection_burst", 500),
            handshakes: limits.count("handshakes", 2 * cores()),
            handshake_timeout: limits.time("handshake_timeout", Duration::from_secs(5)),
            head_timeout: limits.time("head_timeout", Duration::from_secs(10)),
            idle_timeout: limits.time("idle_timeout", Duration::from_secs(5 * MINUTE)),
            connection_age: limits.time("connection_age", Duration::from_secs(60 * MINUTE)),
            scrape_timeout: limits.time("scrape_timeout", Duration::from_secs(10)),
            scrape_timeout_max: limits.time("scrape_timeout_max", Duration::from_secs(5 * MINUTE)),
            timeout_offset: limits.time("timeout_offset", Duration::from_millis(250)),
            stall_timeout: limits.time("stall_timeout", Duration::from_secs(30)),
            request_head: limits.bytes("request_head", 16 * KIB, HEAD_BYTES),
            response_head: limits.bytes("response_head", 64 * KIB, HEAD_BYTES),
            response_body: limits.bytes("response_body", 256 * KIB * KIB, 1..=u64::MAX),
            scrapes_per_service: limits.count("scrapes_per_service", 4),
            drain_timeout: limits.time("drain_timeout", Duration::from_secs(10)),
        };
        limits.finish();
        checked
    }
}

impl Default for Limits {
    fn default() -> Self {
        let (mut faults, mut warnings) = (Vec::new(), Vec::new());
        let section = Section::empty("limits");
        Self::read(Reader::new(section, &mut faults, &mut warnings))
    }
}

const MINUTE: u64 = 60;
const KIB: u64 = 1024;

/// More is a mistake on any machine.
const MAX_COUNT: u64 = 1_000_000;
/// A head is held in memory as a whole; less could not hold what Prometheus sends.
const HEAD_BYTES: RangeInclusive<u64> = KIB..=KIB * KIB;

/// More than a day is a mistyped unit; the timers of the runtime end at about two years.
const MAX_DURATION: Duration = Duration::from_secs(24 * 60 * MINUTE);

/// Read once: later, the sandbox hides the control group that limits them.
fn cores() -> usize {
    static CORES: LazyLock<usize> =
        LazyLock::new(|| std::thread::available_parallelism().map_or(1, usize::from));
    *CORES
}

impl Reader<'_> {
    fn count<T: TryFrom<u64>>(&mut self, key: &'static str, default: T) -> T {
        let given = self.scalar(key, "a whole number");
        let count = |text: &str| {
            let count: u64 = text.parse().ok()?;
            let count = (1..=MAX_COUNT).contains(&count).then_some(count)?;
            T::try_from(count).ok()
        };
        let problem = "is not a whole number from 1 to 1000000";
        self.parse(key, given, count, problem).unwrap_or(default)
    }

    fn bytes<T: TryFrom<u64> + Default>(
        &mut self,
        key: &'static str,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> T {
        let bytes = self.scalar(key, SIZE).and_then(|given| {
            let problem = match size(&given.value) {
                Some(size) if range.contains(&size) => return Some(size),
                Some(_) => "is out of range; from 1KiB to 1MiB",
                None => NOT_A_SIZE,
            };
            self.invalid(key, &given, problem);
            None
        });
        T::try_from(bytes.unwrap_or(default)).unwrap_or_default()
    }

    fn time(&mut self, key: &'static str, default: Duration) -> Duration {
        let given = self.duration(key);
        self.parse(key, given, duration, NOT_A_DURATION)
            .unwrap_or(default)
    }
}

pub(super) const NOT_A_DURATION: &str =
    "is not a duration above 0 and up to 24h; write it as 250ms, 10s or 5m";
pub(super) const SIZE: &str = "a size, such as \"16KiB\" or a number of bytes";
pub(super) const NOT_A_SIZE: &str = "is not a size; write it as 512B, 16KiB, 64MiB or 1GiB";

/// Reads a duration such as `250ms`, `10s` or `5m`; none is 0 or above a day.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let duration = humantime::parse_duration(text).ok()?;
    (!duration.is_zero() && duration <= MAX_DURATION).then_some(duration)
}

/// Reads a size in bytes such as `512B`, `16KiB` or `64MiB`; a bare number is bytes.
pub(super) fn size(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 4] = [
        ("KiB", KIB),
        ("MiB", KIB * KIB),
        ("GiB", KIB * KIB * KIB),
        ("B", 1),
    ];
    let (digits, unit) = UNITS
        .iter()
        .find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)))
        .unwrap_or((text, 1));
    let number: u64 = digits.trim_end().parse().ok()?;
    number.checked_mul(unit).filter(|size| *size > 0)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::config::ConfigError;

    #[test]
    fn size_units_are_binary() {
        const CASES: &[(&str, Option<u64>)] = &[
            ("1", Some(1)),
            ("512B", Some(512)),
            ("16KiB", Some(16 * 1024)),
            ("64 MiB", Some(64 * 1024 * 1024)),
            ("1GiB", Some(1024 * 1024 * 1024)),
            ("0", None),
            ("0MiB", None),
            ("-1", None),
            ("1.5MiB", None),
            ("64MB", None),
            ("64mib", None),
            ("MiB", None),
            ("99999999999GiB", None),
            ("", None),
        ];
        for (text, expected) in CASES {
            assert_eq!(size(text), *expected, "{text:?}");
        }
    }

    #[test]
    fn durations_need_a_unit_and_have_a_maximum() {
        const CASES: &[(&str, Option<u64>)] = &[
            ("250ms", Some(250)),
            ("10s", Some(10_000)),
            ("5m", Some(300_000)),
            ("24h", Some(86_400_000)),
            ("25h", None),
            ("0s", None),
            ("10", None),
            ("-1s", None),
            ("forever", None),
            ("", None),
        ];
        for (text, expected) in CASES {
            let milliseconds = duration(text).map(|duration| duration.as_millis());
            assert_eq!(milliseconds, expected.map(u128::from), "{text:?}");
        }
    }

    fn read(toml: &str) -> (Limits, Vec<String>) {
        let (section, mut faults) = Section::parse(Path::new("aegis.toml"), toml);
        let mut warnings = Vec::new();
        let limits = Limits::read(Reader::new(section, &mut faults, &mut warnings));
        (limits, faults.iter().map(ConfigError::to_string).collect())
    }

    proptest! {
        #[test]
        fn a_size_is_a_number_times_its_unit(number: u64, blank in " {0,2}", unit in 0usize..5) {
            let (name, factor) = [("", 1), ("B", 1), ("KiB", 1024), ("MiB", 1 << 20), ("GiB", 1 << 30)][unit];
            let expected = u128::from(number) * factor;
            let expected = u64::try_from(expected).ok().filter(|size| *size > 0);
            prop_assert_eq!(size(&format!("{number}{blank}{name}")), expected);
        }

        #[test]
        fn parsed_sizes_and_durations_are_in_bounds(text in "[-+0-9a-zA-Z. ]{0,12}") {
            prop_assert!(size(&text).is_none_or(|size| size > 0));
            let within = |duration: Duration| !duration.is_zero() && duration <= MAX_DURATION;
            prop_assert!(duration(&text).is_none_or(within));
        }

        #[test]
        fn a_count_out_of_range_is_an_error_with_its_line(count: i64) {
            let (limits, faults) = read(&format!("\nconnections = {count}\n"));
            match u64::try_from(count) {
                Ok(count @ 1..=MAX_COUNT) => {
                    prop_assert_eq!(limits.connections as u64, count);
                    prop_assert!(faults.is_empty(), "{:?}", faults);
                }
                _ => {
                    prop_assert_eq!(limits.connections, 512);
                    prop_assert_eq!(faults.len(), 1);
                    prop_assert!(faults[0].starts_with("aegis.toml:2: connections: "), "{:?}", faults);
                }
            }
        }

        #[test]
        fn any_text_leaves_every_limit_bounded(text in "[ -!#-\\[\\]-~]{0,12}", key in 0usize..4) {
            let key = ["connections", "head_timeout", "request_head", "response_body"][key];
            let (limits, faults) = read(&format!("{key} = \"{text}\"\n"));
            prop_assert!((1..=1_000_000).contains(&limits.connections));
            prop_assert!(!limits.head_timeout.is_zero() && limits.head_timeout <= MAX_DURATION);
            prop_assert!((1024..=1024 * 1024).contains(&limits.request_head));
            prop_assert!(limits.response_body > 0);
            prop_assert!(faults.len() <= 1, "{:?}", faults);
        }
    }
}
