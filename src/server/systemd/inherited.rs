//! Listening sockets passed by the service manager (socket activation). Clients that connect during a
//! restart wait in the socket's queue, and aegis creates no TCP socket itself.

use std::env;
use std::fmt;
use std::net;
use std::os::fd::OwnedFd;
use std::process;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, sockopt};
use tokio::net::TcpListener;

use crate::config::{ConfigError, Listen, Located};
use crate::text::origin::Origin;

/// The descriptors that the service manager passed.
#[derive(Debug)]
pub(crate) struct Inherited(Vec<Socket>);

#[derive(Debug)]
struct Socket {
    name: String,
    descriptor: OwnedFd,
}

impl Inherited {
    /// Takes the passed descriptors. Call it once, before anything else opens a descriptor: a wrong
    /// LISTEN_FDS would claim that one.
    ///
    /// # Errors
    /// The environment names descriptors that are not open, or cannot be read.
    pub(crate) fn take() -> Result<Self, ConfigError> {
        let fault = |error: &dyn fmt::Display| {
            let problem = format!(
                "LISTEN_FDS names descriptors that are not open: {error}; unset both, or start aegis by its .socket unit or by systemd-socket-activate"
            );
            ConfigError::new(&Origin::Unset, "listen", problem)
        };
        // This also sets close-on-exec, and fails for descriptors that are not open.
        let count = sd_notify::listen_fds().map_err(|error| fault(&error))?;
        let taken = match count.len() {
            0 => Vec::new(),
            _ => sd_listen_fds::get().map_err(|error| fault(&error))?,
        };
        let sockets = taken.into_iter().map(|(name, descriptor)| Socket {
            // The default of sd_listen_fds_with_names(3).
            name: name.unwrap_or_else(|| "unknown".to_owned()),
            descriptor: descriptor.into_std(),
        });
        Ok(Self(sockets.collect()))
    }

    /// Returns the sockets that the `listen` entries select, in the order of the entries.
    ///
    /// # Errors
    /// Entries that select no socket, sockets that are not TCP listeners, and sockets that no entry
    /// selects: clients that connect there would hang.
    pub(crate) fn claim(
        self,
        list: &[Located<Listen>],
    ) -> Result<Vec<TcpListener>, Vec<ConfigError>> {
        let passed = names(&self.0);
        let Self(mut unclaimed) = self;
        let (mut listeners, mut faults) = (Vec::new(), Vec::new());
        let named: Vec<&str> = list.iter().filter_map(|given| given.value.name()).collect();
        for given in list {
            let entry = &given.value;
            if entry.address().is_some() {
                continue;
            }
            let is_selected = |socket: &mut Socket| match entry.name() {
                Some(name) => socket.name == name,
                None => !named.contains(&socket.name.as_str()),
            };
            let selected: Vec<Socket> = unclaimed.extract_if(.., is_selected).collect();
            let mut fault = |problem: &str| {
                let problem = format!("{entry}: {problem}");
                faults.push(ConfigError::new(&given.origin, "listen", problem));
            };
            if selected.is_empty() && passed.is_empty() {
                fault(&why_none());
            } else if selected.is_empty() {
                fault(&format!(
                    "systemd passed no such socket, or another entry uses it; it passed {passed}"
                ));
            }
            for Socket { name, descriptor } in selected {
                match listener(descriptor) {
                    Ok(listener) => listeners.push(listener),
                    Err(problem) => fault(&format!("the socket {name:?} {problem}")),
                }
            }
        }
        if !unclaimed.is_empty() {
            let problem = format!(
                "systemd passed {}, which no `listen` entry uses; clients would hang there; list \"systemd\", or disable the .socket unit",
                names(&unclaimed)
            );
            faults.push(ConfigError::new(&Origin::Unset, "listen", problem));
        }
        if faults.is_empty() {
            Ok(listeners)
        } else {
            Err(faults)
        }
    }
}

fn names(sockets: &[Socket]) -> String {
    let names = sockets.iter().map(|socket| format!("{:?}", socket.name));
    names.collect::<Vec<_>>().join(", ")
}

/// Explains from the environment why this process was passed no socket.
fn why_none() -> String {
    let meant_for = env::var("LISTEN_PID");
    match meant_for {
        Ok(other) if other != process::id().to_string() => format!(
            "systemd passed no socket: LISTEN_PID is {other:?}, and this is process {}; a wrapper must exec aegis",
            process::id()
        ),
        Ok(_) | Err(_) => "systemd passed no socket; start aegis by its .socket unit or by systemd-socket-activate, or list addresses".to_owned(),
    }
}

/// Checks that the descriptor is a listening TCP socket.
fn listener(descriptor: OwnedFd) -> Result<TcpListener, String> {
    let family = sockopt::socket_domain(&descriptor).map_err(|error| match error {
        Errno::NOTSOCK => "is not a socket".to_owned(),
        error => cannot_be_used(&error),
    })?;
    if family == AddressFamily::UNIX {
        return Err("is a Unix socket; write an address and a port in ListenStream=".to_owned());
    }
    if family != AddressFamily::INET && family != AddressFamily::INET6 {
        return Err(
            "is neither IPv4 nor IPv6; write an address and a port in ListenStream=".to_owned(),
        );
    }
    if sockopt::socket_type(&descriptor) != Ok(SocketType::STREAM) {
        return Err("is not TCP; write ListenStream= in its .socket unit".to_owned());
    }
    if sockopt::socket_acceptconn(&descriptor) != Ok(true) {
        return Err("does not listen; write Accept=no in its .socket unit".to_owned());
    }
    let listener = net::TcpListener::from(descriptor);
    let registered = listener.set_nonblocking(true);
    registered
        .and_then(|()| TcpListener::from_std(listener))
        .map_err(|error| cannot_be_used(&error))
}

fn cannot_be_used(error: &dyn fmt::Display) -> String {
    format!("cannot be used: {error}")
}
