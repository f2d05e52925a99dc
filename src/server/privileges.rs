//! What the user and the capabilities of this process mean for serving.

use std::fs;

use rustix::thread::{CapabilitySet, capabilities};

use crate::config::{Listen, Located};

/// Whether this process is root, or root of its user namespace.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The warning of a server that runs as root.
pub(crate) const ROOT_SERVES: &str = "aegis runs as root, and does not need to: run it as a user of its own, as the systemd units do";

/// What it means that a command looks as root, and the command that looks as aegis's user.
pub(crate) fn root_looks(command: &str) -> String {
    format!(
        "run as root, which may read files and connect to sockets that aegis's user may not; to look as that user, run: {command} --user NAME"
    )
}

/// Warns about each port that this process may not listen on.
pub(crate) fn privileged_ports(listen: &[Located<Listen>]) -> Vec<String> {
    let first = first_unprivileged_port();
    let addresses = listen.iter().filter_map(|given| given.value.address());
    let privileged = addresses.filter(|address| (1..first).contains(&address.port()));
    let privileged = privileged.filter(|_| !may_bind_all_ports());
    privileged
        .map(|address| {
            format!("listen: {address}: this user may not listen on ports below {first}; use another port or a systemd .socket unit")
        })
        .collect()
}

fn may_bind_all_ports() -> bool {
    capabilities(None).is_ok_and(|own| own.effective.contains(CapabilitySet::NET_BIND_SERVICE))
}

/// ip(7), `ip_unprivileged_port_start`
fn first_unprivileged_port() -> u16 {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let first = text.ok().and_then(|text| text.trim().parse().ok());
    first.unwrap_or(1024)
}
