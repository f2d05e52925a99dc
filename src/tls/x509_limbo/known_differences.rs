//! The cases of x509-limbo in which aegis's verdict differs, and why.

/// Good chains that aegis refuses: its message, the reason, the cases.
pub(super) const REFUSED: &[(&str, &str, &[&str])] = &[
    (
        "9 certificates above the leaf",
        "nine certificates above the leaf; aegis looks at four",
        &["cve::cve-2024-0567"],
    ),
    (
        "is a CA",
        "a CA as a scraper's own certificate",
        &[
            "pathlen::validation-ignores-pathlen-in-leaf",
            "rfc5280::ca-as-leaf",
        ],
    ),
    (
        "do not include clientAuth",
        "a leaf that states no purpose",
        &["rfc5280::eku::ee-without-eku"],
    ),
    (
        "no valid path to a client CA",
        "a CA that signed its own successor; webpki counts and constrains it like any other",
        &[
            "pathlen::self-issued-certs-pathlen",
            "rfc5280::nc::permitted-self-issued",
        ],
    ),
    (
        "name constraints of",
        "a CA constrained to some directory names or email addresses; webpki takes no name to be within",
        &[
            "rfc5280::nc::permitted-dn-match",
            "rfc5280::nc::nc-permits-email-exact",
            "rfc5280::nc::nc-permits-email-domain",
            "rfc5280::nc::nc-permits-email-literal-asterisk-exact-match",
            "rfc5280::nc::nc-permits-email-literal-double-asterisk",
            "rfc5280::nc::nc-permits-email-literal-mid-asterisk",
        ],
    ),
    (
        "which aegis does not support",
        "a second, unrelated CA with an unknown critical extension; aegis takes all of a file or nothing",
        &["rfc5280::unknown-critical-extension-unrelated-root"],
    ),
];

/// Chains that are bad for a reason that does not concern aegis: the reason, the cases.
pub(super) const ACCEPTED: &[(&str, &[&str])] = &[
    (
        "the name of a server, which aegis looks for in no certificate of a scraper",
        &[
            "webpki::san::mismatch-domain-san",
            "webpki::san::mismatch-subdomain-san",
            "webpki::san::mismatch-subdomain-apex-san",
            "webpki::san::mismatch-apex-subdomain-san",
            "webpki::san::public-suffix-wildcard-san",
            "webpki::san::public-suffix-multi-label-wildcard-san",
            "webpki::san::public-suffix-private-namespace-wildcard-san",
            "webpki::san::wildcard-embedded-leftmost-san",
            "webpki::san::wildcard-not-in-leftmost-san",
            "webpki::san::wildcard-match-across-labels-san",
            "webpki::san::wildcard-embedded-ulabel-san",
            "webpki::san::no-san",
            "webpki::san::san-wildcard-only",
            "webpki::san::san-wildcard-only-tld",
        ],
    ),
    (
        "how a name is written: aegis compares names as text, and none of a wildcard or a CN",
        &[
            "rfc5280::san::noncritical-with-empty-subject",
            "rfc5280::san::underscore-dns",
            "rfc5280::san::ip-in-dns",
            "webpki::cn::ipv4-hex-mismatch",
            "webpki::cn::ipv4-leading-zeros-mismatch",
            "webpki::cn::ipv6-uppercase-mismatch",
            "webpki::cn::ipv6-uncompressed-mismatch",
            "webpki::cn::ipv6-non-rfc5952-mismatch",
            "webpki::cn::punycode-not-in-san",
            "webpki::cn::utf8-vs-punycode-mismatch",
            "webpki::cn::not-in-san",
            "webpki::cn::case-mismatch",
            "webpki::san::san-critical-with-nonempty-subject",
        ],
    ),
    (
        "the purpose, beyond that it is client authentication; that of a trusted CA is its owner's",
        &[
            "webpki::eku::ee-anyeku",
            "webpki::eku::ee-critical-eku",
            "webpki::eku::root-has-eku",
        ],
    ),
    (
        "the test asks for shorter chains than the four certificates that aegis looks at",
        &[
            "pathlen::max-chain-depth-0-exhausted",
            "pathlen::max-chain-depth-1-exhausted",
        ],
    ),
    (
        "no key identifier, as OpenSSL 1 and rcgen write certificates; signatures prove a chain without",
        &[
            "rfc5280::aki::leaf-missing-aki",
            "rfc5280::aki::intermediate-missing-aki",
            "rfc5280::aki::cross-signed-root-missing-aki",
            "rfc5280::ski::root-missing-ski",
            "rfc5280::ski::intermediate-missing-ski",
        ],
    ),
    (
        "an empty authority key identifier, as OpenSSL 1 writes it if it finds none; it contradicts nothing",
        &["webpki::aki::root-with-aki-missing-keyidentifier"],
    ),
    (
        "name constraints that are not critical, as CAs have them for the sake of old clients; they are honored",
        &["rfc5280::nc::permitted-dns-match-noncritical"],
    ),
    (
        "a constrained DNS name with a leading dot, as OpenSSL and Go take it; it is honored for the names below",
        &["rfc5280::nc::invalid-dnsname-leading-period"],
    ),
    (
        "a root's basic constraints that are not critical, as OpenSSL 1.0 makes them by default; they are honored",
        &["rfc5280::root-non-critical-basic-constraints"],
    ),
];
