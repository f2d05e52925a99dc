//! Whoever may connect can try anything: it costs others nothing, and comes to an end.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::sync::Arc;

use rustls::ClientConnection;
use rustls::pki_types::ServerName;

use crate::harness::operator::ask;
use crate::harness::scraper::{client_config, connect, connect_from};
use crate::harness::{Aegis, PROMETHEUS, Service, World, allow, answer, metric, wait_until};

struct Stage {
    world: World,
    aegis: Aegis,
    service: Service,
}

/// A stage on which all of this host may connect, from any of its addresses.
fn stage(limits: &str) -> Stage {
    let mut world = World::new();
    let identity = format!(r#""dns:{PROMETHEUS}""#);
    world.settings.allow = allow(r#""127.0.0.0/8""#, &identity, r#""*""#);
    world.settings.limits = limits.to_owned();
    world.settings.top = "admin_socket = \"admin.sock\"".to_owned();
    let service = world.service("node", answer("up 1\n"));
    let aegis = world.start();
    Stage {
        world,
        aegis,
        service,
    }
}

impl Stage {
    /// Scrapes from an address of this host.
    fn scrape_from(&self, host: u8) -> std::io::Result<String> {
        let tcp = connect_from(local(host), self.aegis.address())?;
        let mut connection = self.world.prometheus(&self.aegis).connect_over(tcp)?;
        Ok(connection.get("/node")?.text())
    }

    /// Waits until so many connections are open; the operator's is none of them.
    fn wait_for_connections(&self, count: usize) {
        let is_so = format!("\naegis_connections {count}\n");
        let admin = self.world.path("admin.sock");
        wait_until(|| ask(&admin, "GET", "/metrics", "").text().contains(&is_so));
    }

    /// How many descriptors aegis has open, that of the operator's connection among them.
    fn open_descriptors(&self) -> f64 {
        let own = ask(&self.world.path("admin.sock"), "GET", "/metrics", "").text();
        metric(&own, "process_open_fds").unwrap()
    }

    /// A connection from an address of this host that says nothing.
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
fn one_address_that_takes_all_it_can_keeps_no_other_out() {
    let stage = stage("connections = 16\nconnections_per_address = 4");
    let taken: Vec<_> = (0..20).map(|_| stage.silent_from(2)).collect();
    stage.aegis.refused("admit", "connection_limit");
    assert_eq!(stage.scrape_from(1).unwrap(), "up 1\n");
    // Of all that it opened, no more than its share is still there.
    assert_eq!(stage.scrape_from(3).unwrap(), "up 1\n");
    drop(taken);
}

#[test]
fn strangers_from_many_addresses_cannot_keep_out_who_was_there_before() {
    let stage = stage("connections = 8\nhandshake_timeout = \"1h\"");
    assert_eq!(stage.scrape_from(1).unwrap(), "up 1\n");
    stage.wait_for_connections(0);
    let strangers: Vec<_> = (10..30).map(|host| stage.silent_from(host)).collect();
    stage.aegis.refused("admit", "connection_limit");
    stage.wait_for_connections(6);
    assert_eq!(stage.scrape_from(1).unwrap(), "up 1\n");
    stage.wait_for_connections(6);
    // A good certificate is not known before the handshake, and there is no place for one.
    assert!(stage.scrape_from(2).is_err());
    drop(strangers);
    stage.wait_for_connections(0);
    assert_eq!(stage.scrape_from(2).unwrap(), "up 1\n");
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
fn a_hello_that_never_ends_is_read_no_further_than_a_handshake_takes() {
    let stage = stage("handshake_timeout = \"1h\"");
    let mut stream = connect(stage.aegis.address()).unwrap();
    // It may be closed in the middle.
    drop(stream.write_all(&unfinished_hello(50_000)));
    drop(stream.read_to_end(&mut Vec::new()));
    let line = stage.aegis.refused("handshake", "tls");
    assert!(line.contains("more than 28672 bytes"), "{line}");
}

#[test]
fn certificates_that_never_end_are_read_no_further_either() {
    let stage = stage("handshake_timeout = \"1h\"");
    // All of one chain are in one message, which rustls would gather up to 64 KiB.
    let above = std::iter::repeat_with(|| stage.world.pki.ca_der()).take(120);
    let certificate = stage.world.pki.client().with_chain(above);
    let scraper = stage.world.scraper(&stage.aegis, Some(&certificate));
    assert!(scraper.try_get("/node").is_err());
    let line = stage.aegis.refused("handshake", "tls");
    assert!(line.contains("more than 28672 bytes"), "{line}");
    assert_eq!(stage.service.connections(), 0);
}

#[test]
fn as_many_half_done_handshakes_as_there_are_places_take_little_memory() {
    let stage = stage("connections_per_address = 512\nhandshake_timeout = \"1h\"");
    assert_eq!(stage.scrape_from(1).unwrap(), "up 1\n");
    let before = stage.aegis.memory("VmHWM:");
    let bytes = unfinished_hello(28_000);
    let mut held: Vec<_> = (0..380).map(|_| stage.silent_from(2)).collect();
    // A piece of each in turn, so that what one outgrows lies between what others hold.
    for piece in bytes.chunks(4_000) {
        for stream in &mut held {
            stream.write_all(piece).unwrap();
        }
    }
    assert_eq!(stage.scrape_from(1).unwrap(), "up 1\n");
    let grown = stage.aegis.memory("VmHWM:") - before;
    assert!(grown < 30 * 1024, "{grown} KiB");
    drop(held);
}

#[test]
fn a_hello_that_drips_in_is_cut_off() {
    let stage = stage("handshake_timeout = \"400ms\"");
    let mut stream = connect(stage.aegis.address()).unwrap();
    stream.set_nonblocking(true).unwrap();
    // No more than a handshake may take: it is the time that must end it.
    let mut drip = unfinished_hello(20_000).into_iter();
    wait_until(|| {
        if let Some(drop) = drip.next() {
            // Its end is seen in the log, and a full buffer is a drop less.
            stream.write(&[drop]).unwrap_or_default();
        }
        stage.aegis.times(&["stage=handshake reason=timeout"]) > 0
    });
    stage.aegis.refused("handshake", "timeout");
}

#[test]
fn what_is_not_tls_gets_no_answer_in_clear() {
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
    let stage = stage("");
    for preamble in preambles {
        let mut stream = connect(stage.aegis.address()).unwrap();
        stream.write_all(preamble).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
        // Nothing at all, or a TLS alert of seven bytes.
        let is_fine = answer.is_empty() || answer.len() == 7 && answer.starts_with(&[21, 3]);
        let (said, answer) = (preamble.escape_ascii(), answer.escape_ascii());
        assert!(is_fine, "{said}: {answer}");
    }
    stage
        .aegis
        .logged_times(preambles.len(), &["stage=handshake reason=tls"]);
    assert_eq!(stage.service.connections(), 0);
}

#[test]
fn no_address_is_taken_from_a_preamble() {
    let stage = stage("");
    let mut stream = connect(stage.aegis.address()).unwrap();
    stream
        .write_all(b"PROXY TCP4 127.0.0.9 127.0.0.1 1 2\r\n")
        .unwrap();
    let connected = stage.world.prometheus(&stage.aegis).connect_over(stream);
    assert!(
        connected
            .and_then(|mut scraper| scraper.get("/node"))
            .is_err()
    );
    let line = stage.aegis.refused("handshake", "tls");
    assert!(line.contains("peer=127.0.0.1:"), "{line}");
    assert_eq!(stage.service.connections(), 0);
}

#[test]
fn a_scraper_that_asks_and_asks_and_never_reads_is_cut_off() {
    let stage = stage("stall_timeout = \"400ms\"");
    let mut connection = stage.world.prometheus(&stage.aegis).connect().unwrap();
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
    assert_eq!(stage.scrape_from(1).unwrap(), "up 1\n");
}

#[test]
fn a_scraper_that_reads_byte_by_byte_is_cut_off_by_the_deadline() {
    let stage = stage("scrape_timeout = \"2s\"");
    let _large = stage
        .world
        .service("large", answer(&"#".repeat(30_000_000)));
    let mut connection = stage.world.prometheus(&stage.aegis).connect().unwrap();
    connection
        .send(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    // Few enough that no room is announced to aegis: with more, it may be waiting for the next
    // piece of the service just when the deadline comes, and would say that.
    let mut read = 0_usize;
    while read < 4096 && matches!(connection.stream.sock.read(&mut [0]), Ok(1)) {
        read += 1;
    }
    stage.aegis.refused("respond", "stalled");
    let mut rest = vec![0; 64 * 1024];
    while let Ok(more @ 1..) = connection.stream.sock.read(&mut rest) {
        read += more;
    }
    assert!(read < 30_000_000, "{read}");
}

#[test]
fn connections_that_come_and_go_leave_nothing_behind() {
    let stage = stage("connection_burst = 10000\nconnections_per_address = 512");
    let hello = stage.hello();
    assert_eq!(stage.scrape_from(1).unwrap(), "up 1\n");
    stage.wait_for_connections(0);
    let baseline = stage.open_descriptors();
    for round in 0..300 {
        let mut stream = stage.silent_from(2);
        let size = match round % 4 {
            0 => 0,
            1 => 7,
            2 => hello.len() / 2,
            _ => hello.len(),
        };
        // It may have been refused by then.
        drop(stream.write_all(&hello[..size]));
        if round % 3 == 0 {
            rustix::net::sockopt::set_socket_linger(&stream, Some(std::time::Duration::ZERO))
                .unwrap();
        }
    }
    stage.wait_for_connections(0);
    wait_until(|| stage.open_descriptors() <= baseline);
    assert_eq!(stage.scrape_from(1).unwrap(), "up 1\n");
}
