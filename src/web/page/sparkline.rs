//! The last scrapes of a service as a small picture: a bar for each, the newest at the right.

use std::fmt::Write as _;
use std::time::Duration;

use maud::{Markup, html};

use super::words::milliseconds;
use crate::telemetry::last_scrapes::{History, MAX_SCRAPES, PastScrape};

/// The distance of two bars. The style sheet has their width.
const STEP: usize = 3;
const HEIGHT: u32 = 16;
/// The bar of the slowest scrape that succeeded. Those that failed are higher, and have another
/// color.
const SLOWEST: u32 = 12;

/// Draws the scrapes, or nothing if there are none.
pub(super) fn of(history: &History) -> Markup {
    let scrapes: Vec<PastScrape> = history.scrapes().collect();
    let taken = || {
        let succeeded = scrapes.iter().filter(|scrape| !scrape.has_failed);
        succeeded.map(|scrape| scrape.duration)
    };
    let slowest = taken().max().unwrap_or_default();
    let fastest = taken().min().unwrap_or_default();
    let bars = |has_failed| {
        let bars = scrapes.iter().enumerate();
        bars.filter(move |(_, scrape)| scrape.has_failed == has_failed)
    };
    let first = MAX_SCRAPES - scrapes.len().min(MAX_SCRAPES);
    let path = |has_failed| {
        let mut path = String::new();
        for (index, scrape) in bars(has_failed) {
            let height = if has_failed {
                HEIGHT
            } else {
                height(scrape.duration, slowest)
            };
            let x = (first + index) * STEP + 1;
            // Writing to a string cannot fail.
            let written = write!(path, "M{x} {HEIGHT}v-{height}");
            debug_assert!(written.is_ok());
        }
        path
    };
    let count = scrapes.len();
    let failed = bars(true).count();
    html! {
        @if count > 0 {
            svg viewBox={ "0 0 " (MAX_SCRAPES * STEP) " " (HEIGHT) } role="img" {
                title {
                    "Last " (count) ": " (failed) " failed"
                    @if failed < count { ", others " (range(fastest, slowest)) }
                }
                @if failed < count { path d=(path(false)) {} }
                @if failed > 0 { path.bad d=(path(true)) {} }
            }
        }
    }
}

fn height(duration: Duration, slowest: Duration) -> u32 {
    // By the square root: one slow scrape must not flatten all others.
    let square = u128::from(SLOWEST * SLOWEST) * duration.as_micros();
    let height = (square / slowest.as_micros().max(1)).isqrt();
    u32::try_from(height).unwrap_or(SLOWEST).clamp(2, SLOWEST)
}

fn range(fastest: Duration, slowest: Duration) -> String {
    let (fastest, slowest) = (milliseconds(fastest), milliseconds(slowest));
    if fastest == slowest {
        fastest
    } else {
        format!("{fastest} to {slowest}")
    }
}
