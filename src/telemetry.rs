//! What aegis reports: log, metrics and the last scrape of each service.

pub mod log;
pub mod metrics;
pub mod last_scrapes;
pub mod recorder;
