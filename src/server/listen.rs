//! Binds the addresses and accepts connections. Each connection is one task; a failed one ends no
//! other.

use std::io;
use std::net::{self, IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinSet, yield_now};
use tokio::time::sleep;
use tracing::warn;

use crate::config::{ConfigError, Located};
use crate::gate::Gate;
use crate::io::unix_socket::can_refuse_descriptors;
use crate::policy::peer::Peer;
use crate::scrape;
use crate::server::sandbox::Sealed;
use crate::state::State;

/// The listeners of one event loop.
#[derive(Debug)]
pub struct Listeners {
    bound: Vec<TcpListener>,
    next: usize,
}

impl Listeners {
    /// Binds every address, and adds the inherited sockets.
    ///
    /// An address that no interface has yet, such as that of a tunnel which is down, is bound anyway
    /// and works once an interface has it. On a host without IPv6, IPv6 addresses are skipped with a
    /// warning if another address is bound.
    ///
    /// # Errors
    /// Each address that cannot be bound, and why.
    pub(crate) fn open(
        addresses: &[Located<SocketAddr>],
        inherited: Vec<TcpListener>,
    ) -> Result<Self, Vec<ConfigError>> {
        let inherited_count = inherited.len();
        let mut bound = inherited;
        let mut failed = Vec::new();
        for address in addresses {
            let is_ipv6_only = addresses.iter().any(|other| {
                other.value.ip() == IpAddr::V4(Ipv4Addr::UNSPECIFIED)
                    && other.value.port() == address.value.port()
            });
            match bind(address.value, is_ipv6_only) {
                Ok(listener) => bound.push(listener),
                Err(error) => failed.push((address, error)),
            }
        }
        if bound.len() > inherited_count {
            failed.retain(|(address, error)| {
                let is_skipped = ipv6_is_missing(address.value, error);
                if is_skipped {
                    warn!(address = %address.value, "this host has no IPv6; skipping the address");
                }
                !is_skipped
            });
        }
        let faults = failed.iter().map(|(address, error)| {
            let hint = hint(address.value, error, addresses);
            let problem = format!("{} cannot be listened on: {error}{hint}", address.value);
            ConfigError::new(&address.origin, "listen", problem)
        });
        let faults: Vec<ConfigError> = faults.collect();
        if faults.is_empty() {
            bound.iter().for_each(limit_buffers);
            Ok(Self { bound, next: 0 })
        } else {
            Err(faults)
        }
    }

    /// The bound addresses. A configured port 0 appears as the port that the kernel chose.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.bound
            .iter()
            .filter_map(|listener| listener.local_addr().ok())
            .collect()
    }

    /// Returns listeners on the same sockets for the event loop in whose context this is called.
    ///
    /// # Errors
    /// The process has no descriptors left.
    pub(crate) fn share(&self) -> io::Result<Self> {
        let shared = self.bound.iter().map(|listener| {
            let descriptor = listener.as_fd().try_clone_to_owned()?;
            TcpListener::from_std(net::TcpListener::from(descriptor))
        });
        Ok(Self {
            bound: shared.collect::<io::Result<_>>()?,
            next: 0,
        })
    }

    /// Accepts connections until draining begins, and returns the tasks of open connections.
    pub(crate) async fn serve(mut self, _: Sealed, state: &Arc<State>) -> JoinSet<()> {
        let mut connections = JoinSet::new();
        let mut backoff = AcceptBackoff::default();
        loop {
            tokio::select! {
                biased;
                // Polled first: no connection is accepted once draining has begun.
                () = state.draining() => return connections,
                Some(ended) = connections.join_next() => state.recorder.log_task_panic(ended),
                accepted = self.accept() => match accepted {
                    Ok((stream, source)) => {
                        backoff.pause = Duration::ZERO;
                        start_connection(&mut connections, state, stream, source);
                    }
                    Err(error) => tokio::select! {
                        () = backoff.wait(&error, state) => {}
                        () = state.draining() => return connections,
                    },
                },
            }
        }
    }

    /// Accepts from any listener that has a connection. They are polled round-robin.
    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        self.next = self.next.wrapping_add(1);
        // A flood of rejected connections must not delay the scrapes of this thread.
        if self.next.is_multiple_of(MAX_ACCEPTS_PER_YIELD) {
            yield_now().await;
        }
        let first = self.next % self.bound.len().max(1);
        std::future::poll_fn(|cx| {
            let (before, from) = self.bound.split_at(first);
            for listener in from.iter().chain(before) {
                if let Poll::Ready(accepted) = listener.poll_accept(cx) {
                    return Poll::Ready(accepted);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// Rejecting this many connections takes no longer than one scrape.
const MAX_ACCEPTS_PER_YIELD: usize = 16;

/// The remedy for an address that cannot be bound. Another entry of the list may be using it.
fn hint(address: SocketAddr, error: &io::Error, addresses: &[Located<SocketAddr>]) -> &'static str {
    let has = |wanted: fn(&IpAddr) -> bool| addresses.iter().any(|given| wanted(&given.value.ip()));
    if ipv6_is_missing(address, error) {
        "; this host has no IPv6: list an IPv4 address, such as 127.0.0.1:31337, or allow AF_INET6 in RestrictAddressFamilies= of the unit"
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        "; ports below 1024 need root: use another port or a systemd .socket unit"
    } else if error.kind() != io::ErrorKind::AddrInUse {
        ""
    } else if has(IpAddr::is_unspecified) && has(|ip| !ip.is_unspecified()) {
        "; [::] includes IPv4, and 0.0.0.0 includes every IPv4 address: list nothing else with it"
    } else {
        "; `ss -ltnp` shows which process uses the port"
    }
}

/// Whether IPv6 sockets are unavailable: the kernel has IPv6 disabled (`ipv6.disable=1`), or the unit
/// forbids them (`RestrictAddressFamilies=`).
fn ipv6_is_missing(address: SocketAddr, error: &io::Error) -> bool {
    address.is_ipv6() && Errno::from_io_error(error) == Some(Errno::AFNOSUPPORT)
}

fn bind(address: SocketAddr, is_ipv6_only: bool) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    if address.is_ipv6() {
        // Dual stack whatever the system's default is, unless 0.0.0.0 with this port is also listed.
        sockopt::set_ipv6_v6only(&socket, is_ipv6_only)?;
    }
    match socket.bind(address) {
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
            match address {
                SocketAddr::V4(_) => sockopt::set_ip_freebind(&socket, true)?,
                SocketAddr::V6(_) => sockopt::set_ipv6_freebind(&socket, true)?,
            }
            socket.bind(address)?;
            warn!(%address, "no interface has this address yet; connections arrive once one does");
        }
        bound => bound?,
    }
    socket.listen(BACKLOG)
}

/// Limits the kernel's buffers of each accepted connection. They count as aegis's memory (cgroup v2)
/// and default to several megabytes each (`net.ipv4.tcp_rmem` and `tcp_wmem`).
fn limit_buffers(listener: &TcpListener) {
    let received = sockopt::set_socket_recv_buffer_size(listener, MAX_RECEIVED_BYTES / 2);
    let unsent = SockRef::from(listener).set_tcp_notsent_lowat(MAX_UNSENT_BYTES);
    let failed = [received.err().map(io::Error::from), unsent.err()];
    for error in failed.into_iter().flatten() {
        warn!(%error, "cannot bound the kernel's send and receive buffers");
    }
}

/// Bytes received and not yet read: room for several requests, or a handshake. The kernel doubles
/// the value that it is given, for its own bookkeeping (socket(7)).
const MAX_RECEIVED_BYTES: usize = 64 * 1024;

/// Bytes written and not yet sent, so that the answer to a slow scraper stays in its service. Bytes
/// in flight are not limited by this.
const MAX_UNSENT_BYTES: u32 = 64 * 1024;

/// Connections waiting to be accepted. The kernel caps this at `net.core.somaxconn`.
const BACKLOG: u32 = 1024;

fn start_connection(
    connections: &mut JoinSet<()>,
    state: &Arc<State>,
    stream: TcpStream,
    source: SocketAddr,
) {
    let gate = state.gate();
    match scrape::admit(
        stream,
        source,
        &gate.policy,
        &gate.limits,
        &state.connections,
    ) {
        Ok(admitted) => {
            let state = Arc::clone(state);
            connections.spawn(async move {
                let _open = state.recorder.metrics.open_connection();
                scrape::connection(admitted, Arc::clone(&state)).await;
            });
        }
        Err(refused) => state
            .recorder
            .connection_refused(&Peer::new(source), &refused),
    }
}

/// Pauses between consecutive errors of accept(2). Most are temporary, such as too many open files:
/// the server must wait and retry, and never exit.
#[derive(Debug, Default)]
struct AcceptBackoff {
    pause: Duration,
}

impl AcceptBackoff {
    async fn wait(&mut self, error: &io::Error, state: &State) {
        if matches!(
            error.kind(),
            io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::Interrupted
        ) {
            return;
        }
        if state.recorder.sampler.sample_accept_error() {
            warn!(%error, "accept failed; retrying");
        }
        self.pause = (self.pause * 2).clamp(MIN_PAUSE, MAX_PAUSE);
        sleep(self.pause).await;
    }
}

const MIN_PAUSE: Duration = Duration::from_millis(5);
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// Raises the limit of open files to what `limits.connections` needs.
pub(crate) fn raise_nofile_limit(gate: &Gate) {
    let connections = u64::try_from(gate.limits.connections).unwrap_or(u64::MAX);
    let directories = u64::try_from(gate.services.directories()).unwrap_or(u64::MAX);
    let needed = connections
        .saturating_mul(DESCRIPTORS_PER_CONNECTION)
        // Twice: a scrape in flight keeps the previous gate open.
        .saturating_add(directories.saturating_mul(2))
        .saturating_add(slow_closes(gate))
        .saturating_add(OTHER_DESCRIPTORS);
    let now = getrlimit(Resource::Nofile);
    if now.current.is_none_or(|current| current >= needed) {
        return;
    }
    let allowed = now.maximum.map_or(needed, |maximum| maximum.min(needed));
    let raised = Rlimit {
        current: Some(allowed),
        maximum: now.maximum,
    };
    if setrlimit(Resource::Nofile, raised).is_err() || allowed < needed {
        warn!(
            open_files = allowed,
            wanted = needed,
            "the open files limit is too low for limits.connections; raise LimitNOFILE= or lower limits.connections"
        );
    }
}

/// Connections to services that may still be closing. Closing is slow if a service can pass
/// descriptors.
fn slow_closes(gate: &Gate) -> u64 {
    if can_refuse_descriptors().is_ok() {
        return 0;
    }
    let per_service = u64::try_from(gate.limits.scrapes_per_service).unwrap_or(u64::MAX);
    per_service.saturating_mul(MAX_SERVICES)
}

/// Services assumed to delay the closing of their connections at the same time.
const MAX_SERVICES: u64 = 1000;

/// The scraper's connection, the service's socket by descriptor, and the connection to the service.
const DESCRIPTORS_PER_CONNECTION: u64 = 3;
/// Listeners, the runtimes' own, the log.
const OTHER_DESCRIPTORS: u64 = 64;

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn accept_yields_after_16_connections() {
        let bound = bind((Ipv4Addr::LOCALHOST, 0).into(), false).unwrap();
        let address = bound.local_addr().unwrap();
        #[expect(clippy::disallowed_methods, reason = "the scrapers' side")]
        let flood: Vec<_> = (0..64)
            .map(|_| net::TcpStream::connect(address).unwrap())
            .collect();
        let mut listeners = Listeners {
            bound: vec![bound],
            next: 0,
        };
        let (accepted, mut most_between_yields) = (Cell::new(0), 0);
        let accepting = async {
            for _ in &flood {
                listeners.accept().await.unwrap();
                accepted.set(accepted.get() + 1);
            }
        };
        let other_tasks = async {
            let mut seen = 0;
            while seen < flood.len() {
                most_between_yields = most_between_yields.max(accepted.get() - seen);
                seen = accepted.get();
                yield_now().await;
            }
        };
        tokio::join!(biased; accepting, other_tasks);
        // docs/security.md states this number.
        assert_eq!(most_between_yields, 16);
    }
}
