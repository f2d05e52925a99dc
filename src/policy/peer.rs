//! A scraper's source address, canonical. Does not decide who may connect.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// A scraper's source address as the kernel reported it, in canonical form.
///
/// An IPv4 scraper of a dual-stack listener is reported as `::ffff:192.0.2.7` (RFC 4291,
/// section 2.5.5.2). As a `Peer` it is `192.0.2.7`, so that it cannot slip past an IPv4 network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    address: IpAddr,
    port: u16,
}

impl Peer {
    /// Makes the peer of a connection from its source address.
    #[must_use]
    pub fn new(source: SocketAddr) -> Self {
        Self {
            address: source.ip().to_canonical(),
            port: source.port(),
        }
    }

    /// The source port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The canonical address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The address that limits are counted by: an IPv6 host owns its whole /64, so that its
    /// addresses count as one.
    #[must_use]
    pub fn counted_as(&self) -> IpAddr {
        match self.address {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => {
                let host_bits = u128::MAX >> COUNTED_PREFIX;
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !host_bits))
            }
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

/// What one site gets by default (RFC 6177); a host with it can use any address inside.
const COUNTED_PREFIX: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(source: &str) -> Peer {
        Peer::new(source.parse().unwrap())
    }

    #[test]
    fn a_mapped_address_is_its_ipv4_address() {
        assert_eq!(peer("[::ffff:192.0.2.7]:9"), peer("192.0.2.7:9"));
        assert_eq!(peer("[::ffff:192.0.2.7]:9").to_string(), "192.0.2.7");
    }

    #[test]
    fn ipv6_addresses_of_one_64_count_as_one() {
        let counted = |source| peer(source).counted_as().to_string();
        assert_eq!(counted("[2001:db8:1:2:3:4:5:6]:1"), "2001:db8:1:2::");
        assert_eq!(counted("[2001:db8:1:3::1]:1"), "2001:db8:1:3::");
        assert_eq!(counted("192.0.2.7:1"), "192.0.2.7");
        assert_eq!(counted("[::ffff:192.0.2.7]:1"), "192.0.2.7");
    }
}
