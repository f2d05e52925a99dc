//! File system calls for scrapes, on separate threads.
//!
//! File system calls have no deadlines: on a remote (NFS) or user space (FUSE) file system they take as
//! long as the server does. So aegis opens and connects sockets outside the socket directory on these
//! threads, and lists all directories on them. It expects the socket directory to be local, so that a
//! scrape from there needs no other thread; if that file system is not local, these threads open its
//! sockets too.
//!
//! Each directory uses at most one thread. A hung directory delays only requests for that directory,
//! until their deadlines.

use std::io;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::file_threads::Pool;

/// The threads for scrapes.
#[derive(Debug)]
pub(crate) struct FileThreads(Pool);

/// The slot of a directory: it uses one thread at a time.
#[derive(Clone, Debug)]
pub(crate) struct OneThread(Arc<Semaphore>);

impl Default for OneThread {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl Default for FileThreads {
    fn default() -> Self {
        Self(Pool::named("files"))
    }
}

impl FileThreads {
    /// Starts the threads, unless they run. Must precede the sandbox, which forbids it.
    ///
    /// # Errors
    /// The system has no more threads.
    pub(crate) fn start(&self) -> io::Result<()> {
        self.0.start()
    }

    /// Runs a call for a directory on one of the threads, after earlier calls for it. Where no threads
    /// run, as in a command that serves nothing, it runs at once.
    ///
    /// A caller that stops waiting does not stop the call.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        of_directory: &OneThread,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let Self(pool) = self;
        if !pool.is_running() {
            return Ok(call());
        }
        let permit = Arc::clone(&of_directory.0).acquire_owned().await;
        let permit: OwnedSemaphorePermit = permit.map_err(io::Error::other)?;
        let (done, result) = oneshot::channel();
        pool.submit(Box::new(move || {
            let answer = call();
            drop(permit);
            drop(done.send(answer));
        }));
        result.await.map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::{Mutex, mpsc};
    use std::task::Poll;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::super::file_threads::THREADS;
    use super::*;

    #[tokio::test]
    async fn a_hung_directory_delays_no_other_directory() {
        let files = FileThreads::default();
        files.start().unwrap();
        let (hung, other) = (OneThread::default(), OneThread::default());
        let (go_on, gate) = mpsc::channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        let hang = || {
            let gate = Arc::clone(&gate);
            Box::pin(files.run(&hung, move || gate.lock().unwrap().recv().is_err()))
        };
        let mut waiting: Vec<_> = (0..2 * THREADS).map(|_| hang()).collect();
        for call in &mut waiting {
            let waits = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_pending())).await;
            assert!(waits);
        }
        // The first caller stops waiting, and its call continues.
        drop(waiting.remove(0));
        for number in 0..3 * THREADS {
            let call = files.run(&other, move || number);
            let answered = timeout(Duration::from_secs(20), call).await;
            assert_eq!(answered.unwrap().unwrap(), number);
        }
        drop(go_on);
        for call in waiting {
            assert!(call.await.unwrap());
        }
    }
}
