//! Where log lines go, and how many a flood may cause.

mod standard_error;

use std::collections::HashMap;
use std::io::{self, IsTerminal as _};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tracing::level_filters::LevelFilter;

use crate::config::{Log, LogFormat, LogLevel};
use crate::refusal::Refusal;
use standard_error::StandardError;
pub(crate) use standard_error::{has_room, lost};

/// Starts writing log lines to standard error.
pub fn start(log: &Log) {
    let level = match log.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    let lines = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .with_writer(|| StandardError)
        // They would go to standard error too, and panic where that is gone.
        .log_internal_errors(false);
    // A second start, as in a process that embeds aegis, keeps the first one's lines.
    let started = match log.format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    drop(started);
}

/// Lets one refusal of a kind in a minute through, so that an operator learns of an expired
/// certificate at the usual log level, and a scan still cannot fill a disk.
#[derive(Debug, Default)]
pub(crate) struct Sampler {
    kinds: Mutex<HashMap<Refusal, Kind>>,
    /// When it was last said that connections cannot be accepted.
    trouble: Mutex<Option<Instant>>,
}

#[derive(Debug)]
struct Kind {
    shown: Instant,
    suppressed: u64,
}

/// Whether a refusal is shown at the usual level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sampled {
    /// It is, for so many of its kind that were not since the last.
    Shown { suppressed: u64 },
    /// One of its kind was, less than a minute ago.
    Suppressed,
}

impl Sampler {
    /// Decides over one refusal.
    pub(crate) fn lets_through(&self, refusal: Refusal) -> Sampled {
        let now = Instant::now();
        let mut kinds = self.kinds.lock().unwrap_or_else(|held| held.into_inner());
        match kinds.get_mut(&refusal) {
            Some(kind) if now.duration_since(kind.shown) < SAMPLED_EVERY => {
                kind.suppressed = kind.suppressed.saturating_add(1);
                Sampled::Suppressed
            }
            kind => {
                let suppressed = kind.map_or(0, |kind| kind.suppressed);
                let kind = Kind {
                    shown: now,
                    suppressed: 0,
                };
                kinds.insert(refusal, kind);
                Sampled::Shown { suppressed }
            }
        }
    }
}

impl Sampler {
    /// Decides whether it is said again that connections cannot be accepted, by any thread.
    pub(crate) fn lets_trouble_through(&self) -> bool {
        let now = Instant::now();
        let mut last = self.trouble.lock().unwrap_or_else(|held| held.into_inner());
        let is_due = last.is_none_or(|last| now.duration_since(last) >= SAMPLED_EVERY);
        if is_due {
            *last = Some(now);
        }
        is_due
    }
}

const SAMPLED_EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_one_kind_is_sampled_and_hides_no_other_kind() {
        let sampler = Sampler::default();
        let shown = Sampled::Shown { suppressed: 0 };
        assert_eq!(sampler.lets_through(Refusal::Network), shown);
        assert_eq!(sampler.lets_through(Refusal::Network), Sampled::Suppressed);
        assert_eq!(sampler.lets_through(Refusal::Expired), shown);
    }
}
