//! The classes of differences that docs/certificate-cases.md gives a reason for.

use std::fs;
use std::path::Path;

use crate::Judged;

/// What OpenSSL refuses (by `-x509_strict`) and aegis takes. Each stands in the document.
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

/// What Go refuses and aegis takes.
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

/// What aegis says, and the class that it is of.
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
        "has one extension twice",
        "one extension twice, whichever it is",
    ),
    (
        "written as an IPv6 address",
        "an IPv4 address that is written as an IPv6 address",
    ),
    (
        "has a subjectAltName",
        "a subjectAltName without a name, or with one that cannot be read",
    ),
    (
        "whose mask is none",
        "an IP network in nameConstraints whose mask is none",
    ),
    (
        "path length that is not minimal",
        "a path length that is not minimal DER",
    ),
    ("leaves the name of the CA empty", "a CA without a name"),
    (
        "one of issuer and serial number",
        "an authorityKeyIdentifier with one of issuer and serial number",
    ),
    (
        "has signed itself, but names another",
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
        "has nameConstraints and is no CA",
        "nameConstraints in what is no CA",
    ),
    (
        "nameConstraints that constrain nothing",
        "nameConstraints that constrain nothing",
    ),
    ("has policyConstraints", "policyConstraints"),
    (
        "has an extension (",
        "authorityInfoAccess or subjectAltName that cannot be read",
    ),
    (
        "do not name clientAuth",
        "extended key usages without clientAuth",
    ),
    (
        "leave out clientAuth",
        "extended key usages without clientAuth",
    ),
    (
        "the critical extension",
        "a critical extension that aegis does not know",
    ),
    (
        "do not permit a name below it",
        "Where a CA constrains URIs",
    ),
    ("is not of version 3", "a version other than 3"),
    ("is that of a CA", "a CA as a scraper's own certificate"),
    ("has no CRL number", "a CRL without a number"),
    (
        "distribution point without a URI",
        "an issuing distribution point without a URI",
    ),
    ("is a delta CRL", "delta and indirect CRLs"),
    ("is indirect", "delta and indirect CRLs"),
    ("for some reasons", "delta and indirect CRLs"),
    ("which covers", "a part of a CRL that is not current"),
    (
        "lists the",
        "a CRL of another part that lists a certificate",
    ),
    ("leave out cRLSign", "a keyUsage without cRLSign"),
];

/// The class of a PKI that aegis accepts and both others refuse; `None` if it is in no class.
///
/// Each of the two has a reason that aegis does not share, and has it documented.
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

/// Panics unless each class stands in the document.
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
