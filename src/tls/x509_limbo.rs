//! Runs aegis's check of client certificates on the certificate chains of x509-limbo.
//!
//! `docs/certificate-cases.md` describes the result. The cases are not part of aegis, so these tests
//! are ignored by default. `cargo test --lib limbo -- --ignored` runs them, with the cases in the
//! folder that `AEGIS_SHARED` names, or in `shared` next to the checkout.

mod known_differences;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{env, fs};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{
    AlgorithmIdentifier, CertificateDer, CertificateRevocationListDer, InvalidSignature,
    SignatureVerificationAlgorithm, UnixTime,
};
use serde_json::Value;
use x509_parser::time::ASN1Time;

use super::client_verifier::ClientVerifier;
use crate::config::ExpiredCrls;
use crate::policy::identity::Identity;
use crate::refusal::Refusal;
use crate::tls::credentials::{ClientCas, read_crl};
use known_differences::{ACCEPTED, REFUSED};

#[test]
#[ignore = "needs the certificate cases, which are not part of aegis: see CONTRIBUTING.md"]
fn verdicts_differ_only_in_the_known_cases() {
    let cases = cases();
    let mut listed: BTreeMap<&str, &str> = BTreeMap::new();
    for (reason, _, ids) in REFUSED {
        listed.extend(ids.iter().map(|id| (*id, *reason)));
    }
    for (_, ids) in ACCEPTED {
        listed.extend(ids.iter().map(|id| (*id, "")));
    }
    let mut counts = [[0; 2]; 2];
    let mut badly_signed = Vec::new();
    for case in &cases {
        let verdict = case.verdict_for_clients();
        counts[usize::from(case.is_good)][usize::from(verdict.is_ok())] += 1;
        match (&verdict, case.is_good, listed.remove(&*case.id)) {
            (Err((_, problem)), false, None)
                if problem.contains("is not signed with the key of that CA") =>
            {
                badly_signed.push(&*case.id);
            }
            (Ok(()), true, None) | (Err(_), false, None) | (Ok(()), false, Some("")) => {}
            (Err((_, problem)), true, Some(reason)) if !reason.is_empty() => {
                assert!(problem.contains(reason), "{}: {problem}", case.id);
            }
            (_, is_good, listed) => {
                panic!("{}: good: {is_good}, {listed:?}: {verdict:?}", case.id)
            }
        }
    }
    assert_eq!(listed, BTreeMap::new(), "no such cases");
    // More would mean that the test broke their signatures.
    assert_eq!(badly_signed, BADLY_SIGNED);
    assert_eq!(
        counts,
        [[104, 41], [13, 50]],
        "bad, good: refused, accepted"
    );
}

#[test]
#[ignore = "needs the certificate cases, which are not part of aegis: see CONTRIBUTING.md"]
fn a_server_certificate_is_refused_only_for_its_purpose() {
    let cases = cases();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut accepted = Vec::new();
    let mut refused_for_purpose = 0;
    for case in cases.iter().filter(|case| case.is_for_servers) {
        match case.verdict(&provider) {
            Ok(()) => accepted.push(&*case.id),
            Err((None, problem)) if case.id == SERVER_ONLY_ROOT => {
                assert!(problem.contains("lack clientAuth"), "{problem}");
            }
            Err((refusal, _)) if case.verdict_for_clients().is_ok() => {
                assert_eq!(refusal, Some(Refusal::Usage), "{}", case.id);
                refused_for_purpose += 1;
            }
            Err(_) => {}
        }
    }
    assert_eq!(accepted, ALSO_FOR_CLIENTS);
    assert_eq!(refused_for_purpose, 84);
}

#[test]
fn the_document_names_every_known_difference() {
    let document = include_str!("../../docs/certificate-cases.md");
    let refused = REFUSED.iter().map(|(_, why, ids)| (why, ids));
    for (why, ids) in ACCEPTED.iter().map(|(why, ids)| (why, ids)).chain(refused) {
        assert!(document.contains(why), "{why}");
        for id in *ids {
            assert!(document.contains(&format!("`{id}`")), "{id}");
        }
    }
}

#[derive(Clone)]
struct Case {
    id: String,
    is_good: bool,
    is_for_servers: bool,
    now: Duration,
    trusted: Vec<CertificateDer<'static>>,
    intermediates: Vec<CertificateDer<'static>>,
    leaf: CertificateDer<'static>,
    crls: Vec<CertificateRevocationListDer<'static>>,
}

fn cases() -> Vec<Case> {
    let shared = env::var_os("AEGIS_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"),
        PathBuf::from,
    );
    let file = shared.join("data/x509-limbo-208.json");
    let text = fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let all: Value = serde_json::from_slice(&text).unwrap();
    let cases = list(&all["testcases"], Case::read);
    assert_eq!(cases.len(), 208);
    cases
}

fn list<T>(json: &Value, read: fn(&Value) -> T) -> Vec<T> {
    json.as_array().unwrap().iter().map(read).collect()
}

fn pem<T: PemObject>(json: &Value) -> T {
    T::from_pem_slice(json.as_str().unwrap().as_bytes()).unwrap()
}

impl Case {
    fn read(json: &Value) -> Self {
        let now = json["validation_time"].as_str();
        let now = now.map_or_else(SystemTime::now, |now| {
            humantime::parse_rfc3339(&now.replace("+00:00", "Z")).unwrap()
        });
        Self {
            id: json["id"].as_str().unwrap().to_owned(),
            is_good: match json["expected_result"].as_str() {
                Some("SUCCESS") => true,
                Some("FAILURE") => false,
                other => panic!("{other:?}"),
            },
            is_for_servers: match json["validation_kind"].as_str() {
                Some("SERVER") => true,
                Some("CLIENT") => false,
                other => panic!("{other:?}"),
            },
            now: now.duration_since(UNIX_EPOCH).unwrap(),
            trusted: list(&json["trusted_certs"], pem),
            intermediates: list(&json["untrusted_intermediates"], pem),
            leaf: pem(&json["peer_certificate"]),
            crls: list(&json["crls"], pem),
        }
    }

    /// aegis's verdict on the case. For a case about servers, the purposes are swapped.
    fn verdict_for_clients(&self) -> Result<(), (Option<Refusal>, String)> {
        if !self.is_for_servers {
            return self.verdict(&Arc::new(aws_lc_rs::default_provider()));
        }
        let mut case = self.clone();
        let above = case.trusted.iter_mut().chain(&mut case.intermediates);
        for certificate in above.chain([&mut case.leaf]) {
            *certificate = with_swapped_purposes(certificate).into();
        }
        case.verdict(&IGNORING_SWAP)
    }

    /// aegis's verdict: an error at load of the CAs and CRLs (no refusal), or a refusal.
    fn verdict(&self, provider: &Arc<CryptoProvider>) -> Result<(), (Option<Refusal>, String)> {
        let at_load = |problem: String| (None, problem);
        let now = ASN1Time::from_timestamp(self.now.as_secs().cast_signed()).unwrap();
        let mut client_cas = ClientCas::default();
        let mut cas = Vec::new();
        for ca in &self.trusted {
            cas.push(client_cas.add(ca).map_err(at_load)?);
        }
        let crls = self.crls.iter().map(|crl| read_crl(crl, &cas, now));
        let crls = crls.map(|crl| crl.map(|(crl, _)| Arc::new(crl)));
        let crls = crls.collect::<Result<_, _>>().map_err(at_load)?;
        let verifier =
            ClientVerifier::new(Arc::new(client_cas), crls, ExpiredCrls::Refuse, provider);
        let now = UnixTime::since_unix_epoch(self.now);
        verifier
            .check(&self.leaf, &self.intermediates, now)
            .map_err(|cause| (Some(cause.refusal()), cause.to_string()))?;
        Identity::from_leaf(&self.leaf)
            .map_err(|error| (Some(Refusal::Untrusted), error.to_string()))?;
        Ok(())
    }
}

/// Swaps the purposes serverAuth and clientAuth everywhere.
fn with_swapped_purposes(der: &[u8]) -> Vec<u8> {
    /// The object identifier `id-kp` (RFC 5280, section 4.2.1.12), of which one number is missing.
    const PURPOSE: &[u8] = &[0x06, 8, 0x2b, 6, 1, 5, 5, 7, 3];
    let mut turned = der.to_vec();
    for at in PURPOSE.len()..der.len() {
        if der[..at].ends_with(PURPOSE) {
            turned[at] = match der[at] {
                1 => 2,
                2 => 1,
                other => other,
            };
        }
    }
    turned
}

/// Verifies certificates with swapped purposes: their signatures are of the original ones.
static IGNORING_SWAP: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    let mut provider = aws_lc_rs::default_provider();
    let algorithms = provider.signature_verification_algorithms.all.iter();
    let turning = algorithms.map(|algorithm| &*Box::leak(Box::new(IgnoringSwap(*algorithm))) as _);
    provider.signature_verification_algorithms.all = turning.collect::<Vec<_>>().leak();
    Arc::new(provider)
});

#[derive(Debug)]
struct IgnoringSwap(&'static dyn SignatureVerificationAlgorithm);

impl SignatureVerificationAlgorithm for IgnoringSwap {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let message = with_swapped_purposes(message);
        self.0.verify_signature(public_key, &message, signature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.0.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.0.signature_alg_id()
    }
}

/// Cases about servers whose leaf also has the purpose clientAuth.
const ALSO_FOR_CLIENTS: &[&str] = &[
    "rfc5280::eku::ee-wrong-eku",
    "webpki::cryptographydotio-chain",
    "online::facebook.com",
    "online::amazon.com",
    "online::s3.amazonaws.com",
    "online::akamai.com",
    "online::docs.python.org",
];

/// A case whose trusted CA is for servers only: an error at load.
const SERVER_ONLY_ROOT: &str = "webpki::eku::root-has-eku";

/// Bad chains with a bad signature.
const BADLY_SIGNED: &[&str] = &["invalid::invalid-issuer-key"];
