//! Serves one request: a view, or a scrape through the stages 4 to 6.

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::authorize::authorize;
use super::handshake::Session;
use super::respond::{ScraperWriter, ServiceRequest};
use super::route::{self, Target};
use super::{Disposition, upstream};
use crate::gate::Gate;
use crate::http::{
    Failure, ReasonVisibility, Reply, Request, View, respond_local, respond_refusal,
};
use crate::io::deadline;
use crate::policy::Permit;
use crate::policy::service_name::ServiceName;
use crate::refusal::{Refusal, Refused, SeenAs, Stage};
use crate::state::State;
use crate::telemetry::recorder::Scrape;
use crate::text::escaped::Escaped;
use crate::web::{self, Audience};

/// One request of a connection, judged by one gate.
pub(super) struct Exchange<'a, S> {
    session: &'a mut Session<S>,
    gate: &'a Gate,
    state: &'a State,
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Exchange<'a, S> {
    pub(super) fn new(session: &'a mut Session<S>, gate: &'a Gate, state: &'a State) -> Self {
        Self {
            session,
            gate,
            state,
        }
    }

    /// Serves a request.
    pub(super) async fn serve(&mut self, request: &Request<Target>) -> Disposition {
        match &request.target {
            Target::Service(service) => self.serve_service(request, service).await,
            Target::View(view) => self.serve_view(request, *view).await,
        }
    }

    /// Sends a page about aegis itself, with what this scraper may see.
    async fn serve_view(&mut self, request: &Request<Target>, view: View) -> Disposition {
        let presented = &self.session.presented;
        let audience = Audience::Scraper {
            peer: &presented.peer,
            identity: &presented.identity,
            reached: self.session.reached,
        };
        let accept = request.accept.as_deref();
        let response = web::show(view, &audience, accept, self.gate, self.state).await;
        let stream = &mut self.session.stream;
        let sent = respond_local(stream, response, request.reply, &self.gate.limits).await;
        let (recorder, client) = (&self.state.recorder, self.session.presented.client());
        match sent {
            Ok(bytes) => {
                recorder.view_sent(client, view, bytes);
                Disposition::Reuse
            }
            Err(Failure { refused, .. }) => {
                recorder.view_failed(client, view, &refused);
                Disposition::Abort
            }
        }
    }

    /// Serves a scrape: authorize, connect, relay the answer.
    async fn serve_service(
        &mut self,
        request: &Request<Target>,
        service: &ServiceName,
    ) -> Disposition {
        let started = Instant::now();
        let recorder = &self.state.recorder;
        let permit = match authorize(&self.session.presented, service.clone(), self.gate) {
            Ok(permit) => permit,
            Err(refusal) => {
                let client = self.session.presented.client();
                recorder.request_refused(client, Some(service), &refusal.into());
                return self
                    .refuse(refusal, ReasonVisibility::Hidden, request.reply)
                    .await;
            }
        };
        let identity = Escaped(permit.matched().as_bytes()).to_string();
        let entry = permit.entry().to_string();
        let scraped = self.scrape(request, permit, started).await;
        let client = self.session.presented.client();
        let scrape = Scrape {
            identity: &identity,
            entry: &entry,
            services: &self.gate.services,
            service,
            duration: started.elapsed(),
        };
        match scraped {
            Ok(bytes) => {
                recorder.scraped(client, &scrape, bytes);
                Disposition::Reuse
            }
            Err(Failure {
                refused,
                response_started,
            }) => {
                let refusal = refused.refusal;
                // Before this stage, no service was contacted.
                if refusal.stage() >= Stage::Upstream {
                    recorder.scrape_failed(client, &scrape, &refused);
                } else {
                    recorder.request_refused(client, Some(service), &refused);
                }
                if response_started {
                    return Disposition::Abort;
                }
                let visibility = ReasonVisibility::of(refusal);
                self.refuse(refusal, visibility, request.reply).await
            }
        }
    }

    /// Scrapes the granted service, and returns the size of the body in bytes.
    async fn scrape(
        &mut self,
        request: &Request<Target>,
        permit: Permit,
        started: Instant,
    ) -> Result<u64, Failure> {
        let Gate {
            services, limits, ..
        } = self.gate;
        let settings = services.settings(permit.service());
        let target = || {
            let target = route::service_target(settings, request.query.as_deref());
            target.map_err(Failure::before_response)
        };
        if permit.service().is_reserved() {
            target()?;
            let accept = request.accept.as_deref();
            let response = web::own_metrics(self.gate, self.state, accept).await;
            let stream = &mut self.session.stream;
            return respond_local(stream, response, request.reply, limits).await;
        }
        let deadline = started + route::scrape_timeout(request.timeout, settings, limits);
        let scraper = self.session.presented.identity.scraper();
        let concurrency = &self.state.concurrency;
        let connecting = async {
            let service = permit.service();
            let guard = upstream::acquire(concurrency, services, service, scraper, deadline).await;
            let found = upstream::find(services, permit, guard.map_err(Failure::before_response)?);
            let found = before_deadline(deadline, found).await;
            let found = found.map_err(Failure::before_response)?;
            // After the lookup: an absent service gets the same answer with any query.
            let target = target()?;
            let connected = before_deadline(deadline, found.connect(deadline)).await;
            Ok((target, connected.map_err(Failure::before_response)?))
        };
        let Session { stream, reader, .. } = &mut *self.session;
        let (target, connected) = tokio::select! {
            biased;
            connected = connecting => connected?,
            refused = reader.wait_for_disconnect(stream, limits) => {
                return Err(Failure::before_response(refused));
            }
        };
        let service_request = ServiceRequest {
            target,
            host: &settings.host,
            accept: request.accept.as_deref(),
            accept_encoding: request.accept_encoding.as_deref(),
            remaining: deadline.saturating_duration_since(Instant::now()),
        };
        let mut writer = ScraperWriter {
            stream,
            reader,
            deadline,
            limits,
        };
        let responded = writer.respond(connected, &service_request, settings, request.reply);
        responded.await
    }

    /// Sends a refusal.
    async fn refuse(
        &mut self,
        refusal: Refusal,
        visibility: ReasonVisibility,
        reply: Reply,
    ) -> Disposition {
        let stream = &mut self.session.stream;
        let sent = respond_refusal(stream, refusal, visibility, reply, &self.gate.limits);
        match sent.await {
            Ok(()) => Disposition::Reuse,
            Err(_) => Disposition::Abort,
        }
    }

    /// Answers a request that cannot be parsed. The caller then closes the connection.
    pub(super) async fn respond_bad_request(&mut self, refused: &Refused, reply: Reply) {
        let client = self.session.presented.client();
        self.state.recorder.request_refused(client, None, refused);
        if refused.refusal.seen_as() != SeenAs::Closed {
            let visibility = ReasonVisibility::Hidden;
            self.refuse(refused.refusal, visibility, reply).await;
        }
    }
}

/// Limits the wait for a file system, which can hang (NFS, FUSE), to the deadline.
async fn before_deadline<T>(
    deadline: Instant,
    lookup: impl Future<Output = Result<T, Refused>>,
) -> Result<T, Refused> {
    deadline::by(deadline, lookup).await.unwrap_or_else(|| {
        let detail = "the file system of its socket timed out";
        Err(Refused::new(Refusal::Connect, detail))
    })
}
