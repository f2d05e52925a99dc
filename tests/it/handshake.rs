//! Stage 2: which certificates are accepted, and by which name.

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

pub struct Fixture {
    pub world: World,
    pub aegis: Aegis,
    service: Service,
}

pub fn fixture(world: World) -> Fixture {
    let service = world.service("node", answer("up 1\n"));
    let aegis = world.start();
    Fixture {
        world,
        aegis,
        service,
    }
}

impl Fixture {
    pub fn assert_refused(&self, certificate: Option<&Certified>, reason: &str) -> String {
        let scraper = self.world.scraper(&self.aegis, certificate);
        let refused = scraper.try_get("/node");
        assert!(refused.is_err(), "{reason}: {refused:?}");
        let line = self.aegis.logged_refusal("handshake", reason);
        assert_eq!(self.service.connections(), 0, "{reason}");
        line
    }

    pub fn assert_admitted(&self, certificate: &Certified) {
        let scraper = self.world.scraper(&self.aegis, Some(certificate));
        assert_eq!(scraper.get("/node").text(), "up 1\n");
    }
}

#[test]
fn a_scraper_without_a_certificate_gets_a_tls_alert() {
    let fixture = fixture(World::new());
    fixture.assert_refused(None, "no_certificate");
    let scraper = fixture.world.scraper(&fixture.aegis, None);
    let error = scraper.try_get("/node").unwrap_err().to_string();
    assert!(error.contains("CertificateRequired"), "{error}");
}

#[test]
fn certificates_of_another_ca_are_untrusted() {
    let fixture = fixture(World::new());
    fixture.assert_refused(Some(&Certified::self_signed()), "untrusted");
    let fixture = self::fixture(World::new());
    let same_name = Pki::new();
    fixture.assert_refused(Some(&same_name.client()), "untrusted");
}

#[test]
fn a_certificate_of_another_ca_sent_with_the_client_ca_is_untrusted() {
    let fixture = fixture(World::new());
    let stuffed = Pki::new().client().with_chain([
        fixture.world.pki.client().chain[0].clone(),
        fixture.world.pki.ca_der(),
    ]);
    fixture.assert_refused(Some(&stuffed), "untrusted");
}

#[test]
fn certificates_outside_their_validity_are_expired() {
    let day = Duration::from_secs(24 * 3600);
    let now = SystemTime::now();
    let expired = fixture(World::new());
    let certificate = expired.world.pki.client_with(|params| {
        params.not_before = (now - 2 * day).into();
        params.not_after = (now - day).into();
    });
    let line = expired.assert_refused(Some(&certificate), "expired");
    assert!(line.contains("the certificate expired at "), "{line}");
    // The name is not verified, but it shows which certificate to renew.
    let presented = "; presented: dns:prometheus.example.org of ";
    assert!(line.contains(presented), "{line}");

    let early = fixture(World::new());
    let certificate = early.world.pki.client_with(|params| {
        params.not_before = (now + day).into();
        params.not_after = (now + 2 * day).into();
    });
    let line = early.assert_refused(Some(&certificate), "expired");
    assert!(
        line.contains("the certificate is valid only from "),
        "{line}"
    );
}

#[test]
fn a_certificate_not_for_client_authentication_is_refused() {
    for usages in [
        vec![],
        vec![ExtendedKeyUsagePurpose::ServerAuth],
        vec![ExtendedKeyUsagePurpose::Any],
    ] {
        let fixture = fixture(World::new());
        let certificate = fixture.world.pki.client_with(|params| {
            params.extended_key_usages = usages;
        });
        fixture.assert_refused(Some(&certificate), "usage");
    }
    let fixture = fixture(World::new());
    let both = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    fixture.assert_admitted(
        &fixture
            .world
            .pki
            .client_with(|params| params.extended_key_usages = both),
    );
}

#[test]
fn a_ca_certificate_is_refused_as_a_scraper() {
    let fixture = fixture(World::new());
    let certificate = fixture.world.pki.client_with(|params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    });
    fixture.assert_refused(Some(&certificate), "untrusted");
}

#[test]
fn a_common_name_is_not_used_as_a_name() {
    let fixture = fixture(World::new());
    let certificate = fixture.world.pki.client_with(|params| {
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, PROMETHEUS);
        params.subject_alt_names = vec![dns("other.example.org")];
    });
    let line = fixture.assert_refused(Some(&certificate), "identity");
    assert!(line.contains("dns:other.example.org"), "{line}");
}

#[test]
fn a_certificate_without_names_matches_no_entry() {
    let fixture = fixture(World::new());
    let nameless = fixture
        .world
        .pki
        .client_with(|params| params.subject_alt_names = vec![]);
    fixture.assert_refused(Some(&nameless), "identity");
}

#[test]
fn any_of_several_names_matches_and_is_logged() {
    let fixture = fixture(World::new());
    fixture.assert_admitted(&fixture.world.pki.client_with(|params| {
        params.subject_alt_names = vec![dns("first.org"), uri("spiffe://e.org/x"), dns(PROMETHEUS)];
    }));
    let line = fixture.aegis.logged(&["scraped"]);
    assert!(
        line.contains(&format!("identity=\"dns:{PROMETHEUS}\"")),
        "{line}"
    );
}

#[test]
fn uri_ip_email_and_key_patterns_match() {
    let mut world = World::new();
    let pinned = world
        .pki
        .client_with(|params| params.subject_alt_names = vec![]);
    let leaf = aegis::policy::identity::Identity::from_leaf(&pinned.chain[0]).unwrap();
    let patterns = format!(
        r#""spiffe://example.org/team/*", "ip:192.0.2.7", "email:ops@example.org", "{}""#,
        leaf.key()
    );
    world.settings.allow = allow(r#""127.0.0.1""#, &patterns, r#""*""#);
    let fixture = fixture(world);
    let pki = &fixture.world.pki;
    let email = rcgen::SanType::Rfc822Name("ops@example.org".try_into().unwrap());
    for name in [uri("spiffe://example.org/team/a"), ip("192.0.2.7"), email] {
        fixture.assert_admitted(&pki.client_with(|params| params.subject_alt_names = vec![name]));
    }
    fixture.assert_admitted(&pinned);
    let other_key = pki.client_with(|params| params.subject_alt_names = vec![]);
    let scraper = fixture.world.scraper(&fixture.aegis, Some(&other_key));
    assert!(scraper.try_get("/node").is_err());
    fixture.aegis.logged_refusal("handshake", "identity");
}

#[test]
fn a_chain_with_a_sent_intermediate_is_verified() {
    let with_chain = fixture(World::new());
    let intermediate = with_chain.world.pki.intermediate();
    with_chain.assert_admitted(&intermediate.client().with_chain([intermediate.ca_der()]));

    let without = fixture(World::new());
    without.assert_refused(
        Some(&without.world.pki.intermediate().client()),
        "untrusted",
    );
}

#[test]
fn a_certificate_that_violates_rfc_5280_is_untrusted_and_the_log_says_why() {
    let fixture = fixture(World::new());
    let zero = |params: &mut CertificateParams| params.serial_number = Some(vec![0].into());
    let line = fixture.assert_refused(Some(&fixture.world.pki.client_with(zero)), "untrusted");
    assert!(
        line.contains("the certificate has a serial number that is zero"),
        "{line}"
    );

    let flawed = fixture.world.pki.intermediate_with(zero);
    let through = flawed.client().with_chain([flawed.ca_der()]);
    fixture.assert_refused(Some(&through), "untrusted");
    let of = "the intermediate certificate (CN=aegis test intermediate) has a serial number";
    fixture.aegis.logged(&["reason=untrusted", of]);
    // Unrelated certificates in the chain are ignored.
    fixture.assert_admitted(&fixture.world.pki.client().with_chain([flawed.ca_der()]));
}

#[test]
fn a_chain_built_for_endless_path_search_is_refused() {
    let fixture = fixture(World::new());
    // They all have the same name, so that each could be the issuer of each other.
    let above: Vec<_> = (0..9).map(|_| Pki::named("one of many").ca_der()).collect();
    let certificate = Pki::named("one of many").client().with_chain(above);
    let line = fixture.assert_refused(Some(&certificate), "untrusted");
    assert!(line.contains("aegis accepts at most 4"), "{line}");
}

#[test]
fn a_chain_of_oversized_certificates_is_not_parsed() {
    let fixture = fixture(World::new());
    let long = format!("spiffe://example.org/{}", "x".repeat(25_000));
    let certificate = fixture
        .world
        .pki
        .client_with(|params| params.subject_alt_names = vec![dns(PROMETHEUS), uri(&long)]);
    let line = fixture.assert_refused(Some(&certificate), "untrusted");
    assert!(line.contains("aegis accepts at most 24576"), "{line}");
}

#[test]
fn a_log_line_about_any_certificate_is_short() {
    let long = format!("spiffe://example.org/{}", "x".repeat(12_000));
    let mut world = World::new();
    world.settings.allow = allow(r#""127.0.0.1/32""#, r#""spiffe://example.org/*""#, r#""*""#);
    let fixture = fixture(world);
    let names = |params: &mut rcgen::CertificateParams| params.subject_alt_names = vec![uri(&long)];
    fixture.assert_admitted(&fixture.world.pki.client_with(names));
    let purposes =
        (0..1000).map(|number| ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 4, 1, number]));
    let purposes: Vec<_> = purposes.collect();
    let certificate = fixture.world.pki.client_with(|params| {
        params.subject_alt_names = vec![uri(&long)];
        params.extended_key_usages = purposes;
    });
    let scraper = fixture.world.scraper(&fixture.aegis, Some(&certificate));
    assert!(scraper.try_get("/node").is_err());
    fixture.aegis.logged_refusal("handshake", "usage");
    for line in fixture.aegis.log() {
        assert!(line.len() < 1000, "{} bytes: {line}", line.len());
    }
}

#[test]
fn tls_1_2_is_offered_only_if_configured() {
    let only_1_2 = |fixture: &Fixture| {
        let certificate = fixture.world.pki.client();
        let mut scraper = fixture.world.scraper(&fixture.aegis, None);
        let versions = &[&rustls::version::TLS12];
        scraper.tls = Arc::new(client_config(
            &fixture.world.pki,
            Some(&certificate),
            versions,
        ));
        scraper.try_get("/node")
    };
    let by_default = fixture(World::new());
    assert!(only_1_2(&by_default).is_err());
    by_default.aegis.logged_refusal("handshake", "tls");

    let mut world = World::new();
    world.settings.tls = r#"min_version = "1.2""#.to_owned();
    let by_choice = fixture(world);
    assert_eq!(only_1_2(&by_choice).unwrap().status, 200);
    by_choice.assert_admitted(&by_choice.world.pki.client());
}

#[test]
fn every_connection_is_a_full_handshake_without_tickets_or_early_data() {
    let mut world = World::new();
    world.settings.tls = r#"min_version = "1.2""#.to_owned();
    let fixture = fixture(world);
    for versions in [&[&rustls::version::TLS13], &[&rustls::version::TLS12]] {
        let certificate = fixture.world.pki.client();
        let mut tls = client_config(&fixture.world.pki, Some(&certificate), versions);
        tls.resumption = Resumption::in_memory_sessions(8);
        tls.enable_early_data = true;
        let mut scraper = fixture.world.scraper(&fixture.aegis, None);
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
fn hybrid_key_exchange_is_preferred_and_alpn_is_http_1_1_only() {
    let fixture = fixture(World::new());
    let certificate = fixture.world.pki.client();
    let mut tls = client_config(
        &fixture.world.pki,
        Some(&certificate),
        rustls::DEFAULT_VERSIONS,
    );
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut scraper = fixture.world.scraper(&fixture.aegis, None);
    scraper.tls = Arc::new(tls.clone());
    let connection = scraper.connect().unwrap();
    let conn = &connection.stream.conn;
    assert_eq!(conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    let group = conn.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, NamedGroup::X25519MLKEM768);

    tls.alpn_protocols = vec![b"h2".to_vec()];
    scraper.tls = Arc::new(tls);
    assert!(scraper.try_get("/node").is_err());
    fixture.aegis.logged_refusal("handshake", "tls");
}

#[test]
fn plain_http_gets_no_http_answer() {
    let fixture = fixture(World::new());
    let mut stream = connect(fixture.aegis.address()).unwrap();
    stream
        .write_all(b"GET /node HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    assert!(!answer.starts_with(b"HTTP"), "{}", answer.escape_ascii());
    fixture.aegis.logged_refusal("handshake", "tls");
    assert_eq!(fixture.service.connections(), 0);
}

#[test]
fn silent_connections_are_closed_and_exclude_no_other_client() {
    let mut world = World::new();
    world.settings.limits = r#"handshake_timeout = "2s"
handshakes = 1"#
        .to_owned();
    let fixture = fixture(world);
    let silent: Vec<_> = (0..20)
        .map(|_| connect(fixture.aegis.address()).unwrap())
        .collect();
    let halfway: Vec<_> = (0..20).map(|_| after_the_hello(&fixture)).collect();
    fixture.assert_admitted(&fixture.world.pki.client());
    fixture.aegis.logged_refusal("handshake", "timeout");
    for mut stream in silent.into_iter().chain(halfway) {
        // The connection ends with an alert, a close or a reset.
        let ended = stream.read_to_end(&mut Vec::new());
        assert!(!matches!(
            ended.map_err(|error| error.kind()),
            Err(ErrorKind::WouldBlock)
        ));
    }
}

/// A connection that has sent a complete hello and nothing after it.
fn after_the_hello(fixture: &Fixture) -> std::net::TcpStream {
    let tls = client_config(&fixture.world.pki, None, rustls::DEFAULT_VERSIONS);
    let name = ServerName::from(fixture.aegis.address().ip());
    let mut conn = ClientConnection::new(Arc::new(tls), name).unwrap();
    let mut stream = connect(fixture.aegis.address()).unwrap();
    conn.write_tls(&mut stream).unwrap();
    stream
}
