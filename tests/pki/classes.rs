//! The classes of differences that docs/certificate-cases.md explains.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::Judged;

/// What OpenSSL refuses (with `-x509_strict`) and aegis accepts. Each is in the document.
const REFUSED_BY_OPENSSL: &[(&str, &str)] = &[
    ("Missing Authority Key Identifier", IDENTIFIERS),
    ("Missing Subject Key Identifier", IDENTIFIERS),
    ("unable to get local issuer certificate", IDENTIFIERS),
    ("Basic Constraints of CA cert not marked critical", CRITICAL),
    ("CA cert does not include key usage extension", NO_USAGE),
    ("Path length given without key usage keyCertSign", LENGTH),
    ("Path length invalid for non-CA cert", LENGTH),
    (
        "Subject empty and Subject Alt Name extension not critical",
        NO_SUBJECT,
    ),
    ("different CRL scope", SCOPE),
    ("unable to get certificate CRL", OWN_CRL),
    ("CRL signature failure", KEY),
    ("unsuitable certificate purpose", ANY),
];

/// What Go refuses and aegis accepts.
const REFUSED_BY_GO: &[(&str, &str)] = &[("unhandled critical extension", CRITICAL_NAMES)];

const IDENTIFIERS: &str = "key identifiers that are missing or of another key";
const CRITICAL: &str = "basicConstraints of a CA that are not critical";
const NO_USAGE: &str = "a CA without a keyUsage";
const LENGTH: &str = "a path length where it means nothing";
const NO_SUBJECT: &str = "a subjectAltName that is not critical where there is no subject";
const SCOPE: &str = "a CRL of a distribution point for a certificate that names none";
const OWN_CRL: &str = "no CRL for the client CA itself";
const KEY: &str = "CRLs of one name by several keys";
const ANY: &str = "anyExtendedKeyUsage on a client CA";
const CRITICAL_NAMES: &str = "a critical subjectAltName in a CA";

/// The errors of aegis, and the class of each.
const REFUSED: &[(&str, &str)] = &[
    (
        "has a serial number that is zero",
        "a serial number that is zero, negative or longer than 20 octets",
    ),
    (
        "has a serial number that is not minimal",
        "a serial number that is not minimal DER",
    ),
    (
        "lists a serial number that is not minimal",
        "a serial number that is not minimal DER",
    ),
    (
        "has a duplicate extension",
        "one extension twice, whichever it is",
    ),
    (
        "IPv4-mapped IPv6 address",
        "an IPv4 address that is written as an IPv6 address",
    ),
    (
        "subjectAltName; issue it again",
        "a subjectAltName without a name, or with one that cannot be read",
    ),
    (
        "an invalid network mask",
        "an IP network in nameConstraints whose mask is none",
    ),
    (
        "path length that is not minimal",
        "a path length that is not minimal DER",
    ),
    ("has an empty CA name", "a CA without a name"),
    (
        "only one of issuer and serial number",
        "an authorityKeyIdentifier with one of issuer and serial number",
    ),
    (
        "is self-signed but names another",
        "one that contradicts a CA which has signed itself",
    ),
    (
        "without digitalSignature",
        "a keyUsage without digitalSignature",
    ),
    (
        "has the key usage keyCertSign",
        "keyCertSign in what is no CA",
    ),
    (
        "has nameConstraints but is not a CA",
        "nameConstraints in what is no CA",
    ),
    (
        "has empty nameConstraints",
        "nameConstraints that constrain nothing",
    ),
    ("has policyConstraints", "policyConstraints"),
    (
        "has a malformed extension (",
        "authorityInfoAccess or subjectAltName that cannot be read",
    ),
    (
        "do not include clientAuth",
        "extended key usages without clientAuth",
    ),
    ("lack clientAuth", "extended key usages without clientAuth"),
    (
        "the critical extension",
        "a critical extension that aegis does not know",
    ),
    (
        "do not permit a name below it",
        "Where a CA constrains URIs",
    ),
    ("is not of version 3", "a version other than 3"),
    ("is a CA", "a CA as a scraper's own certificate"),
    ("has no CRL number", "a CRL without a number"),
    (
        "distribution point without a URI",
        "an issuing distribution point without a URI",
    ),
    ("is a delta CRL", "delta and indirect CRLs"),
    ("is an indirect CRL", "delta and indirect CRLs"),
    ("for some revocation reasons", "delta and indirect CRLs"),
    ("which covers", "a part of a CRL that is not current"),
    (
        "lists the",
        "a CRL of another part that lists a certificate",
    ),
    ("lack cRLSign", "a keyUsage without cRLSign"),
    (
        "certificates above the leaf",
        "more than four certificates above the leaf",
    ),
];

/// The class of a PKI that aegis accepts and both others refuse; `None` if it is in no class.
///
/// Each of the two has a reason that aegis does not share. The document explains it.
pub fn accepted(judged: &Judged) -> Option<&'static str> {
    let openssl = judged.openssl.as_ref().err()?;
    let mut reasons = openssl.split(" lookup: ").skip(1).peekable();
    reasons.peek()?;
    let classes: Option<Vec<_>> = reasons
        .map(|reason| class(REFUSED_BY_OPENSSL, reason))
        .collect();
    class(REFUSED_BY_GO, judged.go.as_ref().err()?)?;
    classes?.first().copied()
}

/// The class of a PKI that aegis refuses and both others accept.
pub fn refused(judged: &Judged) -> Option<&'static str> {
    class(REFUSED, judged.aegis.as_ref().err()?)
}

fn class(classes: &[(&str, &'static str)], reason: &str) -> Option<&'static str> {
    let found = classes.iter().find(|(text, _)| reason.contains(text));
    found.map(|(_, class)| *class)
}

/// The classes that occur in none of these.
pub fn missing(judged: &[Judged]) -> Vec<&'static str> {
    let all = [REFUSED_BY_OPENSSL, REFUSED_BY_GO, REFUSED].concat();
    let mut missing: BTreeSet<&str> = all.into_iter().map(|(_, class)| class).collect();
    for one in judged {
        let (by_openssl, by_go) = (one.openssl.as_ref().err(), one.go.as_ref().err());
        let met = match &one.aegis {
            Err(reason) => [(REFUSED, Some(reason)), (&[], None)],
            Ok(()) => [(REFUSED_BY_OPENSSL, by_openssl), (REFUSED_BY_GO, by_go)],
        };
        for (classes, reason) in met {
            let reason = reason.map_or("", String::as_str);
            for (_, class) in classes.iter().filter(|(text, _)| reason.contains(text)) {
                missing.remove(class);
            }
        }
    }
    missing.into_iter().collect()
}

/// Panics unless each class is in the document.
pub fn assert_documented() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/certificate-cases.md");
    let words = fs::read_to_string(file).unwrap();
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    for (_, class) in [REFUSED_BY_OPENSSL, REFUSED_BY_GO, REFUSED].concat() {
        assert!(
            words.contains(class),
            "not in docs/certificate-cases.md: {class}"
        );
    }
}
