//! Sockets that somebody else listens on, and hands over: whoever connects while aegis restarts
//! waits in their queue, and aegis itself makes no TCP socket at all.

use std::env;
use std::fmt;
use std::net;
use std::os::fd::OwnedFd;
use std::process;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, sockopt};
use tokio::net::TcpListener;

use crate::config::{Fault, Given, Listen};
use crate::origin::Origin;

/// The descriptors that were handed over.
#[derive(Debug)]
pub(crate) struct Inherited(Vec<Socket>);

#[derive(Debug)]
struct Socket {
    name: String,
    descriptor: OwnedFd,
}

impl Inherited {
    /// Takes over what was handed to this process. To be called once, and before anything else
    /// opens a descriptor: it would be taken for one of those if the environment counted wrongly.
    ///
    /// # Errors
    /// The environment counts descriptors that are not there, or cannot be read.
    pub(crate) fn take() -> Result<Self, Fault> {
        let fault = |error: &dyn fmt::Display| {
            let problem = format!(
                "LISTEN_PID and LISTEN_FDS promise what is not there: {error}; unset both, or start aegis by its .socket unit or by systemd-socket-activate"
            );
            Fault::new(&Origin::Unset, "listen", problem)
        };
        // Marks them close-on-exec as well, and finds those that are not open.
        let count = sd_notify::listen_fds().map_err(|error| fault(&error))?;
        let taken = match count.len() {
            0 => Vec::new(),
            _ => sd_listen_fds::get().map_err(|error| fault(&error))?,
        };
        let sockets = taken.into_iter().map(|(name, descriptor)| Socket {
            // As sd_listen_fds_with_names(3) calls those without a name.
            name: name.unwrap_or_else(|| "unknown".to_owned()),
            descriptor: descriptor.into_std(),
        });
        Ok(Self(sockets.collect()))
    }

    /// Takes the sockets that the entries of a list mean, in its order.
    ///
    /// # Errors
    /// Entries that none is there for, sockets that no TCP scraper can come by, and those that
    /// no entry takes: whoever connected there would wait in vain.
    pub(crate) fn claim(self, list: &[Given<Listen>]) -> Result<Vec<TcpListener>, Vec<Fault>> {
        let there = names(&self.0);
        let Self(mut left) = self;
        let (mut listeners, mut faults) = (Vec::new(), Vec::new());
        let named: Vec<&str> = list.iter().filter_map(|given| given.value.name()).collect();
        for given in list {
            let entry = &given.value;
            if entry.address().is_some() {
                continue;
            }
            let is_meant = |socket: &mut Socket| match entry.name() {
                Some(name) => socket.name == name,
                None => !named.contains(&socket.name.as_str()),
            };
            let meant: Vec<Socket> = left.extract_if(.., is_meant).collect();
            let mut fault = |problem: &str| {
                let problem = format!("{entry}: {problem}");
                faults.push(Fault::new(&given.origin, "listen", problem));
            };
            match (meant.is_empty(), there.is_empty()) {
                (false, _) => {}
                (true, true) => fault(&why_none()),
                (true, false) => fault(&format!(
                    "no such socket was handed over, or another entry has it; there is {there}"
                )),
            }
            for Socket { name, descriptor } in meant {
                match listener(descriptor) {
                    Ok(listener) => listeners.push(listener),
                    Err(problem) => fault(&format!("the socket {name:?} {problem}")),
                }
            }
        }
        if !left.is_empty() {
            let problem = format!(
                "systemd handed over {}, which no entry takes, so that whoever connects there would wait in vain; list \"systemd\", or disable the .socket unit",
                names(&left)
            );
            faults.push(Fault::new(&Origin::Unset, "listen", problem));
        }
        match faults.is_empty() {
            true => Ok(listeners),
            false => Err(faults),
        }
    }
}

fn names(sockets: &[Socket]) -> String {
    let names = sockets.iter().map(|socket| format!("{:?}", socket.name));
    names.collect::<Vec<_>>().join(", ")
}

/// Why this process has none, as the environment tells it.
fn why_none() -> String {
    let meant_for = env::var("LISTEN_PID");
    match meant_for {
        Ok(other) if other != process::id().to_string() => format!(
            "no socket was handed over: LISTEN_PID is {other:?}, and this is process {}; a program in between has to exec aegis",
            process::id()
        ),
        Ok(_) | Err(_) => "no socket was handed over; start aegis by its .socket unit or by systemd-socket-activate, or list addresses".to_owned(),
    }
}

/// The descriptor as what it must be.
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
            "is of neither IPv4 nor IPv6; write an address and a port in ListenStream=".to_owned(),
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
