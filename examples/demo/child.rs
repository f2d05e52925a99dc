//! Aegis as a process of its own, and its log.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};

use crate::Outcome;
use crate::pki;
use crate::terminal::{quote, say};

/// Runs aegis: what this program does when its first argument is `aegis`.
///
/// `cargo run --example` builds no binary of the package, so that the demo stands in for it.
pub(crate) fn main(arguments: Vec<OsString>) -> ExitCode {
    // If the demo is killed, aegis ends too, where the system supports that.
    set_parent_process_death_signal(Some(Signal::TERM)).unwrap_or_default();
    aegis::cli::main(arguments)
}

/// The sockets' directory, as the configuration names it: relative to its own file.
pub(crate) const SOCKET_DIR: &str = "services";

/// What the demo waits for.
pub(crate) enum Event {
    Log(LogLine),
    /// Aegis has ended.
    LogEnd,
    /// A signal asks the demo to end.
    Stop,
}

/// A line of aegis's log.
pub(crate) struct LogLine(String);

impl LogLine {
    /// The value of a field that is one word; empty if it is not there.
    pub(crate) fn field(&self, name: &str) -> &str {
        let mut words = self.0.split(' ');
        let value = words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        value.unwrap_or_default().trim_matches('"')
    }
}

/// A running aegis. Dropping it kills the process if [`Aegis::stop`] was not reached.
pub(crate) struct Aegis {
    pub(crate) address: SocketAddr,
    process: Process,
    events: Receiver<Event>,
}

impl Aegis {
    /// Starts aegis on its usual port, or on another if that one is taken.
    pub(crate) fn start(
        folder: &Path,
        sender: Sender<Event>,
        events: Receiver<Event>,
    ) -> Outcome<Self> {
        let configuration = configuration("127.0.0.1:31337");
        for line in configuration.lines() {
            say(format!("        | {line}\n"))?;
        }
        let process = Process::start(folder, &configuration, sender.clone())?;
        if let Started::Ready(address) = wait_until_ready(&events)? {
            return Ok(Self {
                address,
                process,
                events,
            });
        }
        say("The port is taken; once more, on any that is free.\n")?;
        let process = Process::start(folder, &self::configuration("127.0.0.1:0"), sender)?;
        match wait_until_ready(&events)? {
            Started::Ready(address) => Ok(Self {
                address,
                process,
                events,
            }),
            Started::PortTaken => Err("no port of 127.0.0.1 can be listened on".into()),
        }
    }

    /// Shows the log up to a line that contains the text.
    pub(crate) fn log_line(&mut self, text: &str) -> Outcome<LogLine> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match next(&self.events, Some(deadline))? {
                Event::Log(line) if line.0.contains(text) => return Ok(line),
                Event::Log(_) => {}
                Event::LogEnd => return Err("aegis has ended, which it should not".into()),
                Event::Stop => return Err("stopped by a signal before the end".into()),
            }
        }
    }

    /// Shows the log until a signal comes.
    pub(crate) fn watch_until_stopped(&mut self) -> Outcome {
        loop {
            match next(&self.events, None)? {
                Event::Log(_) => {}
                Event::LogEnd => return Err("aegis has ended, which it should not".into()),
                Event::Stop => return Ok(()),
            }
        }
    }

    /// Asks aegis to stop, and waits until it has.
    pub(crate) fn stop(mut self) -> Outcome {
        kill_process(Pid::from_child(&self.process.0), Signal::TERM)?;
        let deadline = Instant::now() + PATIENCE;
        while !matches!(next(&self.events, Some(deadline))?, Event::LogEnd) {}
        let status = self.process.0.wait()?;
        if !status.success() {
            return Err(format!("aegis ended with {status}").into());
        }
        Ok(())
    }
}

/// The whole configuration of aegis.
fn configuration(listen: &str) -> String {
    format!(
        "\
listen = [\"{listen}\"]
socket_dir = \"{SOCKET_DIR}\" # NAME.sock in it answers at /NAME

[tls]
cert_file = \"{}\"
key_file = \"{}\"
client_ca_file = \"{}\"

[[allow]]
networks = [\"127.0.0.1/32\", \"::1/128\"]
identities = [\"dns:{}\"]
services = [\"printerfacts\"]
",
        pki::SERVER,
        pki::SERVER_KEY,
        pki::CA,
        pki::SCRAPER_NAME
    )
}

enum Started {
    Ready(SocketAddr),
    PortTaken,
}

fn wait_until_ready(events: &Receiver<Event>) -> Outcome<Started> {
    let deadline = Instant::now() + PATIENCE;
    let mut port_taken = false;
    loop {
        match next(events, Some(deadline))? {
            Event::Log(line) if line.0.contains(" ready ") => {
                return Ok(Started::Ready(line.field("listen").parse()?));
            }
            Event::Log(line) => port_taken |= line.0.contains("cannot be listened on"),
            Event::LogEnd if port_taken => return Ok(Started::PortTaken),
            Event::LogEnd => return Err("aegis did not start; its lines above say why".into()),
            Event::Stop => return Err("stopped by a signal before the end".into()),
        }
    }
}

/// Waits for what happens next; what aegis logs is shown.
fn next(events: &Receiver<Event>, deadline: Option<Instant>) -> Outcome<Event> {
    let event = match deadline {
        Some(deadline) => events.recv_timeout(deadline.saturating_duration_since(Instant::now())),
        None => events.recv().map_err(RecvTimeoutError::from),
    };
    let event = event.map_err(|_| "aegis does not say what it should have said by now")?;
    if let Event::Log(line) = &event {
        quote("aegis", &line.0)?;
    }
    Ok(event)
}

/// Much longer than any step takes, on however busy a machine.
const PATIENCE: Duration = Duration::from_secs(30);

struct Process(Child);

impl Process {
    fn start(folder: &Path, configuration: &str, events: Sender<Event>) -> Outcome<Self> {
        let file = folder.join("aegis.toml");
        fs::write(&file, configuration)?;
        let mut child = Command::new(std::env::current_exe()?)
            .args(["aegis", "serve", "--config"])
            .arg(file)
            // The viewer may have set AEGIS_LISTEN, which would go over the file.
            .env_clear()
            // Ctrl-C in a terminal is for the demo alone, which then stops aegis.
            .process_group(0)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let log = child.stderr.take();
        let process = Self(child);
        let thread = std::thread::Builder::new().name("log".to_owned());
        thread.spawn(move || log.map(|log| pass_on(log, &events)))?;
        Ok(process)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn pass_on(log: ChildStderr, events: &Sender<Event>) {
    for line in BufReader::new(log).lines().map_while(Result::ok) {
        drop(events.send(Event::Log(LogLine(line))));
    }
    drop(events.send(Event::LogEnd));
}
