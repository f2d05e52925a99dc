//! Random combinations of broken parts with old and new files, compared with a simple model of what
//! must be allowed.

mod hang;
mod model;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType,
};
use rustls::pki_types::CertificateDer;

use super::*;
use crate::policy::peer::Peer;
use crate::scrape::{Shows, explain};
use crate::state::{ReloadSender, Reloaded, reload_queue};
use model::{
    Breakage, CAS, Dice, Expected, FIRST_GRANT, Files, Grant, SCRAPERS, SERVICES, SOURCES,
};

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn issuer(number: usize) -> Issuer {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let name = format!("CA {number}");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn leaf(
    ca: &Issuer,
    name: String,
    purpose: ExtendedKeyUsagePurpose,
    serial: u8,
) -> (String, KeyPair, CertificateDer<'static>) {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::DnsName(name.try_into().unwrap())];
    params.extended_key_usages = vec![purpose];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.is_ca = IsCa::ExplicitNoCa;
    params.serial_number = Some(vec![serial].into());
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().unwrap();
    let leaf = params.signed_by(&key, ca).unwrap();
    (leaf.pem(), key, leaf.der().clone())
}

fn name(scraper: usize) -> String {
    format!("scraper-{scraper}.example.org")
}

fn serial(scraper: usize) -> u8 {
    u8::try_from(scraper).unwrap() + 1
}

fn crl(ca: &Issuer, revoked: &BTreeSet<usize>) -> String {
    let now = std::time::SystemTime::now();
    let revoked_certs = revoked.iter().map(|scraper| RevokedCertParams {
        serial_number: vec![serial(*scraper)].into(),
        revocation_time: now.into(),
        reason_code: None,
        invalidity_date: None,
    });
    let params = CertificateRevocationListParams {
        this_update: (now - Duration::from_secs(3600)).into(),
        next_update: (now + Duration::from_secs(3600)).into(),
        crl_number: vec![1].into(),
        issuing_distribution_point: None,
        revoked_certs: revoked_certs.collect(),
        key_identifier_method: rcgen::KeyIdMethod::Sha256,
    };
    params.signed_by(ca).unwrap().pem().unwrap()
}

/// Writes the files, with one part broken.
fn write(folder: &Path, cas: &[Issuer], key: &str, files: &Files, breakage: Breakage) {
    let put = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    let is = |other| breakage.includes(other);
    put("server.key", if is(Breakage::Key) { "junk" } else { key });
    let trusted = files.cas.iter().map(|ca| cas[*ca].as_ref().pem());
    let trusted: String = trusted.collect();
    put("ca.pem", if is(Breakage::Cas) { "junk" } else { &trusted });
    for (of, ca) in cas.iter().enumerate() {
        let list = crl(ca, &files.revoked[of]);
        let text = if is(Breakage::Crl(of)) { "junk" } else { &list };
        put(&format!("{of}.crl"), text);
    }
    let entries = files.grants.iter().map(|grant| {
        let (source, service) = (SOURCES[grant.source], SERVICES[grant.service]);
        let name = name(grant.scraper);
        format!("[[allow]]\nnetworks = [\"{source}\"]\nidentities = [\"dns:{name}\"]\nservices = [\"{service}\"]\n")
    });
    let mut text = "listen = [\"127.0.0.1:0\"]\n".to_owned();
    text += if is(Breakage::Directory) {
        "socket_dir = \"absent\"\n"
    } else {
        "socket_dir = \"services\"\n"
    };
    if is(Breakage::UnknownKey) {
        text += "color = \"blue\"\n";
    }
    text += "[tls]\ncert_file = \"server.pem\"\nkey_file = \"server.key\"\nclient_ca_file = \"ca.pem\"\nclient_crl_files = [\"0.crl\", \"1.crl\", \"2.crl\"]\n";
    text.extend(entries);
    if is(Breakage::Entry) {
        text += "[[allow]]\nnetworks = []\n";
    }
    if is(Breakage::Limits) {
        text += "[limits]\nconections = 1\n";
    }
    if is(Breakage::Toml) {
        text += "[tls]\n";
    }
    put("aegis.toml", &text);
}

/// The PKI and the configuration files, in a folder.
struct Fixture {
    folder: tempfile::TempDir,
    cas: Vec<Issuer>,
    key: String,
    overrides: Overrides,
}

impl Fixture {
    fn new(files: &Files) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("services")).unwrap();
        let cas: Vec<Issuer> = (0..CAS).map(issuer).collect();
        let server = "localhost".to_owned();
        let (pem, key, _) = leaf(&cas[0], server, ExtendedKeyUsagePurpose::ServerAuth, 99);
        fs::write(folder.path().join("server.pem"), pem).unwrap();
        let overrides = Overrides {
            config: Some(folder.path().join("aegis.toml")),
            ..Overrides::default()
        };
        let fixture = Self {
            folder,
            cas,
            key: key.serialize_pem(),
            overrides,
        };
        fixture.write(files, Breakage::None);
        fixture
    }

    fn write(&self, files: &Files, breakage: Breakage) {
        write(self.folder.path(), &self.cas, &self.key, files, breakage);
    }

    fn state(&self, requests: ReloadSender) -> State {
        let config = Config::load(&self.overrides).unwrap();
        State::new(Gate::build(config, None).unwrap(), Vec::new(), requests)
    }
}

#[tokio::test(start_paused = true)]
async fn an_operator_is_answered_while_a_reload_hangs() {
    let fixture = Fixture::new(&Dice(1).files());
    // As if the reader thread were in a system call that never returns.
    let (requests, never_received) = reload_queue(1).unwrap();
    let state = fixture.state(requests);
    assert!(matches!(state.reload().await, Reloaded::Slow));
    assert!(matches!(state.reload().await, Reloaded::TooMany));
    assert_eq!(never_received.take().len(), 1);
    let (stopping, ()) = tokio::join!(state.reload(), async { state.drain() });
    assert!(matches!(stopping, Reloaded::Stopping));
    let reading = state.reading();
    std::thread::yield_now();
    assert!(!state.reading_for().is_zero());
    drop(reading);
    assert!(state.reading_for().is_zero());
}

#[test]
fn reloads_of_broken_files_allow_what_the_model_allows() {
    let mut dice = Dice(0x7469_6768_7465_6e21);
    let mut files = dice.files();
    let fixture = Fixture::new(&files);
    let leaves = fixture.cas.iter().map(|ca| {
        let purpose = ExtendedKeyUsagePurpose::ClientAuth;
        let leaf = |number| leaf(ca, name(number), purpose.clone(), serial(number)).2;
        Vec::from_iter((0..SCRAPERS).map(leaf))
    });
    let leaves = Vec::from_iter(leaves);
    let state = fixture.state(reload_queue(1).unwrap().0);
    let overrides = fixture.overrides.clone();
    let watched = Watched::configuration(&overrides);
    let config = Config::load(&overrides).unwrap();
    let (requests, phases) = (reload_queue(1).unwrap().1, mpsc::channel(1).0);
    let mut reader = Reader::new(&overrides, &config, watched, requests, phases);
    let mut whole = state.gate();
    let mut expected = Expected::of(files.clone());
    let (mut allowed, mut restricted, mut all) = (0, 0, 0);
    for _ in 0..ROUNDS {
        dice.change(&mut files);
        let breakage = dice.breakage();
        fixture.write(&files, breakage);
        reader.reload(&state, &mut whole, Cause::Changed);
        expected.read(&files, breakage);
        let last = state.last_reload();
        assert_eq!(
            last.faults.is_empty(),
            breakage == Breakage::None,
            "{last:?}"
        );
        restricted += usize::from(!last.restricted.is_empty());
        for (ca, leaves) in leaves.iter().enumerate() {
            for (scraper, leaf) in leaves.iter().enumerate() {
                let (source, service) = (dice.below(SOURCES.len()), dice.below(SERVICES.len()));
                let grant = Grant {
                    scraper,
                    source,
                    service,
                };
                let peer = Peer::new(format!("{}:1", SOURCES[source]).parse().unwrap());
                let to = SERVICES[service].parse().unwrap();
                let chain = Shows::Chain(vec![leaf.clone()]);
                let decided = explain(&state.gate(), peer, chain, &to).decided;
                let is_allowed = expected.allows(ca, grant);
                let case = format!("{breakage:?}: CA {ca}, scraper {scraper}: {decided:?}");
                assert_eq!(decided.is_ok(), is_allowed, "{case}");
                allowed += usize::from(is_allowed);
                all += 1;
            }
        }
    }
    // Both answers must be common, or the cases are not random enough.
    assert!(
        allowed > all / 10 && allowed < all / 2,
        "{allowed} of {all}"
    );
    assert!(restricted > ROUNDS / 3, "{restricted} of {ROUNDS}");
}

const ROUNDS: usize = 300;
