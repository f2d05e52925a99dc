//! The rules for names and name constraints.

use std::net::Ipv6Addr;

use x509_parser::extensions::{GeneralName, NameConstraints, SubjectAlternativeName};

use super::Violation;

pub(super) fn of_names(names: &SubjectAlternativeName<'_>, is_leaf: bool) -> Option<Violation> {
    let names = &names.general_names;
    if names.is_empty() {
        return Some(Violation::NoNames);
    }
    if !names.iter().all(is_readable) {
        return Some(Violation::UnreadableName);
    }
    // Name constraints for IPv4 networks do not match it, but an identity pattern could.
    (is_leaf && names.iter().any(is_mapped_address)).then_some(Violation::MappedAddress)
}

pub(super) fn of_constraints(constraints: &NameConstraints<'_>) -> Option<Violation> {
    let (permitted, excluded) = (
        &constraints.permitted_subtrees,
        &constraints.excluded_subtrees,
    );
    if permitted.is_none() && excluded.is_none() {
        return Some(Violation::ConstrainsNothing);
    }
    let mut subtrees = permitted.iter().chain(excluded).flatten();
    // The chain check reads a network only if there is an address to compare.
    let is_sound = subtrees.all(|subtree| {
        let GeneralName::IPAddress(network) = subtree.base else {
            return true;
        };
        is_network(network)
    });
    (!is_sound).then_some(Violation::Mask)
}

fn is_readable(name: &GeneralName<'_>) -> bool {
    match name {
        GeneralName::IPAddress(octets) => matches!(octets.len(), 4 | 16),
        GeneralName::Invalid(..) => false,
        GeneralName::RFC822Name(text) | GeneralName::DNSName(text) | GeneralName::URI(text) => {
            text.is_ascii()
        }
        GeneralName::OtherName(..)
        | GeneralName::X400Address(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EDIPartyName(_)
        | GeneralName::RegisteredID(_) => true,
    }
}

/// Whether a name is an IPv4-mapped IPv6 address.
fn is_mapped_address(name: &GeneralName<'_>) -> bool {
    let GeneralName::IPAddress(octets) = name else {
        return false;
    };
    let address = <[u8; 16]>::try_from(*octets).map(Ipv6Addr::from);
    address.is_ok_and(|address| address.to_ipv4_mapped().is_some())
}

/// Whether the octets are an address and a contiguous mask (RFC 5280, section 4.2.1.10).
fn is_network(octets: &[u8]) -> bool {
    let mask = match octets.len() {
        8 | 32 => octets.split_at(octets.len() / 2).1,
        _ => return false,
    };
    let after_ones = mask.iter().skip_while(|octet| **octet == 0xff);
    let mut after_ones = after_ones.copied();
    let first = after_ones.next().unwrap_or_default();
    first.leading_ones() + first.trailing_zeros() == 8 && after_ones.all(|octet| octet == 0)
}
