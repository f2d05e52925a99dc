//! Stub of `tokio::runtime`: no model starts a worker.

use std::io;

pub(crate) struct Builder;

pub(crate) struct Runtime;

pub(crate) struct Entered;

impl Builder {
    pub(crate) fn new_current_thread() -> Self {
        Self
    }

    pub(crate) fn enable_all(&mut self) -> &mut Self {
        self
    }

    pub(crate) fn build(&self) -> io::Result<Runtime> {
        Ok(Runtime)
    }
}

impl Runtime {
    pub(crate) fn enter(&self) -> Entered {
        Entered
    }

    pub(crate) fn shutdown_background(self) {}

    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        shuttle::future::block_on(future)
    }
}
