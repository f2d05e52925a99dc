//! Real workers. Stub: no listeners, no sandbox, no service manager.

pub(crate) mod workers;

pub(crate) mod listen {
    use std::io;
    use std::sync::Arc;

    use tokio::task::JoinSet;

    use super::sandbox::Sealed;
    use crate::state::State;

    #[derive(Debug)]
    pub struct Listeners;

    impl Listeners {
        pub(crate) fn share(&self) -> io::Result<Self> {
            Ok(Self)
        }

        pub(crate) async fn serve(self, _: Sealed, state: &Arc<State>) -> JoinSet<()> {
            state.draining().await;
            JoinSet::new()
        }
    }
}

pub(crate) mod sandbox {
    #[derive(Clone, Debug)]
    pub struct Sealed;
}

pub(crate) mod systemd {
    use std::convert::Infallible;
    use std::future::pending;

    pub(crate) struct Supervisor;

    pub(crate) struct Heartbeat;

    impl Supervisor {
        pub(crate) fn heartbeat(&mut self) -> Heartbeat {
            Heartbeat
        }
    }

    impl Heartbeat {
        pub(crate) async fn run(self) -> Infallible {
            pending().await
        }
    }
}
