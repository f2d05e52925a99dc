//! The real binary, whose log the tests read while it runs.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use super::PATIENCE;

/// A running `aegis serve`; dropping it kills it.
pub struct Aegis {
    child: Child,
    log: Arc<Log>,
    addresses: Vec<SocketAddr>,
}

#[derive(Default)]
struct Log {
    lines: Mutex<(Vec<String>, bool)>,
    more: Condvar,
}

/// The path of the binary under test: that of `AEGIS_BINARY`, or the one that cargo built.
pub fn binary() -> String {
    std::env::var("AEGIS_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_aegis").to_owned())
}

/// The command, without the variables of the tester's environment that aegis or systemd reads.
pub fn command() -> Command {
    command_of(binary())
}

/// The same for another program.
pub fn command_of(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let name_is = |start: &&str| name.to_string_lossy().starts_with(start);
        if ["AEGIS_", "LISTEN_", "NOTIFY_", "WATCHDOG_"]
            .iter()
            .any(name_is)
        {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command to its end.
pub fn run(arguments: &[&str]) -> Output {
    command().args(arguments).output().unwrap()
}

impl Aegis {
    pub fn start(config: &Path, more: &[&str]) -> Self {
        let mut command = command();
        command.args(["serve", "--log-level", "debug", "--config"]);
        command.arg(config).args(more);
        Self::spawn(command)
    }

    pub fn spawn(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Self::spawn_with_its_descriptors(command)
    }

    /// As [`Aegis::spawn`], but keeps the command's descriptors 0 and 1.
    pub fn spawn_with_its_descriptors(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Log::default());
        let (stderr, reader) = (child.stderr.take().unwrap(), Arc::clone(&log));
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                reader.lines.lock().unwrap().0.push(line);
                reader.more.notify_all();
            }
            reader.lines.lock().unwrap().1 = true;
            reader.more.notify_all();
        });
        let mut aegis = Self {
            child,
            log,
            addresses: Vec::new(),
        };
        let ready = aegis.logged(&["ready"]);
        let listen = field(&ready, "listen").unwrap();
        aegis.addresses = listen
            .split(' ')
            .map(|address| address.parse().unwrap())
            .collect();
        aegis
    }

    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a log line with all of these texts, and returns it.
    pub fn logged(&self, texts: &[&str]) -> String {
        self.logged_times(1, texts)
    }

    /// Waits for this many log lines with all of these texts, and returns the last.
    pub fn logged_times(&self, times: usize, texts: &[&str]) -> String {
        let matches = |line: &str| texts.iter().all(|text| line.contains(text));
        self.wait_for_line(times, matches, &format!("{texts:?}"))
    }

    /// The number of log lines so far with all of these texts.
    pub fn count_logged(&self, texts: &[&str]) -> usize {
        let matches = |line: &&String| texts.iter().all(|text| line.contains(text));
        self.log().iter().filter(matches).count()
    }

    /// Waits for a log line with this stage and reason, and returns it.
    pub fn logged_refusal(&self, stage: &str, reason: &str) -> String {
        let fields = [format!("stage={stage}"), format!("reason={reason}")];
        let matches = |line: &str| {
            let has = |field: &String| line.split(' ').any(|word| word == field);
            fields.iter().all(has)
        };
        self.wait_for_line(1, matches, &format!("{fields:?}"))
    }

    fn wait_for_line(&self, times: usize, matches: impl Fn(&str) -> bool, what: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.log.lines.lock().unwrap();
        loop {
            let (seen, ended) = &*lines;
            let mut found = seen.iter().filter(|line| matches(line));
            if let Some(line) = found.nth(times - 1) {
                return line.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if *ended || left.is_zero() {
                let seen = seen.join("\n");
                drop(lines);
                panic!("fewer than {times} log lines match {what}:\n{seen}");
            }
            lines = self.log.more.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// The log lines so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lines.lock().unwrap().0.clone()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Whether SIGSTOP has stopped all threads.
    pub fn is_stopped(&self) -> bool {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        threads.map(Result::unwrap).all(|thread| {
            let status = std::fs::read_to_string(thread.path().join("status"));
            status.is_ok_and(|status| status.contains("\nState:\tT"))
        })
    }

    /// Waits until the process exits.
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        // The log ends when the process exits, and waiting for it needs no polling.
        let mut lines = self.log.lines.lock().unwrap();
        while !lines.1 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(lines);
                panic!("aegis did not exit");
            }
            lines = self.log.more.wait_timeout(lines, left).unwrap().0;
        }
        drop(lines);
        self.child.wait().unwrap()
    }

    /// A figure of `/proc/PID/status`, in KiB.
    pub fn memory(&self, figure: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with(figure))
            .unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Aegis {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            eprintln!("the log of aegis:\n{}", self.log().join("\n"));
        }
    }
}

/// The value of a quoted field of a log line.
pub fn field(line: &str, name: &str) -> Option<String> {
    let (_, after) = line.split_once(&format!("{name}=\""))?;
    after.split_once('"').map(|(value, _)| value.to_owned())
}
