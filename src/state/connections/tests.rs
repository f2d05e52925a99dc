use std::net::IpAddr;

use super::counts::{Holder, MAX_KNOWN_ADDRESSES, OpenConnection};
use super::*;
use crate::policy::identity::{Identity, ScraperId};

struct Fixture {
    limiter: Arc<ConnectionLimiter>,
    limits: Limits,
}

fn fixture(connections: usize, connections_per_address: usize) -> Fixture {
    let limits = Limits {
        connections,
        connections_per_address,
        connection_burst: 8,
        ..Limits::default()
    };
    Fixture {
        limiter: Arc::default(),
        limits,
    }
}

fn take(fixture: &Fixture, source: &str) -> Result<ConnectionGuard, Refusal> {
    let peer = Peer::new(source.parse().unwrap());
    ConnectionLimiter::take(&fixture.limiter, &peer, &fixture.limits)
        .map_err(|refused| refused.refusal)
}

/// The ID of the scraper with this name.
fn scraper(name: &str) -> ScraperId {
    let claim = format!("dns:{name}.example.org").parse().unwrap();
    Identity::claimed([claim]).unwrap().scraper()
}

fn is_evicted(guard: &ConnectionGuard) -> bool {
    let evicted = std::pin::pin!(guard.signals().evicted());
    let context = &mut std::task::Context::from_waker(std::task::Waker::noop());
    evicted.poll(context).is_ready()
}

#[test]
fn a_place_is_freed_when_its_guard_is_dropped() {
    let fixture = fixture(2, 2);
    let first = take(&fixture, "192.0.2.1:1").unwrap();
    let _second = take(&fixture, "192.0.2.2:1").unwrap();
    let refused = take(&fixture, "192.0.2.3:1").unwrap_err();
    assert_eq!(refused, Refusal::ConnectionLimit);
    drop(first);
    assert!(take(&fixture, "192.0.2.3:1").is_ok());
}

#[test]
fn one_address_cannot_take_all_places() {
    let fixture = fixture(8, 2);
    let _held: Vec<_> = ["[2001:db8::1]:1", "[2001:db8::2]:1"]
        .map(|source| take(&fixture, source).unwrap())
        .into();
    // Another address of the same /64 is the same host.
    let refused = take(&fixture, "[2001:db8::3]:1").unwrap_err();
    assert_eq!(refused, Refusal::ConnectionLimit);
    assert!(take(&fixture, "[2001:db8:0:1::1]:1").is_ok());
    assert!(take(&fixture, "192.0.2.1:1").is_ok());
}

#[test]
fn unknown_addresses_cannot_take_the_places_reserved_for_known_ones() {
    let fixture = fixture(8, 8);
    let first = take(&fixture, "192.0.2.1:1").unwrap();
    assert_eq!(first.history(), PeerHistory::Unknown);
    first.authenticated(scraper("a")).unwrap();
    drop(first);
    let unknown = |number: u8| take(&fixture, &format!("198.51.100.{number}:1"));
    let held: Vec<_> = (0..6).map(|number| unknown(number).unwrap()).collect();
    assert_eq!(unknown(6).unwrap_err(), Refusal::ConnectionLimit);
    let seventh = take(&fixture, "192.0.2.1:2").unwrap();
    assert_eq!(seventh.history(), PeerHistory::Authenticated);
    let _eighth = take(&fixture, "192.0.2.1:3").unwrap();
    // From then on, it evicts handshakes of unknown addresses.
    assert!(!held.iter().any(is_evicted));
    let _ninth = take(&fixture, "192.0.2.1:4").unwrap();
    assert!(is_evicted(&held[0]));
    assert!(!held.iter().skip(1).any(is_evicted));
}

#[tokio::test(start_paused = true)]
async fn the_address_that_authenticated_longest_ago_is_forgotten_first() {
    let fixture = fixture(8, 8);
    let address = |number: usize| {
        let host = u32::try_from(number).unwrap();
        IpAddr::from(std::net::Ipv4Addr::from_bits(0x0a00_0000 + host))
    };
    for number in 0..MAX_KNOWN_ADDRESSES {
        fixture.limiter.lock().remember(address(number));
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
    }
    fixture.limiter.lock().remember(address(0));
    fixture
        .limiter
        .lock()
        .remember(address(MAX_KNOWN_ADDRESSES));
    let counts = fixture.limiter.lock();
    assert_eq!(counts.known_addresses.len(), MAX_KNOWN_ADDRESSES);
    for (number, is_known) in [
        (0, true),
        (1, false),
        (2, true),
        (MAX_KNOWN_ADDRESSES, true),
    ] {
        assert_eq!(
            counts.known_addresses.contains_key(&address(number)),
            is_known
        );
    }
}

#[test]
fn connections_of_one_address_are_rate_limited() {
    let fixture = fixture(8, 8);
    let refusals: Vec<_> = (0..100)
        .filter_map(|_| take(&fixture, "192.0.2.1:1").err())
        .collect();
    assert!(refusals.len() > 50, "{} of 100", refusals.len());
    assert!(refusals.iter().all(|refusal| *refusal == Refusal::Rate));
    assert!(take(&fixture, "192.0.2.2:1").is_ok());
}

#[test]
fn changed_limits_apply_to_the_next_connection() {
    let mut fixture = fixture(8, 8);
    let _held = take(&fixture, "192.0.2.1:1").unwrap();
    fixture.limits.connections = 1;
    let refused = take(&fixture, "192.0.2.2:1").unwrap_err();
    assert_eq!(refused, Refusal::ConnectionLimit);
    fixture.limits.connections = 2;
    fixture.limits.connection_burst = 1;
    drop(take(&fixture, "192.0.2.3:1").unwrap());
    assert_eq!(take(&fixture, "192.0.2.3:1").unwrap_err(), Refusal::Rate);
}

/// Authenticated connections of one scraper, one from each address.
fn authenticated(
    fixture: &Fixture,
    name: &str,
    addresses: std::ops::Range<usize>,
) -> Vec<ConnectionGuard> {
    let connect = |number| {
        let guard = take(fixture, &format!("192.0.2.{number}:1")).unwrap();
        guard.authenticated(scraper(name)).unwrap();
        guard
    };
    addresses.map(connect).collect()
}

#[test]
fn a_scraper_with_every_place_loses_them_to_another_until_both_have_half() {
    let fixture = fixture(32, 32);
    // Two places are for handshakes.
    let hog = authenticated(&fixture, "hog", 0..30);
    let _silent = [take(&fixture, "192.0.2.1:2"), take(&fixture, "192.0.2.1:3")];
    let mut others = Vec::new();
    for number in 0..15 {
        // From an unknown address: it evicts a silent handshake.
        let other = take(&fixture, &format!("198.51.100.{number}:1")).unwrap();
        other.authenticated(scraper("other")).unwrap();
        others.push(other);
    }
    assert_eq!(hog.iter().filter(|guard| is_evicted(guard)).count(), 15);
    assert!(!others.iter().any(is_evicted));
    // Now both have the same number: neither evicts the other.
    for guard in hog.iter().chain(&others) {
        guard.signals().set_serving(true);
    }
    let more = take(&fixture, "198.51.100.0:2").unwrap();
    let refused = more.authenticated(scraper("other")).unwrap_err();
    assert_eq!(refused.refusal, Refusal::ConnectionLimit);
    assert_eq!(
        refused.detail.unwrap(),
        "limits.connections = 32, of which this scraper holds 15"
    );
}

#[test]
fn idle_connections_are_evicted_first_oldest_first() {
    let fixture = fixture(16, 16);
    let hog = authenticated(&fixture, "hog", 0..15);
    for (number, guard) in hog.iter().enumerate() {
        guard.signals().set_serving(![3, 5].contains(&number));
    }
    let _others = authenticated(&fixture, "other", 100..103);
    let evicted: Vec<_> = (0..15).filter(|number| is_evicted(&hog[*number])).collect();
    // Then the newest of those with a request in flight.
    assert_eq!(evicted, [3, 5, 14]);
}

#[test]
fn the_address_with_the_most_handshakes_loses_its_oldest_to_others() {
    let fixture = fixture(16, 16);
    let silent: Vec<_> = (0..8)
        .map(|_| take(&fixture, "192.0.2.1:1").unwrap())
        .collect();
    let mut limits = fixture.limits;
    limits.connection_burst = 16;
    let more: Vec<_> = (8..12)
        .map(|_| {
            take(
                &Fixture {
                    limits,
                    limiter: Arc::clone(&fixture.limiter),
                },
                "192.0.2.1:1",
            )
            .unwrap()
        })
        .collect();
    // Its own new connections are refused.
    assert!(take(&fixture, "192.0.2.1:1").is_err());
    let other = take(&fixture, "192.0.2.2:1").unwrap();
    assert!(is_evicted(&silent[0]));
    assert!(!silent.iter().skip(1).chain(&more).any(is_evicted));
    // Without a lead, no handshake is evicted.
    let _more: Vec<_> = (0..5)
        .map(|_| take(&fixture, "192.0.2.2:1").unwrap())
        .collect();
    assert!(take(&fixture, "192.0.2.2:1").is_err());
    assert!(!is_evicted(&other));
}

#[test]
fn a_known_address_evicts_the_oldest_handshake_of_an_unknown_one() {
    let fixture = fixture(16, 16);
    drop(authenticated(&fixture, "known", 1..2));
    let _hog = authenticated(&fixture, "hog", 100..112);
    let unknown: Vec<_> = (0..4)
        .map(|number| take(&fixture, &format!("198.51.100.{number}:1")).unwrap())
        .collect();
    let known = take(&fixture, "192.0.2.1:1").unwrap();
    assert_eq!(known.history(), PeerHistory::Authenticated);
    assert!(is_evicted(&unknown[0]));
    assert!(!unknown.iter().skip(1).any(is_evicted));
}

#[test]
fn handshakes_of_an_address_that_has_since_authenticated_are_not_evicted() {
    let fixture = fixture(2, 3);
    let [first, second] = [1, 2].map(|port| take(&fixture, &format!("192.0.2.1:{port}")).unwrap());
    first.authenticated(scraper("one")).unwrap();
    assert_eq!(second.history(), PeerHistory::Unknown);
    let refused = take(&fixture, "192.0.2.1:3").unwrap_err();
    assert_eq!(refused, Refusal::ConnectionLimit);
    assert!(!is_evicted(&second));
}

#[test]
fn an_address_is_forgotten_when_its_last_admitted_scraper_is_revoked() {
    let fixture = fixture(16, 16);
    let history = |source| take(&fixture, source).unwrap().history();
    let revoked = take(&fixture, "192.0.2.1:1").unwrap();
    revoked.authenticated(scraper("revoked")).unwrap();
    let other = take(&fixture, "192.0.2.1:2").unwrap();
    other.authenticated(scraper("other")).unwrap();
    revoked.forget_revoked(scraper("revoked"));
    assert_eq!(history("192.0.2.1:3"), PeerHistory::Authenticated);
    drop(other);
    revoked.forget_revoked(scraper("revoked"));
    assert_eq!(history("192.0.2.1:3"), PeerHistory::Unknown);
}

#[test]
fn a_reload_forgets_addresses_without_an_open_connection() {
    let fixture = fixture(16, 16);
    let history = |source| take(&fixture, source).unwrap().history();
    let _there = authenticated(&fixture, "there", 1..2);
    drop(authenticated(&fixture, "gone", 2..3));
    assert_eq!(history("192.0.2.2:2"), PeerHistory::Authenticated);
    // An open handshake is not a connected scraper.
    let _handshake = take(&fixture, "192.0.2.2:3").unwrap();
    fixture.limiter.forget_absent();
    assert_eq!(history("192.0.2.1:2"), PeerHistory::Authenticated);
    assert_eq!(history("192.0.2.2:2"), PeerHistory::Unknown);
}

proptest::proptest! {
    #[test]
    fn counts_always_match_the_open_connections(
        steps in proptest::collection::vec((0..4u8, 0..6u8, 0..3u8), 0..200),
    ) {
        let mut fixture = fixture(16, 12);
        fixture.limits.connection_burst = 1000;
        let mut held: Vec<ConnectionGuard> = Vec::new();
        for (step, address, name) in steps {
            match step {
                0 | 1 => held.extend(take(&fixture, &format!("192.0.2.{address}:1"))),
                2 => if let Some(guard) = held.get(usize::from(address)) {
                    drop(guard.authenticated(scraper(&name.to_string())));
                },
                _ => if !held.is_empty() {
                    drop(held.swap_remove(usize::from(address) % held.len()));
                },
            }
            let counts = fixture.limiter.lock();
            let of = |holder: &dyn Fn(&OpenConnection) -> bool| counts.open.values().filter(|connection| holder(connection)).count();
            let assigned = of(&|connection| matches!(connection.holder, Holder::Scraper(_)));
            proptest::prop_assert!(counts.open.len() <= 16 && assigned <= 15);
            proptest::prop_assert_eq!(counts.authenticated, assigned);
            proptest::prop_assert_eq!(counts.by_scraper.values().sum::<usize>(), assigned);
            proptest::prop_assert_eq!(counts.unknown, of(&|connection| connection.holder == Holder::Handshake(PeerHistory::Unknown)));
            for (address, at) in &counts.by_address {
                proptest::prop_assert_eq!(at.open, of(&|connection| connection.address == *address));
                proptest::prop_assert_eq!(at.handshakes, of(&|connection| connection.address == *address && matches!(connection.holder, Holder::Handshake(_))));
            }
        }
        drop(held);
        let counts = fixture.limiter.lock();
        proptest::prop_assert!(counts.open.is_empty() && counts.by_address.is_empty() && counts.by_scraper.is_empty());
        proptest::prop_assert_eq!((counts.authenticated, counts.unknown), (0, 0));
    }
}

#[test]
fn a_scraper_with_more_targets_than_places_loses_its_own_newest_idle_connection() {
    let fixture = fixture(8, 8);
    let held = authenticated(&fixture, "a", 0..7);
    let next = take(&fixture, "192.0.2.200:1").unwrap();
    next.authenticated(scraper("a")).unwrap();
    let evicted: Vec<bool> = held.iter().map(is_evicted).collect();
    assert_eq!(evicted, [false, false, false, false, false, false, true]);
    // A connection with a request in flight is not evicted.
    held.iter()
        .for_each(|guard| guard.signals().set_serving(true));
    next.signals().set_serving(true);
    let last = take(&fixture, "192.0.2.201:1").unwrap();
    let refused = last.authenticated(scraper("a")).unwrap_err();
    assert_eq!(refused.refusal, Refusal::ConnectionLimit);
}

#[test]
fn one_of_four_places_is_reserved_for_handshakes() {
    let fixture = fixture(4, 4);
    let held = authenticated(&fixture, "a", 0..3);
    let newcomer = take(&fixture, "192.0.2.200:1").unwrap();
    newcomer.authenticated(scraper("b")).unwrap();
    assert_eq!(held.iter().filter(|guard| is_evicted(guard)).count(), 1);
}

#[test]
fn handshakes_of_a_known_address_do_not_evict_the_last_unknown_one() {
    let fixture = fixture(4, 4);
    let first = take(&fixture, "192.0.2.1:1").unwrap();
    first.authenticated(scraper("a")).unwrap();
    let unknown = take(&fixture, "198.51.100.1:1").unwrap();
    let mut held = Vec::new();
    for port in 2..8 {
        held.extend(take(&fixture, &format!("192.0.2.1:{port}")));
    }
    assert!(!is_evicted(&unknown));
}
