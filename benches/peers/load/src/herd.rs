//! Many scrapers whose connections end at once, as when a server restarts.

use std::error::Error;
use std::io::{self, Read as _, Write as _};
use std::sync::{Barrier, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use crate::Options;
use crate::client::{Client, Link};
use crate::procs::{machine, tree_cpu};

/// Scrapes once on each of `--connections` and prints `open`. The caller restarts the server and then
/// writes its process number. From then, each scraper connects again at its own moment within
/// `--within` seconds, and tries until it has its metrics. Prints one JSON object.
pub(crate) fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let client = Client::new(options)?;
    let count: usize = options.or("connections", 500)?;
    let within: f64 = options.or("within", 1.0)?;
    let service = options.or("service", 0)?;
    let (opened, closed) = (Barrier::new(count + 1), Barrier::new(count + 1));
    let restarted = OnceLock::new();
    thread::scope(|scope| {
        let scrapers: Vec<_> = (0..count)
            .map(|number| {
                let (client, opened, closed, restarted) = (&client, &opened, &closed, &restarted);
                let moment = Duration::from_secs_f64(within * share(number));
                scope.spawn(move || {
                    let mut buffer = vec![0; 16 << 10];
                    // Not all at once: more scrapes of one service would wait than aegis lets one scraper.
                    thread::sleep(moment);
                    let before = scrape(client, &mut buffer);
                    opened.wait();
                    let failed_before = before.is_err();
                    if let Ok(mut link) = before {
                        // As Go does, it closes its side once the server closes.
                        let _ = link.read(&mut buffer);
                    }
                    closed.wait();
                    let start = *restarted.get_or_init(Instant::now) + moment;
                    Tally {
                        failed_before,
                        ..Tally::of(client, start, &mut buffer)
                    }
                })
            })
            .collect();
        opened.wait();
        println!("open");
        let _ = io::stdout().flush();
        let mut line = String::new();
        let _ = io::stdin().read_line(&mut line);
        let server = line.trim().parse().unwrap_or(0);
        let begun = *restarted.get_or_init(Instant::now);
        let before = Used::now(server, service);
        closed.wait();
        let scrapers = scrapers.into_iter().filter_map(|one| one.join().ok());
        let tallies: Vec<Tally> = scrapers.collect();
        let foreign = Used::now(server, service).foreign(&before);
        report(begun, foreign, count, &tallies);
    });
    Ok(())
}

/// Seconds of processor time of everybody, and of this benchmark.
struct Used {
    machine: f64,
    ours: f64,
}

impl Used {
    fn now(server: u32, service: u32) -> Self {
        let (busy, steal) = machine();
        let ours = [server, service, std::process::id()].map(tree_cpu);
        Self {
            machine: busy + steal,
            ours: ours.iter().sum(),
        }
    }

    fn foreign(&self, before: &Self) -> f64 {
        (self.machine - before.machine) - (self.ours - before.ours)
    }
}

/// Spreads the scrapers' moments over the time, in no order, and the same for each server.
fn share(number: usize) -> f64 {
    const GOLDEN: f64 = 0.618_033_988_749_895;
    (number as f64 * GOLDEN).fract()
}

/// One try: a connection with a scrape on it.
fn scrape(client: &Client, buffer: &mut [u8]) -> io::Result<Link> {
    let mut link = client.connect()?;
    client.scrape(&mut link, buffer, |_| {})?;
    Ok(link)
}

#[derive(Default)]
struct Tally {
    failed_before: bool,
    /// From its moment to its metrics; missing if it never had them.
    waited: Option<Duration>,
    at: Option<Instant>,
    /// Tries that found no listener yet.
    refused: usize,
    /// Tries that failed otherwise.
    failed: usize,
    error: String,
    link: Option<Link>,
}

impl Tally {
    fn of(client: &Client, start: Instant, buffer: &mut [u8]) -> Self {
        let mut tally = Self::default();
        thread::sleep(start.saturating_duration_since(Instant::now()));
        while start.elapsed() < GIVE_UP {
            match scrape(client, buffer) {
                Ok(link) => {
                    let now = Instant::now();
                    tally.waited = Some(now - start);
                    tally.at = Some(now);
                    // It stays open, as a scraper's does.
                    tally.link = Some(link);
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    tally.refused += 1
                }
                Err(error) => {
                    tally.failed += 1;
                    tally.error = error.to_string();
                }
            }
            thread::sleep(RETRY);
        }
        tally
    }
}

const GIVE_UP: Duration = Duration::from_secs(10);
/// Prometheus would try at its next interval. That would measure the interval.
const RETRY: Duration = Duration::from_millis(5);

fn report(begun: Instant, foreign: f64, count: usize, tallies: &[Tally]) {
    let last = tallies.iter().filter_map(|tally| tally.at).max();
    let mut waited: Vec<f64> = tallies
        .iter()
        .filter_map(|tally| Some(tally.waited?.as_secs_f64() * 1e3))
        .collect();
    waited.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let last = waited.len().saturating_sub(1);
        let at = (waited.len() as f64 * share) as usize;
        waited.get(at.min(last)).copied().unwrap_or(f64::NAN)
    };
    let sum = |of: fn(&Tally) -> usize| tallies.iter().map(of).sum::<usize>();
    let mut errors = tallies.iter().map(|tally| tally.error.as_str());
    println!(
        "{{\"served\": {}, \"unserved\": {}, \"failed_before\": {}, \"refused\": {}, \"failed\": {}, \"error\": {:?}, \
         \"all_ms\": {:.3}, \"p50_ms\": {:.3}, \"p99_ms\": {:.3}, \"max_ms\": {:.3}, \"seconds\": {:.3}, \"foreign_cpu\": {foreign:.3}}}",
        waited.len(),
        count - waited.len(),
        sum(|tally| usize::from(tally.failed_before)),
        sum(|tally| tally.refused),
        sum(|tally| tally.failed),
        errors.find(|error| !error.is_empty()).unwrap_or_default(),
        last.map_or(f64::NAN, |last| (last - begun).as_secs_f64() * 1e3),
        at(0.5),
        at(0.99),
        at(1.0),
        begun.elapsed().as_secs_f64(),
    );
}
