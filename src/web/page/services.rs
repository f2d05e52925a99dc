//! The services on the status page: a row for each, failing ones first with all that helps.

use maud::{Markup, html};

use super::super::status::{Recipient, ServiceStatus, State, Status};
use super::sparkline;
use super::words::{ago, at, lasting, milliseconds, rounded, sentence, size};
use crate::refusal::Refusal;
use crate::services::Retention;
use crate::telemetry::last_scrapes::Failure;

pub(super) fn section(status: &Status) -> Markup {
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
                            @for column in ["Service", "State", RECENT, LAST, TOOK, SIZE] {
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

const RECENT: &str = "Recent scrapes";
const LAST: &str = "Last";
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
    let last = status.recent.last;
    let took = last.map(|last| milliseconds(last.duration));
    let bytes = last.and_then(|last| last.outcome.ok());
    // A failing service has a second row, with all that helps.
    let rows = status.fails().then_some("2");
    html! {
        tr.first[rows.is_some()] role="row" {
            th scope="row" role="rowheader" rowspan=[rows] {
                @match recipient {
                    Recipient::Scraper { .. } => a href=(format!("/{}", status.service)) { (status.service) },
                    // Services cannot be scraped on the admin socket.
                    Recipient::Operator => (status.service),
                }
            }
            td role="cell" { (state(status)) }
            (figure(RECENT, last.map(|_| sparkline::of(&status.recent.history))))
            (figure(LAST, last.map(|last| html! { (ago(last.at)) })))
            (figure(TOOK, took.map(|took| html! { (took) })))
            (figure(SIZE, bytes.map(|bytes| html! { (size(bytes)) })))
        }
        @if let State::Failing(refusal) = status.state {
            tr role="row" {
                td role="cell" colspan="5" { (problem(status, refusal)) }
            }
        }
    }
}

/// The state, and what is wrong if it fails.
fn state(status: &ServiceStatus) -> Markup {
    let word = status.state.word();
    html! {
        @match status.state {
            State::Failing(refusal) => {
                b.failing {
                    (word)
                    @if let Some(since) = status.failing_since() { " for " (lasting(since)) }
                }
                " " (sentence(refusal.sentence())) " (" code { (refusal.reason()) } ")"
            },
            State::Up => { span.up { (word) } (former_problem(status)) },
            State::NotScraped | State::Returned => {
                span.waiting { (word) } (former_problem(status))
            },
        }
    }
}

fn figure(label: &str, figure: Option<Markup>) -> Markup {
    html! {
        @match figure {
            Some(figure) => td role="cell" data-label=(label) { (figure) },
            None => td.nothing role="cell" { "–" },
        }
    }
}

/// The details of a failing service, what to do about it, and its past.
fn problem(status: &ServiceStatus, refusal: Refusal) -> Markup {
    html! {
        @if let Some(detail) = status.detail(refusal) { p { code { (detail) } } }
        p {
            (with_code(&status.remedy(refusal)))
            @if let Some(retention) = status.retention { (without_that(retention)) }
        }
        p.quiet {
            @if let Some(since) = status.failing_since() { "Since " (at(since)) ". " }
            @match status.recent.history.failures_in_last_hour() {
                0 => {},
                1 => "1 failure in the last hour. ",
                failures => { (failures) " failures in the last hour. " },
            }
            @match status.recent.succeeded {
                Some(succeeded) => { "Last success " (ago(succeeded)) ". " },
                None => "No success since aegis started. ",
            }
            code { (status.socket.display()) }
        }
    }
}

/// How long a service whose socket is gone stays listed.
fn without_that(retention: Retention) -> Markup {
    html! {
        @match retention {
            Retention::Configured => {},
            Retention::For(left) => {
                " Without that it is forgotten in " (rounded(left)) " (" code { "forget_after" } ")."
            },
            Retention::UntilForgotten => {
                " It stays listed until then (" code { "forget_after" } ")."
            },
        }
    }
}

/// A text whose commands are in backticks.
fn with_code(text: &str) -> Markup {
    html! {
        @for (index, part) in text.split('`').enumerate() {
            @if index % 2 == 0 { (part) } @else { code { (part) } }
        }
    }
}

/// The last problem of a service that is not failing, in one line.
fn former_problem(status: &ServiceStatus) -> Markup {
    let failures = status.recent.history.failures_in_last_hour();
    html! {
        @if let Some(Failure { at, refusal, detail }) = &status.recent.failure {
            span.quiet {
                " Last failed " (ago(*at)) ": " (refusal.reason())
                @if let Some(detail) = detail { " (" code { (detail) } ")" }
                @if failures > 1 { ", " (failures) " times in the last hour" }
            }
        }
    }
}
