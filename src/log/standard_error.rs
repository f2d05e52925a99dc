//! Standard error, with little patience for whoever reads it.
//!
//! A pipe or a journal that is not read any more would otherwise hang the thread that logs, and
//! with it every scrape of that thread. A line that nobody takes is lost, and counted.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

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
    has_room_within(Duration::ZERO)
}

fn has_room_within(patience: Duration) -> bool {
    let stderr = io::stderr();
    let mut asked = [PollFd::new(&stderr, PollFlags::OUT)];
    let Ok(patience) = Timespec::try_from(patience) else {
        return false;
    };
    let polled = poll(&mut asked, Some(&patience));
    let is_ready = |asked: &PollFd<'_>| asked.revents().contains(PollFlags::OUT);
    polled.is_ok() && asked.iter().all(is_ready)
}

static LOST: AtomicU64 = AtomicU64::new(0);

/// Held while a line is written: another thread's would fill the room that there is for this one.
static TURN: Mutex<Turn> = Mutex::new(Turn {
    cut_off: false,
    patience: PATIENCE,
    renewed: None,
});

#[derive(Debug)]
struct Turn {
    /// Whether the last line was.
    cut_off: bool,
    /// What is left of it.
    patience: Duration,
    renewed: Option<Instant>,
}

/// How long lines wait for a reader in a second, all together. A journal has room for some 40
/// lines and needs a moment to take them; one that is stuck is waited for once.
const PATIENCE: Duration = Duration::from_millis(100);
const RENEWED_EVERY: Duration = Duration::from_secs(1);

/// A write of so many bytes does not wait, if there is room at all: pipe(7), `PIPE_BUF`.
const AT_ONCE: usize = 4096;

impl Write for StandardError {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        if turn.cut_off && turn.offer(b"\n") == 0 {
            return Ok(lose(line));
        }
        let taken = turn.offer(line);
        turn.cut_off = 0 < taken && taken < line.len();
        match taken < line.len() {
            true => Ok(lose(line)),
            false => Ok(taken),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Turn {
    /// Writes as much as is taken soon, and says how much.
    fn offer(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while let Some(piece) = bytes
            .get(taken..)
            .and_then(|rest| rest.chunks(AT_ONCE).next())
        {
            if !self.finds_room() {
                break;
            }
            match rustix::io::write(io::stderr(), piece) {
                Ok(written @ 1..) => taken += written,
                Ok(0) | Err(_) => break,
            }
        }
        taken
    }

    /// Waits for room while there is patience left, which comes back only where there is room.
    fn finds_room(&mut self) -> bool {
        let now = Instant::now();
        if has_room() {
            if self
                .renewed
                .is_none_or(|last| now.duration_since(last) >= RENEWED_EVERY)
            {
                (self.patience, self.renewed) = (PATIENCE, Some(now));
            }
            return true;
        }
        let found = !self.patience.is_zero() && has_room_within(self.patience);
        self.patience = self.patience.saturating_sub(now.elapsed());
        found
    }
}

/// Counts a line as lost. To whoever logs, it is written: there is nobody else to tell.
fn lose(line: &[u8]) -> usize {
    LOST.fetch_add(1, Ordering::Relaxed);
    line.len()
}
