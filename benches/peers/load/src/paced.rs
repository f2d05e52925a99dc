//! Scrapes at a steady pace, as Prometheus does, and measures how long each takes.

use std::error::Error;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use crate::Options;
use crate::client::{Client, Link};

/// Scrapes `--rate` times a second in all on `--connections`, for `--seconds`; with `--mode cold`
/// each uses a new connection. Prints one JSON object.
pub(crate) fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let client = Client::new(options)?;
    let connections: usize = options.or("connections", 1)?;
    let rate: f64 = options.or("rate", 10.0)?;
    let cold = options.or("mode", "warm".to_owned())? == "cold";
    let seconds = Duration::from_secs_f64(options.or("seconds", 1.0)?);
    let each = Duration::from_secs_f64(connections as f64 / rate);
    let tallies: Vec<(Vec<f64>, Vec<String>)> = thread::scope(|scope| {
        let scrapers: Vec<_> = (0..connections)
            .map(|number| {
                let client = &client;
                let offset = each.mul_f64(number as f64 / connections as f64);
                scope.spawn(move || one(client, cold, offset, each, seconds))
            })
            .collect();
        scrapers
            .into_iter()
            .filter_map(|scraper| scraper.join().ok())
            .collect()
    });
    let mut took: Vec<f64> = tallies.iter().flat_map(|tally| &tally.0).copied().collect();
    took.sort_by(f64::total_cmp);
    let errors: Vec<&String> = tallies.iter().flat_map(|tally| &tally.1).collect();
    let at = |share: f64| {
        let at = (took.len() as f64 * share) as usize;
        took.get(at.min(took.len().saturating_sub(1)))
            .copied()
            .unwrap_or(f64::NAN)
    };
    println!(
        "{{\"scrapes\": {}, \"errors\": {}, \"error\": {:?}, \"p50_ms\": {:.3}, \"p99_ms\": {:.3}, \"max_ms\": {:.3}}}",
        took.len(),
        errors.len(),
        errors.first().map_or("", |error| error.as_str()),
        at(0.5),
        at(0.99),
        at(1.0),
    );
    Ok(())
}

fn one(
    client: &Client,
    cold: bool,
    offset: Duration,
    each: Duration,
    seconds: Duration,
) -> (Vec<f64>, Vec<String>) {
    let (mut took, mut errors) = (Vec::new(), Vec::new());
    let mut buffer = vec![0; 64 << 10];
    let mut link: Option<Link> = None;
    let begun = Instant::now();
    let mut next = begun + offset;
    while next.duration_since(begun) < seconds {
        thread::sleep(next.saturating_duration_since(Instant::now()));
        let start = Instant::now();
        let mut scrape = || {
            let mut open = match link.take() {
                Some(link) => link,
                None => client.connect()?,
            };
            client.scrape(&mut open, &mut buffer, |_| {})?;
            io::Result::Ok(open)
        };
        match scrape() {
            Ok(open) => {
                took.push(start.elapsed().as_secs_f64() * 1e3);
                match cold {
                    true => open.close(),
                    false => link = Some(open),
                }
            }
            Err(error) => errors.push(error.to_string()),
        }
        // After a scrape longer than the interval, the next scrapes keep their distance.
        next = (next + each).max(Instant::now().min(next + 2 * each));
    }
    (took, errors)
}
