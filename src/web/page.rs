//! The status page as HTML: no scripts, no external resources, one inline style.

mod process;
mod services;
mod sparkline;
mod words;

use std::sync::LazyLock;
use std::time::SystemTime;

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::BASE64;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::status::{Recipient, Status};
use crate::http::{LocalResponse, Refresh, View};
use crate::policy::service_name::ServiceName;
use crate::tls::credentials::{Expiry, seconds_until};
use words::{ago, at, capital, expires, left, on, sentence};

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
pub(super) fn of(status: &Status, refresh: Refresh) -> LocalResponse {
    let heading = heading(status);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                @if refresh == Refresh::On { meta http-equiv="refresh" content=(REFRESH_SECONDS); }
                title { (heading) " – aegis" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (header(status, &heading, refresh))
                main {
                    (warnings(status))
                    (services::section(status))
                    @if let Some(process) = &status.process {
                        (process::sections(process, &status.reload))
                    }
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

/// Prometheus's usual interval.
const REFRESH_SECONDS: u32 = 15;

fn header(status: &Status, heading: &str, refresh: Refresh) -> Markup {
    let (now, other, action) = match refresh {
        Refresh::On => (
            "Refreshes every 15 seconds",
            Refresh::Off,
            "Stop refreshing",
        ),
        Refresh::Off => ("Does not refresh", Refresh::On, "Refresh every 15 seconds"),
    };
    html! {
        header {
            h1 { (heading) }
            p.quiet {
                span { "aegis " (env!("CARGO_PKG_VERSION")) ", as of " (at(SystemTime::now())) } " "
                span { "Configuration in force since " (at(status.reload.succeeded)) }
            }
            nav {
                span.quiet { (now) ": " } a href=(View::Status(other).target()) { (action) }
                @if status.may_scrape_aegis {
                    a href=(format!("/{}", ServiceName::OWN_METRICS)) { "Metrics of aegis" }
                }
                a href=(View::Discovery.target()) { "Targets for Prometheus" }
            }
        }
    }
}

/// The host, since a browser can have many of these pages open, and whether anything is wrong.
fn heading(status: &Status) -> String {
    let failing = status.services.iter().filter(|service| service.fails());
    let warnings = status.expiries.iter().filter_map(Expiry::warning).count()
        + usize::from(status.reload_failed)
        + usize::from(status.is_truncated)
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
        status.host.to_string()
    } else {
        format!("{}: {}", status.host, wrong.join(", "))
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
        @if status.is_truncated {
            section.notice {
                h2 { "Services are missing from this page and from discovery" }
                p { "The socket directory holds more files than aegis lists. Remove those that are not services." }
            }
        }
        @if status.reload_failed {
            section.notice {
                h2 { "A newer configuration is invalid and not in force" }
                @if let Some(since) = status.reload.failing_since {
                    p { "Since " (at(since)) " (" (ago(since)) ")" }
                }
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
                p { "Renew it. From " (on(expiry.at)) " on, " (expiry.consequence) " until there is a newer one." }
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

#[cfg(test)]
mod tests;
