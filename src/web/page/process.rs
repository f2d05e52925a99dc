//! aegis itself on the status page, for operators: connections, reloads, the sandbox, refusals.

use maud::{Markup, html};

use super::super::status::ProcessStatus;
use super::words::{ago, at, lasting};
use crate::state::LastReload;
use crate::telemetry::metrics::LayerState;

pub(super) fn sections(process: &ProcessStatus, reload: &LastReload) -> Markup {
    html! {
        section {
            h2 { "aegis" }
            dl {
                (connections(process))
                dt { "Last reload" } dd { (last_reload(reload)) }
                (sandbox(process))
            }
        }
        section {
            h2 { "Refused since aegis started" }
            (refusals(process))
        }
    }
}

fn connections(process: &ProcessStatus) -> Markup {
    let used = process.connections;
    let max = process.max_connections_per_address;
    html! {
        dt { "Connections" }
        dd {
            (used.open) " of " (process.max_connections) " (" code { "limits.connections" } "); "
            (used.authenticated) " authenticated"
        }
        dt { "From one address" }
        dd {
            (used.busiest.map_or(0, |(_, open)| open)) " of " (max)
            " (" code { "limits.connections_per_address" } ")"
            @if let Some((address, _)) = used.busiest { "; most from " code { (address) } }
        }
    }
}

fn last_reload(reload: &LastReload) -> Markup {
    html! {
        (at(reload.attempted)) " (" (ago(reload.attempted)) "): "
        @match reload.failing_since {
            Some(since) => span.warning { "failed; reloads have failed for " (lasting(since)) },
            None => span.up { "succeeded" },
        }
    }
}

fn sandbox(process: &ProcessStatus) -> Markup {
    let layers = &process.sandbox;
    let active: Vec<&str> = layers
        .iter()
        .filter(|layer| layer.state == LayerState::Active)
        .map(|layer| layer.name)
        .collect();
    let inactive = layers
        .iter()
        .filter(|layer| layer.state == LayerState::Inactive);
    html! {
        dt { "Sandbox" }
        dd {
            @if active.is_empty() {
                span.warning { "none" }
            } @else {
                span.up { "active: " } code { (active.join(", ")) }
            }
            @for layer in inactive {
                p {
                    span.waiting { "inactive: " } code { (layer.name) }
                    @if let Some(why) = &layer.why { " (" (why) ")" }
                }
            }
        }
    }
}

fn refusals(process: &ProcessStatus) -> Markup {
    html! {
        @if process.refusals.is_empty() {
            p { "No connection, and no request before a service was contacted." }
        } @else {
            dl {
                @for (refusal, count) in &process.refusals {
                    dt { (refusal.stage().name()) ": " code { (refusal.reason()) } }
                    dd { (count) " " span.quiet { "(" (refusal.sentence()) ")" } }
                }
            }
        }
    }
}
