//! Files of certificates, keys, CAs and CRLs, and the verdict on a scraper's chain.
//!
//! The first letter of the input names the file that the rest replaces: `c`ertificate, `k`ey,
//! client C`a`, c`r`l.
#![no_main]

use std::fs;
use std::sync::LazyLock;

use aegis_fuzz::services::Services;
use aegis_fuzz::world::{CA, CRL, CRL_OF_CLIENT, connect, write_pki};
use libfuzzer_sys::fuzz_target;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use tempfile::TempDir;

/// A folder with valid files.
static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    drop(Services::new(folder.path()));
    write_pki(folder.path());
    for (name, server, ca, crls) in [
        ("c", "fuzzed", "ca.pem", "\"crl.pem\""),
        ("k", "server.pem", "ca.pem", "\"crl.pem\""),
        ("a", "server.pem", "fuzzed", "\"crl.pem\""),
        ("r", "server.pem", "ca.pem", "\"fuzzed\""),
    ] {
        let key = if name == "k" { "fuzzed" } else { "server.key" };
        let config = format!(
            r#"
            listen = ["127.0.0.1:1"]
            socket_dir = "services"
            [tls]
            cert_file = "{server}"
            key_file = "{key}"
            client_ca_file = "{ca}"
            client_crl_files = [{crls}]
            [[allow]]
            networks = ["192.0.2.0/24"]
            identities = ["*"]
            services = ["*"]
            "#
        );
        fs::write(folder.path().join(format!("{name}.toml")), config).unwrap();
    }
    folder
});

fuzz_target!(|bytes: &[u8]| {
    let Some((which, file)) = bytes.split_first() else {
        return;
    };
    if !b"ckar".contains(which) {
        return;
    }
    let folder = FOLDER.path();
    fs::write(folder.join("fuzzed"), file).unwrap();
    let config = folder.join(format!("{}.toml", char::from(*which)));
    let result = connect(&config);
    // The fuzzer cannot sign, so a gate that admits the scraper has the key of its CA and the CRL.
    match (which, &result) {
        (b'a', Ok(_)) => {
            let plain = plain(file);
            let mut cas = CertificateDer::pem_slice_iter(&plain).filter_map(Result::ok);
            assert!(
                cas.any(|ca| contains(&ca, &CA_KEY)),
                "admitted by another CA"
            );
        }
        (b'r', Ok(_)) => {
            let crl = CertificateRevocationListDer::from_pem_slice(CRL).unwrap();
            assert!(
                file == &*crl || crls(file).contains(&crl),
                "admitted by another CRL"
            );
        }
        (b'r', Err(problem)) if file == CRL_OF_CLIENT => {
            assert!(problem.contains("Revoked"), "{problem}");
        }
        _ => {}
    }
});

/// The BIT STRING of the CA's public key.
static CA_KEY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let ca = CertificateDer::from_pem_slice(CA).unwrap();
    let point = [3, 66, 0, 4];
    let at = ca.windows(4).position(|window| window == point).unwrap();
    ca[at..at + 68].to_vec()
});

fn crls(file: &[u8]) -> Vec<CertificateRevocationListDer<'static>> {
    let plain = plain(file);
    let crls = CertificateRevocationListDer::pem_slice_iter(&plain);
    crls.filter_map(Result::ok).collect()
}

/// Converts a file that OpenSSL and aegis can read to one that rustls can read.
fn plain(file: &[u8]) -> Vec<u8> {
    let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
    let mut plain = String::new();
    for line in file.split(|byte| matches!(byte, b'\n' | b'\r')) {
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end_matches(|character| character <= ' ');
        let line = line.replace("TRUSTED CERTIFICATE", "CERTIFICATE");
        plain += &line.replace("X509 CERTIFICATE", "CERTIFICATE");
        plain.push('\n');
    }
    plain.into_bytes()
}

fn contains(whole: &[u8], part: &[u8]) -> bool {
    whole.windows(part.len()).any(|window| window == part)
}
