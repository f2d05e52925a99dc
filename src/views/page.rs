//! The status page as HTML: no script, nothing loaded from anywhere, one style of its own.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::BASE64;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::status::{ServiceStatus, State, Status, Who, moment, time};
use crate::credentials::{Expiry, seconds_until};
use crate::outcomes::{Ended, Failure};
use crate::view::Shown;

const STYLE: &str = include_str!("page.css");

/// Nothing but that style (CSP Level 3): whatever a service's name or a certificate smuggled
/// into the page would be neither run nor loaded.
static BROWSERS: LazyLock<String> = LazyLock::new(|| {
    let style = BASE64.encode(digest(&SHA256, STYLE.as_bytes()).as_ref());
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
});

/// Writes the page: first what is wrong, for whoever was woken by it.
pub(super) fn of(status: &Status) -> Shown {
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
                    p.quiet { "As of " (at(SystemTime::now())) ", by version " (env!("CARGO_PKG_VERSION")) }
                    p.quiet { "Configuration in force since " (at(status.reload.succeeded)) }
                }
                main {
                    (warnings(status))
                    (services(status))
                    section {
                        h2 { "What runs out" }
                        dl { @for expiry in &status.expiries { (row_of_expiry(expiry)) } }
                    }
                    section {
                        h2 { "You" }
                        (who(&status.who))
                    }
                }
            }
        }
    };
    Shown {
        status: 200,
        content_type: "text/html; charset=utf-8",
        browsers: Some(BROWSERS.clone()),
        text: page.into_string(),
    }
}

/// What a tab shows: whether anything is wrong.
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
    match wrong.is_empty() {
        true => "aegis".to_owned(),
        false => format!("aegis: {}", wrong.join(", ")),
    }
}

/// What is wrong with aegis itself, or soon will be.
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
                h2 { "A newer configuration is broken and not in force" }
                @for fault in &status.reload.faults {
                    p { code { (fault) } }
                }
                p {
                    @if status.reload.faults.is_empty() { "The log says what is wrong. " }
                    "It is tried again every second."
                }
            }
        }
        @for expiry in soon {
            section.notice {
                h2 { (capital(&expiry.what)) " " (runs_out(expiry)) }
                p { "Renew it: from " (on(expiry.at)) " on, " (expiry.afterwards) "." }
            }
        }
    }
}

fn services(status: &Status) -> Markup {
    let (title, none) = match &status.who {
        Who::Scraper { .. } => (
            "Services you may scrape",
            "None. Either no service has made its socket yet, or no allow entry grants you one that has.",
        ),
        Who::Operator => ("Services", "None. No service has made its socket yet."),
    };
    // What fails comes first, then what was not scraped; each by its name.
    let mut services: Vec<&ServiceStatus> = status.services.iter().collect();
    services.sort_by_key(|service| service.state.urgency());
    html! {
        section {
            h2 id="services" { (title) }
            @if services.is_empty() {
                p { (none) }
            } @else {
                p { (summary(&services)) }
                // As cards on a phone these are no tables to some browsers, but for the roles.
                table role="table" aria-labelledby="services" {
                    thead role="rowgroup" {
                        tr role="row" {
                            @for column in ["Service", "State", LAST, TOOK, SIZE] {
                                th scope="col" role="columnheader" { (column) }
                            }
                        }
                    }
                    tbody role="rowgroup" {
                        @for service in services { (row(service, &status.who)) }
                    }
                }
            }
        }
    }
}

const LAST: &str = "Last scrape";
const TOOK: &str = "Took";
const SIZE: &str = "Size";

/// How many are in each state. They are sorted by it.
fn summary(services: &[&ServiceStatus]) -> String {
    let states = services.chunk_by(|one, other| one.state.word() == other.state.word());
    let counted: Vec<String> = states
        .filter_map(|alike| Some(format!("{} {}", alike.len(), alike.first()?.state.word())))
        .collect();
    counted.join(", ")
}

fn row(status: &ServiceStatus, who: &Who) -> Markup {
    let class = match status.state {
        State::Up => "state up",
        State::Failing(_) => "state failing",
        State::NotScraped | State::Returned => "state waiting",
    };
    html! {
        tr role="row" {
            th scope="row" role="rowheader" {
                @match who {
                    Who::Scraper { .. } => a href=(format!("/{}", status.service)) { (status.service) },
                    // No service is scraped on the admin socket.
                    Who::Operator => (status.service),
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
fn last(last: Option<Ended>) -> Markup {
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

/// What is wrong with a service, or was, and what to do.
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

fn who(who: &Who) -> Markup {
    match who {
        Who::Operator => html! { p { "The operator, on the admin socket: you see everything." } },
        Who::Scraper {
            identity,
            address,
            not_after,
            entries,
        } => html! {
            dl {
                dt { "Certificate" } dd { code { (identity) } }
                dt { "It runs out" } dd { (on(*not_after)) " " span.quiet { "(" (left(seconds_until(*not_after))) ")" } }
                dt { "Address" } dd { code { (address) } }
                dt { "Admitted by" } dd { @for entry in entries { p { code { (entry) } } } }
            }
        },
    }
}

/// A time that is not torn apart at the end of a line.
fn on(seconds: i64) -> Markup {
    html! { time { (time(seconds)) } }
}

fn at(at: SystemTime) -> Markup {
    html! { time { (moment(at)) } }
}

fn runs_out(expiry: &Expiry) -> String {
    match expiry.left() {
        ..0 => format!("ran out {}", left(expiry.left())),
        seconds => format!("runs out {}", left(seconds)),
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
    // A clock that was set back makes it 0.
    let since = SystemTime::now().duration_since(at).unwrap_or_default();
    format!("{} ago", rounded(since))
}

/// A duration as a reader wants it: the nearer, the finer.
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

/// A sentence for readers: the log has it without a capital.
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
    fn durations_and_sizes_are_short() {
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
