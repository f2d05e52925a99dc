//! The threads that serve beside the first: one for each further core, so that a storm of
//! handshakes has them all.
//!
//! Each has an event loop of its own and accepts from the same addresses. A connection stays with
//! the thread that accepted it; the gate, the counts and the limits are shared.

use std::io;
use std::sync::Arc;
use std::sync::mpsc as threads;
use std::thread;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::error;

use crate::deadline;
use crate::gate::Endpoint;
use crate::listen::{Listeners, SharedListeners, reap};
use crate::sandbox::Sealed;
use crate::systemd::{Heart, Supervisor};

/// Threads that wait for the sandbox, and then serve until draining has ended.
#[derive(Debug)]
pub(crate) struct Workers {
    waiting: Vec<oneshot::Sender<Sealed>>,
    /// How each has ended; it closes with the last.
    ended: mpsc::Receiver<Finished>,
}

impl Workers {
    /// Starts the threads. That takes what the sandbox forbids.
    ///
    /// # Errors
    /// The system has no more threads or descriptors.
    pub(crate) fn start(
        listeners: &Listeners,
        endpoint: &Arc<Endpoint>,
        supervisor: &mut Supervisor,
    ) -> io::Result<Self> {
        endpoint.gate().upstream.closer().start()?;
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let (alive, ended) = mpsc::channel(MOST_THREADS);
        let (up, ready) = threads::channel();
        let mut waiting = Vec::new();
        for _ in 1..cores.min(MOST_THREADS) {
            let (go, sealed) = oneshot::channel();
            let worker = Worker {
                runtime: Builder::new_current_thread().enable_all().build()?,
                listeners: listeners.share()?,
                endpoint: Arc::clone(endpoint),
                sealed,
                heart: supervisor.heart(),
                alive: alive.clone(),
            };
            let up = up.clone();
            let thread = thread::Builder::new().name("worker".to_owned());
            thread.spawn(move || {
                // Nobody waits for it any more if another could not be started.
                if up.send(()).is_ok() {
                    worker.run();
                }
            })?;
            waiting.push(go);
        }
        // What a thread does to come up is forbidden later, too.
        ready.iter().take(waiting.len()).for_each(drop);
        Ok(Self { waiting, ended })
    }

    /// Lets them accept connections.
    pub(crate) fn go(&mut self, sealed: &Sealed) {
        for waiting in self.waiting.drain(..) {
            drop(waiting.send(sealed.clone()));
        }
    }

    /// Waits until the last of them has ended, and says whether every connection had.
    pub(crate) async fn ended(&mut self) -> Finished {
        self.waiting.clear();
        let mut all = Finished::Whole;
        while let Some(finished) = self.ended.recv().await {
            if finished == Finished::CutOff {
                all = Finished::CutOff;
            }
        }
        all
    }
}

/// More would be idle: one core makes more handshakes than any fleet of scrapers asks for.
const MOST_THREADS: usize = 4;

struct Worker {
    runtime: Runtime,
    listeners: SharedListeners,
    endpoint: Arc<Endpoint>,
    sealed: oneshot::Receiver<Sealed>,
    heart: Heart,
    alive: mpsc::Sender<Finished>,
}

impl Worker {
    fn run(self) {
        let Self {
            runtime,
            listeners,
            endpoint,
            sealed,
            heart,
            alive,
        } = self;
        let serving = async {
            // Without it, the start has failed.
            let Ok(sealed) = sealed.await else { return };
            match listeners.here() {
                Ok(listeners) => {
                    let mut connections = listeners.serve(sealed, &endpoint).await;
                    let deadline = Instant::now() + endpoint.gate().limits.drain_timeout;
                    let finished = finish(&mut connections, &endpoint, deadline).await;
                    // There is room for all; nobody listens if the process ends meanwhile.
                    drop(alive.try_send(finished));
                }
                Err(error) => error!(%error, "a thread cannot serve; the others do"),
            }
        };
        runtime.block_on(async {
            tokio::select! {
                () = serving => {}
                never = heart.beat() => match never {},
            }
        });
    }
}

/// Lets connections end until the deadline, and says whether all have.
pub(crate) async fn finish(
    connections: &mut JoinSet<()>,
    endpoint: &Endpoint,
    deadline: Instant,
) -> Finished {
    while !connections.is_empty() {
        match deadline::by(deadline, connections.join_next()).await {
            Some(ended) => ended
                .into_iter()
                .for_each(|ended| reap(&endpoint.metrics, ended)),
            None => return Finished::CutOff,
        }
    }
    Finished::Whole
}

/// Whether every connection had ended in time.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Finished {
    Whole,
    CutOff,
}
