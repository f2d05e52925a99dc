//! When to retry a failed reload.

use std::time::{Duration, Instant};

/// When to retry a failed reload although no file has changed: a missing user, directory or mount may
/// have appeared.
#[derive(Debug, Default)]
pub(super) struct Retry(Option<(Instant, Duration)>);

impl Retry {
    /// Notes that a reload failed.
    pub(super) fn failed(&mut self) {
        let pause = self.0.map_or(MIN_PAUSE, |(_, pause)| pause * 2);
        let pause = pause.min(MAX_PAUSE);
        self.0 = Some((Instant::now() + pause, pause));
    }

    /// When to retry, if the last reload failed.
    pub(super) fn due(&self) -> Option<Instant> {
        self.0.map(|(at, _)| at)
    }

    /// Whether it is time to retry.
    pub(super) fn is_due(&self) -> bool {
        self.due().is_some_and(|at| Instant::now() >= at)
    }
}

const MIN_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_back_off_to_30_seconds() {
        let mut retry = Retry::default();
        assert!(!retry.is_due());
        let pauses = (0..8).map(|_| {
            retry.failed();
            retry.0.unwrap().1.as_secs()
        });
        assert_eq!(Vec::from_iter(pauses), [1, 2, 4, 8, 16, 30, 30, 30]);
        retry.0 = Some((Instant::now(), Duration::ZERO));
        assert!(retry.is_due());
    }
}
