//! Networks and peers, compared with bit arithmetic.
//!
//! The input is a network and an address on two lines, or 33 or 34 bytes with both.
#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use aegis::policy::networks::{Network, Networks};
use aegis::policy::peer::Peer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some((network, address)) = numbers(bytes) {
        return judge(&network, address);
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let (network, address) = text.split_once('\n').unwrap_or((text, "::1"));
    judge(
        network,
        address.parse().unwrap_or(IpAddr::V6(Ipv6Addr::LOCALHOST)),
    );
});

/// A network without host bits, and an address that differs from it in a few bits.
fn numbers(bytes: &[u8]) -> Option<(String, IpAddr)> {
    let (prefix, rest) = bytes.split_first()?;
    let network = u128::from_be_bytes(rest.get(..16)?.try_into().ok()?);
    let address = u128::from_be_bytes(rest.get(16..32)?.try_into().ok()?);
    match rest.get(32..)? {
        [] => {
            let prefix = u32::from(*prefix) % 129;
            let mask = if prefix == 0 {
                0
            } else {
                u128::MAX << (128 - prefix)
            };
            let network = Ipv6Addr::from_bits(network & mask);
            Some((
                format!("{network}/{prefix}"),
                Ipv6Addr::from_bits(address).into(),
            ))
        }
        [_] => {
            let prefix = u32::from(*prefix) % 33;
            let mask = if prefix == 0 {
                0
            } else {
                u32::MAX << (32 - prefix)
            };
            let network = Ipv4Addr::from_bits(network as u32 & mask);
            Some((
                format!("{network}/{prefix}"),
                Ipv4Addr::from_bits(address as u32).into(),
            ))
        }
        _ => None,
    }
}

fn judge(text: &str, address: IpAddr) {
    let read = read(text);
    let parsed = text.parse::<Network>();
    assert_eq!(parsed.is_ok(), read.is_some(), "{text:?}");
    let (Ok(network), Some((base, prefix))) = (parsed, read) else {
        return;
    };
    // The text of a network parses to the same network.
    assert_eq!(network.to_string().parse(), Ok(network));
    assert_eq!(network.is_ipv4(), base.is_ipv4());
    assert_eq!(network.is_any_address(), prefix == 0);
    let peer = Peer::new(SocketAddr::new(address, 1));
    let networks = Networks::try_from(vec![network]).unwrap();
    assert_eq!(
        networks.contain(&peer),
        holds(base, prefix, plain(address)),
        "{text} {address}"
    );
}

/// Parses a network; `None` if it has host bits or is IPv4-mapped.
fn read(text: &str) -> Option<(IpAddr, u32)> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        None => longest,
        Some(digits) => {
            let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            let is_short = digits == "0" || !digits.starts_with('0');
            let prefix = digits.parse().ok().filter(|_| is_plain && is_short)?;
            if prefix > longest {
                return None;
            }
            prefix
        }
    };
    let is_mapped = plain(address) != address;
    (!is_mapped && first(address, prefix) == address).then_some((address, prefix))
}

fn holds(base: IpAddr, prefix: u32, address: IpAddr) -> bool {
    base.is_ipv4() == address.is_ipv4() && first(address, prefix) == base
}

/// The first address of the network around an address.
fn first(address: IpAddr, prefix: u32) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let kept = address.to_bits().checked_shr(32 - prefix).unwrap_or(0);
            Ipv4Addr::from_bits(kept.checked_shl(32 - prefix).unwrap_or(0)).into()
        }
        IpAddr::V6(address) => {
            let kept = address.to_bits().checked_shr(128 - prefix).unwrap_or(0);
            Ipv6Addr::from_bits(kept.checked_shl(128 - prefix).unwrap_or(0)).into()
        }
    }
}

/// An IPv4-mapped IPv6 address is an IPv4 address.
fn plain(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(six) if six.to_bits() >> 32 == 0xffff => {
            Ipv4Addr::from_bits(six.to_bits() as u32).into()
        }
        other => other,
    }
}
