//! Requests on the admin socket. They are parsed and answered like a scraper's, without TLS and
//! policy: every user who can open the socket is an operator. No service can be scraped here.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tracing::info;

use crate::config::Limits;
use crate::http::{
    self, LocalResponse, Persistence, READ_METHODS, ReadHead, Reply, Request, RequestReader,
    loggable, respond_local,
};
use crate::policy::service_name::ServiceName;
use crate::refusal::{Refusal, Refused, SeenAs};
use crate::scrape::{Target, parse_target};
use crate::services::NotForgotten;
use crate::state::{Reloaded, State};
use crate::web::{self, Audience};

/// What a request on the admin socket is for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum AdminRequest {
    /// A target that scrapers can request too.
    Read(Target),
    /// `POST /-/reload`
    Reload,
    /// `POST /-/forget/NAME`, for a service that is gone.
    Forget(ServiceName),
}

/// Serves the requests of one connection.
pub(super) async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, state: Arc<State>) {
    let mut reader = RequestReader::default();
    loop {
        let gate = state.gate();
        let limits = &gate.limits;
        let idle_until = Instant::now() + limits.head_timeout;
        let (response, reply) = match reader.next(&mut stream, idle_until, limits).await {
            Ok(ReadHead::Head(head)) => match parse(&head, limits) {
                Ok(request) => (respond(&request, &state).await, request.reply),
                Err(refused) => {
                    let Some(response) = refuse(&refused, allowed_methods(&head)) else {
                        return;
                    };
                    (response, Reply::to_unparsed(&head))
                }
            },
            Ok(ReadHead::Eof) => return,
            Err(refused) => {
                let Some(response) = refuse(&refused, &[]) else {
                    return;
                };
                (response, reader.reply_to_unparsed())
            }
        };
        let sent = respond_local(&mut stream, response, reply, limits).await;
        if sent.is_err() || reply.persistence == Persistence::Close {
            return;
        }
    }
}

/// The response to a refused request, or `None` to close the connection without one.
fn refuse(refused: &Refused, methods: &'static [&'static str]) -> Option<LocalResponse> {
    let refusal = refused.refusal;
    let SeenAs::Status(status) = refusal.seen_as() else {
        return None;
    };
    Some(if refusal == Refusal::Method {
        LocalResponse::method(methods, WHAT_IS_HERE)
    } else {
        LocalResponse::line(status, &format!("{refusal}; {WHAT_IS_HERE}"))
    })
}

/// Parses the head of a request.
///
/// # Errors
/// Any refusal of [`crate::refusal::Stage::Route`] but the timeout.
fn parse(head: &[u8], limits: &Limits) -> Result<Request<AdminRequest>, Refused> {
    http::parse(head, limits, methods_of, |target| {
        if is_action(target) {
            Ok((parse_admin_action(target)?, None))
        } else {
            parse_target(target).map(|(target, query)| (AdminRequest::Read(target), query))
        }
    })
}

/// The methods that the target of a head allows.
fn allowed_methods(head: &[u8]) -> &'static [&'static str] {
    let target = head.split(|byte| *byte == b' ').nth(1);
    let target = target.and_then(|target| str::from_utf8(target).ok());
    methods_of(target.unwrap_or_default())
}

fn methods_of(target: &str) -> &'static [&'static str] {
    if is_action(target) {
        &["POST"]
    } else {
        READ_METHODS
    }
}

const RELOAD: &str = "/-/reload";
const FORGET: &str = "/-/forget/";

/// Whether a target is an action, which changes state.
fn is_action(target: &str) -> bool {
    target == RELOAD || target.starts_with(FORGET)
}

fn parse_admin_action(target: &str) -> Result<AdminRequest, Refused> {
    if target == RELOAD {
        return Ok(AdminRequest::Reload);
    }
    let service = target.strip_prefix(FORGET).unwrap_or_default().parse();
    let service = service.map_err(|_| Refused::new(Refusal::Target, loggable(target)))?;
    Ok(AdminRequest::Forget(service))
}

const WHAT_IS_HERE: &str =
    "here are GET /, /metrics, /-/sd, /-/healthy, /-/ready, and POST /-/reload, /-/forget/NAME";

async fn respond(request: &Request<AdminRequest>, state: &State) -> LocalResponse {
    let accept = request.accept.as_deref();
    match &request.target {
        AdminRequest::Read(Target::View(view)) => {
            web::show(*view, &Audience::Operator, accept, &state.gate(), state).await
        }
        AdminRequest::Read(Target::Service(service)) if service.is_reserved() => {
            web::own_metrics(&state.gate(), state, accept).await
        }
        AdminRequest::Read(Target::Service(_)) => {
            LocalResponse::line(404, &format!("no service is scraped here; {WHAT_IS_HERE}"))
        }
        AdminRequest::Reload => reload(state).await,
        AdminRequest::Forget(service) => forget(service, state).await,
    }
}

async fn reload(state: &State) -> LocalResponse {
    match state.reload().await {
        Reloaded::Done(last) if last.faults.is_empty() => {
            let keys = last.pending_restart.join(", ");
            LocalResponse::line(
                200,
                &match keys.as_str() {
                    "" => "reloaded".to_owned(),
                    keys => format!("reloaded\nchanges of {keys} need a restart"),
                },
            )
        }
        Reloaded::Done(last) => {
            let mut answer = "not reloaded: the previous configuration stays in force".to_owned();
            if !last.restricted.is_empty() {
                let parts = last.restricted.join(", ");
                answer += &format!("\nremovals in the new {parts} are in force already");
            }
            LocalResponse::line(500, &format!("{answer}\n{}", last.faults.join("\n")))
        }
        Reloaded::TooMany => LocalResponse::line(503, "too many reloads are waiting; try again"),
        Reloaded::Slow => LocalResponse::line(
            503,
            "the files are still being read; see the log for the result",
        ),
        Reloaded::Stopping => LocalResponse::line(503, "not reloaded: aegis is stopping"),
    }
}

async fn forget(service: &ServiceName, state: &State) -> LocalResponse {
    match forget_service(service, state).await {
        Ok(()) => {
            info!(%service, "forgotten");
            LocalResponse::line(200, "forgotten")
        }
        Err(NotForgotten::Configured) => LocalResponse::line(
            409,
            "not forgotten: it is configured; remove it from the configuration",
        ),
        Err(NotForgotten::Own) => LocalResponse::line(409, "not forgotten: it is aegis itself"),
        Err(NotForgotten::There) => LocalResponse::line(
            409,
            "not forgotten: its socket exists; if the service is gone for good, remove that file first",
        ),
        Err(NotForgotten::Unknown) => LocalResponse::line(404, Refusal::UnknownService.sentence()),
    }
}

/// Forgets a service that is gone, and its metrics.
///
/// # Errors
/// Why it was not forgotten.
async fn forget_service(service: &ServiceName, state: &State) -> Result<(), NotForgotten> {
    match state.gate().services.forget(service).await {
        // The list of services is limited: one that it omits may still have a last scrape.
        Err(NotForgotten::Unknown) if state.recorder.forget(service) => Ok(()),
        Err(kept) => Err(kept),
        Ok(()) => {
            state.recorder.forget(service);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::View;

    #[test]
    fn actions_are_accepted_only_on_the_admin_socket() {
        let of = |method: &str, target: &str| {
            let head = format!("{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n");
            let by_admin = parse(head.as_bytes(), &Limits::default());
            let by_scraper = http::parse(
                head.as_bytes(),
                &Limits::default(),
                |_| READ_METHODS,
                parse_target,
            );
            (
                by_admin
                    .map(|request| request.target)
                    .map_err(|refused| refused.refusal),
                by_scraper
                    .map(|request| request.target)
                    .map_err(|refused| refused.refusal),
            )
        };
        let node: ServiceName = "node".parse().unwrap();
        let for_both = |target: Target| (Ok(AdminRequest::Read(target.clone())), Ok(target));
        let for_admin = |action| (Ok(action), Err(Refusal::Method));
        let for_none = |refusal| (Err(refusal), Err(Refusal::Method));
        assert_eq!(of("GET", "/-/sd"), for_both(Target::View(View::Discovery)));
        assert_eq!(of("GET", "/node"), for_both(Target::Service(node.clone())));
        assert_eq!(of("POST", "/-/reload"), for_admin(AdminRequest::Reload));
        assert_eq!(
            of("POST", "/-/forget/node"),
            for_admin(AdminRequest::Forget(node))
        );
        assert_eq!(of("POST", "/-/forget/..%2f"), for_none(Refusal::Target));
        assert_eq!(of("POST", "/node"), for_none(Refusal::Method));
        assert_eq!(of("PUT", "/-/reload"), for_none(Refusal::Method));
        assert_eq!(
            of("GET", "/-/reload"),
            (Err(Refusal::Method), Err(Refusal::Target))
        );
        let methods = |head: &[u8]| allowed_methods(head).join(", ");
        assert_eq!(methods(b"GET /-/forget/node HTTP/1.1\r\n"), "POST");
        assert_eq!(methods(b"POST / HTTP/1.1\r\n"), "GET, HEAD");
        assert_eq!(methods(b"\xff"), "GET, HEAD");
    }
}
