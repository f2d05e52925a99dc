//! The order of a start and a stop: load, bind, enter the sandbox, serve, drain.

use std::fmt;
use std::fs;
use std::hint::black_box;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use crate::admin::{self, AdminListener};
use crate::config::{Config, ConfigError, Located, Overrides, Tls};
use crate::gate::Gate;
use crate::server::listen::{self, Listeners};
use crate::server::privileges;
use crate::server::reload::{Reloader, Watched};
use crate::server::sandbox::{self, Enforcement, Layer, Paths, Unsealed};
use crate::server::systemd::{Inherited, Supervisor};
use crate::server::workers::{self, Drained, Workers};
use crate::services::work_in_descriptors;
use crate::state::{SandboxLayer, State};
use crate::telemetry::log;
use crate::telemetry::metrics::LayerState;
use crate::text::origin::Origin;
use crate::tls::ServerTls;
use crate::tls::credentials::{Credentials, Parts};

/// Serves until SIGTERM or SIGINT, then drains.
///
/// # Errors
/// Why it could not start, or that a second signal aborted scrapes in flight.
pub fn serve(overrides: &Overrides) -> Result<(), ServeError> {
    // First, while no other descriptor is open.
    let inherited = Inherited::take().map_err(|fault| ServeError::Configuration(vec![fault]))?;
    raise_mmap_threshold();
    let overrides = &overrides.clone().absolute();
    let watched = Watched::configuration(overrides);
    let config = load(overrides).map_err(ServeError::Configuration)?;
    log::start(&config.log);
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ServeError::System)?
        .block_on(serve_config(config, watched, inherited, overrides))
}

/// Why `aegis serve` failed.
#[derive(Debug)]
pub enum ServeError {
    /// The configuration has errors; nothing was started.
    Configuration(Vec<ConfigError>),
    /// A second signal aborted scrapes in flight.
    CutShort,
    /// A system call failed that aegis cannot do without.
    System(io::Error),
    /// An address cannot be bound, at least not now.
    Unbound(Vec<ConfigError>),
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configuration(faults) => {
                faults.iter().try_for_each(|fault| writeln!(f, "{fault}"))?;
                match faults.len() {
                    1 => f.write_str("1 error in the configuration"),
                    count => write!(f, "{count} errors in the configuration"),
                }
            }
            Self::CutShort => f.write_str("second signal: aborted scrapes in flight"),
            Self::System(error) => write!(f, "cannot start: {error}"),
            Self::Unbound(faults) => faults.iter().try_for_each(|fault| writeln!(f, "{fault}")),
        }
    }
}

async fn serve_config(
    config: Config,
    watched: Watched,
    inherited: Inherited,
    overrides: &Overrides,
) -> Result<(), ServeError> {
    // Before any client can connect: from here on, a signal drains instead of killing.
    let mut signals = Signals::new().map_err(ServeError::System)?;
    let mut supervisor = Supervisor::from_environment();
    let reloader = Reloader::new(overrides, &config, watched);
    let (mut reloader, reloads) = reloader.map_err(ServeError::System)?;
    let inherited = inherited
        .claim(&config.listen)
        .map_err(ServeError::Configuration)?;
    let (listen, admin) = (config.addresses(), config.admin.clone());
    let file = Config::file(overrides);
    let (sandbox, paths) = (config.sandbox, Paths::of(&config, file));
    let logged_scrapes = config.log.scrapes;
    let gate = first_gate(config).map_err(ServeError::Configuration)?;
    for warning in gate.warnings() {
        warn!("{warning}");
    }
    if privileges::is_root() {
        warn!("{}", privileges::ROOT_SERVES);
    }
    let listeners = Listeners::open(&listen, inherited).map_err(ServeError::Unbound)?;
    let admin = admin.map(|socket| AdminListener::bind(&socket)).transpose();
    let admin = admin.map_err(|fault| ServeError::Unbound(vec![fault]))?;
    listen::raise_nofile_limit(&gate);
    warm_up_rng().map_err(ServeError::System)?;

    let addresses = listeners.addresses();
    let services = gate.services.present();
    let mut state = State::new(gate, addresses.clone(), reloads);
    state.recorder.logged_scrapes = logged_scrapes;
    let state = Arc::new(state);
    work_in_descriptors().map_err(ServeError::System)?;
    overrides.users.close();
    let mut workers = || Workers::start(&listeners, &state, &mut supervisor);
    let start = || reloader.start(&state).and_then(|()| workers());
    let sealed = sandbox::enter(sandbox, &paths, start);
    let (sealed, enforcement, mut workers) = sealed.map_err(|why| unsealed(why, file))?;
    report_enforcement(&enforcement, &state);
    log_ready(&addresses, services, &enforcement);
    workers.start_serving(&sealed);
    let mut serving = std::pin::pin!(listeners.serve(sealed, &state));
    let mut serving_admin = std::pin::pin!(admin::serve(admin.as_ref(), &state));
    supervisor.ready(&state).await;
    let mut connections = tokio::select! {
        connections = &mut serving => connections,
        () = signals.stop_requested() => {
            supervisor.stopping(&state).await;
            state.drain();
            serving.await
        }
        never = reloader.run(&state, &supervisor) => match never {},
        never = &mut serving_admin => match never {},
        never = supervisor.watch(&state) => match never {},
    };
    // While it drains, aegis no longer reports reloads to the service manager.
    drop(reloader);
    tokio::select! {
        result = drain(&mut connections, &mut workers, &mut signals, &state) => result,
        never = serving_admin => match never {},
        never = supervisor.watch(&state) => match never {},
    }
}

fn log_ready(addresses: &[SocketAddr], services: usize, enforcement: &Enforcement) {
    let listen: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    info!(
        version = env!("CARGO_PKG_VERSION"),
        listen = listen.join(" "),
        services,
        sandbox = enforcement.active().collect::<Vec<_>>().join(" "),
        "ready"
    );
}

/// Loads the configuration. If it has errors, the files that it names are checked as well, so that
/// all errors are reported at once.
pub(crate) fn load(overrides: &Overrides) -> Result<Config, Vec<ConfigError>> {
    Config::read(overrides).map_err(|faulty| {
        let mut faults = faulty.faults;
        faults.extend(faulty.socket_dir.as_ref().and_then(unreadable));
        faults.extend(faulty.tls.into_iter().flat_map(unusable));
        let admin = faulty
            .admin
            .filter(|admin| admin::awaits_runtime_directory(admin).is_none());
        faults.extend(admin.and_then(|admin| admin::check_path(&admin).err()));
        faults.sort_by_key(ConfigError::line);
        faults
    })
}

fn unreadable(socket_dir: &Located<PathBuf>) -> Option<ConfigError> {
    let Located { value, origin } = socket_dir;
    let error = fs::read_dir(value).err()?;
    let directory = value.display();
    let problem = format!(
        "{directory} cannot be opened: {error}; create the directory for aegis's user, or name another"
    );
    Some(ConfigError::new(origin, "socket_dir", problem))
}

fn unusable(tls: Tls) -> Vec<ConfigError> {
    let server_tls =
        Credentials::load(&tls).and_then(|credentials| ServerTls::new(credentials, &tls));
    server_tls.err().unwrap_or_default()
}

/// Builds the first gate, and checks what only a start needs.
pub(crate) fn first_gate(config: Config) -> Result<Gate, Vec<ConfigError>> {
    let parts = Parts::read(&config.tls);
    first_gate_with(&config, parts)
}

/// As [`first_gate`], with credentials that were read before.
pub(crate) fn first_gate_with(config: &Config, parts: Parts) -> Result<Gate, Vec<ConfigError>> {
    let admin = config.admin.as_ref().map_or(Ok(()), admin::check_path);
    match (Gate::of(config, parts, None), admin) {
        (Ok(gate), Ok(())) => Ok(gate),
        (gate, admin) => {
            let mut faults = gate.err().unwrap_or_default();
            faults.extend(admin.err());
            Err(faults)
        }
    }
}

/// Turns a failed sandbox into an error of the start. A `sandbox` setting that cannot be met is an
/// error in the configuration.
pub(crate) fn unsealed(why: Unsealed, file: &Path) -> ServeError {
    match why {
        Unsealed::Unmet(unmet) => ServeError::Configuration(unmet_sandbox(unmet, file)),
        Unsealed::System(error) => ServeError::System(error),
    }
}

/// One error for each thing that `sandbox = "required"` needs and this system does not have.
pub(crate) fn unmet_sandbox(unmet: Vec<String>, file: &Path) -> Vec<ConfigError> {
    let origin = Origin::Whole(file.into());
    let fault = |problem| {
        ConfigError::new(
            &origin,
            "sandbox",
            format!("is \"required\", but {problem}"),
        )
    };
    unmet.into_iter().map(fault).collect()
}

/// Seeds the random generator now, which takes tens of milliseconds, rather than in a handshake.
fn warm_up_rng() -> io::Result<()> {
    let random = aws_lc_rs::default_provider().secure_random;
    let filled = random.fill(&mut [0; 32]);
    filled.map_err(|_| io::Error::other("no random numbers"))
}

/// Makes the allocator keep half a megabyte that scrapes have freed, for the next ones.
///
/// By default, glibc returns every block above 128 KiB to the kernel, and asks for it again: the
/// buffers of large answers are above it. Freeing a larger block raises that threshold to the size
/// of the block, and the trim threshold to twice that (mallopt(3), `M_MMAP_THRESHOLD`). It comes
/// first, while no free memory can hold the block. The test
/// `consecutive_large_answers_reuse_memory` fails without it: 15 page faults for each scrape.
fn raise_mmap_threshold() {
    drop(black_box(Vec::<u8>::with_capacity(256 * 1024)));
}

/// Logs which layers are missing, and exports the state of each as a metric and for the status page.
fn report_enforcement(enforcement: &Enforcement, state: &State) {
    for missing in enforcement.missing() {
        warn!("{missing}");
    }
    let layers = Layer::ALL.iter().map(|layer| {
        let active = if enforcement.is_active(*layer) {
            LayerState::Active
        } else {
            LayerState::Inactive
        };
        state.recorder.metrics.sandbox(layer.name(), active);
        SandboxLayer {
            name: layer.name(),
            state: active,
            why: enforcement.why_inactive(*layer).map(str::to_owned),
        }
    });
    state.sandbox.get_or_init(|| layers.collect());
}

/// Waits up to `limits.drain_timeout` for the scrapes in flight on every thread.
async fn drain(
    connections: &mut JoinSet<()>,
    workers: &mut Workers,
    signals: &mut Signals,
    state: &State,
) -> Result<(), ServeError> {
    let drain_timeout = state.gate().limits.drain_timeout;
    info!(
        connections = state.recorder.metrics.open_connections(),
        "draining"
    );
    let deadline = Instant::now() + drain_timeout;
    let drained = async {
        let first = workers::drain(connections, state, deadline).await;
        match timeout_at(deadline, workers.drained()).await {
            Ok(Drained::Complete) => first,
            Ok(Drained::TimedOut) | Err(_) => Drained::TimedOut,
        }
    };
    tokio::select! {
        drained = drained => match drained {
            Drained::Complete => info!("stopped"),
            Drained::TimedOut => warn!(?drain_timeout, "stopped; aborted scrapes in flight"),
        },
        () = signals.stop_requested() => return Err(ServeError::CutShort),
    }
    Ok(())
}

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
    async fn stop_requested(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
