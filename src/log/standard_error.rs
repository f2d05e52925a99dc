//! Standard error, without ever waiting for whoever reads it.
//!
//! A pipe or a journal that is not read any more would otherwise hang the thread that logs, and
//! with it every scrape of that thread. A line that nobody takes is lost, and counted.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Takes log lines, each in one piece.
#[derive(Clone, Copy, Debug)]
pub(super) struct StandardError;

/// How many lines were lost since the start.
pub(crate) fn lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// Whether a line would be taken now.
///
/// A file, and whatever cannot tell, always says so; a pipe or a socket, once there is room for
/// [`AT_ONCE`] (pipe(7), unix(7)).
pub(crate) fn has_room() -> bool {
    let stderr = io::stderr();
    let mut asked = [PollFd::new(&stderr, PollFlags::OUT)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let polled = poll(&mut asked, Some(&now));
    polled.is_ok()
        && asked
            .iter()
            .all(|asked| asked.revents().contains(PollFlags::OUT))
}

static LOST: AtomicU64 = AtomicU64::new(0);

/// Whether the last line was cut off. Held while a line is written: another thread's would fill
/// the room that there is for this one.
static CUT_OFF: Mutex<bool> = Mutex::new(false);

/// A write of so many bytes does not wait, if there is room at all: pipe(7), `PIPE_BUF`.
const AT_ONCE: usize = 4096;

impl Write for StandardError {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut cut_off = CUT_OFF.lock().unwrap_or_else(PoisonError::into_inner);
        if *cut_off && offer(b"\n") == 0 {
            return Ok(lose(line));
        }
        let taken = offer(line);
        *cut_off = 0 < taken && taken < line.len();
        match taken < line.len() {
            true => Ok(lose(line)),
            false => Ok(taken),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes as much as is taken at once, and says how much.
fn offer(bytes: &[u8]) -> usize {
    let mut taken = 0;
    while let Some(piece) = bytes
        .get(taken..)
        .and_then(|rest| rest.chunks(AT_ONCE).next())
    {
        if !has_room() {
            break;
        }
        match rustix::io::write(io::stderr(), piece) {
            Ok(written @ 1..) => taken += written,
            Ok(0) | Err(_) => break,
        }
    }
    taken
}

/// Counts a line as lost. To whoever logs, it is written: there is nobody else to tell.
fn lose(line: &[u8]) -> usize {
    LOST.fetch_add(1, Ordering::Relaxed);
    line.len()
}
