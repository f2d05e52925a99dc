//! Mistakes that operators make: each is one sentence that names it and its remedy.

use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;

use crate::harness::aegis::{command, run};
use crate::harness::{World, allow};

/// What `aegis check` says of a configuration that is changed like this.
fn check(change: impl Fn(&mut World)) -> String {
    let mut world = World::new();
    change(&mut world);
    let mut check = command();
    check.args(["check", "--config"]).arg(world.write_config());
    let output = check.output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    String::from_utf8(output.stderr).unwrap()
}

/// What `aegis check` warns of, for a configuration that is changed like this.
fn warnings(change: impl Fn(&mut World), variables: &[(&str, &str)]) -> String {
    let mut world = World::new();
    change(&mut world);
    let mut check = command();
    check.args(["check", "--config"]).arg(world.write_config());
    let output = check.envs(variables.iter().copied()).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// A change of the configuration, and what is said of it.
type Mistake = (fn(&mut World), &'static str);

const MISTAKES: &[Mistake] = &[
    (
        |world| world.settings.allow = world.settings.allow.replace("[[allow]]", "[allow]"),
        "allow: is a table, but must be a list of tables; write [[allow]] above each of them",
    ),
    (
        |world| world.settings.allow = world.settings.allow.replace("dns:", "DNS:"),
        "has its kind as openssl prints it; write dns:…, ip:…, uri:… or email:… in small letters",
    ),
    (
        |world| world.settings.tls = "listen = [\"127.0.0.1:1\"]".to_owned(),
        "tls.listen: unknown key; listen belongs at the top of the file, above the first [table]",
    ),
    (
        |world| world.settings.tls = "minversion = \"1.3\"".to_owned(),
        "tls.minversion: unknown key; did you mean min_version? The keys here are cert_file, ",
    ),
    (
        |world| world.settings.limits = "conections = 3".to_owned(),
        "limits.conections: unknown key; did you mean connections? ",
    ),
    (
        |world| world.settings.rest = "[services.node]\ncolour = \"red\"".to_owned(),
        "services.node.colour: unknown key; the keys here are close_delimited, content_type, ",
    ),
];

#[test]
fn mistakes_in_the_configuration_are_named_with_their_remedy() {
    for (change, expected) in MISTAKES {
        let stderr = check(change);
        assert!(stderr.contains(expected), "{stderr}");
    }
}

/// Writes a private key as another kind of file.
fn write_key(world: &World, write: impl Fn(&[u8]) -> Vec<u8>) {
    let key = PrivateKeyDer::from_pem_file(world.path("server.key")).unwrap();
    std::fs::write(world.path("server.key"), write(key.secret_der())).unwrap();
}

#[test]
fn a_key_that_is_not_pem_is_named_with_the_command_that_converts_it() {
    let der = check(|world| write_key(world, <[u8]>::to_vec));
    let expected = "server.key is DER, not PEM; write it in PEM: openssl pkey -inform DER -in FILE";
    assert!(der.contains(expected), "{der}");
    // The inner structure of SEC1 is shorter than 128 bytes.
    let short = check(|world| write_key(world, |_| [&[0x30, 0x77], [7; 0x77].as_slice()].concat()));
    assert!(short.contains(expected), "{short}");
    let pkcs12 = check(|world| write_key(world, |_| vec![0x30, 0x82, 0, 5, 2, 1, 3, 0x30, 0]));
    let expected = "server.key is PKCS#12, not PEM; write its key in PEM: openssl pkcs12 -nocerts";
    assert!(pkcs12.contains(expected), "{pkcs12}");
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let encrypted = check(|world| write_key(world, |_| encrypted.into()));
    let expected =
        "is encrypted or unsupported; write it without a passphrase: openssl pkey -in FILE";
    assert!(encrypted.contains(expected), "{encrypted}");
}

const SUSPICIOUS: &[Mistake] = &[
    (
        |world| world.settings.allow = allow("\"127.0.0.1\"", "\"*\"", "\"*\""),
        "allow[0].identities: \"*\" admits every certificate that the client CA issues; name the scrapers",
    ),
    (
        |world| {
            let narrow = allow("\"127.0.0.1\"", "\"dns:a.example\"", "\"node\"");
            let wide = allow(
                "\"127.0.0.0/8\"",
                "\"dns:a.example\", \"dns:b.example\"",
                "\"*\"",
            );
            world.settings.allow = narrow + &wide;
        },
        ": allow[0]: allow[1] allows everything that it allows; remove one of them",
    ),
    (
        |world| {
            let entry = allow("\"127.0.0.1\"", "\"dns:a.example\"", "\"node\"");
            world.settings.allow = entry.repeat(2);
        },
        ": allow[1]: allow[0] allows everything that it allows; remove one of them",
    ),
    (
        |world| {
            world.settings.allow = allow("\"127.0.0.1\"", "\"dns:a.example\"", "\"node.socket\"")
        },
        "allow[0].services: node.socket has no socket now; if its file is node.sock, the service is called node",
    ),
];

#[test]
fn suspicious_settings_are_warnings() {
    for (change, expected) in SUSPICIOUS {
        let stdout = warnings(change, &[]);
        assert_eq!(stdout.matches(expected).count(), 1, "{stdout}");
    }
    let two = allow("\"127.0.0.1\"", "\"dns:a.example\"", "\"*\"")
        + &allow("\"127.0.0.1\"", "\"dns:b.example\"", "\"*\"");
    let stdout = warnings(|world| world.settings.allow.clone_from(&two), &[]);
    assert!(!stdout.contains("warning: "), "{stdout}");
}

#[test]
fn an_unknown_variable_is_a_warning_unless_kubernetes_sets_it() {
    let of_kubernetes = [
        ("AEGIS_SERVICE_HOST", "10.0.0.1"),
        ("AEGIS_SERVICE_PORT_HTTPS", "31337"),
        ("AEGIS_PORT", "tcp://10.0.0.1:31337"),
        ("AEGIS_PORT_31337_TCP_ADDR", "10.0.0.1"),
        ("AEGIS_METRICS_SERVICE_PORT", "31337"),
    ];
    let stdout = warnings(|_| {}, &of_kubernetes);
    assert!(!stdout.contains("warning: "), "{stdout}");
    let stdout = warnings(|_| {}, &[("AEGIS_LISTENS", ""), ("AEGIS_PORT", "31337")]);
    let expected = "\
        warning: AEGIS_LISTENS: unknown variable, without effect; did you mean AEGIS_LISTEN?\n\
        warning: AEGIS_PORT: unknown variable, without effect; `aegis serve --help` lists them\n";
    assert!(stdout.starts_with(expected), "{stdout}");
}

#[test]
fn a_flag_in_place_of_a_command_is_explained() {
    let output = run(&["--config", "aegis.toml"]);
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).unwrap();
    let hint = "aegis: flags come after a command, as in aegis serve --config FILE\n";
    assert!(stderr.ends_with(hint), "{stderr}");
}
