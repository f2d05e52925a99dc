//! The status page as HTML: no scripts, no external resources, one inline style.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::BASE64;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::status::{Recipient, ServiceStatus, State, Status};
use crate::http::LocalResponse;
use crate::telemetry::last_scrapes::{Failure, LastScrape};
use crate::text::time::{rfc3339, rfc3339_of};
use crate::tls::credentials::{Expiry, seconds_until};

const STYLE: &str = include_str!("page.css");

/// Allows only that style (CSP Level 3): anything that a service's name or a certificate injects into
/// the page is neither executed nor loaded.
static CSP: LazyLock<String> = LazyLock::new(|| {
    let style = BASE64.encode(digest(&SHA256, STYLE.as_bytes()).as_ref());
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
});

/// Writes the page. Problems come first, for an operator on call.
pub(super) fn of(status: &Status) -> LocalResponse {
    let title = title(status);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (title) }
                    p.quiet { "As of " (at(SystemTime::now())) ", version " (env!("CARGO_PKG_VERSION")) }
                    p.quiet { "Configuration in force since " (at(status.reload.succeeded)) }
                }
                main {
                    (warnings(status))
                    (services(status))
                    section {
                        h2 { "Expiry" }
                        dl { @for expiry in &status.expiries { (row_of_expiry(expiry)) } }
                    }
                    section {
                        h2 { "You" }
                        (recipient(&status.recipient))
                    }
                }
            }
        }
    };
    LocalResponse {
        status: 200,
        content_type: "text/html; charset=utf-8",
        csp: Some(CSP.clone()),
        allow: &[],
        text: page.into_string(),
    }
}

/// The title: whether anything is wrong.
fn title(status: &Status) -> String {
    let failing = status.services.iter().filter(|service| service.fails());
    let warnings = status.expiries.iter().filter_map(Expiry::warning).count()
        + usize::from(status.reload_failed)
        + usize::from(status.not_ready.is_some());
    let mut wrong = Vec::new();
    match failing.count() {
        0 => {}
        failing => wrong.push(format!("{failing} failing")),
    }
    match warnings {
        0 => {}
        1 => wrong.push("1 warning".to_owned()),
        warnings => wrong.push(format!("{warnings} warnings")),
    }
    if wrong.is_empty() {
        "aegis".to_owned()
    } else {
        format!("aegis: {}", wrong.join(", "))
    }
}

/// Problems of aegis itself, now or soon.
fn warnings(status: &Status) -> Markup {
    let soon = status.expiries.iter();
    let soon = soon.filter(|expiry| expiry.warning().is_some());
    html! {
        @if let Some(problem) = status.not_ready {
            section.notice {
                h2 { "No scrape can succeed" }
                p { (sentence(problem)) }
            }
        }
        @if status.reload_failed {
            section.notice {
                h2 { "A newer configuration is invalid and not in force" }
                @for fault in &status.reload.faults {
                    p { code { (fault) } }
                }
                p {
                    @if status.reload.faults.is_empty() { "The log has the errors. " }
                    @if status.reload.restricted.is_empty() {
                        "No part of it is in force. "
                    } @else {
                        "The restrictions of its " code { (status.reload.restricted.join(", ")) } " are already in force; its new grants are not. "
                    }
                    "aegis tries again when a file changes, and at least every 30 seconds."
                }
            }
        }
        @for expiry in soon {
            section.notice {
                h2 { (capital(&expiry.what)) " " (expires(expiry)) }
                p { "Renew it. From " (on(expiry.at)) " on, " (expiry.consequence) "." }
            }
        }
    }
}

fn services(status: &Status) -> Markup {
    let (title, none) = match &status.recipient {
        Recipient::Scraper { .. } => (
            "Services you may scrape",
            "None. No service has a socket yet, or no allow entry grants you a service that has one.",
        ),
        Recipient::Operator => ("Services", "None. No service has a socket yet."),
    };
    // Failing services come first, then those not scraped yet; each group by name.
    let mut services: Vec<&ServiceStatus> = status.services.iter().collect();
    services.sort_by_key(|service| service.state.urgency());
    html! {
        section {
            h2 id="services" { (title) }
            @if services.is_empty() {
                p { (none) }
            } @else {
                p { (summary(&services)) }
                // On a phone these are cards. Some browsers then need roles to see a table.
                table role="table" aria-labelledby="services" {
                    thead role="rowgroup" {
                        tr role="row" {
                            @for column in ["Service", "State", LAST, TOOK, SIZE] {
                                th scope="col" role="columnheader" { (column) }
                            }
                        }
                    }
                    tbody role="rowgroup" {
                        @for service in services { (row(service, &status.recipient)) }
                    }
                }
            }
        }
    }
}

const LAST: &str = "Last scrape";
const TOOK: &str = "Took";
const SIZE: &str = "Size";

/// How many services are in each state. They are sorted by state.
fn summary(services: &[&ServiceStatus]) -> String {
    let states = services.chunk_by(|one, other| one.state.word() == other.state.word());
    let counted: Vec<String> = states
        .filter_map(|alike| Some(format!("{} {}", alike.len(), alike.first()?.state.word())))
        .collect();
    counted.join(", ")
}

fn row(status: &ServiceStatus, recipient: &Recipient) -> Markup {
    let class = match status.state {
        State::Up => "state up",
        State::Failing(_) => "state failing",
        State::NotScraped | State::Returned => "state waiting",
    };
    html! {
        tr role="row" {
            th scope="row" role="rowheader" {
                @match recipient {
                    Recipient::Scraper { .. } => a href=(format!("/{}", status.service)) { (status.service) },
                    // Services cannot be scraped on the admin socket.
                    Recipient::Operator => (status.service),
                }
            }
            td role="cell" {
                p class=(class) { (status.state.word()) }
                (problem(status))
                p.quiet { code { (status.socket.display()) } }
            }
            (last(status.last))
        }
    }
}

/// The cells of the last scrape.
fn last(last: Option<LastScrape>) -> Markup {
    let took = last.map(|last| milliseconds(last.duration));
    let bytes = last.and_then(|last| last.outcome.ok());
    html! {
        td role="cell" data-label=(LAST) {
            @match last {
                Some(last) => { (ago(last.at)) " " span.quiet { (at(last.at)) } },
                None => "never",
            }
        }
        (figure(TOOK, took))
        (figure(SIZE, bytes.map(size)))
    }
}

fn figure(label: &str, figure: Option<String>) -> Markup {
    html! {
        @match figure {
            Some(figure) => td.figure role="cell" data-label=(label) { (figure) },
            None => td.nothing role="cell" { "–" },
        }
    }
}

/// The current or last problem of a service, and its remedy.
fn problem(status: &ServiceStatus) -> Markup {
    let now = match status.state {
        State::Failing(refusal) => Some(refusal),
        State::Up | State::NotScraped | State::Returned => None,
    };
    let before = status.failure.as_ref();
    html! {
        @if let Some(refusal) = now {
            p.failing { (sentence(refusal.sentence())) " (" code { (refusal.reason()) } ")" }
            p { (refusal.remedy()) }
            @if let Some(Failure { detail: Some(detail), refusal: last, .. }) = before {
                @if *last == refusal { p.quiet { code { (detail) } } }
            }
        } @else if let Some(Failure { at, refusal, detail }) = before {
            p.quiet {
                "Last failed " (ago(*at)) ": " (refusal.sentence()) " (" code { (refusal.reason()) } ")"
                @if let Some(detail) = detail { ": " code { (detail) } }
            }
        }
    }
}

fn row_of_expiry(expiry: &Expiry) -> Markup {
    let class = match expiry.warning() {
        Some(_) => "warning",
        None => "quiet",
    };
    html! {
        dt { (capital(&expiry.what)) }
        dd { (on(expiry.at)) " " span class=(class) { "(" (left(expiry.left())) ")" } }
    }
}

fn recipient(recipient: &Recipient) -> Markup {
    match recipient {
        Recipient::Operator => {
            html! { p { "You are an operator on the admin socket and see everything." } }
        }
        Recipient::Scraper {
            identity,
            address,
            not_after,
            entries,
        } => html! {
            dl {
                dt { "Certificate" } dd { code { (identity) } }
                dt { "Expires" } dd { (on(*not_after)) " " span.quiet { "(" (left(seconds_until(*not_after))) ")" } }
                dt { "Address" } dd { code { (address) } }
                dt { "Admitted by" } dd { @for entry in entries { p { code { (entry) } } } }
            }
        },
    }
}

/// A time without line breaks.
fn on(seconds: i64) -> Markup {
    html! { time { (rfc3339(seconds)) } }
}

fn at(at: SystemTime) -> Markup {
    html! { time { (rfc3339_of(at)) } }
}

fn expires(expiry: &Expiry) -> String {
    match expiry.left() {
        ..0 => format!("expired {}", left(expiry.left())),
        seconds => format!("expires {}", left(seconds)),
    }
}

fn left(seconds: i64) -> String {
    let shown = rounded(Duration::from_secs(seconds.unsigned_abs()));
    match seconds {
        ..0 => format!("{shown} ago"),
        _ => format!("in {shown}"),
    }
}

fn ago(at: SystemTime) -> String {
    // 0 if the clock was set back.
    let since = SystemTime::now().duration_since(at).unwrap_or_default();
    format!("{} ago", rounded(since))
}

/// A duration in readable units, finer for short ones.
fn rounded(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn milliseconds(duration: Duration) -> String {
    match duration.as_millis() {
        0 => "< 1 ms".to_owned(),
        few @ 1..1_000 => format!("{few} ms"),
        _ => format!("{:.1} s", duration.as_secs_f64()),
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{} KiB", bytes / 1024),
        _ => format!("{} MiB", bytes / 1024 / 1024),
    }
}

/// A sentence with a capital and a full stop.
fn sentence(text: &str) -> String {
    capital(text) + "."
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_abbreviated() {
        let rounded = |seconds| rounded(Duration::from_secs(seconds));
        let shown = [0, 59, 60, 3_599, 3_725, 172_799, 172_800].map(rounded);
        let expected = [
            "0 s",
            "59 s",
            "1 min",
            "59 min",
            "1 h 2 min",
            "47 h 59 min",
            "2 days",
        ];
        assert_eq!(shown, expected);
        let milliseconds = |micros| milliseconds(Duration::from_micros(micros));
        let shown = [400, 17_200, 999_999, 1_260_000].map(milliseconds);
        assert_eq!(shown, ["< 1 ms", "17 ms", "999 ms", "1.3 s"]);
        assert_eq!(size(9_999), "9999 B");
        assert_eq!(size(20 * 1024 * 1024), "20 MiB");
        assert_eq!(sentence("it is gone"), "It is gone.");
    }
}
