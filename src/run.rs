//! The life of the process: load, bind, ready, serve, drain.

use std::fmt;
use std::fs;
use std::hint::black_box;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use crate::admin::{self, AdminListener};
use crate::config::{Config, Fault, Given, Limits, Overrides, Tls};
use crate::credentials::Credentials;
use crate::gate::{Endpoint, Gate};
use crate::listen::{self, Listeners};
use crate::log;
use crate::metrics::Stands;
use crate::reload::Reloader;
use crate::sandbox::{self, Paths, Wall, Walls};
use crate::scrape::{Handshake, work_in_descriptors};
use crate::systemd::{Inherited, Supervisor};
use crate::workers::{self, Finished, Workers};

/// Serves until SIGTERM or SIGINT, then drains.
///
/// # Errors
/// What kept it from starting; or that a second signal cut off what was still in flight.
pub fn serve(overrides: &Overrides) -> Result<(), Ended> {
    // First of all: nothing has opened a descriptor yet.
    let inherited = Inherited::take().map_err(|fault| Ended::Configuration(vec![fault]))?;
    keep_what_scrapes_need();
    let overrides = &overrides.clone().absolute();
    let config = load(overrides).map_err(Ended::Configuration)?;
    log::start(&config.log);
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Ended::System)?
        .block_on(serve_config(config, inherited, overrides))
}

/// Why `aegis serve` ended, other than well.
#[derive(Debug)]
pub enum Ended {
    /// The configuration has faults; nothing was started.
    Configuration(Vec<Fault>),
    /// A second signal ended it before what was in flight had ended.
    CutShort,
    /// The system refused something that nothing works without.
    System(io::Error),
    /// An address cannot be listened on, at least not now.
    Unbound(Vec<Fault>),
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configuration(faults) => {
                faults.iter().try_for_each(|fault| writeln!(f, "{fault}"))?;
                match faults.len() {
                    1 => f.write_str("1 error in the configuration"),
                    count => write!(f, "{count} errors in the configuration"),
                }
            }
            Self::CutShort => {
                f.write_str("ended by a second signal; scrapes in flight were cut off")
            }
            Self::System(error) => write!(f, "cannot start: {error}"),
            Self::Unbound(faults) => faults.iter().try_for_each(|fault| writeln!(f, "{fault}")),
        }
    }
}

async fn serve_config(
    config: Config,
    inherited: Inherited,
    overrides: &Overrides,
) -> Result<(), Ended> {
    // Before anybody can connect: from here on a signal drains instead of killing.
    let mut signals = Signals::new().map_err(Ended::System)?;
    let mut supervisor = Supervisor::from_environment();
    let (reloads, wishes) = mpsc::channel(RELOADS_WAITING);
    let mut reloader = Reloader::new(overrides, &config, wishes).map_err(Ended::System)?;
    let inherited = inherited
        .claim(&config.listen)
        .map_err(Ended::Configuration)?;
    let (listen, admin) = (config.addresses(), config.admin.clone());
    let (sandbox, paths) = (config.sandbox, Paths::of(&config, Config::file(overrides)));
    let gate = first_gate(config).map_err(Ended::Configuration)?;
    for warning in gate.warnings() {
        warn!("{warning}");
    }
    let listeners = Listeners::open(&listen, inherited).map_err(Ended::Unbound)?;
    let admin = admin.map(|socket| AdminListener::bind(&socket)).transpose();
    let admin = admin.map_err(|fault| Ended::Unbound(vec![fault]))?;
    listen::make_room(&gate);
    use_random_numbers().map_err(Ended::System)?;

    let addresses = listeners.addresses();
    let listen: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let services = gate.upstream.present();
    let endpoint = Arc::new(Endpoint::new(gate, addresses, reloads));
    work_in_descriptors().map_err(Ended::System)?;
    let start = || Workers::start(&listeners, &endpoint, &mut supervisor);
    let sealed = sandbox::seal(sandbox, &paths, start).map_err(Ended::System)?;
    let (sealed, walls, mut workers) = sealed;
    note(&walls, &endpoint);
    let standing: Vec<&str> = walls.standing().collect();
    info!(
        version = env!("CARGO_PKG_VERSION"),
        listen = listen.join(" "),
        services,
        sandbox = standing.join(" "),
        "ready"
    );
    workers.go(&sealed);
    let mut serving = std::pin::pin!(listeners.serve(sealed, &endpoint));
    let mut operated = std::pin::pin!(admin::serve(admin.as_ref(), &endpoint));
    supervisor.ready(&endpoint).await;
    let mut connections = tokio::select! {
        connections = &mut serving => connections,
        () = signals.stop() => {
            supervisor.stopping(&endpoint).await;
            endpoint.drain();
            serving.await
        }
        never = reloader.run(&endpoint, &supervisor) => match never {},
        never = &mut operated => match never {},
        never = supervisor.watch(&endpoint) => match never {},
    };
    // Whoever waits for a reload, or asks for one from now on, is told that there will be none.
    drop(reloader);
    tokio::select! {
        ended = drain(&mut connections, &mut workers, &mut signals, &endpoint) => ended,
        never = operated => match never {},
        never = supervisor.watch(&endpoint) => match never {},
    }
}

/// Loads the configuration. Where it has faults, the files that it names are looked at all the
/// same, so that everything is said at once.
pub(crate) fn load(overrides: &Overrides) -> Result<Config, Vec<Fault>> {
    Config::read(overrides).map_err(|faulty| {
        let mut faults = faulty.faults;
        faults.extend(faulty.socket_dir.as_ref().and_then(unreadable));
        faults.extend(faulty.tls.into_iter().flat_map(unusable));
        let admin = faulty
            .admin
            .filter(|admin| admin::awaits_its_unit(admin).is_none());
        faults.extend(admin.and_then(|admin| admin::look(&admin).err()));
        faults.sort_by_key(Fault::line);
        faults
    })
}

fn unreadable(socket_dir: &Given<PathBuf>) -> Option<Fault> {
    let Given { value, origin } = socket_dir;
    let error = fs::read_dir(value).err()?;
    let directory = value.display();
    let problem = format!(
        "{directory} cannot be opened: {error}; create the directory for aegis's user, or name another"
    );
    Some(Fault::new(origin, "socket_dir", problem))
}

fn unusable(tls: Tls) -> Vec<Fault> {
    let handshake = Credentials::load(&tls)
        .and_then(|credentials| Handshake::new(credentials, &tls, &Limits::default()));
    handshake.err().unwrap_or_default()
}

/// Builds the first gate, and looks at what only a start needs.
pub(crate) fn first_gate(config: Config) -> Result<Gate, Vec<Fault>> {
    let admin = config.admin.as_ref().map_or(Ok(()), admin::look);
    match (Gate::build(config, None), admin) {
        (Ok(gate), Ok(())) => Ok(gate),
        (gate, admin) => {
            let mut faults = gate.err().unwrap_or_default();
            faults.extend(admin.err());
            Err(faults)
        }
    }
}

/// The first use of the random generator takes tens of milliseconds: not in a handshake.
fn use_random_numbers() -> io::Result<()> {
    let random = aws_lc_rs::default_provider().secure_random;
    let filled = random.fill(&mut [0; 32]);
    filled.map_err(|_| io::Error::other("no random numbers"))
}

/// Has the allocator keep half a megabyte that scrapes have freed, for those to come.
///
/// By its first guess, glibc gives the kernel back whatever is more than 128 KiB, which the pieces
/// of a large answer are, and asks for it again with the next. To free a block that is larger than
/// that guess raises it to twice the block's size (mallopt(3), `M_MMAP_THRESHOLD`); first of all,
/// while no memory that is free already could hold the block.
fn keep_what_scrapes_need() {
    drop(black_box(Vec::<u8>::with_capacity(256 * 1024)));
}

/// Says which walls do not stand, and counts those that do.
fn note(walls: &Walls, endpoint: &Endpoint) {
    for missing in walls.missing() {
        warn!("{missing}");
    }
    for wall in Wall::ALL {
        let state = if walls.has(*wall) {
            Stands::Yes
        } else {
            Stands::No
        };
        endpoint.metrics.sandbox(wall.name(), state);
    }
}

/// Lets what is in flight end, on every thread, for as long as it may.
async fn drain(
    connections: &mut JoinSet<()>,
    workers: &mut Workers,
    signals: &mut Signals,
    endpoint: &Endpoint,
) -> Result<(), Ended> {
    let drain_timeout = endpoint.gate().limits.drain_timeout;
    info!(
        connections = endpoint.metrics.open_connections(),
        "draining"
    );
    let deadline = Instant::now() + drain_timeout;
    let ended = async {
        let finished = workers::finish(connections, endpoint, deadline).await;
        match timeout_at(deadline, workers.ended()).await {
            Ok(Finished::Whole) => finished,
            Ok(Finished::CutOff) | Err(_) => Finished::CutOff,
        }
    };
    tokio::select! {
        finished = ended => match finished {
            Finished::Whole => info!("stopped"),
            Finished::CutOff => warn!(?drain_timeout, "stopped; scrapes in flight were cut off"),
        },
        () = signals.stop() => return Err(Ended::CutShort),
    }
    Ok(())
}

/// More at once are no more than one.
const RELOADS_WAITING: usize = 8;

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for SIGTERM or SIGINT.
    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
