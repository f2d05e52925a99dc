//! What the log and the metrics say of a scrape, a failure and a refusal. Decides nothing.

use std::time::Duration;

use tracing::field::display;
use tracing::{debug, info, warn};

use super::handshake::Presented;
use crate::gate::Endpoint;
use crate::log::Sampled;
use crate::metrics::ConnectedClient;
use crate::peer::Peer;
use crate::refusal::{Blame, Refused};
use crate::service::ServiceName;
use crate::view::{Shown, View};

/// What is said of a scrape once it has ended.
pub(super) struct Scraped<'a> {
    /// The name that an entry admitted, and where that entry stands.
    pub(super) identity: &'a str,
    pub(super) entry: &'a str,
    pub(super) service: &'a ServiceName,
    pub(super) duration: Duration,
}

impl Endpoint {
    /// Notes a connection that ended before its scraper proved to be anybody.
    pub(crate) fn turn_away(&self, peer: &Peer, refused: &Refused) {
        let Refused { refusal, detail } = refused;
        self.metrics.connection_refused(*refusal);
        let (stage, reason) = (display(refusal.stage().name()), display(refusal.reason()));
        // Strangers can cause as many of these as they like: one a minute of each kind is
        // for the operator, all are for whoever looks closer.
        match self.sampler.lets_through(*refusal) {
            Sampled::Shown { suppressed } => {
                info!(%peer, stage, reason, detail, suppressed, "refused: {refusal}");
            }
            Sampled::Suppressed => debug!(%peer, stage, reason, detail, "refused: {refusal}"),
        }
    }

    /// Notes a scraper that has proved who it is, and counts its certificate while it stays.
    pub(super) fn note_connected(
        &self,
        presented: &Presented,
        handshake: Duration,
    ) -> ConnectedClient {
        self.metrics.handshake_done(handshake);
        let Presented { peer, identity, .. } = presented;
        debug!(%peer, identity = identity.shown(), "connected");
        self.metrics.client_connected(identity.not_after())
    }

    /// Notes a connection that is closed because it is admitted no longer, and with it the scrape
    /// that was in flight, if any.
    pub(super) fn turn_out(
        &self,
        presented: &Presented,
        in_flight: Option<(&ServiceName, Duration)>,
        refused: &Refused,
    ) {
        let Refused { refusal, detail } = refused;
        self.metrics.connection_refused(*refusal);
        let service = in_flight.map(|(service, duration)| {
            if self.is_counted(service) {
                self.metrics.failed(service, *refusal, duration);
                self.outcomes.failed(service, duration, refused);
            }
            display(service)
        });
        let Presented { peer, identity, .. } = presented;
        let (stage, reason) = (display(refusal.stage().name()), display(refusal.reason()));
        info!(%peer, identity = identity.shown(), serial = %identity.serial(), service, stage, reason, detail, "no longer admitted: {refusal}");
    }

    /// Whether a service has metrics: a name that no service ever had must not become a label.
    /// Those of services that vanished make room for it, where there are too many.
    fn is_counted(&self, service: &ServiceName) -> bool {
        let gate = self.gate();
        let is_known =
            |service: &ServiceName| service.is_reserved() || gate.upstream.knows(service);
        if !is_known(service) {
            return false;
        }
        for vanished in self.outcomes.make_room_for(service, is_known) {
            self.metrics.forget(&vanished);
        }
        true
    }

    pub(super) fn note_refused(
        &self,
        presented: &Presented,
        service: Option<&ServiceName>,
        refused: &Refused,
    ) {
        let Refused { refusal, detail } = refused;
        self.metrics.request_refused(*refusal);
        let Presented { peer, identity, .. } = presented;
        let (stage, reason) = (display(refusal.stage().name()), display(refusal.reason()));
        let service = service.map(display);
        info!(%peer, identity = identity.shown(), serial = %identity.serial(), service, stage, reason, detail, "refused: {refusal}");
    }

    pub(super) fn note_shown(&self, presented: &Presented, view: View, shown: &Shown) {
        let Presented { peer, identity, .. } = presented;
        let (path, bytes) = (view.path(), shown.text.len());
        let serial = identity.serial();
        match view {
            View::Status | View::Discovery => {
                info!(%peer, identity = identity.shown(), %serial, path, bytes, "shown");
            }
            View::Healthy | View::Ready => {
                debug!(%peer, identity = identity.shown(), %serial, path, bytes, "shown");
            }
        }
    }

    pub(super) fn note_scraped(&self, presented: &Presented, scraped: &Scraped<'_>, bytes: u64) {
        let Scraped {
            identity,
            entry,
            service,
            duration,
        } = scraped;
        if self.is_counted(service) {
            self.metrics.scraped(service, *duration, bytes);
            self.outcomes.scraped(service, *duration, bytes);
        }
        let duration_ms = milliseconds(*duration);
        let (peer, serial) = (&presented.peer, presented.identity.serial());
        info!(%peer, identity, %serial, %entry, %service, bytes, duration_ms, "scraped");
    }

    pub(super) fn note_failed(
        &self,
        presented: &Presented,
        scraped: &Scraped<'_>,
        refused: &Refused,
    ) {
        let Refused { refusal, detail } = refused;
        let Scraped {
            identity,
            entry,
            service,
            duration,
        } = scraped;
        if self.is_counted(service) {
            self.metrics.failed(service, *refusal, *duration);
            self.outcomes.failed(service, *duration, refused);
        } else {
            self.metrics.request_refused(*refusal);
        }
        let duration_ms = milliseconds(*duration);
        let (peer, serial) = (&presented.peer, presented.identity.serial());
        let (stage, reason) = (display(refusal.stage().name()), display(refusal.reason()));
        match refusal.blame() {
            Blame::Service | Blame::Us => {
                warn!(%peer, identity, %serial, %entry, %service, stage, reason, detail, duration_ms, "scrape failed: {refusal}");
            }
            Blame::Peer => {
                info!(%peer, identity, %serial, %entry, %service, stage, reason, detail, duration_ms, "scrape failed: {refusal}");
            }
        }
    }
}

/// Milliseconds, with as many decimals as are of use to a reader.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e5).round() / 100.0
}
