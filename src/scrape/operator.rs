//! A connection on the admin socket: the same heads and answers as for a scraper, but no TLS and
//! no policy. Whoever may open the socket's file is the operator. No service is scraped here.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tracing::info;

use super::respond;
use super::route::{
    self, Afterwards, AnswerWith, Asked, Heads, NextHead, Wanted, WantedByOperator,
};
use crate::gate::Endpoint;
use crate::refusal::{Refusal, Refused, SeenAs};
use crate::service::ServiceName;
use crate::view::Shown;
use crate::views::{self, Viewer};

use super::upstream::NotForgotten;

/// Serves one connection on the admin socket, one request after the other.
pub(crate) async fn operator(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    endpoint: Arc<Endpoint>,
) {
    let mut heads = Heads::default();
    loop {
        let gate = endpoint.gate();
        let limits = &gate.limits;
        let idle_until = Instant::now() + limits.head_timeout;
        let asked = match heads.next(&mut stream, idle_until, limits).await {
            Ok(NextHead::Head(head)) => route::route_for_operator(&head, limits)
                .map_err(|refused| (refused, AnswerWith::to_unread(&head))),
            Ok(NextHead::Over) => return,
            Err(refused) => Err((refused, heads.answer_to_unread())),
        };
        let (shown, with) = match asked {
            Ok(asked) => {
                let shown = done(&asked, &endpoint).await;
                (shown, (asked.answer, asked.afterwards))
            }
            Err((Refused { refusal, detail }, answer)) => {
                let SeenAs::Status(status) = refusal.seen_as() else {
                    return;
                };
                // A view has its method, and what does something has POST.
                let is_deed = |raw: &str| raw == "/-/reload" || raw.starts_with("/-/forget/");
                let problem =
                    match refusal == Refusal::Target && detail.as_deref().is_some_and(is_deed) {
                        true => "that takes POST",
                        false => refusal.sentence(),
                    };
                let said = format!("{problem}; {WHAT_IS_HERE}");
                (Shown::line(status, &said), (answer, Afterwards::Close))
            }
        };
        let (_, afterwards) = with;
        let answered = respond::own(&mut stream, shown, with, limits).await;
        if answered.is_err() || afterwards == Afterwards::Close {
            return;
        }
    }
}

const WHAT_IS_HERE: &str =
    "here are GET /, /metrics, /-/sd, /-/healthy, /-/ready, and POST /-/reload, /-/forget/NAME";

async fn done(asked: &Asked<WantedByOperator>, endpoint: &Endpoint) -> Shown {
    let accept = asked.accept.as_deref();
    match &asked.wanted {
        WantedByOperator::Seen(Wanted::View(view)) => {
            views::show(*view, &Viewer::Operator, accept, &endpoint.gate(), endpoint)
        }
        WantedByOperator::Seen(Wanted::Service(service)) if service.is_reserved() => {
            endpoint.own_metrics(accept)
        }
        WantedByOperator::Seen(Wanted::Service(_)) => {
            Shown::line(404, &format!("no service is scraped here; {WHAT_IS_HERE}"))
        }
        WantedByOperator::Reload => reload(endpoint).await,
        WantedByOperator::Forget(service) => forget(service, endpoint),
    }
}

async fn reload(endpoint: &Endpoint) -> Shown {
    match endpoint.reload().await.as_deref() {
        Some([]) => Shown::line(200, "reloaded"),
        Some(faults) => {
            let faults = faults.join("\n");
            let kept = "not reloaded: the configuration before stays in force";
            Shown::line(500, &format!("{kept}\n{faults}"))
        }
        None if endpoint.is_draining() => Shown::line(503, "not reloaded: aegis is stopping"),
        None => Shown::line(503, "others wait for a reload already; try again"),
    }
}

fn forget(service: &ServiceName, endpoint: &Endpoint) -> Shown {
    match endpoint.forget(service) {
        Ok(()) => {
            info!(%service, "forgotten");
            Shown::line(200, "forgotten")
        }
        Err(NotForgotten::Configured) => {
            Shown::line(409, "not forgotten: the configuration names it")
        }
        Err(NotForgotten::There) => Shown::line(409, "not forgotten: its socket is there"),
        Err(NotForgotten::Unknown) => Shown::line(404, Refusal::UnknownService.sentence()),
    }
}
