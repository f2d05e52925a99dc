use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::super::status::{ServiceStatus, State};
use super::*;
use crate::refusal::{Refusal, Refused};
use crate::state::LastReload;
use crate::telemetry::last_scrapes::{LastScrapes, MAX_SCRAPES};
use crate::text::host_name::HostName;

/// A service with as many scrapes as are drawn, of which every seventh failed, or all since the 20th.
fn service(number: u64, is_failing: bool) -> ServiceStatus {
    let service: ServiceName = format!("exporter-{number:03}").parse().unwrap();
    let scrapes = LastScrapes::default();
    for scrape in 1..=MAX_SCRAPES as u64 {
        let duration = Duration::from_micros(1000 + (scrape * 7919 + number * 104_729) % 30_000);
        if scrape % 7 == 0 || (is_failing && scrape > 20) {
            let refused = Refused::new(Refusal::Status, "status 500");
            scrapes.failed(&service, duration, &refused);
        } else {
            scrapes.scraped(&service, duration, 40_000);
        }
    }
    ServiceStatus {
        socket: PathBuf::from(format!("/run/aegis/services/{service}.sock")),
        state: if is_failing {
            State::Failing(Refusal::Status)
        } else {
            State::Up
        },
        recent: scrapes.of(&service),
        retention: None,
        service,
    }
}

fn status(services: Vec<ServiceStatus>) -> Status {
    Status {
        host: HostName::current(),
        recipient: Recipient::Operator,
        process: None,
        may_scrape_aegis: true,
        services,
        expiries: Vec::new(),
        reload: LastReload::now(),
        reload_failed: false,
        not_ready: None,
        is_truncated: false,
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "a measurement to read, not to assert")]
fn a_page_of_a_hundred_services_is_below_120_kib() {
    let services = (0..100).map(|number| service(number, number % 10 == 5));
    let status = status(services.collect());
    let started = Instant::now();
    let page = of(&status, Refresh::On).text;
    let took = started.elapsed();
    println!("{} bytes in {took:?}", page.len());
    assert_eq!(page.matches("<svg").count(), 100);
    assert!(page.len() < 120 * 1024, "{}", page.len());
}

#[test]
fn each_scrape_has_a_bar_and_the_newest_is_at_the_right() {
    let scrapes = LastScrapes::default();
    let name: ServiceName = "node".parse().unwrap();
    let drawn = || sparkline::of(&scrapes.of(&name).history).into_string();
    assert_eq!(drawn(), "");
    scrapes.scraped(&name, Duration::from_millis(8), 5);
    scrapes.failed(&name, Duration::from_millis(50), &Refusal::Status.into());
    scrapes.scraped(&name, Duration::from_millis(2), 5);
    let expected = "<svg viewBox=\"0 0 120 16\" role=\"img\">\
        <title>Last 3: 1 failed, others 2 ms to 8 ms</title>\
        <path d=\"M112 16v-12M118 16v-6\"></path><path class=\"bad\" d=\"M115 16v-16\"></path></svg>";
    assert_eq!(drawn(), expected);
    for _ in 0..2 * MAX_SCRAPES {
        scrapes.scraped(&name, Duration::from_millis(4), 5);
    }
    let drawn = drawn();
    assert_eq!(drawn.matches('M').count(), MAX_SCRAPES, "{drawn}");
    assert!(drawn.contains("Last 40: 0 failed, others 4 ms"), "{drawn}");
    assert!(!drawn.contains("bad"), "{drawn}");
}
