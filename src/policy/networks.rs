//! The networks that an allow entry admits. An empty list cannot exist.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use crate::policy::peer::Peer;

/// One or more networks; a peer is in them if it is in any.
///
/// Never empty: an empty allowlist is a configuration error, and means neither all nor none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Networks(Vec<Network>);

impl Networks {
    /// Whether the peer's canonical address lies in one of the networks.
    ///
    /// `0.0.0.0/0` contains every IPv4 address and no IPv6 address, `::/0` the reverse.
    #[must_use]
    pub fn contain(&self, peer: &Peer) -> bool {
        self.0
            .iter()
            .any(|network| network.0.contains(&peer.address()))
    }

    /// Whether each of the other networks lies in one of these.
    #[must_use]
    pub fn cover(&self, others: &Self) -> bool {
        let covers = |other: &Network| self.0.iter().any(|network| network.0.contains(&other.0));
        others.0.iter().all(covers)
    }

    /// The networks in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = &Network> {
        self.0.iter()
    }
}

impl TryFrom<Vec<Network>> for Networks {
    type Error = NoNetworks;

    fn try_from(networks: Vec<Network>) -> Result<Self, NoNetworks> {
        if networks.is_empty() {
            return Err(NoNetworks);
        }
        Ok(Self(networks))
    }
}

/// A list of networks was empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoNetworks;

/// One network in CIDR notation, or a single address; no host bits are set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(IpNet);

impl Network {
    /// Whether it is an IPv4 network.
    #[must_use]
    pub fn is_ipv4(&self) -> bool {
        matches!(self.0, IpNet::V4(_))
    }

    /// Whether the network contains every address of its family.
    #[must_use]
    pub fn is_any_address(&self) -> bool {
        self.0.prefix_len() == 0
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| InvalidNetwork::Syntax)?;
        let network = match prefix {
            Some(prefix) => prefix_length(prefix)
                .and_then(|length| IpNet::new(address, length).ok())
                .ok_or(InvalidNetwork::Syntax)?,
            None => IpNet::from(address),
        };
        // A peer is never a mapped address, so such a network would match no client.
        if let IpNet::V6(v6) = network
            && v6.addr().to_ipv4_mapped().is_some()
        {
            return Err(InvalidNetwork::Mapped);
        }
        if network.trunc() != network {
            return Err(InvalidNetwork::HostBits {
                meant: network.trunc(),
            });
        }
        Ok(Self(network))
    }
}

/// Parses the part after the slash. A leading zero is rejected, as std rejects it in an address:
/// some parsers would read it as octal.
fn prefix_length(text: &str) -> Option<u8> {
    let is_plain = text == "0" || text.starts_with(|first| matches!(first, '1'..='9'));
    text.parse().ok().filter(|_| is_plain)
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a text is not a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidNetwork {
    /// Bits beyond the prefix are set: the author meant one address, or another network.
    HostBits {
        /// The network with those bits cleared.
        meant: IpNet,
    },
    /// An IPv4-mapped IPv6 network, which no canonical address is in.
    Mapped,
    /// Neither `ADDRESS/PREFIX` nor an address.
    Syntax,
}

impl fmt::Display for InvalidNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HostBits { meant } => write!(
                f,
                "has bits set beyond its prefix; write {meant} for the network, or the address alone for one host"
            ),
            Self::Mapped => f.write_str(
                "is an IPv4-mapped network, but IPv4 scrapers are matched as IPv4; write it as an IPv4 network",
            ),
            Self::Syntax => {
                f.write_str("is not a network; write it as 10.100.0.0/24, fd00:5ca1::/64 or one address")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn networks(list: &[&str]) -> Networks {
        let parsed: Vec<Network> = list.iter().map(|text| text.parse().unwrap()).collect();
        Networks::try_from(parsed).unwrap()
    }

    fn peer(source: &str) -> Peer {
        Peer::new(source.parse().unwrap())
    }

    #[test]
    fn an_empty_list_is_an_error() {
        assert_eq!(Networks::try_from(vec![]).unwrap_err(), NoNetworks);
    }

    #[test]
    fn membership_follows_the_canonical_address() {
        const CASES: &[(&[&str], &str, bool)] = &[
            (&["192.0.2.0/24"], "192.0.2.7:1", true),
            (&["192.0.2.0/24"], "[::ffff:192.0.2.7]:1", true),
            (&["192.0.2.0/24"], "192.0.3.7:1", false),
            (&["192.0.2.7"], "192.0.2.7:1", true),
            (&["192.0.2.7"], "192.0.2.8:1", false),
            (&["::/0"], "192.0.2.7:1", false),
            (&["::/0"], "[::ffff:192.0.2.7]:1", false),
            (&["0.0.0.0/0"], "[2001:db8::1]:1", false),
            (&["2001:db8::/64"], "[2001:db8::ffff]:1", true),
            (&["2001:db8::/64"], "[2001:db8:0:1::1]:1", false),
            (&["192.0.2.0/24", "2001:db8::/64"], "[2001:db8::1]:1", true),
        ];
        for (list, source, expected) in CASES {
            assert_eq!(
                networks(list).contain(&peer(source)),
                *expected,
                "{source} in {list:?}"
            );
        }
    }

    #[test]
    fn invalid_networks_say_why() {
        const CASES: &[(&str, &str)] = &[
            ("192.0.2.7/24", "write 192.0.2.0/24"),
            ("2001:db8::1/64", "write 2001:db8::/64"),
            ("::ffff:192.0.2.0/120", "IPv4-mapped"),
            ("::ffff:192.0.2.1", "IPv4-mapped"),
            ("192.0.2.0/33", "is not a network"),
            ("10.0.0.0/08", "is not a network"),
            ("10.0.0.0/010", "is not a network"),
            ("10.0.0.0/+8", "is not a network"),
            ("010.0.0.0/8", "is not a network"),
            ("192.00.2.0/24", "is not a network"),
            ("192.0.2.0/24/24", "is not a network"),
            ("10.0.0.0/", "is not a network"),
            ("192.0.2/24", "is not a network"),
            ("fe80::1%eth0", "is not a network"),
            ("localhost", "is not a network"),
            ("*", "is not a network"),
            (" 192.0.2.0/24", "is not a network"),
            ("", "is not a network"),
        ];
        for (text, why) in CASES {
            let error = text.parse::<Network>().unwrap_err().to_string();
            assert!(error.contains(why), "{text:?}: {error:?}");
        }
    }

    #[test]
    fn networks_display_as_written_and_detect_any_address() {
        const CASES: &[(&str, bool, bool)] = &[
            ("192.0.2.0/24", true, false),
            ("0.0.0.0/0", true, true),
            ("2001:db8::/64", false, false),
            ("::/0", false, true),
        ];
        for (text, is_ipv4, is_any_address) in CASES {
            let network: Network = text.parse().unwrap();
            assert_eq!(network.to_string(), *text);
            assert_eq!(network.is_ipv4(), *is_ipv4, "{text}");
            assert_eq!(network.is_any_address(), *is_any_address, "{text}");
        }
        let list = networks(&["192.0.2.7", "::1"]);
        let shown: Vec<String> = list.iter().map(Network::to_string).collect();
        assert_eq!(shown, ["192.0.2.7/32", "::1/128"]);
    }

    proptest! {
        #[test]
        fn a_network_is_read_as_its_address_and_its_number_are(text in "[0-9a-f.:]{0,12}(/[+0-9]{0,3})?") {
            let (address, prefix) = text.split_once('/').unwrap_or((&text, "0"));
            let is_read = address.parse::<IpAddr>().is_ok() && prefix.parse::<u8>().is_ok();
            match text.parse::<Network>() {
                Ok(network) => {
                    prop_assert!(is_read);
                    prop_assert_eq!(network.to_string().parse(), Ok(network));
                }
                Err(why) => prop_assert!(!is_read || why != InvalidNetwork::Syntax || prefix != "0"),
            }
        }

        #[test]
        fn membership_agrees_with_bit_arithmetic_in_ipv6(network: u128, prefix in 0u32..=128, flip in 0u32..128) {
            let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
            let base = std::net::Ipv6Addr::from(network & mask);
            prop_assume!(base.to_ipv4_mapped().is_none());
            let list = networks(&[format!("{base}/{prefix}").as_str()]);
            // One bit away: inside if that bit is none of the prefix.
            let near = std::net::Ipv6Addr::from(network ^ (1 << flip));
            prop_assume!(near.to_ipv4_mapped().is_none());
            let source = SocketAddr::new(near.into(), 1);
            prop_assert_eq!(list.contain(&Peer::new(source)), flip < 128 - prefix);
        }

        #[test]
        fn membership_agrees_with_bit_arithmetic(network: u32, prefix in 0u32..=32, address: u32) {
            let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
            let base = std::net::Ipv4Addr::from(network & mask);
            let list = networks(&[format!("{base}/{prefix}").as_str()]);
            let source = SocketAddr::new(std::net::Ipv4Addr::from(address).into(), 1);
            prop_assert_eq!(list.contain(&Peer::new(source)), address & mask == network & mask);
        }
    }

    use std::net::SocketAddr;
}
