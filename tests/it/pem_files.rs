//! Each PEM block of a file is used, or is an error with its line and a remedy.

use std::fs;

use rustix::process::Signal;

use crate::harness::aegis::command;
use crate::harness::{Pki, World, answer};
use crate::reload::RELOADED;

/// A world with a CRL.
fn world() -> World {
    let mut world = World::new();
    world.settings.tls = r#"client_crl_files = ["crl.pem"]"#.to_owned();
    fs::write(world.path("crl.pem"), world.pki.crl_with([], |_| {})).unwrap();
    world
}

/// Whether `check` succeeds, and its output.
fn check(world: &World) -> (bool, String) {
    let mut check = command();
    check.args(["check", "--config"]).arg(world.write_config());
    let output = check.output().unwrap();
    let stderr = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (output.status.success(), stderr)
}

/// Asserts the error of `check` with this text in a file. An empty error means that it is valid.
#[track_caller]
fn assert_check_prints(world: &World, name: &str, text: &str, expected: &str) {
    let path = world.path(name);
    let good = fs::read(&path).unwrap();
    fs::write(&path, text).unwrap();
    let (is_good, output) = check(world);
    match expected {
        "" => assert!(is_good, "{name}: {output}"),
        expected => assert!(
            !is_good && output.contains(expected),
            "no {expected:?} in {output}"
        ),
    }
    fs::write(&path, good).unwrap();
}

/// A text, its replacement in a file whose block begins in line 3, the reported line if it is the
/// same in each file, and the error.
const BROKEN: &[(&str, &str, Option<usize>, &str)] = &[
    (
        "\n-----BEGIN",
        "\n----BEGIN",
        Some(3),
        "begins or ends a block, but is not exactly -----BEGIN LABEL----- or -----END LABEL-----, perhaps because the file was cut off; copy the block again",
    ),
    (
        "\n-----BEGIN",
        "\n  -----BEGIN",
        Some(3),
        "begins or ends a block, but is indented; remove the blanks",
    ),
    (
        "\n-----BEGIN",
        "\n\u{feff}-----BEGIN",
        Some(3),
        "has a byte-order mark before the block; remove it",
    ),
    (
        "\n-----BEGIN",
        "\n\0-----BEGIN",
        Some(3),
        "holds NUL characters; save the file as ASCII or UTF-8 text",
    ),
    (
        "\n-----BEGIN",
        "\n\u{2014}-BEGIN",
        Some(3),
        "has other dashes than hyphens; copy the block again, not from a text document",
    ),
    (
        "\n-----BEGIN",
        "-----BEGIN",
        Some(2),
        "lacks line breaks; a BEGIN or END line must stand alone",
    ),
    (
        "\nM",
        "\\nM",
        Some(3),
        "has line breaks that are written as \\n; replace them by real line breaks",
    ),
    ("\nM", "M", Some(3), "lacks line breaks"),
    (
        "\nM",
        "\nM-",
        Some(4),
        "is not base64, though it is inside a block; copy the block again",
    ),
    (
        "BEGIN ",
        "BEGIN MY ",
        Some(3),
        "begins a block of a kind that aegis does not know; correct its label",
    ),
    (
        "\n-----BEGIN",
        "\n-----BEGIN CERTIFICATE-----\n-----BEGIN",
        Some(3),
        "begins a block that does not end before the next one begins; its END line is missing",
    ),
    (
        "\n-----END",
        "\n#",
        Some(3),
        "begins a block that does not end; its END line is missing, perhaps because the file was cut off",
    ),
    (
        "\n-----BEGIN",
        "\n#-----BEGIN",
        None,
        "ends a block that nothing begins; its BEGIN line is missing",
    ),
    (
        "\n-----END",
        "\n-----END CMS-----\n-----END",
        None,
        "ends a block of another kind than the one that was begun",
    ),
];

// #18
#[test]
fn a_broken_block_is_reported_with_its_line_and_remedy() {
    let world = world();
    for name in ["server.pem", "server.key", "ca.pem", "crl.pem"] {
        let good = fs::read_to_string(world.path(name)).unwrap();
        for (from, to, line, what) in BROKEN {
            let broken = format!("# a comment\nand text\n{good}").replacen(from, to, 1);
            let expected = |before| match line {
                Some(line) => format!(": line {} {what}", line + before),
                None => (*what).to_owned(),
            };
            assert_check_prints(&world, name, &broken, &expected(0));
            // A broken block after a good one is an error as well. A second key is always an error.
            if name == "server.key" {
                continue;
            }
            let whole = format!("{good}{broken}");
            assert_check_prints(&world, name, &whole, &expected(good.lines().count()));
        }
    }
}

// #18
#[test]
fn pem_forms_that_openssl_reads_are_read() {
    let world = World::new();
    let _service = world.service("node", answer("up 1\n"));
    let aegis = world.start();
    let other = Pki::new().ca_pem();
    let good = fs::read_to_string(world.path("ca.pem")).unwrap();
    let server = fs::read_to_string(world.path("server.pem")).unwrap();
    for change in [
        |text: &str| format!("\u{feff}{text}"),
        |text: &str| text.replace('\n', "\r\n"),
        |text: &str| text.replace("CERTIFICATE", "TRUSTED CERTIFICATE"),
        |text: &str| text.replace("CERTIFICATE", "X509 CERTIFICATE"),
        |text: &str| text.replace("-----\n", "----- \t\n"),
        |text: &str| format!("subject=CN = x\n# note\n\n{text}"),
    ] {
        fs::write(world.path("server.pem"), change(&server)).unwrap();
        for bundle in [format!("{other}{good}"), format!("{good}{other}")] {
            // A broken block must not hide the ones after it.
            fs::write(world.path("ca.pem"), change(&bundle)).unwrap();
            let before = aegis.count_logged(RELOADED);
            aegis.signal(Signal::HUP);
            aegis.logged_times(before + 1, RELOADED);
            assert_eq!(world.prometheus(&aegis).get("/node").status, 200);
        }
    }
}

const CRL: &str =
    ": line 1 begins a CRL, which is not read from this file; add the file to tls.client_crl_files";
const PKCS7: &str =
    ": line 1 begins PKCS#7; write its certificates in PEM: openssl pkcs7 -print_certs";
const SECRET: &str = ": line 1 begins a private key, which does not belong in this file";
const CERTIFICATE: &str = ": line 1 begins a certificate, which is not read from this file";
const ENCRYPTED: &str = ": line 1 begins a private key that is encrypted or unsupported; write it without a passphrase: openssl pkey -in";
const SECOND: &str =
    "begins a second private key; remove the one that does not belong to the certificate";
const REQUEST: &str =
    "-----BEGIN CERTIFICATE REQUEST-----\nMAA=\n-----END CERTIFICATE REQUEST-----\n";

// #18
#[test]
fn a_block_of_an_unused_type_is_an_error() {
    let mut world = world();
    let text = |name: &str| fs::read_to_string(world.path(name)).unwrap();
    let [server, key, ca, crl] = ["server.pem", "server.key", "ca.pem", "crl.pem"].map(text);
    let pkcs7 = REQUEST.replace("CERTIFICATE REQUEST", "PKCS7");
    for (name, first, second, expected) in [
        ("server.pem", &key, &server, ""),
        ("server.pem", &REQUEST.to_owned(), &server, ""),
        ("server.pem", &crl, &server, CRL),
        ("server.pem", &pkcs7, &server, PKCS7),
        ("ca.pem", &crl, &ca, CRL),
        ("ca.pem", &key, &ca, SECRET),
        ("ca.pem", &REQUEST.to_owned(), &ca, ""),
        ("crl.pem", &ca, &crl, CERTIFICATE),
        ("crl.pem", &key, &crl, SECRET),
        ("crl.pem", &ca, &ca, CERTIFICATE),
        ("server.key", &server, &key, ""),
        ("server.key", &REQUEST.to_owned(), &key, ""),
        ("server.key", &crl, &key, CRL),
    ] {
        assert_check_prints(&world, name, &format!("{first}{second}"), expected);
    }
    // A file that is used for both is checked for both.
    fs::write(world.path("ca.pem"), crl + &ca).unwrap();
    world.settings.tls = r#"client_crl_files = ["ca.pem"]"#.to_owned();
    let (is_good, output) = check(&world);
    assert!(is_good, "{output}");
}

// #18
#[test]
fn unusable_keys_second_keys_and_binary_files_are_reported_with_a_remedy() {
    let world = world();
    let key = fs::read_to_string(world.path("server.key")).unwrap();
    let second = key.clone() + &Pki::new().server().key.serialize_pem();
    let encrypted = key.replace("PRIVATE", "ENCRYPTED PRIVATE");
    let legacy = key.replacen("-----\n", "-----\nProc-Type: 4,ENCRYPTED\n\n", 1);
    assert_check_prints(&world, "server.key", &second, SECOND);
    assert_check_prints(&world, "server.key", &encrypted, ENCRYPTED);
    assert_check_prints(&world, "server.key", &legacy, ENCRYPTED);
    let der = world.pki.ca_der();
    let two = data_encoding::BASE64.encode(&[&*der, &*der].concat());
    let two = format!("-----BEGIN CERTIFICATE-----\n{two}\n-----END CERTIFICATE-----\n");
    let expected = ": line 1 begins a block with more than one certificate";
    assert_check_prints(&world, "ca.pem", &two, expected);
    for (name, remedy) in [
        ("ca.pem", "openssl x509 -inform DER"),
        ("server.key", "openssl pkey -inform DER"),
    ] {
        fs::write(world.path(name), &der).unwrap();
        let (_, output) = check(&world);
        let expected = format!("{name} is DER, not PEM; write it in PEM: {remedy}");
        assert!(output.contains(&expected), "{output}");
    }
}

// #18
#[test]
fn a_message_about_a_certificate_with_a_long_name_is_short() {
    let world = world();
    let name = "\u{44f}".repeat(400);
    let ca = Pki::named_with(&name, |params| {
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    });
    let other = world.pki.client_with(|params| {
        let name = rcgen::DnValue::Utf8String(name.clone());
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
    });
    let assert_short = || {
        let (is_good, output) = check(&world);
        assert!(!is_good);
        assert!(output.lines().all(|line| line.len() < 500), "{output}");
    };
    fs::write(world.path("ca.pem"), ca.ca_pem()).unwrap();
    assert_short();
    other.write(&world.path(""), "ca");
    assert_short();
}
