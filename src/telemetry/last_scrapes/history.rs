//! What is kept of the scrapes of one service before the last: how long each took and whether it
//! failed, and how many failed in each minute of the last hour.
//!
//! Each scrape is added to it, so it has a fixed size, below 340 bytes, and adding allocates nothing.

use std::time::Duration;

use tokio::time::Instant;

/// The scrapes of one service.
#[derive(Clone, Debug)]
pub struct History {
    /// In microseconds. The next scrape replaces the oldest one, at `next`.
    durations: [u32; MAX_SCRAPES],
    /// Bit n is 1 if the scrape at n failed.
    failed: u64,
    next: usize,
    count: usize,
    /// The failures of each of the last 60 minutes, by its number modulo 60.
    failures: [u16; MINUTES],
    /// The number of the last minute with a failure, from the start of the history.
    last_minute: u64,
    start: Instant,
}

/// A scrape that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PastScrape {
    /// How long it took.
    pub duration: Duration,
    /// Whether it failed.
    pub has_failed: bool,
}

/// Ten minutes at Prometheus's usual interval of 15 seconds. At most 64: they have a bit each.
pub(crate) const MAX_SCRAPES: usize = 40;

const MINUTES: usize = 60;

impl Default for History {
    fn default() -> Self {
        Self {
            durations: [0; MAX_SCRAPES],
            failed: 0,
            next: 0,
            count: 0,
            failures: [0; MINUTES],
            last_minute: 0,
            start: Instant::now(),
        }
    }
}

impl History {
    /// Adds a scrape that has just ended.
    pub(super) fn add(&mut self, scrape: PastScrape) {
        let PastScrape {
            duration,
            has_failed,
        } = scrape;
        if let Some(slot) = self.durations.get_mut(self.next) {
            // More than 71 minutes count as that.
            *slot = u32::try_from(duration.as_micros()).unwrap_or(u32::MAX);
        }
        let bit = 1 << self.next;
        if has_failed {
            self.failed |= bit;
            self.count_failure();
        } else {
            self.failed &= !bit;
        }
        self.next = (self.next + 1) % MAX_SCRAPES;
        self.count = MAX_SCRAPES.min(self.count + 1);
    }

    fn count_failure(&mut self) {
        let minute = self.minute();
        // What is there is of an hour ago, or older.
        for passed in (self.last_minute + 1..=minute).take(MINUTES) {
            if let Some(failures) = self.failures.get_mut(slot(passed)) {
                *failures = 0;
            }
        }
        self.last_minute = minute;
        if let Some(failures) = self.failures.get_mut(slot(minute)) {
            *failures = failures.saturating_add(1);
        }
    }

    /// How many scrapes failed in the last hour, of 60 minutes that the current one is part of.
    #[must_use]
    pub fn failures_in_last_hour(&self) -> u32 {
        let first = (self.minute() + 1).saturating_sub(MINUTES as u64);
        let counted = (first..=self.last_minute).filter_map(|minute| {
            let failures = self.failures.get(slot(minute))?;
            Some(u32::from(*failures))
        });
        counted.sum()
    }

    /// The last scrapes, the oldest first.
    pub fn scrapes(&self) -> impl Iterator<Item = PastScrape> {
        let oldest = self.next + MAX_SCRAPES - self.count;
        (oldest..oldest + self.count).filter_map(|at| {
            let at = at % MAX_SCRAPES;
            let micros = self.durations.get(at)?;
            Some(PastScrape {
                duration: Duration::from_micros(u64::from(*micros)),
                has_failed: self.failed & (1 << at) != 0,
            })
        })
    }

    /// The number of the current minute.
    fn minute(&self) -> u64 {
        self.start.elapsed().as_secs() / 60
    }
}

/// Where the failures of a minute are counted.
fn slot(minute: u64) -> usize {
    // It is below 60.
    usize::try_from(minute % MINUTES as u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn scrape(milliseconds: u64, has_failed: bool) -> PastScrape {
        PastScrape {
            duration: Duration::from_millis(milliseconds),
            has_failed,
        }
    }

    #[test]
    fn the_last_scrapes_are_kept_in_order() {
        let mut history = History::default();
        assert_eq!(history.scrapes().count(), 0);
        let all: Vec<_> = (0..100).map(|n| scrape(n, n % 3 == 0)).collect();
        for (index, one) in all.iter().enumerate() {
            history.add(*one);
            let kept = all.get((index + 1).saturating_sub(MAX_SCRAPES)..=index);
            let found: Vec<_> = history.scrapes().collect();
            assert_eq!(Some(found.as_slice()), kept);
        }
        history.add(PastScrape {
            duration: Duration::from_secs(100_000),
            has_failed: true,
        });
        let last = history.scrapes().last().unwrap();
        assert_eq!(last.duration, Duration::from_micros(u64::from(u32::MAX)));
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_counted_for_an_hour() {
        const MINUTE: Duration = Duration::from_secs(60);
        let mut history = History::default();
        history.add(scrape(1, true));
        history.add(scrape(1, false));
        advance(MINUTE * 30).await;
        history.add(scrape(1, true));
        history.add(scrape(1, true));
        assert_eq!(history.failures_in_last_hour(), 3);
        advance(MINUTE * 30 - Duration::from_secs(1)).await;
        assert_eq!(history.failures_in_last_hour(), 3);
        advance(Duration::from_secs(1)).await;
        assert_eq!(history.failures_in_last_hour(), 2);
        // The slot of the first failure is used again.
        history.add(scrape(1, true));
        assert_eq!(history.failures_in_last_hour(), 3);
        advance(MINUTE * 59).await;
        assert_eq!(history.failures_in_last_hour(), 1);
        advance(MINUTE * 1000).await;
        assert_eq!(history.failures_in_last_hour(), 0);
        history.add(scrape(1, true));
        assert_eq!(history.failures_in_last_hour(), 1);
    }

    #[test]
    fn a_history_is_small() {
        assert!(size_of::<History>() <= 336, "{}", size_of::<History>());
    }
}
