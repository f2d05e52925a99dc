//! Stub: every request is for the same service.

use crate::config::Limits;
use crate::http::{Persistence, Reply, Request};
use crate::policy::service_name::ServiceName;
use crate::refusal::{Refusal, Refused};

#[derive(Clone, Debug)]
pub(crate) enum Target {
    Service(ServiceName),
    #[expect(dead_code, reason = "no model asks for a view")]
    View(()),
}

impl Target {
    pub(super) fn service(&self) -> Option<&ServiceName> {
        match self {
            Self::Service(service) => Some(service),
            Self::View(()) => None,
        }
    }
}

pub(super) fn route(head: &[u8], _: &Limits) -> Result<Request<Target>, Refused> {
    Ok(Request {
        target: parse_target()?,
        kind: head[0],
        reply: Reply {
            persistence: Persistence::KeepAlive,
        },
    })
}

pub(crate) fn parse_target() -> Result<Target, Refused> {
    let service = "node".parse().map_err(|_| Refusal::Target)?;
    Ok(Target::Service(service))
}
