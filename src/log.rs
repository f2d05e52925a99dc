//! Where log lines go, and how many a flood may cause.

use std::collections::HashMap;
use std::io::{self, IsTerminal as _};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tracing::level_filters::LevelFilter;

use crate::config::{Log, LogFormat, LogLevel};
use crate::refusal::Refusal;

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
        .with_writer(io::stderr)
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
    last: Mutex<HashMap<Refusal, Instant>>,
}

impl Sampler {
    /// Whether this refusal is the first of its kind in a minute.
    pub(crate) fn lets_through(&self, refusal: Refusal) -> bool {
        let now = Instant::now();
        let mut last = self.last.lock().unwrap_or_else(|held| held.into_inner());
        let recent = last
            .get(&refusal)
            .is_some_and(|last| now.duration_since(*last) < SAMPLED_EVERY);
        if !recent {
            last.insert(refusal, now);
        }
        !recent
    }
}

const SAMPLED_EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_one_kind_is_sampled_and_hides_no_other_kind() {
        let sampler = Sampler::default();
        assert!(sampler.lets_through(Refusal::Network));
        assert!(!sampler.lets_through(Refusal::Network));
        assert!(sampler.lets_through(Refusal::Expired));
    }
}
