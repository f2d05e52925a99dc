//! The parts of a scrape that only compute, each measured alone: `cargo bench --bench pure`.
//!
//! The request's head is parsed by a private stage; `benches/instructions`
//! counts it within whole scrapes.

#![expect(clippy::unwrap_used, reason = "a benchmark may panic")]

use std::net::SocketAddr;

use aegis::policy::identity::{Identity, IdentityPattern};
use aegis::policy::networks::{Network, Networks};
use aegis::policy::peer::Peer;
use aegis::policy::service_name::{ServiceName, ServicePattern};
use aegis::policy::{Entry, Policy};
use aegis::text::origin::Origin;
use divan::{Bencher, black_box};
use rcgen::{CertificateParams, KeyPair, SanType};

fn main() {
    divan::main();
}

#[divan::bench(args = ["node", "postgres_exporter-15@main", "..", "node%2fmetrics"])]
fn service_name(text: &str) -> bool {
    black_box(text).parse::<ServiceName>().is_ok()
}

#[divan::bench]
fn peer_of_an_address(bencher: Bencher<'_, '_>) {
    let source = source();
    bencher.bench(|| Peer::new(black_box(source)));
}

/// Reads the names, the pin and the serial number from the DER of a leaf.
#[divan::bench]
fn identity_of_a_leaf(bencher: Bencher<'_, '_>) {
    let leaf = leaf();
    bencher.bench(|| Identity::from_leaf(black_box(&leaf)).unwrap());
}

#[divan::bench(args = [1, 10, 100])]
fn admit_by_the_last_entry(bencher: Bencher<'_, '_>, entries: usize) {
    let (policy, peer) = (policy(entries), Peer::new(source()));
    bencher.bench(|| policy.admits(black_box(&peer)));
}

#[divan::bench(args = [1, 10, 100])]
fn authorize_by_the_last_entry(bencher: Bencher<'_, '_>, entries: usize) {
    let (policy, peer) = (policy(entries), Peer::new(source()));
    let identity = Identity::from_leaf(&leaf()).unwrap();
    let service: ServiceName = "node".parse().unwrap();
    bencher
        .with_inputs(|| service.clone())
        .bench_values(|service| policy.authorize(&peer, &identity, service).unwrap());
}

fn source() -> SocketAddr {
    "[fd00:5ca1::7]:40000".parse().unwrap()
}

fn leaf() -> Vec<u8> {
    let mut params = CertificateParams::new(["prometheus.example.org".to_owned()]).unwrap();
    let uri = "spiffe://example.org/prometheus".try_into().unwrap();
    params.subject_alt_names.push(SanType::URI(uri));
    let signed = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    signed.der().to_vec()
}

/// This many entries, of which only the last one matches.
fn policy(entries: usize) -> Policy {
    let entry = |number: usize| {
        let last = number + 1 == entries;
        let network: Network = if last {
            "fd00:5ca1::/64".parse().unwrap()
        } else {
            format!("10.{number}.0.0/16").parse().unwrap()
        };
        let identity: IdentityPattern = "dns:prometheus.example.org".parse().unwrap();
        let service: ServicePattern = "node".parse().unwrap();
        Entry {
            networks: Networks::try_from(vec![network]).unwrap(),
            identities: vec![identity],
            services: vec![service],
            origin: Origin::Unset,
        }
    };
    Policy::new((0..entries).map(entry).collect()).unwrap()
}
