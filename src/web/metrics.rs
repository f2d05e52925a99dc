//! `/metrics`: aegis's own metrics.

use crate::gate::Gate;
use crate::http::LocalResponse;
use crate::services::Depth;
use crate::state::State;
use crate::telemetry::log;
use crate::telemetry::metrics::{ExpositionFormat, Snapshot};
use crate::tls::credentials::Role;

/// Answers with aegis's own metrics.
pub(crate) async fn own_metrics(gate: &Gate, state: &State, accept: Option<&str>) -> LocalResponse {
    let inventory = state.inspect(gate, Depth::Names).await;
    let soonest = |role| gate.soonest(role).map(|expiry| expiry.at);
    let snapshot = Snapshot {
        services: inventory.there.len(),
        services_are_truncated: gate.services.is_truncated(),
        max_connections: gate.limits.connections,
        server_not_after: soonest(Role::Server),
        client_ca_not_after: soonest(Role::ClientCa),
        crl_next_update: soonest(Role::Crl),
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
