//! Two services on Unix sockets, on their own thread, which also receives signals.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::child::{Event, SOCKET_DIR};
use crate::printerfacts::PrinterFacts;

/// The signals that end the demo. They are kept from the moment this is made.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    /// Catches the signals, by the runtime that will wait for them.
    pub(crate) fn new() -> io::Result<(Self, Runtime)> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let context = runtime.enter();
        let signals = Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        };
        drop(context);
        Ok((signals, runtime))
    }

    async fn forward(mut self, events: Sender<Event>) -> Infallible {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => {}
                _ = self.terminate.recv() => {}
                _ = self.hangup.recv() => {}
            }
            // An error means that the receiver is gone: the demo is already ending.
            drop(events.send(Event::Stop));
        }
    }
}

/// The services, as long as they run. Dropping it ends them and removes their sockets.
pub(crate) struct Services {
    shutdown_tx: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

impl Services {
    /// Starts `printerfacts`, and `payroll`, which the policy grants to no scraper.
    pub(crate) fn start(
        folder: &Path,
        runtime: Runtime,
        signals: Signals,
        events: Sender<Event>,
    ) -> io::Result<Self> {
        let sockets = folder.join(SOCKET_DIR);
        fs::create_dir(&sockets)?;
        let listen = |name| {
            let socket = sockets.join(name);
            let listening = runtime.block_on(PrinterFacts::listen(&socket));
            listening.map_err(|error| io::Error::other(format!("{}: {error}", socket.display())))
        };
        let (facts, payroll) = (listen("printerfacts.sock")?, listen("payroll.sock")?);
        let (shutdown_tx, shutdown_rx) = oneshot::channel();
        let thread = std::thread::Builder::new().name("services".to_owned());
        let thread = thread.spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    never = facts.serve() => match never {},
                    never = payroll.serve() => match never {},
                    never = signals.forward(events) => match never {},
                    _ = shutdown_rx => {}
                }
            });
        })?;
        Ok(Self {
            shutdown_tx: Some(shutdown_tx),
            thread: Some(thread),
        })
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        drop(self.shutdown_tx.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
