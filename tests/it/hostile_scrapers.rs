//! Attacks by clients that may connect: each one ends, and other clients are still served.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::sync::Arc;

use rustls::ClientConnection;
use rustls::pki_types::ServerName;

use crate::harness::admin_socket;
use crate::harness::scraper::{client_config, connect, connect_from};
use crate::harness::{Aegis, PROMETHEUS, Service, World, allow, answer, metric, wait_until};

struct Fixture {
    world: World,
    aegis: Aegis,
    service: Service,
}

/// A world in which all of this host may connect, from any of its addresses.
fn fixture(limits: &str) -> Fixture {
    let mut world = World::new();
    let identity = format!(r#""dns:{PROMETHEUS}""#);
    world.settings.allow = allow(r#""127.0.0.0/8""#, &identity, r#""*""#);
    world.settings.limits = limits.to_owned();
    world.settings.top = "admin_socket = \"admin.sock\"".to_owned();
    let service = world.service("node", answer("up 1\n"));
    let aegis = world.start();
    Fixture {
        world,
        aegis,
        service,
    }
}

impl Fixture {
    /// Scrapes from an address of this host.
    fn scrape_from(&self, host: u8) -> std::io::Result<String> {
        let tcp = connect_from(local(host), self.aegis.address())?;
        let mut connection = self.world.prometheus(&self.aegis).connect_over(tcp)?;
        Ok(connection.get("/node")?.text())
    }

    /// Waits until this many connections are open. The operator's connection does not count.
    fn wait_for_connections(&self, count: usize) {
        let is_so = format!("\naegis_connections {count}\n");
        let admin = self.world.path("admin.sock");
        wait_until(|| {
            admin_socket::request(&admin, "GET", "/metrics", "")
                .text()
                .contains(&is_so)
        });
    }

    /// The number of open descriptors of aegis, including the operator's connection.
    fn open_descriptors(&self) -> f64 {
        let own =
            admin_socket::request(&self.world.path("admin.sock"), "GET", "/metrics", "").text();
        metric(&own, "process_open_fds").unwrap()
    }

    /// A silent connection from an address of this host.
    fn silent_from(&self, host: u8) -> TcpStream {
        connect_from(local(host), self.aegis.address()).unwrap()
    }

    /// The bytes of a hello that aegis would answer.
    fn hello(&self) -> Vec<u8> {
        let tls = client_config(&self.world.pki, None, rustls::DEFAULT_VERSIONS);
        let name = ServerName::from(self.aegis.address().ip());
        let mut conn = ClientConnection::new(Arc::new(tls), name).unwrap();
        let mut hello = Vec::new();
        conn.write_tls(&mut hello).unwrap();
        hello
    }
}

fn local(host: u8) -> std::net::IpAddr {
    Ipv4Addr::new(127, 0, 0, host).into()
}

#[test]
fn an_address_at_its_limit_excludes_no_other() {
    let fixture = fixture("connections = 16\nconnections_per_address = 4");
    let taken: Vec<_> = (0..20).map(|_| fixture.silent_from(2)).collect();
    fixture.aegis.logged_refusal("admit", "connection_limit");
    assert_eq!(fixture.scrape_from(1).unwrap(), "up 1\n");
    // Only its share of the connections is still open.
    assert_eq!(fixture.scrape_from(3).unwrap(), "up 1\n");
    drop(taken);
}

#[test]
fn strangers_do_not_exclude_known_addresses() {
    let fixture = fixture("connections = 8\nhandshake_timeout = \"1h\"");
    assert_eq!(fixture.scrape_from(1).unwrap(), "up 1\n");
    fixture.wait_for_connections(0);
    let strangers: Vec<_> = (10..30).map(|host| fixture.silent_from(host)).collect();
    fixture.aegis.logged_refusal("admit", "connection_limit");
    fixture.wait_for_connections(6);
    assert_eq!(fixture.scrape_from(1).unwrap(), "up 1\n");
    fixture.wait_for_connections(6);
    // aegis sees a certificate only in the handshake, and all handshakes are in use.
    assert!(fixture.scrape_from(2).is_err());
    drop(strangers);
    fixture.wait_for_connections(0);
    assert_eq!(fixture.scrape_from(2).unwrap(), "up 1\n");
}

/// A handshake message of 60,000 bytes that never ends: its first `size` bytes, in records.
fn unfinished_hello(size: usize) -> Vec<u8> {
    let mut message = vec![1, 0, 0xea, 0x60];
    message.resize(size, 0);
    let records = message.chunks(16_000).flat_map(|piece| {
        let length = u16::try_from(piece.len()).unwrap().to_be_bytes();
        [&[22, 3, 1], &length[..], piece].concat()
    });
    records.collect()
}

#[test]
fn an_endless_client_hello_is_read_up_to_the_handshake_limit() {
    let fixture = fixture("handshake_timeout = \"1h\"");
    let mut stream = connect(fixture.aegis.address()).unwrap();
    // aegis may close the connection during the write.
    drop(stream.write_all(&unfinished_hello(50_000)));
    drop(stream.read_to_end(&mut Vec::new()));
    let line = fixture.aegis.logged_refusal("handshake", "tls");
    assert!(line.contains("more than 28672 bytes"), "{line}");
}

#[test]
fn endless_certificates_are_read_up_to_the_handshake_limit() {
    let fixture = fixture("handshake_timeout = \"1h\"");
    // A chain is one message, for which rustls would buffer up to 64 KiB.
    let above = std::iter::repeat_with(|| fixture.world.pki.ca_der()).take(120);
    let certificate = fixture.world.pki.client().with_chain(above);
    let scraper = fixture.world.scraper(&fixture.aegis, Some(&certificate));
    assert!(scraper.try_get("/node").is_err());
    let line = fixture.aegis.logged_refusal("handshake", "tls");
    assert!(line.contains("more than 28672 bytes"), "{line}");
    assert_eq!(fixture.service.connections(), 0);
}

#[test]
fn unfinished_handshakes_on_all_connections_use_little_memory() {
    let fixture = fixture("connections_per_address = 512\nhandshake_timeout = \"1h\"");
    assert_eq!(fixture.scrape_from(1).unwrap(), "up 1\n");
    let before = fixture.aegis.memory("VmHWM:");
    let bytes = unfinished_hello(28_000);
    let mut held: Vec<_> = (0..380).map(|_| fixture.silent_from(2)).collect();
    // Each sends a piece in turn, so that growing buffers fragment the heap.
    for piece in bytes.chunks(4_000) {
        for stream in &mut held {
            stream.write_all(piece).unwrap();
        }
    }
    assert_eq!(fixture.scrape_from(1).unwrap(), "up 1\n");
    let grown = fixture.aegis.memory("VmHWM:") - before;
    assert!(grown < 30 * 1024, "{grown} KiB");
    drop(held);
}

#[test]
fn a_slow_client_hello_is_cut_off_at_handshake_timeout() {
    let fixture = fixture("handshake_timeout = \"400ms\"");
    let mut stream = connect(fixture.aegis.address()).unwrap();
    stream.set_nonblocking(true).unwrap();
    // The size is within the limit of a handshake, so only the timeout can end it.
    let mut drip = unfinished_hello(20_000).into_iter();
    wait_until(|| {
        if let Some(drop) = drip.next() {
            // The log shows its end, and a full buffer only skips a byte.
            stream.write(&[drop]).unwrap_or_default();
        }
        fixture
            .aegis
            .count_logged(&["stage=handshake reason=timeout"])
            > 0
    });
    fixture.aegis.logged_refusal("handshake", "timeout");
}

#[test]
fn non_tls_bytes_get_no_plaintext_answer() {
    let proxied = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x0a\0\0\x01\x0a\0\0\x02\0\x50\x7a\x69";
    let preambles: &[&[u8]] = &[
        b"GET /node HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /node\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT 10.0.0.1:443 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\nGET /node HTTP/1.1\r\nHost: a\r\n\r\n",
        proxied,
        b"SSH-2.0-x\r\n",
        b"\x05\x01\x00",
        b"\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10",
        b"\x16\x03\x01\xff\xff\x01",
        b"\x16\x03\x01\x00\x05\x01\xff\xff\xff\x00",
        b"\x17\x03\x03\x00\x10aaaaaaaaaaaaaaaa",
        b"\x18\x03\x03\x00\x03\x01\x40\x00",
        b"\x15\x03\x01\x00\x02\x02\x28",
        b"\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\xff\xff\xff\xff\xff\xff\xff\xff",
    ];
    let fixture = fixture("");
    for preamble in preambles {
        let mut stream = connect(fixture.aegis.address()).unwrap();
        stream.write_all(preamble).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
        // Nothing at all, or a TLS alert of seven bytes.
        let is_fine = answer.is_empty() || answer.len() == 7 && answer.starts_with(&[21, 3]);
        let (output, answer) = (preamble.escape_ascii(), answer.escape_ascii());
        assert!(is_fine, "{output}: {answer}");
    }
    fixture
        .aegis
        .logged_times(preambles.len(), &["stage=handshake reason=tls"]);
    assert_eq!(fixture.service.connections(), 0);
}

#[test]
fn a_proxy_protocol_header_does_not_set_the_peer_address() {
    let fixture = fixture("");
    let mut stream = connect(fixture.aegis.address()).unwrap();
    stream
        .write_all(b"PROXY TCP4 127.0.0.9 127.0.0.1 1 2\r\n")
        .unwrap();
    let connected = fixture
        .world
        .prometheus(&fixture.aegis)
        .connect_over(stream);
    assert!(
        connected
            .and_then(|mut scraper| scraper.get("/node"))
            .is_err()
    );
    let line = fixture.aegis.logged_refusal("handshake", "tls");
    assert!(line.contains("peer=127.0.0.1 port="), "{line}");
    assert_eq!(fixture.service.connections(), 0);
}

#[test]
fn a_scraper_that_pipelines_and_never_reads_is_disconnected() {
    let fixture = fixture("stall_timeout = \"400ms\"");
    let mut connection = fixture.world.prometheus(&fixture.aegis).connect().unwrap();
    let requests = "GET /absent HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1000);
    let ended = loop {
        if let Err(error) = connection.send(requests.as_bytes()) {
            break error;
        }
    };
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset};
    assert!(
        matches!(ended.kind(), BrokenPipe | ConnectionReset),
        "{ended}"
    );
    assert_eq!(fixture.scrape_from(1).unwrap(), "up 1\n");
}

#[test]
fn a_slow_reader_is_disconnected_at_the_deadline() {
    let fixture = fixture("scrape_timeout = \"2s\"");
    let _large = fixture
        .world
        .service("large", answer(&"#".repeat(30_000_000)));
    let mut connection = fixture.world.prometheus(&fixture.aegis).connect().unwrap();
    connection
        .send(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    // So few bytes that the window stays closed. Otherwise aegis might be waiting for the service
    // at the deadline, and would report that.
    let mut read = 0_usize;
    while read < 4096 && matches!(connection.stream.sock.read(&mut [0]), Ok(1)) {
        read += 1;
    }
    fixture.aegis.logged_refusal("respond", "stalled");
    let mut rest = vec![0; 64 * 1024];
    while let Ok(more @ 1..) = connection.stream.sock.read(&mut rest) {
        read += more;
    }
    assert!(read < 30_000_000, "{read}");
}

#[test]
fn closed_connections_leave_no_descriptors_or_memory() {
    let fixture = fixture("connection_burst = 10000\nconnections_per_address = 512");
    let hello = fixture.hello();
    assert_eq!(fixture.scrape_from(1).unwrap(), "up 1\n");
    fixture.wait_for_connections(0);
    let baseline = fixture.open_descriptors();
    for round in 0..300 {
        let mut stream = fixture.silent_from(2);
        let size = match round % 4 {
            0 => 0,
            1 => 7,
            2 => hello.len() / 2,
            _ => hello.len(),
        };
        // aegis may already have refused the connection.
        drop(stream.write_all(&hello[..size]));
        if round % 3 == 0 {
            rustix::net::sockopt::set_socket_linger(&stream, Some(std::time::Duration::ZERO))
                .unwrap();
        }
    }
    fixture.wait_for_connections(0);
    wait_until(|| fixture.open_descriptors() <= baseline);
    assert_eq!(fixture.scrape_from(1).unwrap(), "up 1\n");
}
