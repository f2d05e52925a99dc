//! Records what happens to connections and scrapes: one log line, the metrics, and the last scrape of
//! each service. Decides nothing.

use std::time::Duration;

use tokio::task::JoinError;
use tracing::field::{DisplayValue, display};
use tracing::{debug, error, info, warn};

use super::last_scrapes::LastScrapes;
use super::log::{Sampled, Sampler};
use super::metrics::{ConnectedClient, Metrics, Validity};
use crate::config::LoggedScrapes;
use crate::http::View;
use crate::policy::identity::Identity;
use crate::policy::peer::Peer;
use crate::policy::service_name::ServiceName;
use crate::refusal::{Blame, Refusal, Refused};
use crate::services::ServiceRegistry;

/// Writes the log, the metrics and the last scrapes.
#[derive(Debug, Default)]
pub struct Recorder {
    pub(crate) metrics: Metrics,
    pub(crate) last_scrapes: LastScrapes,
    pub(crate) sampler: Sampler,
    /// Which scrapes have a log line.
    pub(crate) logged_scrapes: LoggedScrapes,
}

/// A scraper that has authenticated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client<'a> {
    pub(crate) peer: &'a Peer,
    pub(crate) identity: &'a Identity,
}

/// A scrape that has ended, or is cut off.
#[derive(Debug)]
pub(crate) struct Scrape<'a> {
    /// The name that an entry admitted, and the file and line of that entry.
    pub(crate) identity: &'a str,
    pub(crate) entry: &'a str,
    pub(crate) services: &'a ServiceRegistry,
    pub(crate) service: &'a ServiceName,
    pub(crate) duration: Duration,
}

/// A scrape in flight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InFlight<'a> {
    pub(crate) services: &'a ServiceRegistry,
    pub(crate) service: &'a ServiceName,
    pub(crate) duration: Duration,
}

impl Recorder {
    /// Records a connection that ended before its scraper authenticated.
    pub(crate) fn connection_refused(&self, peer: &Peer, refused: &Refused) {
        let Refused { refusal, detail } = refused;
        self.metrics.connection_refused(*refusal);
        let (stage, reason) = (display(refusal.stage().name()), display(refusal.reason()));
        // Unknown clients can cause any number of these: one a minute of each reason and address is
        // logged at the default level, all of them at debug.
        match self.sampler.sample(*refusal, peer.counted_as()) {
            Sampled::Logged { suppressed } if refusal.blame() == Blame::Us => {
                warn!(%peer, port = peer.port(), stage, reason, detail, suppressed, "refused: {refusal}");
            }
            Sampled::Logged { suppressed } => {
                info!(%peer, port = peer.port(), stage, reason, detail, suppressed, "refused: {refusal}");
            }
            Sampled::Suppressed => {
                debug!(%peer, port = peer.port(), stage, reason, detail, "refused: {refusal}")
            }
        }
    }

    /// Records a scraper that has authenticated, and counts its certificate while it is connected.
    pub(crate) fn connected(&self, client: Client<'_>, handshake: Duration) -> ConnectedClient {
        self.metrics.handshake_done(handshake);
        let Client { peer, identity } = client;
        debug!(%peer, port = peer.port(), identity = identity.shown(), "connected");
        self.metrics.client_connected(Validity {
            not_before: identity.not_before(),
            not_after: identity.not_after(),
        })
    }

    /// Records a connection that is closed because it is no longer admitted, with the scrape that
    /// was in flight, if any.
    pub(crate) fn revoked(
        &self,
        client: Client<'_>,
        in_flight: Option<InFlight<'_>>,
        refused: &Refused,
    ) {
        let Refused { refusal, detail } = refused;
        self.metrics.connection_refused(*refusal);
        let service = in_flight.map(|scrape| self.cut_off(scrape, refused));
        let Client { peer, identity } = client;
        let (stage, reason) = (display(refusal.stage().name()), display(refusal.reason()));
        info!(%peer, port = peer.port(), identity = identity.shown(), serial = %identity.serial(), service, stage, reason, detail, "no longer admitted: {refusal}");
    }

    /// Records a connection that is closed to make room for another scraper, with the scrape that
    /// was in flight, if any.
    pub(crate) fn evicted(&self, client: Client<'_>, in_flight: Option<InFlight<'_>>) {
        let refusal = Refusal::ConnectionLimit;
        self.metrics.connection_refused(refusal);
        let service = in_flight.map(|scrape| self.cut_off(scrape, &refusal.into()));
        let Client { peer, identity } = client;
        let (stage, reason) = (display(refusal.stage().name()), display(refusal.reason()));
        info!(%peer, port = peer.port(), identity = identity.shown(), serial = %identity.serial(), service, stage, reason, "evicted: all connections are in use (limits.connections) and this scraper has the most");
    }

    /// Records a connection task that panicked. The other tasks of its thread continue.
    pub(crate) fn log_task_panic(&self, ended: Result<(), JoinError>) {
        if ended.is_err_and(|error| error.is_panic()) {
            self.metrics.panicked();
            error!("a connection panicked; please report this bug with the lines above");
        }
    }

    /// Counts a scrape that was cut off with its connection.
    fn cut_off<'a>(
        &self,
        scrape: InFlight<'a>,
        refused: &Refused,
    ) -> DisplayValue<&'a ServiceName> {
        let InFlight {
            services,
            service,
            duration,
        } = scrape;
        if self.is_counted(service, services) {
            self.metrics.failed(service, refused.refusal, duration);
            self.last_scrapes.failed(service, duration, refused);
        }
        display(service)
    }

    /// Forgets the last scrapes and the metrics of a service, and returns whether it was scraped.
    pub(crate) fn forget(&self, service: &ServiceName) -> bool {
        self.metrics.forget(service);
        self.last_scrapes.forget(service)
    }

    /// Whether a service has metrics: a name that no service ever had must not become a label.
    /// Services that are gone are evicted to make room.
    fn is_counted(&self, service: &ServiceName, services: &ServiceRegistry) -> bool {
        let is_known = |service: &ServiceName| service.is_reserved() || services.knows(service);
        if !is_known(service) {
            return false;
        }
        for evicted in self.last_scrapes.evict(service, is_known) {
            self.metrics.forget(&evicted);
        }
        true
    }

    /// Records a request that was refused before a service was contacted.
    pub(crate) fn request_refused(
        &self,
        client: Client<'_>,
        service: Option<&ServiceName>,
        refused: &Refused,
    ) {
        let Refused { refusal, detail } = refused;
        self.metrics.request_refused(*refusal);
        let Client { peer, identity } = client;
        let (stage, reason) = (display(refusal.stage().name()), display(refusal.reason()));
        let service = service.map(display);
        info!(%peer, port = peer.port(), identity = identity.shown(), serial = %identity.serial(), service, stage, reason, detail, "refused: {refusal}");
    }

    /// Records a view that was sent.
    pub(crate) fn view_sent(&self, client: Client<'_>, view: View, bytes: u64) {
        let Client { peer, identity } = client;
        let path = view.path();
        let serial = identity.serial();
        // Prometheus reads the list as often as some scrape, and an open page refreshes itself.
        let is_logged = match view {
            View::Status(_) | View::Discovery => self.logged_scrapes == LoggedScrapes::All,
            View::Healthy | View::Ready => false,
        };
        if is_logged {
            info!(%peer, port = peer.port(), identity = identity.shown(), %serial, path, bytes, "shown");
        } else {
            debug!(%peer, port = peer.port(), identity = identity.shown(), %serial, path, bytes, "shown");
        }
    }

    /// Records a view that could not be sent.
    pub(crate) fn view_failed(&self, client: Client<'_>, view: View, refused: &Refused) {
        let Refused { refusal, detail } = refused;
        self.metrics.request_refused(*refusal);
        let Client { peer, identity } = client;
        let (stage, reason) = (display(refusal.stage().name()), display(refusal.reason()));
        info!(%peer, port = peer.port(), identity = identity.shown(), serial = %identity.serial(), path = view.path(), stage, reason, detail, "not shown: {refusal}");
    }

    /// Records a scrape that succeeded.
    pub(crate) fn scraped(&self, client: Client<'_>, scraped: &Scrape<'_>, bytes: u64) {
        let Scrape {
            identity,
            entry,
            services,
            service,
            duration,
        } = scraped;
        if self.is_counted(service, services) {
            self.metrics.scraped(service, *duration, bytes);
            self.last_scrapes.scraped(service, *duration, bytes);
        }
        if self.logged_scrapes != LoggedScrapes::All {
            return;
        }
        let duration_ms = milliseconds(*duration);
        let (peer, serial) = (client.peer, client.identity.serial());
        info!(%peer, port = peer.port(), identity, %serial, %entry, %service, bytes, duration_ms, "scraped");
    }

    /// Records a scrape that failed.
    pub(crate) fn scrape_failed(
        &self,
        client: Client<'_>,
        scraped: &Scrape<'_>,
        refused: &Refused,
    ) {
        let Refused { refusal, detail } = refused;
        let Scrape {
            identity,
            entry,
            services,
            service,
            duration,
        } = scraped;
        if self.is_counted(service, services) {
            self.metrics.failed(service, *refusal, *duration);
            self.last_scrapes.failed(service, *duration, refused);
        } else {
            self.metrics.request_refused(*refusal);
        }
        if self.logged_scrapes == LoggedScrapes::None {
            return;
        }
        let duration_ms = milliseconds(*duration);
        let (peer, serial) = (client.peer, client.identity.serial());
        let (stage, reason) = (display(refusal.stage().name()), display(refusal.reason()));
        match refusal.blame() {
            Blame::Service | Blame::Us => {
                warn!(%peer, port = peer.port(), identity, %serial, %entry, %service, stage, reason, detail, duration_ms, "scrape failed: {refusal}");
            }
            Blame::Peer => {
                info!(%peer, port = peer.port(), identity, %serial, %entry, %service, stage, reason, detail, duration_ms, "scrape failed: {refusal}");
            }
        }
    }
}

/// Milliseconds with two decimals.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e5).round() / 100.0
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::super::metrics::{ExpositionFormat, Snapshot};
    use super::*;

    #[tokio::test]
    async fn a_panicked_connection_is_counted_and_others_continue() {
        let recorder = Recorder::default();
        let (go, wait) = tokio::sync::oneshot::channel::<()>();
        let mut connections = JoinSet::new();
        connections.spawn(async move { wait.await.unwrap() });
        connections.spawn(async { panic!("as a bug would") });
        recorder.log_task_panic(connections.join_next().await.unwrap());
        go.send(()).unwrap();
        recorder.log_task_panic(connections.join_next().await.unwrap());
        let text = recorder
            .metrics
            .text(&Snapshot::default(), ExpositionFormat::for_accept(None));
        let panics = text
            .lines()
            .find(|line| line.starts_with("aegis_panics_total "));
        assert_eq!(panics, Some("aegis_panics_total 1"));
    }
}
