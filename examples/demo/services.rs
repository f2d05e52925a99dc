//! Two services on Unix sockets, on a thread of their own, which hears signals as well.

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

    async fn tell(mut self, events: Sender<Event>) -> Infallible {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => {}
                _ = self.terminate.recv() => {}
                _ = self.hangup.recv() => {}
            }
            // Nobody listens any more: the demo ends already.
            drop(events.send(Event::Stop));
        }
    }
}

/// The services, as long as they run. Dropping it ends them and removes their sockets.
pub(crate) struct Services {
    curtain: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

impl Services {
    /// Starts `printerfacts`, and `payroll`, which nobody will be granted.
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
        let (curtain, fallen) = oneshot::channel();
        let thread = std::thread::Builder::new().name("services".to_owned());
        let thread = thread.spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    never = facts.serve() => match never {},
                    never = payroll.serve() => match never {},
                    never = signals.tell(events) => match never {},
                    _ = fallen => {}
                }
            });
        })?;
        Ok(Self {
            curtain: Some(curtain),
            thread: Some(thread),
        })
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        drop(self.curtain.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
