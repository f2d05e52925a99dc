//! Sets up logging.

mod sampler;
mod standard_error;

use std::io::{self, IsTerminal as _};

use tracing::level_filters::LevelFilter;

use crate::config::{Log, LogFormat, LogLevel};
pub(crate) use sampler::{Sampled, Sampler};
use standard_error::LogLines;
pub(crate) use standard_error::{Room, dropped_lines, error_priority, line_dropped, room};

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
        .with_writer(LogLines::from_environment())
        // These would also go to standard error, and panic if it is closed.
        .log_internal_errors(false);
    // In a process that embeds aegis, a second start keeps the first one's settings.
    let started = match log.format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    drop(started);
}
