//! `/metrics`: aegis's own metrics.

use crate::gate::Gate;
use crate::http::LocalResponse;
use crate::services::Depth;
use crate::state::State;
use crate::telemetry::log;
use crate::telemetry::metrics::{ExpositionFormat, Snapshot, Validity};
use crate::tls::credentials::{Expiry, Role};

/// Answers with aegis's own metrics.
pub(crate) async fn own_metrics(gate: &Gate, state: &State, accept: Option<&str>) -> LocalResponse {
    let inventory = state.inspect(gate, Depth::Names).await;
    let snapshot = Snapshot {
        services: inventory.there.len(),
        services_are_truncated: gate.services.is_truncated(),
        max_connections: gate.limits.connections,
        server: gate.soonest(Role::Server).map(validity),
        client_ca: gate.soonest(Role::ClientCa).map(validity),
        crl_next_update: gate.soonest(Role::Crl).map(|crl| crl.at),
        lost_lines: log::dropped_lines(),
        reading_for: state.reading_for(),
    };
    let format = ExpositionFormat::for_accept(accept);
    LocalResponse {
        status: 200,
        content_type: format.content_type(),
        csp: None,
        allow: &[],
        text: state.recorder.metrics.text(&snapshot, format),
    }
}

fn validity(expiry: &Expiry) -> Validity {
    Validity {
        not_before: expiry.from,
        not_after: expiry.at,
    }
}
