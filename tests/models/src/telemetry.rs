//! Stub: nothing is recorded.

pub(crate) mod metrics {
    #[derive(Clone, Copy, Debug)]
    pub(crate) enum LayerState {}

    #[derive(Debug, Default)]
    pub(crate) struct Metrics {
        pub(crate) reloads: Reloads,
    }

    #[derive(Debug, Default)]
    pub(crate) struct Reloads;

    impl Reloads {
        pub(crate) fn succeeded(&self) {}
        pub(crate) fn failed(&self, _: bool) {}
    }
}

pub(crate) mod recorder {
    use std::time::Duration;

    use tokio::task::JoinError;

    use super::metrics::Metrics;
    use crate::policy::identity::Identity;
    use crate::policy::peer::Peer;
    use crate::policy::service_name::ServiceName;
    use crate::refusal::Refused;
    use crate::services::ServiceRegistry;

    #[derive(Debug, Default)]
    pub struct Recorder {
        pub(crate) metrics: Metrics,
    }

    pub(crate) struct Connected;

    pub(crate) struct Client<'a> {
        pub(crate) peer: &'a Peer,
        pub(crate) identity: &'a Identity,
    }

    pub(crate) struct InFlight<'a> {
        pub(crate) services: &'a ServiceRegistry,
        pub(crate) service: &'a ServiceName,
        pub(crate) duration: Duration,
    }

    impl Recorder {
        pub(crate) fn forget(&self, _: &ServiceName) {}
        pub(crate) fn connection_refused(&self, _: &Peer, _: &Refused) {}
        pub(crate) fn connected(&self, _: Client<'_>, _: Duration) -> Connected {
            Connected
        }

        pub(crate) fn revoked(&self, _: Client<'_>, _: Option<InFlight<'_>>, _: &Refused) {}
        pub(crate) fn evicted(&self, _: Client<'_>, _: Option<InFlight<'_>>) {}

        /// A panic of a task is a failed assertion of the model.
        pub(crate) fn log_task_panic(&self, ended: Result<(), JoinError>) {
            ended.unwrap();
        }
    }
}
