//! Connections that use as much memory as they can: the documented maximum holds.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rcgen::DnType;
use rustls::{ConnectionTrafficSecrets, ExtractedSecrets};

use aegis::config::Limits;

use crate::harness::scraper::connect_from;
use crate::harness::{Aegis, Connection, PROMETHEUS, Scraper, Service, World, allow, wait_until};

/// The number of connections: few enough for the descriptor limit of every machine.
const CONNECTIONS: usize = 96;

/// The maximum for one connection in docs/security.md, in KiB.
const MAX_KIB_PER_CONNECTION: u64 = 512;

/// A service that reads nothing and, on request, sends as much as aegis takes.
struct Flood {
    is_open: Mutex<bool>,
    changed: Condvar,
    blocked: AtomicUsize,
}

impl Flood {
    fn serve(&self, stream: &mut UnixStream) {
        let mut is_open = self.is_open.lock().unwrap();
        while !*is_open {
            is_open = self.changed.wait(is_open).unwrap();
        }
        drop(is_open);
        // Chunks of a size that never fits the buffers exactly.
        let head =
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n";
        let chunk = [b"3a98\r\n".as_slice(), &[b'x'; 15_000], b"\r\n"].concat();
        stream
            .set_write_timeout(Some(Duration::from_millis(300)))
            .unwrap();
        if stream.write_all(head).is_ok() {
            while stream.write_all(&chunk).is_ok() {}
        }
        // aegis reads no further, and keeps what it has read until this connection closes.
        self.blocked.fetch_add(1, Ordering::Relaxed);
        let mut is_open = self.is_open.lock().unwrap();
        while *is_open {
            is_open = self.changed.wait(is_open).unwrap();
        }
    }

    fn set(&self, is_open: bool) {
        *self.is_open.lock().unwrap() = is_open;
        self.changed.notify_all();
    }
}

/// The memory of aegis without connections, in MiB: twice what it needs for a thousand services.
const WITHOUT_CONNECTIONS: usize = 32;

/// The maximum that the kernel keeps for a connection, in KiB: unread bytes and unsent bytes, each
/// with the packet or record that exceeds the limit.
const OF_THE_KERNEL: usize = 128 + 128;

#[test]
fn the_shipped_memory_limit_covers_the_worst_connections() {
    let each = usize::try_from(MAX_KIB_PER_CONNECTION).unwrap() + OF_THE_KERNEL;
    let needed = WITHOUT_CONNECTIONS + Limits::default().connections * each / 1024;
    for (file, limit) in [
        ("deploy/systemd/aegis.service", "MemoryMax=416M"),
        ("deploy/systemd/aegis-listen.service", "MemoryMax=416M"),
        ("deploy/nixos/module.nix", "MemoryMax = \"416M\";"),
        (
            "deploy/kubernetes/base/daemonset.yaml",
            "limits: {memory: 416Mi}",
        ),
        (
            "deploy/kubernetes/sidecar/deployment.yaml",
            "limits: {memory: 416Mi}",
        ),
        ("deploy/container/README.md", "--memory 416m"),
        (
            "docs/security.md",
            "32 MiB + 512 × (512 KiB + 256 KiB) = 416 MiB",
        ),
    ] {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file));
        assert!(text.unwrap().contains(limit), "{file} has no {limit}");
        let shipped: String = limit.chars().filter(char::is_ascii_digit).collect();
        assert!(
            shipped.ends_with("416") && needed <= 416,
            "{needed} MiB are needed"
        );
    }
}

#[test]
fn the_worst_connections_stay_within_the_documented_memory() {
    let mut world = World::new();
    let identity = format!(r#""dns:{PROMETHEUS}""#);
    world.settings.allow = allow(r#""127.0.0.0/8""#, &identity, r#""*""#);
    world.settings.limits = "scrapes_per_service = 512\nscrape_timeout = \"5m\"\nscrape_timeout_max = \"5m\"\nstall_timeout = \"5m\"".to_owned();
    world.settings.rest = "[services.flood]\nparams = [\"x\"]".to_owned();
    let flood = Arc::new(Flood {
        is_open: Mutex::default(),
        changed: Condvar::new(),
        blocked: AtomicUsize::new(0),
    });
    let serving = Arc::clone(&flood);
    let service = Service::with(&world.socket("flood"), move |stream| serving.serve(stream));
    let aegis = world.start();
    let scraper = worst_scraper(&world, &aegis);
    let before = aegis.memory("VmRSS:");
    let mut held: Vec<_> = (0..CONNECTIONS)
        .map(|number| worst_connection(&aegis, &scraper, number))
        .collect();
    service.wait_for_requests(CONNECTIONS);
    let port = aegis.address().port();
    wait_until(|| is_read(port));
    flood.set(true);
    wait_until(|| flood.blocked.load(Ordering::Relaxed) == CONNECTIONS);
    let each = (aegis.memory("VmHWM:") - before) / u64::try_from(CONNECTIONS).unwrap();
    assert!(
        each <= MAX_KIB_PER_CONNECTION,
        "{each} KiB for each connection"
    );
    // The kernel charges its buffers to aegis as well. The queues include the bytes on their way.
    // The scraper's window has 64 KiB here.
    let unsent = queues(port).map(|(unsent, _)| unsent).max().unwrap();
    assert!(unsent <= (128 + 64) << 10, "{unsent} bytes are unsent");
    for scraper in &mut held {
        scraper.set_nonblocking(true).unwrap();
        while scraper.write(&[0; 4096]).is_ok() {}
    }
    let unread = queues(port).map(|(_, unread)| unread).max().unwrap();
    assert!(unread <= 128 << 10, "{unread} bytes are unread");
    drop(held);
    flood.set(false);
}

/// A scraper with the largest certificates that aegis accepts.
fn worst_scraper(world: &World, aegis: &Aegis) -> Scraper {
    // Certificates that the chain does not need. aegis reads them too.
    let above = (0..4).map(|number| {
        let large = world.pki.intermediate_with(|params| {
            params.distinguished_name.push(
                DnType::OrganizationName,
                format!("{number}{}", "x".repeat(5_300)),
            );
        });
        large.ca_der()
    });
    let certificate = world.pki.client().with_chain(above);
    let mut scraper = Scraper::new(aegis.address(), &world.pki, Some(&certificate));
    let tls = Arc::get_mut(&mut scraper.tls).unwrap();
    tls.enable_secret_extraction = true;
    scraper
}

/// Sends a request, the start of the next request, and the start of a TLS message.
fn worst_connection(aegis: &Aegis, scraper: &Scraper, number: usize) -> TcpStream {
    let host = u8::try_from(number % 8 + 1).unwrap();
    let tcp = connect_from(Ipv4Addr::new(127, 0, 0, host).into(), scraper.address).unwrap();
    let mut connection = scraper.connect_over(tcp).unwrap();
    // aegis reads little more before it has verified the certificates.
    wait_until(|| aegis.count_logged(&["connected peer="]) > number);
    // Each of these is three bytes in the request that the service sees.
    let query = "~".repeat(15_900);
    let request = format!("GET /flood?x={query} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    connection.send(request.as_bytes()).unwrap();
    let begun = format!("GET /flood HTTP/1.1\r\nX: {}", "x".repeat(16_000));
    connection.send(begun.as_bytes()).unwrap();
    let Connection { stream, .. } = connection;
    let (conn, mut tcp) = stream.into_parts();
    let secrets = conn.dangerous_extract_secrets().unwrap();
    tcp.write_all(&unfinished_message(&secrets)).unwrap();
    tcp
}

/// Most of a handshake message of 65,280 bytes, in records of TLS 1.3 (RFC 8446, section 5.2).
fn unfinished_message(secrets: &ExtractedSecrets) -> Vec<u8> {
    const HANDSHAKE: u8 = 22;
    let (first, ConnectionTrafficSecrets::Aes256Gcm { key, iv }) = &secrets.tx else {
        panic!("another cipher");
    };
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_ref()).unwrap());
    let mut message = vec![24, 0, 0xff, 0];
    message.resize(60_000, 0);
    let mut records = Vec::new();
    for (part, sequence) in message.chunks(15_000).zip(*first..) {
        let mut nonce: [u8; NONCE_LEN] = iv.as_ref().try_into().unwrap();
        for (byte, of_sequence) in nonce[4..].iter_mut().zip(sequence.to_be_bytes()) {
            *byte ^= of_sequence;
        }
        let mut record = [part, &[HANDSHAKE]].concat();
        let length = u16::try_from(record.len() + AES_256_GCM.tag_len()).unwrap();
        let header = [&[23, 3, 3], length.to_be_bytes().as_slice()].concat();
        let nonce = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(nonce, Aad::from(&header), &mut record)
            .unwrap();
        records.extend(header);
        records.extend(record);
    }
    records
}

/// Whether everything that was sent to a port of this host has been read.
fn is_read(port: u16) -> bool {
    queues(port).all(|(_, unread)| unread == 0)
}

/// The bytes of each connection of a port that were not sent, and those that were not read.
fn queues(port: u16) -> impl Iterator<Item = (usize, usize)> {
    let connections = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let local = format!(":{port:04X}");
    let queue = |text: &str| usize::from_str_radix(text, 16).unwrap();
    let of_port = connections.lines().skip(1).filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let (unsent, unread) = fields[4].split_once(':').unwrap();
        let is_open = fields[3] == "01" && fields[1].ends_with(&local);
        is_open.then(|| (queue(unsent), queue(unread)))
    });
    of_port.collect::<Vec<_>>().into_iter()
}
