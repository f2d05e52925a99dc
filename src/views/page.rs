//! The status page as HTML: no script, nothing loaded from anywhere, one style of its own.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::BASE64;
use humantime::format_duration;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::status::{ServiceStatus, State, Status, Who, moment, time};
use crate::credentials::Expiry;
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

/// Writes the page.
pub(super) fn of(status: &Status) -> Shown {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title(status)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    h1 { "aegis" }
                    p.quiet { "version " (env!("CARGO_PKG_VERSION")) ", at " (moment(SystemTime::now())) }
                    (reload(status))
                    h2 { "You" }
                    (who(&status.who))
                    h2 { "Services you may scrape" }
                    (services(&status.services))
                    h2 { "What runs out" }
                    (expiries(&status.expiries))
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
    let is_failing = |service: &&ServiceStatus| matches!(service.state, State::Failing(_));
    match status.services.iter().filter(is_failing).count() {
        0 => "aegis".to_owned(),
        failing => format!("aegis: {failing} failing"),
    }
}

fn reload(status: &Status) -> Markup {
    html! {
        p { "Configuration in force since " (moment(status.reload.succeeded)) "." }
        @if status.reload_failed {
            div.notice role="status" {
                p { strong { "A newer configuration is broken and not in force." } " The log says what is wrong; it is tried again every second." }
                @for fault in &status.reload.faults {
                    p { code { (fault) } }
                }
            }
        }
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
                dt { "Runs out" } dd { (time(*not_after)) }
                dt { "Address" } dd { code { (address) } }
                dt { "Admitted by" }
                dd { @for entry in entries { p { code { (entry) } } } }
            }
        },
    }
}

fn services(services: &[ServiceStatus]) -> Markup {
    if services.is_empty() {
        return html! { p { "None: no service has a socket yet, or no entry grants you one." } };
    }
    html! {
        table {
            thead {
                tr {
                    th scope="col" { "Service" }
                    th scope="col" { "State" }
                    th scope="col" { "Last scrape" }
                    th scope="col" { "Took" }
                    th scope="col" { "Size" }
                }
            }
            tbody { @for service in services { (row(service)) } }
        }
    }
}

fn row(status: &ServiceStatus) -> Markup {
    let class = match status.state {
        State::Up => "state up",
        State::Failing(_) => "state failing",
        State::NotScraped => "state waiting",
    };
    html! {
        tr {
            th scope="row" {
                a href=(format!("/{}", status.service)) { (status.service) }
                p.quiet { code { (status.socket.display()) } }
                (problem(status))
            }
            td data-label="State" { span class=(class) { (status.state.word()) } }
            (last(status.last))
        }
    }
}

/// The cells of the last scrape.
fn last(last: Option<Ended>) -> Markup {
    html! {
        @match last {
            None => {
                td data-label="Last scrape" { "never" }
                td data-label="Took" { "–" }
                td data-label="Size" { "–" }
            }
            Some(Ended { at, duration, outcome }) => {
                td data-label="Last scrape" { (moment(at)) br; span.quiet { (ago(at)) } }
                td.figure data-label="Took" { (format!("{:.3} s", duration.as_secs_f64())) }
                td.figure data-label="Size" {
                    @match outcome {
                        Ok(bytes) => (size(bytes)),
                        Err(_) => "–",
                    }
                }
            }
        }
    }
}

/// What is wrong with a service, or was, and what to do.
fn problem(status: &ServiceStatus) -> Markup {
    let now = match status.state {
        State::Failing(refusal) => Some(refusal),
        State::Up | State::NotScraped => None,
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
                "Failed last " (ago(*at)) ": " (refusal.sentence()) " (" code { (refusal.reason()) } ")"
                @if let Some(detail) = detail { ": " code { (detail) } }
            }
        }
    }
}

fn expiries(expiries: &[Expiry]) -> Markup {
    html! {
        dl {
            @for expiry in expiries {
                dt { code { (expiry.what) } }
                @match expiry.warning() {
                    Some(_) => dd { (time(expiry.at)) " " strong.warning { (left(expiry)) } },
                    None => dd { (time(expiry.at)) " " span.quiet { (left(expiry)) } },
                }
            }
        }
    }
}

fn left(expiry: &Expiry) -> String {
    let left = expiry.left();
    let shown = rounded(Duration::from_secs(left.unsigned_abs()));
    match left < 0 {
        true => format!("(ran out {shown} ago)"),
        false => format!("(in {shown})"),
    }
}

fn ago(at: SystemTime) -> String {
    // A clock that was set back makes it 0.
    let since = SystemTime::now().duration_since(at).unwrap_or_default();
    format!("{} ago", rounded(since))
}

/// A duration in its two largest units, as a reader wants it.
fn rounded(duration: Duration) -> String {
    let whole = Duration::from_secs(duration.as_secs());
    let shown = format_duration(whole).to_string();
    let largest: Vec<&str> = shown.split(' ').take(2).collect();
    largest.join(" ")
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
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).chain(['.']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_short() {
        assert_eq!(rounded(Duration::from_millis(400)), "0s");
        assert_eq!(rounded(Duration::from_secs(3_725)), "1h 2m");
        assert_eq!(size(9_999), "9999 B");
        assert_eq!(size(20 * 1024 * 1024), "20 MiB");
        assert_eq!(sentence("it is gone"), "It is gone.");
    }
}
