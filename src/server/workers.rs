//! Worker threads: one for each core after the first, so that a burst of handshakes can use every
//! core.
//!
//! Each has its own event loop and accepts from the same addresses. A connection stays on the
//! thread that accepted it. All threads share the gate, the counts and the limits.

use std::io;
use std::sync::Arc;
use std::sync::mpsc as blocking;
use std::thread;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::io::deadline;
use crate::server::listen::Listeners;
use crate::server::sandbox::Sealed;
use crate::server::systemd::{Heartbeat, Supervisor};
use crate::state::State;

/// Threads that wait for the sandbox, then serve until they have drained.
#[derive(Debug)]
pub(crate) struct Workers {
    sealed_txs: Vec<oneshot::Sender<Sealed>>,
    /// One result per worker. It closes when the last worker ends.
    drained_rx: mpsc::Receiver<Drained>,
}

impl Workers {
    /// Starts the threads. The sandbox forbids this later.
    ///
    /// # Errors
    /// The system has no more threads or descriptors.
    pub(crate) fn start(
        listeners: &Listeners,
        state: &Arc<State>,
        supervisor: &mut Supervisor,
    ) -> io::Result<Self> {
        state.services().closer().start()?;
        state.services().files().start()?;
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let (drained_tx, drained_rx) = mpsc::channel(MAX_THREADS);
        let (started_tx, started_rx) = blocking::channel();
        let mut sealed_txs = Vec::new();
        for _ in 1..cores.min(MAX_THREADS) {
            let (sealed_tx, sealed_rx) = oneshot::channel();
            let runtime = Builder::new_current_thread().enable_all().build()?;
            // Here, a failure still fails the start. Later, a worker that cannot accept would only
            // look unresponsive.
            let shared = {
                let _event_loop = runtime.enter();
                listeners.share()
            };
            let listeners = match shared {
                Ok(listeners) => listeners,
                Err(error) => {
                    runtime.shutdown_background();
                    return Err(error);
                }
            };
            let worker = Worker {
                runtime,
                listeners,
                state: Arc::clone(state),
                sealed_rx,
                heartbeat: supervisor.heartbeat(),
                drained_tx: drained_tx.clone(),
            };
            let started_tx = started_tx.clone();
            let thread = thread::Builder::new().name("worker".to_owned());
            thread.spawn(move || {
                // The receiver is gone if another worker could not be started.
                if started_tx.send(()).is_ok() {
                    worker.run();
                }
            })?;
            sealed_txs.push(sealed_tx);
        }
        // The sandbox also forbids what a thread does while it starts: wait for all of them.
        started_rx.iter().take(sealed_txs.len()).for_each(drop);
        Ok(Self {
            sealed_txs,
            drained_rx,
        })
    }

    /// Lets the workers accept connections.
    pub(crate) fn start_serving(&mut self, sealed: &Sealed) {
        for sealed_tx in self.sealed_txs.drain(..) {
            drop(sealed_tx.send(sealed.clone()));
        }
    }

    /// Waits until the last worker has ended, and returns whether all of them drained in time.
    pub(crate) async fn drained(&mut self) -> Drained {
        self.sealed_txs.clear();
        let mut all = Drained::Complete;
        while let Some(drained) = self.drained_rx.recv().await {
            if drained == Drained::TimedOut {
                all = Drained::TimedOut;
            }
        }
        all
    }
}

/// Serving threads, with the first. More would idle: one core handles more handshakes than a fleet
/// of scrapers makes.
const MAX_THREADS: usize = 4;

struct Worker {
    runtime: Runtime,
    listeners: Listeners,
    state: Arc<State>,
    sealed_rx: oneshot::Receiver<Sealed>,
    heartbeat: Heartbeat,
    drained_tx: mpsc::Sender<Drained>,
}

impl Worker {
    fn run(self) {
        let Self {
            runtime,
            listeners,
            state,
            sealed_rx,
            heartbeat,
            drained_tx,
        } = self;
        let serving = async {
            // The sender is dropped if the start fails.
            let Ok(sealed) = sealed_rx.await else {
                return;
            };
            let mut connections = listeners.serve(sealed, &state).await;
            let deadline = Instant::now() + state.gate().limits.drain_timeout;
            let drained = drain(&mut connections, &state, deadline).await;
            // The channel has room for every worker. The receiver is gone if the process is ending.
            drop(drained_tx.try_send(drained));
        };
        runtime.block_on(async {
            tokio::select! {
                () = serving => {}
                never = heartbeat.run() => match never {},
            }
        });
    }
}

/// Waits for the connections to end, until the deadline.
pub(crate) async fn drain(
    connections: &mut JoinSet<()>,
    state: &State,
    deadline: Instant,
) -> Drained {
    while !connections.is_empty() {
        match deadline::by(deadline, connections.join_next()).await {
            Some(ended) => ended
                .into_iter()
                .for_each(|ended| state.recorder.log_task_panic(ended)),
            None => return Drained::TimedOut,
        }
    }
    Drained::Complete
}

/// Whether every connection ended before the drain deadline.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Drained {
    Complete,
    TimedOut,
}
