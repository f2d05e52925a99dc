//! Stub: the service answers at once, or when the scraper allows it. The answer tells which gates
//! decided.

use std::sync::atomic::Ordering;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::authorize::authorize;
use super::handshake::Session;
use super::route::Target;
use super::{Disposition, parse_target};
use crate::gate::Gate;
use crate::http::{Reply, Request};
use crate::refusal::Refused;
use crate::state::{ConcurrencyLimiter, State};
use crate::wire::{Answer, SLOW};

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

    pub(super) async fn serve(&mut self, request: &Request<Target>) -> Disposition {
        let presented = &self.session.presented;
        let Ok(Target::Service(service)) = parse_target() else {
            unreachable!()
        };
        if authorize(presented, service.clone(), self.gate).is_err() {
            return self.send(Answer::Denied).await;
        }
        let scraper = presented.identity.scraper();
        let slot = ConcurrencyLimiter::acquire(&self.state.concurrency, &service, scraper, 1).await;
        let _slot = slot.unwrap();
        let accepted_by = presented.accepted_by.load(Ordering::SeqCst);
        if request.kind == SLOW && self.session.stream.read_u8().await.is_err() {
            return Disposition::Abort;
        }
        self.send(Answer::Served {
            accepted_by,
            granted_by: self.gate.number,
        })
        .await
    }

    async fn send(&mut self, answer: Answer) -> Disposition {
        match self.session.stream.write_all(&answer.bytes()).await {
            Ok(()) => Disposition::Reuse,
            Err(_) => Disposition::Abort,
        }
    }

    pub(super) async fn respond_bad_request(&mut self, _: &Refused, _: Reply) {
        unreachable!("every request of a model is well-formed")
    }
}
