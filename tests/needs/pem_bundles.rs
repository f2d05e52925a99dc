//! Needs the program `openssl`, which reads the same mangled files of certificates and CRLs.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use aegis::config::{Config, ConfigError, Overrides};
use aegis::tls::credentials::{Credentials, certificates};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};

use crate::Tests;
use crate::harness::mangled::{Random, mangle};
use crate::harness::{Pki, World};

pub const TESTS: Tests = tests![
    every_certificate_that_openssl_finds_is_read_or_reported,
    every_crl_that_openssl_finds_is_read_or_reported,
    a_trusted_certificate_is_read_only_without_trust_settings,
];

const BUNDLES: usize = 300;

/// The output of an OpenSSL command, which may fail halfway.
fn openssl(arguments: &str, file: &Path) -> Vec<u8> {
    let mut command = Command::new("openssl");
    command.args(arguments.split(' ')).arg(file);
    command.output().unwrap().stdout
}

/// The certificates that OpenSSL finds in a file, with both of its readers.
fn found_by_openssl(file: &Path, scratch: &Path) -> BTreeSet<Vec<u8>> {
    let pkcs7 = openssl("crl2pkcs7 -nocrl -certfile", file);
    fs::write(scratch, pkcs7).unwrap();
    let mut found = openssl("pkcs7 -print_certs -in", scratch);
    found.extend(openssl("storeutl -certs", file));
    let found = CertificateDer::pem_slice_iter(&found);
    found.map(|der| der.unwrap().to_vec()).collect()
}

fn load(config: &Path) -> Result<Credentials, Vec<ConfigError>> {
    let overrides = Overrides {
        config: Some(config.to_owned()),
        ..Overrides::default()
    };
    Config::load(&overrides).and_then(|config| Credentials::load(&config.tls))
}

fn certificates_in(file: &Path) -> Result<Vec<Vec<u8>>, ConfigError> {
    let given = aegis::config::Located {
        value: file.to_owned(),
        origin: aegis::text::origin::Origin::Unset,
    };
    let found = certificates(&given, "")?.into_iter();
    Ok(found.map(|der| der.to_vec()).collect())
}

/// A bundle of three certificates with other text, under any of the labels that OpenSSL reads.
fn bundle(random: &mut Random, cas: &[Pki]) -> String {
    let mut bundle = String::new();
    for ca in cas {
        let label = ["CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"][random.below(3)];
        let comment = ["", "\n", "# a CA\n", "subject=CN = CA\n"][random.below(4)];
        bundle += comment;
        bundle += &ca.ca_pem().replace("CERTIFICATE", label);
    }
    bundle
}

fn every_certificate_that_openssl_finds_is_read_or_reported() {
    let world = World::new();
    let cas = [Pki::named("one"), Pki::named("two"), Pki::named("three")];
    let mut random = Random::new(7);
    let (file, scratch) = (world.path("ca.pem"), world.path("ca.p7"));
    let (mut read, mut refused, mut nothing) = (0, 0, 0);
    let config = world.write_config();
    for number in 0..BUNDLES {
        let bundle = bundle(&mut random, &cas);
        let (bytes, how) = mangle(&mut random, &bundle);
        fs::write(&file, &bytes).unwrap();
        let found = found_by_openssl(&file, &scratch);
        match certificates_in(&file) {
            Ok(own) => {
                let all = own.len();
                let own = BTreeSet::from_iter(own);
                assert!(found.is_subset(&own), "{number}, {how}: {}", found.len());
                let text = String::from_utf8_lossy(&bytes);
                let lines = text.split(['\n', '\r']);
                let shown = lines.filter(|line| !line.starts_with('#'));
                let begun: usize = shown.map(|line| line.matches("BEGIN").count()).sum();
                assert_eq!(all, begun, "{number}, {how}");
                let loaded = load(&config).map(|credentials| credentials.expiries.len());
                // The certificates of the CAs and of the server.
                assert_eq!(loaded.unwrap(), all + 1, "{number}, {how}");
                read += 1;
            }
            Err(_) if found.is_empty() => nothing += 1,
            Err(fault) => {
                let problem = fault.problem();
                let is_named = problem.contains(": line ") || problem.contains("not PEM");
                assert!(is_named, "{number}, {how}: {fault}");
                refused += 1;
            }
        }
    }
    eprintln!(
        "of {BUNDLES} bundles, {read} are read, {refused} of which OpenSSL reads a part are errors, and in {nothing} it finds nothing either"
    );
    assert!(read > BUNDLES / 10 && refused > BUNDLES / 10);
}

fn every_crl_that_openssl_finds_is_read_or_reported() {
    let mut world = World::new();
    world.settings.tls = r#"client_crl_files = ["crl.pem"]"#.to_owned();
    let config = world.write_config();
    let pkis = [Pki::named("one"), Pki::named("two"), Pki::named("three")];
    let crls: String = pkis.iter().map(|pki| pki.crl_with([], |_| {})).collect();
    let mut random = Random::new(70);
    let file = world.path("crl.pem");
    let (mut read, mut refused) = (0, 0);
    for number in 0..BUNDLES {
        let (bytes, how) = mangle(&mut random, &crls);
        fs::write(&file, &bytes).unwrap();
        let found = openssl("storeutl -crls", &file);
        let found = CertificateRevocationListDer::pem_slice_iter(&found);
        let found = BTreeSet::from_iter(found.map(|der| der.unwrap().to_vec())).len();
        match load(&config) {
            Ok(credentials) => {
                let own = credentials.client_crls.len();
                assert!(own >= found, "{number}, {how}: {own} of {found}");
                read += 1;
            }
            Err(faults) => {
                let of_crls = faults
                    .iter()
                    .all(|fault| fault.key() == "tls.client_crl_files");
                assert!(of_crls, "{number}, {how}: {faults:?}");
                refused += usize::from(found > 0);
            }
        }
    }
    eprintln!(
        "of {BUNDLES} files, {read} are read; {refused} of which OpenSSL reads a part are errors"
    );
    assert!(read > BUNDLES / 10 && refused > BUNDLES / 10);
}

fn a_trusted_certificate_is_read_only_without_trust_settings() {
    let world = World::new();
    let (file, config) = (world.path("ca.pem"), world.write_config());
    fs::write(world.path("plain.pem"), world.pki.ca_pem()).unwrap();
    for (settings, is_read) in [
        ("", true),
        (" -addtrust clientAuth", false),
        (" -addreject clientAuth", false),
        (" -addreject serverAuth", false),
        (" -setalias name", false),
    ] {
        let command = format!("x509 -trustout{settings} -in");
        let trusted = String::from_utf8(openssl(&command, &world.path("plain.pem"))).unwrap();
        assert!(trusted.starts_with("-----BEGIN TRUSTED CERTIFICATE"));
        fs::write(&file, trusted).unwrap();
        match load(&config) {
            Ok(_) => assert!(is_read, "{settings}"),
            Err(faults) => {
                assert!(!is_read, "{settings}: {faults:?}");
                let why = "ca.pem: line 1 begins a certificate with trust settings of OpenSSL, which aegis does not support; write it without them: openssl x509 -in FILE -out NEW";
                assert!(faults[0].problem().contains(why), "{faults:?}");
                // The remedy of the message works.
                let plain = openssl("x509 -in", &file);
                fs::write(&file, plain).unwrap();
                assert!(load(&config).is_ok());
            }
        }
    }
}
