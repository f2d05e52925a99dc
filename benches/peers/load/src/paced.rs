//! Scrapes at a steady pace, as Prometheus does, and measures how long each takes.

use std::error::Error;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use crate::Options;
use crate::client::{Client, Link};
use crate::procs::{machine, tree_cpu, tree_run_time};

/// Scrapes `--rate` times a second in all on `--connections`, for `--seconds` after `--warm` seconds;
/// with `--mode cold` each uses a new connection. Prints one JSON object, with the processor time of
/// the trees below `--server` and `--service`.
pub(crate) fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let client = Client::new(options)?;
    let connections: usize = options.or("connections", 1)?;
    let rate: f64 = options.or("rate", 10.0)?;
    let (server, service): (u32, u32) = (options.or("server", 0)?, options.or("service", 0)?);
    let pace = Pace {
        cold: options.or("mode", "warm".to_owned())? == "cold",
        each: Duration::from_secs_f64(connections as f64 / rate),
        begin: Instant::now() + Duration::from_secs_f64(options.or("warm", 0.0)?),
        seconds: Duration::from_secs_f64(options.or("seconds", 1.0)?),
    };
    let (begin, end, tallies) = thread::scope(|scope| {
        let scrapers: Vec<_> = (0..connections)
            .map(|number| {
                let (client, pace) = (&client, &pace);
                let offset = pace.each.mul_f64(number as f64 / connections as f64);
                scope.spawn(move || pace.run(client, offset))
            })
            .collect();
        thread::sleep(pace.begin.saturating_duration_since(Instant::now()));
        let begin = Snapshot::now(server, service);
        let tallies: Vec<Tally> = scrapers
            .into_iter()
            .filter_map(|scraper| scraper.join().ok())
            .collect();
        (begin, Snapshot::now(server, service), tallies)
    });
    report(&begin, &end, &tallies);
    Ok(())
}

fn report(begin: &Snapshot, end: &Snapshot, tallies: &[Tally]) {
    let mut took: Vec<f64> = tallies
        .iter()
        .flat_map(|tally| &tally.took)
        .copied()
        .collect();
    took.sort_by(f64::total_cmp);
    let errors: Vec<&String> = tallies.iter().flat_map(|tally| &tally.errors).collect();
    let at = |share: f64| {
        let at = (took.len() as f64 * share) as usize;
        took.get(at.min(took.len().saturating_sub(1)))
            .copied()
            .unwrap_or(f64::NAN)
    };
    let text = |text: Option<&String>| text.map_or("", |text| text.as_str()).to_owned();
    let agreed = tallies.iter().map(|tally| &tally.agreed);
    println!(
        "{{\"scrapes\": {}, \"errors\": {}, \"error\": {:?}, \"agreed\": {:?}, \"seconds\": {:.3}, \
         \"p50_ms\": {:.3}, \"p99_ms\": {:.3}, \"max_ms\": {:.3}, \
         \"server_cpu\": {:.6}, \"service_cpu\": {:.6}, \"client_cpu\": {:.6}, \"busy\": {:.2}, \"steal\": {:.2}}}",
        took.len(),
        errors.len(),
        text(errors.first().copied()),
        text(agreed.clone().find(|agreed| !agreed.is_empty())),
        (end.at - begin.at).as_secs_f64(),
        at(0.5),
        at(0.99),
        at(1.0),
        end.server - begin.server,
        end.service - begin.service,
        end.client - begin.client,
        end.machine.0 - begin.machine.0,
        end.machine.1 - begin.machine.1,
    );
}

struct Snapshot {
    at: Instant,
    server: f64,
    service: f64,
    client: f64,
    machine: (f64, f64),
}

impl Snapshot {
    fn now(server: u32, service: u32) -> Self {
        Self {
            at: Instant::now(),
            server: tree_run_time(server),
            service: tree_run_time(service),
            // With its threads that have ended.
            client: tree_cpu(std::process::id()),
            machine: machine(),
        }
    }
}

/// The measurements of one scraper.
#[derive(Default)]
struct Tally {
    /// The milliseconds of each scrape; a cold one includes the connection.
    took: Vec<f64>,
    errors: Vec<String>,
    agreed: String,
}

/// When each scraper scrapes.
struct Pace {
    cold: bool,
    /// The time between two scrapes of one scraper.
    each: Duration,
    /// Scrapes before it warm up.
    begin: Instant,
    seconds: Duration,
}

impl Pace {
    fn run(&self, client: &Client, offset: Duration) -> Tally {
        let mut tally = Tally::default();
        let mut buffer = vec![0; 64 << 10];
        let mut link: Option<Link> = None;
        let mut next = Instant::now() + offset;
        while next < self.begin + self.seconds {
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
                    if start >= self.begin {
                        tally.took.push(start.elapsed().as_secs_f64() * 1e3);
                    }
                    if tally.agreed.is_empty() {
                        tally.agreed = open.agreed();
                    }
                    match self.cold {
                        true => open.close(),
                        false => link = Some(open),
                    }
                }
                Err(error) => tally.errors.push(error.to_string()),
            }
            // After a scrape longer than the interval, the next scrapes keep their distance.
            next = (next + self.each).max(Instant::now().min(next + 2 * self.each));
        }
        tally
    }
}
