//! Scrapes in a closed loop, and reports the costs of both sides.

use std::error::Error;
use std::io;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::Options;
use crate::client::{Client, Link};
use crate::procs::{machine, tree_cpu, tree_pss};

/// Runs `--connections` scrapers for `--seconds` after `--warm` seconds; `--mode cold` connects
/// for each scrape. Prints one JSON object, with the processor time of the trees below
/// `--server` and `--service`; with `--memory yes`, with the most memory that the server had.
pub(crate) fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let client = Client::new(options)?;
    let connections: usize = options.or("connections", 1)?;
    let cold = options.or("mode", "warm".to_owned())? == "cold";
    let seconds = Duration::from_secs_f64(options.or("seconds", 1.0)?);
    let warm = Duration::from_secs_f64(options.or("warm", 0.2)?);
    let watch_memory = options.or("memory", "no".to_owned())? == "yes";
    let (server, service): (u32, u32) = (options.or("server", 0)?, options.or("service", 0)?);
    let idle = tree_pss(server);

    let phase = AtomicU8::new(WARM_UP);
    let bytes = AtomicU64::new(0);
    let scraped = AtomicU64::new(0);
    let (begin, end, peak, tallies) = thread::scope(|scope| {
        let scrapers: Vec<_> = (0..connections)
            .map(|_| scope.spawn(|| scrape_on(&client, cold, &phase, &bytes, &scraped)))
            .collect();
        thread::sleep(warm);
        let begin = Snapshot::now(server, service, &bytes);
        phase.store(MEASURED, Ordering::Relaxed);
        let mut peak = 0;
        // The window must contain at least one complete scrape.
        let over = || {
            let scraped = scraped.load(Ordering::Relaxed);
            begin.at.elapsed() >= seconds
                && (scraped >= FEWEST || begin.at.elapsed() >= 10 * seconds)
        };
        while !over() {
            if watch_memory {
                peak = peak.max(tree_pss(server));
            }
            let rest = seconds.saturating_sub(begin.at.elapsed());
            let pause = if watch_memory {
                WATCHED_EVERY
            } else {
                rest.max(WATCHED_EVERY)
            };
            thread::sleep(pause);
        }
        phase.store(OVER, Ordering::Relaxed);
        let end = Snapshot::now(server, service, &bytes);
        let tallies: Vec<Tally> = scrapers
            .into_iter()
            .filter_map(|scraper| scraper.join().ok())
            .collect();
        (begin, end, peak, tallies)
    });

    let mut took: Vec<f64> = tallies
        .iter()
        .flat_map(|tally| &tally.took)
        .copied()
        .collect();
    took.sort_by(f64::total_cmp);
    let at = |share: f64| {
        took.get((took.len() as f64 * share) as usize)
            .copied()
            .unwrap_or(f64::NAN)
    };
    let errors: usize = tallies.iter().map(|tally| tally.errors).sum();
    let error = tallies
        .iter()
        .map(|tally| tally.error.as_str())
        .find(|error| !error.is_empty());
    let agreed = tallies
        .iter()
        .map(|tally| tally.agreed.as_str())
        .find(|agreed| !agreed.is_empty());
    println!(
        "{{\"requests\": {}, \"errors\": {errors}, \"error\": {:?}, \"agreed\": {:?}, \"seconds\": {:.6}, \"bytes\": {}, \
         \"p50_us\": {:.2}, \"p99_us\": {:.2}, \"server_cpu\": {:.4}, \"service_cpu\": {:.4}, \"client_cpu\": {:.4}, \
         \"busy\": {:.4}, \"steal\": {:.4}, \"idle_pss\": {idle}, \"peak_pss\": {peak}}}",
        took.len(),
        error.unwrap_or_default(),
        agreed.unwrap_or_default(),
        (end.at - begin.at).as_secs_f64(),
        end.bytes - begin.bytes,
        at(0.5),
        at(0.99),
        end.server - begin.server,
        end.service - begin.service,
        end.client - begin.client,
        end.machine.0 - begin.machine.0,
        end.machine.1 - begin.machine.1,
    );
    Ok(())
}

const FEWEST: u64 = 3;
const WATCHED_EVERY: Duration = Duration::from_millis(5);

const WARM_UP: u8 = 0;
const MEASURED: u8 = 1;
const OVER: u8 = 2;

struct Snapshot {
    at: Instant,
    server: f64,
    service: f64,
    client: f64,
    machine: (f64, f64),
    bytes: u64,
}

impl Snapshot {
    fn now(server: u32, service: u32, bytes: &AtomicU64) -> Self {
        Self {
            at: Instant::now(),
            server: tree_cpu(server),
            service: tree_cpu(service),
            client: tree_cpu(std::process::id()),
            machine: machine(),
            bytes: bytes.load(Ordering::Relaxed),
        }
    }
}

/// The measurements of one scraper.
#[derive(Default)]
struct Tally {
    /// The microseconds of each scrape; a cold one includes the connection.
    took: Vec<f64>,
    errors: usize,
    error: String,
    agreed: String,
}

fn scrape_on(
    client: &Client,
    cold: bool,
    phase: &AtomicU8,
    bytes: &AtomicU64,
    scraped: &AtomicU64,
) -> Tally {
    let mut tally = Tally::default();
    let mut buffer = vec![0; 64 << 10];
    let mut link: Option<Link> = None;
    loop {
        let before = phase.load(Ordering::Relaxed);
        if before == OVER || tally.errors > 100 {
            return tally;
        }
        let begun = Instant::now();
        let mut scrape = || {
            let mut open = match link.take() {
                Some(link) => link,
                None => client.connect()?,
            };
            client.scrape(&mut open, &mut buffer, |count| {
                bytes.fetch_add(count as u64, Ordering::Relaxed);
            })?;
            io::Result::Ok(open)
        };
        match scrape() {
            Ok(open) => {
                if before == MEASURED && phase.load(Ordering::Relaxed) == MEASURED {
                    scraped.fetch_add(1, Ordering::Relaxed);
                    tally.took.push(begun.elapsed().as_secs_f64() * 1e6);
                }
                if tally.agreed.is_empty() {
                    tally.agreed = open.agreed();
                }
                match cold {
                    true => open.close(),
                    false => link = Some(open),
                }
            }
            Err(error) => {
                tally.errors += 1;
                tally.error = error.to_string();
            }
        }
    }
}

/// Tries until one scrape succeeds, and prints the monotonic clock in seconds.
pub(crate) fn first(options: &Options) -> Result<(), Box<dyn Error>> {
    let client = Client::new(options)?;
    let begun = Instant::now();
    let mut buffer = vec![0; 64 << 10];
    println!("trying");
    loop {
        let scraped = client
            .connect()
            .and_then(|mut link| client.scrape(&mut link, &mut buffer, |_| {}));
        let now = clock_gettime(ClockId::Monotonic);
        match scraped {
            Ok(()) => {
                println!("{}.{:09}", now.tv_sec, now.tv_nsec);
                return Ok(());
            }
            Err(error) if begun.elapsed() > Duration::from_secs(20) => return Err(error.into()),
            Err(_) => thread::sleep(Duration::from_micros(200)),
        }
    }
}

/// Scrapes `--count` times in sequence, and prints nothing.
pub(crate) fn count(options: &Options) -> Result<(), Box<dyn Error>> {
    let client = Client::new(options)?;
    let cold = options.or("mode", "warm".to_owned())? == "cold";
    let mut buffer = vec![0; 64 << 10];
    let mut link: Option<Link> = None;
    for _ in 0..options.or("count", 1)? {
        let mut open = match link.take() {
            Some(link) => link,
            None => client.connect()?,
        };
        client.scrape(&mut open, &mut buffer, |_| {})?;
        match cold {
            true => open.close(),
            false => link = Some(open),
        }
    }
    Ok(())
}

/// Opens `--connections` and scrapes once on each. Prints the memory of the tree below `--server`
/// before that and while all of them are idle.
pub(crate) fn idle(options: &Options) -> Result<(), Box<dyn Error>> {
    let client = Client::new(options)?;
    let connections: usize = options.or("connections", 1)?;
    let server = options.or("server", 0)?;
    let mut buffer = vec![0; 64 << 10];
    thread::sleep(SETTLED);
    let idle = tree_pss(server);
    let mut links = Vec::new();
    for _ in 0..connections {
        let mut link = client.connect()?;
        client.scrape(&mut link, &mut buffer, |_| {})?;
        links.push(link);
    }
    thread::sleep(SETTLED);
    println!(
        "{{\"idle_pss\": {idle}, \"open_pss\": {}}}",
        tree_pss(server)
    );
    Ok(())
}

/// Enough time for a server to finish its work after a scrape.
const SETTLED: Duration = Duration::from_millis(500);
