//! A pool of threads for file system calls that can hang.
//!
//! Scrapes ([`super::files`]) and reloads ([`super::file_deadline`]) have a pool each, so that hung
//! directories of services do not starve reloads, nor hung files of a reload scrapes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::{io, thread};

use parking_lot::Mutex;

/// The threads and their queue.
#[derive(Debug)]
pub(super) struct Pool {
    name: &'static str,
    jobs: mpsc::Sender<Job>,
    queue: Arc<Mutex<mpsc::Receiver<Job>>>,
    are_running: AtomicBool,
}

/// A file system call with its arguments and the way to its result.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// One fewer can hang at the same time before all others wait.
pub(super) const THREADS: usize = 8;

impl Pool {
    /// Makes a pool whose threads have this name. They do not run yet.
    pub(super) fn named(name: &'static str) -> Self {
        let (jobs, queue) = mpsc::channel();
        Self {
            name,
            jobs,
            queue: Arc::new(Mutex::new(queue)),
            are_running: AtomicBool::new(false),
        }
    }

    /// Starts the threads, unless they run. Must precede the sandbox, which forbids it.
    ///
    /// # Errors
    /// The system has no more threads.
    pub(super) fn start(&self) -> io::Result<()> {
        if self.are_running.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        for _ in 0..THREADS {
            let queue = Arc::clone(&self.queue);
            let (up, ready) = mpsc::channel();
            let thread = thread::Builder::new().name(self.name.to_owned());
            thread.spawn(move || {
                if up.send(()).is_ok() {
                    run_jobs(&queue);
                }
            })?;
            // The sandbox forbids system calls that a thread makes when it starts.
            ready.recv().map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// Whether the threads run. They do not in commands that serve nothing.
    pub(super) fn is_running(&self) -> bool {
        self.are_running.load(Ordering::Relaxed)
    }

    /// Runs a job on one of the threads.
    pub(super) fn submit(&self, job: Job) {
        // The queue lives as long as the pool. If it did not, the job's caller would notice.
        drop(self.jobs.send(job));
    }
}

fn run_jobs(queue: &Mutex<mpsc::Receiver<Job>>) {
    loop {
        let next = queue.lock().recv();
        let Ok(job) = next else { return };
        job();
    }
}
