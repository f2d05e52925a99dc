//! Binds the addresses and accepts connections; one task for each, and none that ends it all.

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
use tokio::task::{JoinError, JoinSet, yield_now};
use tokio::time::sleep;
use tracing::{error, warn};

use crate::config::{Fault, Given};
use crate::gate::{Endpoint, Gate};
use crate::metrics::Metrics;
use crate::peer::Peer;
use crate::sandbox::Sealed;
use crate::scrape;
use crate::unix_socket::can_refuse_descriptors;

/// The addresses that are listened on.
#[derive(Debug)]
pub struct Listeners {
    bound: Vec<TcpListener>,
    next: usize,
}

impl Listeners {
    /// Binds every address, beside the sockets that others listen on already.
    ///
    /// An address that no interface has yet, such as that of a tunnel which is down, is bound
    /// all the same, and works as soon as it is there. Where there are no IPv6 sockets, addresses
    /// of that family are left out with a warning, if another of the addresses is bound.
    ///
    /// # Errors
    /// Each address that cannot be bound, and why.
    pub(crate) fn open(
        addresses: &[Given<SocketAddr>],
        inherited: Vec<TcpListener>,
    ) -> Result<Self, Vec<Fault>> {
        let handed_over = inherited.len();
        let mut bound = inherited;
        let mut failed = Vec::new();
        for address in addresses {
            let beside_ipv4 = addresses.iter().any(|other| {
                other.value.ip() == IpAddr::V4(Ipv4Addr::UNSPECIFIED)
                    && other.value.port() == address.value.port()
            });
            match bind(address.value, beside_ipv4) {
                Ok(listener) => bound.push(listener),
                Err(error) => failed.push((address, error)),
            }
        }
        if bound.len() > handed_over {
            failed.retain(|(address, error)| {
                let left_out = ipv6_is_missing(address.value, error);
                if left_out {
                    warn!(address = %address.value, "there are no IPv6 sockets here; the address is left out");
                }
                !left_out
            });
        }
        let faults = failed.iter().map(|(address, error)| {
            let hint = hint(address.value, error, addresses);
            let problem = format!("{} cannot be listened on: {error}{hint}", address.value);
            Fault::new(&address.origin, "listen", problem)
        });
        let faults: Vec<Fault> = faults.collect();
        if faults.is_empty() {
            bound.iter().for_each(bound_queues);
            Ok(Self { bound, next: 0 })
        } else {
            Err(faults)
        }
    }

    /// The addresses, with the real port where port 0 was asked for.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.bound
            .iter()
            .filter_map(|listener| listener.local_addr().ok())
            .collect()
    }

    /// The same addresses for another thread.
    ///
    /// # Errors
    /// There are no more descriptors.
    pub(crate) fn share(&self) -> io::Result<SharedListeners> {
        let shared = self.bound.iter().map(|listener| {
            let descriptor = listener.as_fd().try_clone_to_owned()?;
            Ok(net::TcpListener::from(descriptor))
        });
        shared.collect::<io::Result<_>>().map(SharedListeners)
    }

    /// Accepts connections until draining begins, and returns the tasks that still serve some.
    pub(crate) async fn serve(mut self, _: Sealed, endpoint: &Arc<Endpoint>) -> JoinSet<()> {
        let mut connections = JoinSet::new();
        let mut trouble = Trouble::default();
        loop {
            tokio::select! {
                biased;
                // First: once it is said, nobody is taken any more.
                () = endpoint.draining() => return connections,
                Some(ended) = connections.join_next() => reap(&endpoint.metrics, ended),
                accepted = self.accept() => match accepted {
                    Ok((stream, source)) => {
                        trouble.pause = Duration::ZERO;
                        begin(&mut connections, endpoint, stream, source);
                    }
                    Err(error) => tokio::select! {
                        () = trouble.wait_out(&error, endpoint) => {}
                        () = endpoint.draining() => return connections,
                    },
                },
            }
        }
    }

    /// Accepts from whichever listener has a connection; each has its turn to be asked first.
    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        self.next = self.next.wrapping_add(1);
        // A flood that is turned away at once must not hold up the scrapes of this thread.
        if self.next.is_multiple_of(ACCEPTED_AT_A_TURN) {
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

/// Turning them away takes no longer than a scrape does.
const ACCEPTED_AT_A_TURN: usize = 16;

/// The bound addresses, on their way to another thread.
#[derive(Debug)]
pub(crate) struct SharedListeners(Vec<net::TcpListener>);

impl SharedListeners {
    /// Accepts in the event loop of this thread.
    pub(crate) fn here(self) -> io::Result<Listeners> {
        let bound = self.0.into_iter().map(TcpListener::from_std);
        Ok(Listeners {
            bound: bound.collect::<io::Result<_>>()?,
            next: 0,
        })
    }
}

/// What to do about an address that cannot be bound; it may be in use by the list itself.
fn hint(address: SocketAddr, error: &io::Error, addresses: &[Given<SocketAddr>]) -> &'static str {
    let has = |wanted: fn(&IpAddr) -> bool| addresses.iter().any(|given| wanted(&given.value.ip()));
    if ipv6_is_missing(address, error) {
        "; there are no IPv6 sockets here: list an IPv4 address, such as 127.0.0.1:31337, or allow AF_INET6 in RestrictAddressFamilies= of the unit"
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        "; ports below 1024 are for root: take another, or a .socket unit of systemd"
    } else if error.kind() != io::ErrorKind::AddrInUse {
        ""
    } else if has(IpAddr::is_unspecified) && has(|ip| !ip.is_unspecified()) {
        "; [::] takes IPv4 as well, and 0.0.0.0 every IPv4 address: list no other beside it"
    } else {
        "; `ss -ltnp` shows who has the port"
    }
}

/// Whether there are no IPv6 sockets: the kernel has IPv6 turned off (`ipv6.disable=1`), or the unit
/// allows none (`RestrictAddressFamilies=`).
fn ipv6_is_missing(address: SocketAddr, error: &io::Error) -> bool {
    address.is_ipv6() && Errno::from_io_error(error) == Some(Errno::AFNOSUPPORT)
}

fn bind(address: SocketAddr, beside_ipv4: bool) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    if address.is_ipv6() {
        // Dual stack, whatever the system's default; unless 0.0.0.0 is listed on its own.
        sockopt::set_ipv6_v6only(&socket, beside_ipv4)?;
    }
    match socket.bind(address) {
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
            match address {
                SocketAddr::V4(_) => sockopt::set_ip_freebind(&socket, true)?,
                SocketAddr::V6(_) => sockopt::set_ipv6_freebind(&socket, true)?,
            }
            socket.bind(address)?;
            warn!(%address, "no interface has this address yet; it will work once one has");
        }
        bound => bound?,
    }
    socket.listen(BACKLOG)
}

/// Bounds what the kernel holds for each connection that a socket will accept. It counts as aegis's
/// memory (cgroup v2), and would be some megabytes for each (`net.ipv4.tcp_rmem` and `tcp_wmem`).
fn bound_queues(listener: &TcpListener) {
    let received = sockopt::set_socket_recv_buffer_size(listener, RECEIVED / 2);
    let unsent = SockRef::from(listener).set_tcp_notsent_lowat(UNSENT);
    let failed = [received.err().map(io::Error::from), unsent.err()];
    for error in failed.into_iter().flatten() {
        warn!(%error, "the kernel's queues of connections cannot be bounded");
    }
}

/// Bytes that have come and were not read: several requests, or a handshake. The kernel takes twice
/// what it is told, for what it needs itself (socket(7)).
const RECEIVED: usize = 64 * 1024;

/// Bytes that were written and not sent yet: what a scraper reads slowly stays with its service. How
/// many are on their way is not limited by that.
const UNSENT: u32 = 64 * 1024;

/// Connections that wait to be accepted; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: u32 = 1024;

fn begin(
    connections: &mut JoinSet<()>,
    endpoint: &Arc<Endpoint>,
    stream: TcpStream,
    source: SocketAddr,
) {
    let gate = endpoint.gate();
    match scrape::admit(stream, source, &gate.policy, &gate.limits, &endpoint.places) {
        Ok(admitted) => {
            let endpoint = Arc::clone(endpoint);
            connections.spawn(async move {
                let _open = endpoint.metrics.open_connection();
                scrape::connection(admitted, Arc::clone(&endpoint)).await;
            });
        }
        Err(refusal) => endpoint.turn_away(&Peer::new(source), &refusal.into()),
    }
}

/// Counts a connection's task that ended in a panic. The others of its thread go on.
pub(crate) fn reap(metrics: &Metrics, ended: Result<(), JoinError>) {
    if ended.is_err_and(|error| error.is_panic()) {
        metrics.panicked();
        error!(
            "a connection ended in a panic, which is a bug; please report it with the lines above"
        );
    }
}

/// Errors of accept(2) in a row. Most are passing, such as too many open files: waiting a
/// little is all there is to do, and ending the server the one thing that must not be done.
#[derive(Debug, Default)]
struct Trouble {
    pause: Duration,
}

impl Trouble {
    async fn wait_out(&mut self, error: &io::Error, endpoint: &Endpoint) {
        if matches!(
            error.kind(),
            io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::Interrupted
        ) {
            return;
        }
        if endpoint.sampler.lets_trouble_through() {
            warn!(%error, "connections cannot be accepted; trying again");
        }
        self.pause = (self.pause * 2).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        sleep(self.pause).await;
    }
}

const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Makes room for the descriptors of as many connections as are allowed.
pub(crate) fn make_room(gate: &Gate) {
    let connections = u64::try_from(gate.limits.connections).unwrap_or(u64::MAX);
    let directories = u64::try_from(gate.upstream.directories()).unwrap_or(u64::MAX);
    let wanted = connections
        .saturating_mul(DESCRIPTORS_EACH)
        // Those of the gate before, too: a scrape in flight holds it.
        .saturating_add(directories.saturating_mul(2))
        .saturating_add(slow_to_close(gate))
        .saturating_add(DESCRIPTORS_BESIDE);
    let now = getrlimit(Resource::Nofile);
    if now.current.is_none_or(|current| current >= wanted) {
        return;
    }
    let allowed = now.maximum.map_or(wanted, |maximum| maximum.min(wanted));
    let raised = Rlimit {
        current: Some(allowed),
        maximum: now.maximum,
    };
    if setrlimit(Resource::Nofile, raised).is_err() || allowed < wanted {
        warn!(
            open_files = allowed,
            wanted,
            "the limit on open files is below what limits.connections can need; raise LimitNOFILE= or lower limits.connections"
        );
    }
}

/// Connections with services that are still being closed, where that can take long.
fn slow_to_close(gate: &Gate) -> u64 {
    if can_refuse_descriptors().is_ok() {
        return 0;
    }
    let each = u64::try_from(gate.limits.scrapes_per_service).unwrap_or(u64::MAX);
    each.saturating_mul(MAX_SERVICES)
}

/// Services that can each hold a connection as long as they like.
const MAX_SERVICES: u64 = 1000;

/// The scraper's connection, the socket by descriptor, and the connection with the service.
const DESCRIPTORS_EACH: u64 = 3;
/// Listeners, the runtime's own, the log.
const DESCRIPTORS_BESIDE: u64 = 64;

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::metrics::{Format, Standing};

    #[tokio::test]
    async fn of_a_flood_of_connections_a_few_are_taken_before_others_have_their_turn() {
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
        let (taken, mut at_a_turn) = (Cell::new(0), 0);
        let accepting = async {
            for _ in &flood {
                listeners.accept().await.unwrap();
                taken.set(taken.get() + 1);
            }
        };
        let others = async {
            let mut seen = 0;
            while seen < flood.len() {
                at_a_turn = at_a_turn.max(taken.get() - seen);
                seen = taken.get();
                yield_now().await;
            }
        };
        tokio::join!(biased; accepting, others);
        // As docs/security.md says.
        assert_eq!(at_a_turn, 16);
    }

    #[tokio::test]
    async fn a_connection_that_panics_is_counted_and_the_others_go_on() {
        let metrics = Metrics::default();
        let (go, wait) = tokio::sync::oneshot::channel::<()>();
        let mut connections = JoinSet::new();
        connections.spawn(async move { wait.await.unwrap() });
        connections.spawn(async { panic!("as a bug would") });
        reap(&metrics, connections.join_next().await.unwrap());
        go.send(()).unwrap();
        reap(&metrics, connections.join_next().await.unwrap());
        let text = metrics.text(&Standing::default(), Format::for_accept(None));
        let panics = text
            .lines()
            .find(|line| line.starts_with("aegis_panics_total "));
        assert_eq!(panics, Some("aegis_panics_total 1"));
    }
}
