//! Writes log lines to standard error, and drops them if it is not being read.
//!
//! Otherwise a pipe or a journal that is not read would block the logging thread, and every scrape
//! on it. Dropped lines are counted.

use std::io::{self, IsTerminal as _, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Stat, fstat};
use rustix::io::Errno;
use rustix::net::SendFlags;
use tokio::sync::Notify;
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// Makes the writers of log lines.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogLines {
    /// Whether journald reads standard error: then each line begins with its priority
    /// (sd-daemon(3)), so that `journalctl --priority warning` works.
    has_priorities: bool,
    output: Output,
}

/// What standard error is, which decides how to write to it without blocking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    /// A file: writing does not wait for a reader. Or a device such as `/dev/kmsg`
    /// (`StandardError=kmsg`), for which poll(2) never reports room.
    File,
    /// A socket, as journald's: one system call fails if there is no room (send(2), `MSG_DONTWAIT`).
    Socket,
    /// A pipe or a terminal, which must be asked first.
    Other,
}

impl Output {
    fn of(stderr: &Stat, is_terminal: bool) -> Self {
        match FileType::from_raw_mode(stderr.st_mode) {
            FileType::RegularFile => Self::File,
            FileType::CharacterDevice if !is_terminal => Self::File,
            FileType::Socket => Self::Socket,
            FileType::CharacterDevice
            | FileType::Directory
            | FileType::Symlink
            | FileType::Fifo
            | FileType::BlockDevice
            | FileType::Unknown => Self::Other,
        }
    }

    /// Writes without blocking.
    fn write_now(self, piece: &[u8]) -> Result<usize, Errno> {
        match self {
            Self::Socket => {
                let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
                rustix::net::send(io::stderr(), piece, flags)
            }
            Self::Other if room_within(&io::stderr(), Duration::ZERO) == Room::Full => {
                Err(Errno::AGAIN)
            }
            Self::File | Self::Other => rustix::io::write(io::stderr(), piece),
        }
    }
}

impl LogLines {
    pub(super) fn from_environment() -> Self {
        let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
        // The variable stays set for a child whose standard error goes elsewhere (systemd.exec(5)).
        let found = fstat(io::stderr());
        let is_journal = |stderr: &Stat| stream == format!("{}:{}", stderr.st_dev, stderr.st_ino);
        Self {
            has_priorities: found.as_ref().is_ok_and(is_journal),
            output: found.as_ref().map_or(Output::Other, |stderr| {
                Output::of(stderr, io::stderr().is_terminal())
            }),
        }
    }
}

/// What a line of an error must begin with, in a program that writes it without a log.
pub(crate) fn error_priority() -> &'static str {
    if LogLines::from_environment().has_priorities {
        ERROR
    } else {
        ""
    }
}

const ERROR: &str = "<3>";

impl MakeWriter<'_> for LogLines {
    type Writer = StandardError;

    fn make_writer(&self) -> StandardError {
        self.writer("")
    }

    fn make_writer_for(&self, line: &Metadata<'_>) -> StandardError {
        let priority = match *line.level() {
            _ if !self.has_priorities => "",
            Level::ERROR => ERROR,
            Level::WARN => "<4>",
            Level::INFO => "<6>",
            _ => "<7>",
        };
        self.writer(priority)
    }
}

impl LogLines {
    fn writer(self, priority: &'static str) -> StandardError {
        StandardError {
            priority,
            output: self.output,
        }
    }
}

/// A writer that expects one log line per call.
#[derive(Clone, Copy, Debug)]
pub(super) struct StandardError {
    priority: &'static str,
    output: Output,
}

/// How many lines were dropped since the start.
pub(crate) fn dropped_lines() -> u64 {
    DROPPED_LINES.load(Ordering::Relaxed)
}

/// Waits until a line is dropped. A line that was dropped since the last wait counts.
pub(crate) async fn line_dropped() {
    LINE_DROPPED.notified().await;
}

/// Whether a line can be written now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// Without blocking. Always the case for a file or a device. For a pipe or a socket, there is room for
    /// [`MAX_WRITE_BYTES`] (pipe(7), unix(7)).
    Free,
    /// Only after the reader has read.
    Full,
    /// Nothing reads it any longer: each line is lost.
    NoReader,
}

pub(crate) fn room() -> Room {
    match LogLines::from_environment().output {
        Output::File => Room::Free,
        Output::Socket | Output::Other => room_within(&io::stderr(), Duration::ZERO),
    }
}

fn room_within(output: &impl AsFd, timeout: Duration) -> Room {
    let mut descriptors = [PollFd::new(output, PollFlags::OUT)];
    let polled = Timespec::try_from(timeout).map(|timeout| poll(&mut descriptors, Some(&timeout)));
    let [descriptor] = descriptors;
    let found = descriptor.revents();
    if !matches!(polled, Ok(Ok(_))) {
        Room::Full
    } else if found.intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL) {
        Room::NoReader
    } else if found.contains(PollFlags::OUT) {
        Room::Free
    } else {
        Room::Full
    }
}

static DROPPED_LINES: AtomicU64 = AtomicU64::new(0);
static LINE_DROPPED: Notify = Notify::const_new();

/// Locked while a line is written, so that another thread's line does not fill the buffer.
static WRITER: Mutex<Writer> = Mutex::new(Writer {
    cut_off: false,
    wait_budget: WAIT_BUDGET,
    renewed: None,
});

#[derive(Debug)]
struct Writer {
    /// Whether the last line was cut off.
    cut_off: bool,
    /// How long writes may still wait in this interval.
    wait_budget: Duration,
    renewed: Option<Instant>,
}

/// How long all lines of one second may wait for the reader. A journal buffers some 40 lines and
/// needs a moment to read them. A stuck one costs this time once.
const WAIT_BUDGET: Duration = Duration::from_millis(100);
const BUDGET_INTERVAL: Duration = Duration::from_secs(1);

/// A write of so many bytes does not block if poll(2) reports room: pipe(7), `PIPE_BUF`.
const MAX_WRITE_BYTES: usize = 4096;

impl Write for StandardError {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut prefixed;
        let bytes = if self.priority.is_empty() {
            line
        } else {
            prefixed = Vec::with_capacity(self.priority.len() + line.len());
            prefixed.extend_from_slice(self.priority.as_bytes());
            prefixed.extend_from_slice(line);
            &prefixed
        };
        let mut writer = WRITER.lock();
        if writer.cut_off && writer.write_within_budget(self.output, b"\n") == 0 {
            return Ok(count_dropped(line));
        }
        let taken = writer.write_within_budget(self.output, bytes);
        writer.cut_off = 0 < taken && taken < bytes.len();
        if taken < bytes.len() {
            return Ok(count_dropped(line));
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Writer {
    /// Writes as much as possible within the wait budget, and returns how much.
    fn write_within_budget(&mut self, output: Output, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while let Some(piece) = bytes
            .get(taken..)
            .and_then(|rest| rest.chunks(MAX_WRITE_BYTES).next())
        {
            let written = match output.write_now(piece) {
                Err(Errno::AGAIN) if self.wait_for_room() => output.write_now(piece),
                Err(error) => Err(error),
                Ok(written) => {
                    self.renew();
                    Ok(written)
                }
            };
            match written {
                Ok(written @ 1..) => taken += written,
                Ok(0) | Err(_) => break,
            }
        }
        taken
    }

    /// Renews the wait budget, which is done only while there is room.
    fn renew(&mut self) {
        let now = Instant::now();
        let is_due = |last| now.duration_since(last) >= BUDGET_INTERVAL;
        if self.renewed.is_none_or(is_due) {
            (self.wait_budget, self.renewed) = (WAIT_BUDGET, Some(now));
        }
    }

    /// Waits for room within the wait budget.
    fn wait_for_room(&mut self) -> bool {
        let begun = Instant::now();
        let found = !self.wait_budget.is_zero()
            && room_within(&io::stderr(), self.wait_budget) != Room::Full;
        self.wait_budget = self.wait_budget.saturating_sub(begun.elapsed());
        found
    }
}

/// Counts a dropped line. The logger treats it as written, since it cannot report the error.
fn count_dropped(line: &[u8]) -> usize {
    DROPPED_LINES.fetch_add(1, Ordering::Relaxed);
    LINE_DROPPED.notify_one();
    line.len()
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use rustix::fs::{OFlags, fcntl_setfl};

    use super::*;

    #[test]
    fn a_device_that_is_no_terminal_is_written_to_without_asking() {
        let null = fstat(File::open("/dev/null").unwrap()).unwrap();
        assert_eq!(Output::of(&null, false), Output::File);
        assert_eq!(Output::of(&null, true), Output::Other);
    }

    #[test]
    fn a_full_pipe_and_one_without_a_reader_differ() {
        let (reader, writer) = io::pipe().unwrap();
        fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
        assert_eq!(room_within(&writer, Duration::ZERO), Room::Free);
        while rustix::io::write(&writer, &[0; 4096]).is_ok() {}
        assert_eq!(room_within(&writer, Duration::ZERO), Room::Full);
        drop(reader);
        assert_eq!(room_within(&writer, Duration::ZERO), Room::NoReader);
    }
}
