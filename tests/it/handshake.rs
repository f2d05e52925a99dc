//! Stage 2: which certificates open the door, and by which name.

use std::io::{ErrorKind, Read as _, Write as _};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa};
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, HandshakeKind, NamedGroup};

use crate::harness::pki::{dns, ip, uri};
use crate::harness::scraper::{client_config, connect};
use crate::harness::{Aegis, Certified, PROMETHEUS, Pki, Service, World, allow, answer};

pub struct Stage {
    pub world: World,
    pub aegis: Aegis,
    service: Service,
}

pub fn stage(world: World) -> Stage {
    let service = world.service("node", answer("up 1\n"));
    let aegis = world.start();
    Stage {
        world,
        aegis,
        service,
    }
}

impl Stage {
    pub fn refuses(&self, certificate: Option<&Certified>, reason: &str) -> String {
        let scraper = self.world.scraper(&self.aegis, certificate);
        let refused = scraper.try_get("/node");
        assert!(refused.is_err(), "{reason}: {refused:?}");
        let line = self.aegis.refused("handshake", reason);
        assert_eq!(self.service.connections(), 0, "{reason}");
        line
    }

    pub fn admits(&self, certificate: &Certified) {
        let scraper = self.world.scraper(&self.aegis, Some(certificate));
        assert_eq!(scraper.get("/node").text(), "up 1\n");
    }
}

#[test]
fn a_scraper_without_a_certificate_is_told_so_by_a_tls_alert() {
    let stage = stage(World::new());
    stage.refuses(None, "no_certificate");
    let scraper = stage.world.scraper(&stage.aegis, None);
    let error = scraper.try_get("/node").unwrap_err().to_string();
    assert!(error.contains("CertificateRequired"), "{error}");
}

#[test]
fn certificates_that_the_client_ca_does_not_vouch_for_are_untrusted() {
    let stage = stage(World::new());
    stage.refuses(Some(&Certified::self_signed()), "untrusted");
    let stage = self::stage(World::new());
    let same_name = Pki::new();
    stage.refuses(Some(&same_name.client()), "untrusted");
}

#[test]
fn a_certificate_of_another_ca_with_the_true_one_sent_along_is_untrusted() {
    let stage = stage(World::new());
    let stuffed = Pki::new().client().with_chain([
        stage.world.pki.client().chain[0].clone(),
        stage.world.pki.ca_der(),
    ]);
    stage.refuses(Some(&stuffed), "untrusted");
}

#[test]
fn certificates_outside_their_validity_are_expired() {
    let day = Duration::from_secs(24 * 3600);
    let now = SystemTime::now();
    let expired = stage(World::new());
    let certificate = expired.world.pki.client_with(|params| {
        params.not_before = (now - 2 * day).into();
        params.not_after = (now - day).into();
    });
    let line = expired.refuses(Some(&certificate), "expired");
    assert!(line.contains("the certificate expired at "), "{line}");
    // Nobody has proved it, but it says who should renew.
    let presented = "; presented: dns:prometheus.example.org of ";
    assert!(line.contains(presented), "{line}");

    let early = stage(World::new());
    let certificate = early.world.pki.client_with(|params| {
        params.not_before = (now + day).into();
        params.not_after = (now + 2 * day).into();
    });
    let line = early.refuses(Some(&certificate), "expired");
    assert!(
        line.contains("the certificate is valid only from "),
        "{line}"
    );
}

#[test]
fn a_certificate_must_be_made_for_client_authentication() {
    for usages in [
        vec![],
        vec![ExtendedKeyUsagePurpose::ServerAuth],
        vec![ExtendedKeyUsagePurpose::Any],
    ] {
        let stage = stage(World::new());
        let certificate = stage.world.pki.client_with(|params| {
            params.extended_key_usages = usages;
        });
        stage.refuses(Some(&certificate), "usage");
    }
    let stage = stage(World::new());
    let both = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    stage.admits(
        &stage
            .world
            .pki
            .client_with(|params| params.extended_key_usages = both),
    );
}

#[test]
fn a_ca_is_no_scraper() {
    let stage = stage(World::new());
    let certificate = stage.world.pki.client_with(|params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    });
    stage.refuses(Some(&certificate), "untrusted");
}

#[test]
fn a_common_name_is_no_name() {
    let stage = stage(World::new());
    let certificate = stage.world.pki.client_with(|params| {
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, PROMETHEUS);
        params.subject_alt_names = vec![dns("other.example.org")];
    });
    let line = stage.refuses(Some(&certificate), "identity");
    assert!(line.contains("dns:other.example.org"), "{line}");
}

#[test]
fn a_certificate_without_names_is_admitted_by_no_name() {
    let stage = stage(World::new());
    let nameless = stage
        .world
        .pki
        .client_with(|params| params.subject_alt_names = vec![]);
    stage.refuses(Some(&nameless), "identity");
}

#[test]
fn any_of_several_names_admits_and_the_one_that_matched_is_logged() {
    let stage = stage(World::new());
    stage.admits(&stage.world.pki.client_with(|params| {
        params.subject_alt_names = vec![dns("first.org"), uri("spiffe://e.org/x"), dns(PROMETHEUS)];
    }));
    let line = stage.aegis.logged(&["scraped"]);
    assert!(
        line.contains(&format!("identity=\"dns:{PROMETHEUS}\"")),
        "{line}"
    );
}

#[test]
fn uri_ip_email_and_key_patterns_admit() {
    let mut world = World::new();
    let pinned = world
        .pki
        .client_with(|params| params.subject_alt_names = vec![]);
    let leaf = aegis::identity::Identity::from_leaf(&pinned.chain[0]).unwrap();
    let patterns = format!(
        r#""spiffe://example.org/team/*", "ip:192.0.2.7", "email:ops@example.org", "{}""#,
        leaf.key()
    );
    world.settings.allow = allow(r#""127.0.0.1""#, &patterns, r#""*""#);
    let stage = stage(world);
    let pki = &stage.world.pki;
    let email = rcgen::SanType::Rfc822Name("ops@example.org".try_into().unwrap());
    for name in [uri("spiffe://example.org/team/a"), ip("192.0.2.7"), email] {
        stage.admits(&pki.client_with(|params| params.subject_alt_names = vec![name]));
    }
    stage.admits(&pinned);
    let other_key = pki.client_with(|params| params.subject_alt_names = vec![]);
    let scraper = stage.world.scraper(&stage.aegis, Some(&other_key));
    assert!(scraper.try_get("/node").is_err());
    stage.aegis.refused("handshake", "identity");
}

#[test]
fn a_chain_through_an_intermediate_is_verified_when_it_is_sent() {
    let with_chain = stage(World::new());
    let intermediate = with_chain.world.pki.intermediate();
    with_chain.admits(&intermediate.client().with_chain([intermediate.ca_der()]));

    let without = stage(World::new());
    without.refuses(
        Some(&without.world.pki.intermediate().client()),
        "untrusted",
    );
}

#[test]
fn a_certificate_that_contradicts_the_standard_is_untrusted_and_the_log_says_why() {
    let stage = stage(World::new());
    let zero = |params: &mut CertificateParams| params.serial_number = Some(vec![0].into());
    let line = stage.refuses(Some(&stage.world.pki.client_with(zero)), "untrusted");
    assert!(
        line.contains("the certificate has a serial number that is zero"),
        "{line}"
    );

    let flawed = stage.world.pki.intermediate_with(zero);
    let through = flawed.client().with_chain([flawed.ca_der()]);
    stage.refuses(Some(&through), "untrusted");
    let of = "the intermediate certificate (CN=aegis test intermediate) has a serial number";
    stage.aegis.logged(&["reason=untrusted", of]);
    // What leads nowhere is not held against it.
    stage.admits(&stage.world.pki.client().with_chain([flawed.ca_der()]));
}

#[test]
fn a_chain_that_is_made_to_be_searched_for_ever_is_not_searched() {
    let stage = stage(World::new());
    // All of one name, so that each could be above each; none leads to the client CA.
    let above: Vec<_> = (0..9).map(|_| Pki::named("one of many").ca_der()).collect();
    let certificate = Pki::named("one of many").client().with_chain(above);
    let line = stage.refuses(Some(&certificate), "untrusted");
    assert!(line.contains("at most 4 are looked at"), "{line}");
}

#[test]
fn a_chain_of_enormous_certificates_is_not_looked_at() {
    let stage = stage(World::new());
    let long = format!("spiffe://example.org/{}", "x".repeat(25_000));
    let certificate = stage
        .world
        .pki
        .client_with(|params| params.subject_alt_names = vec![dns(PROMETHEUS), uri(&long)]);
    let line = stage.refuses(Some(&certificate), "untrusted");
    assert!(line.contains("at most 24576 are looked at"), "{line}");
}

#[test]
fn a_log_line_is_short_whatever_a_certificate_says() {
    let long = format!("spiffe://example.org/{}", "x".repeat(12_000));
    let mut world = World::new();
    world.settings.allow = allow(r#""127.0.0.1/32""#, r#""spiffe://example.org/*""#, r#""*""#);
    let stage = stage(world);
    let names = |params: &mut rcgen::CertificateParams| params.subject_alt_names = vec![uri(&long)];
    stage.admits(&stage.world.pki.client_with(names));
    let purposes =
        (0..1000).map(|number| ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 4, 1, number]));
    let purposes: Vec<_> = purposes.collect();
    let certificate = stage.world.pki.client_with(|params| {
        params.subject_alt_names = vec![uri(&long)];
        params.extended_key_usages = purposes;
    });
    let scraper = stage.world.scraper(&stage.aegis, Some(&certificate));
    assert!(scraper.try_get("/node").is_err());
    stage.aegis.refused("handshake", "usage");
    for line in stage.aegis.log() {
        assert!(line.len() < 1000, "{} bytes: {line}", line.len());
    }
}

#[test]
fn tls_1_2_is_spoken_by_choice_alone() {
    let only_1_2 = |stage: &Stage| {
        let certificate = stage.world.pki.client();
        let mut scraper = stage.world.scraper(&stage.aegis, None);
        let versions = &[&rustls::version::TLS12];
        scraper.tls = Arc::new(client_config(
            &stage.world.pki,
            Some(&certificate),
            versions,
        ));
        scraper.try_get("/node")
    };
    let by_default = stage(World::new());
    assert!(only_1_2(&by_default).is_err());
    by_default.aegis.refused("handshake", "tls");

    let mut world = World::new();
    world.settings.tls = r#"min_version = "1.2""#.to_owned();
    let by_choice = stage(world);
    assert_eq!(only_1_2(&by_choice).unwrap().status, 200);
    by_choice.admits(&by_choice.world.pki.client());
}

#[test]
fn every_connection_is_a_full_handshake_without_tickets_or_early_data() {
    let mut world = World::new();
    world.settings.tls = r#"min_version = "1.2""#.to_owned();
    let stage = stage(world);
    for versions in [&[&rustls::version::TLS13], &[&rustls::version::TLS12]] {
        let certificate = stage.world.pki.client();
        let mut tls = client_config(&stage.world.pki, Some(&certificate), versions);
        tls.resumption = Resumption::in_memory_sessions(8);
        tls.enable_early_data = true;
        let mut scraper = stage.world.scraper(&stage.aegis, None);
        scraper.tls = Arc::new(tls);
        for _ in 0..3 {
            let mut connection = scraper.connect().unwrap();
            assert_eq!(connection.get("/node").unwrap().status, 200);
            let conn = &connection.stream.conn;
            assert_eq!(conn.handshake_kind(), Some(HandshakeKind::Full));
            assert_eq!(conn.tls13_tickets_received(), 0);
            assert!(!conn.is_early_data_accepted());
        }
    }
}

#[test]
fn the_hybrid_key_exchange_is_preferred_and_http_1_1_is_the_only_protocol() {
    let stage = stage(World::new());
    let certificate = stage.world.pki.client();
    let mut tls = client_config(
        &stage.world.pki,
        Some(&certificate),
        rustls::DEFAULT_VERSIONS,
    );
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut scraper = stage.world.scraper(&stage.aegis, None);
    scraper.tls = Arc::new(tls.clone());
    let connection = scraper.connect().unwrap();
    let conn = &connection.stream.conn;
    assert_eq!(conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    let group = conn.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, NamedGroup::X25519MLKEM768);

    tls.alpn_protocols = vec![b"h2".to_vec()];
    scraper.tls = Arc::new(tls);
    assert!(scraper.try_get("/node").is_err());
    stage.aegis.refused("handshake", "tls");
}

#[test]
fn plain_http_gets_no_http_answer() {
    let stage = stage(World::new());
    let mut stream = connect(stage.aegis.address()).unwrap();
    stream
        .write_all(b"GET /node HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    assert!(!answer.starts_with(b"HTTP"), "{}", answer.escape_ascii());
    stage.aegis.refused("handshake", "tls");
    assert_eq!(stage.service.connections(), 0);
}

#[test]
fn silent_connections_are_closed_and_keep_nobody_else_out() {
    let mut world = World::new();
    world.settings.limits = r#"handshake_timeout = "2s"
handshakes = 1"#
        .to_owned();
    let stage = stage(world);
    let silent: Vec<_> = (0..20)
        .map(|_| connect(stage.aegis.address()).unwrap())
        .collect();
    let halfway: Vec<_> = (0..20).map(|_| after_the_hello(&stage)).collect();
    stage.admits(&stage.world.pki.client());
    stage.aegis.refused("handshake", "timeout");
    for mut stream in silent.into_iter().chain(halfway) {
        // An alert, the end or a reset; but it ends.
        let ended = stream.read_to_end(&mut Vec::new());
        assert!(!matches!(
            ended.map_err(|error| error.kind()),
            Err(ErrorKind::WouldBlock)
        ));
    }
}

/// A connection that has sent a whole hello and then nothing more.
fn after_the_hello(stage: &Stage) -> std::net::TcpStream {
    let tls = client_config(&stage.world.pki, None, rustls::DEFAULT_VERSIONS);
    let name = ServerName::from(stage.aegis.address().ip());
    let mut conn = ClientConnection::new(Arc::new(tls), name).unwrap();
    let mut stream = connect(stage.aegis.address()).unwrap();
    conn.write_tls(&mut stream).unwrap();
    stream
}
