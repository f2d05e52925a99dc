//! `aegis check`: what its report says of a good configuration.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::harness::World;
use crate::harness::aegis::command;
use crate::harness::pki::{dns, ip};

fn check(world: &World, format: &str, variables: &[(&str, &str)]) -> String {
    let mut command = command();
    command.args(["check", "--format", format, "--config"]);
    command.arg(world.write_config());
    let output = command.envs(variables.iter().copied()).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stdout}");
    stdout
}

#[test]
fn check_shows_the_names_and_the_expiry_of_the_server_certificate() {
    let world = World::new();
    let expires = SystemTime::UNIX_EPOCH + Duration::from_secs(4_102_444_799);
    let given = |names| {
        let certificate = world.pki.client_with(|params| {
            params.subject_alt_names = names;
            params.not_after = expires.into();
        });
        certificate.write(world.folder.path(), "server");
    };
    given(vec![dns("localhost"), ip("127.0.0.1")]);
    let stdout = check(&world, "text", &[]);
    let expected =
        "\ncertificate: names dns:localhost ip:127.0.0.1, expires 2099-12-31T23:59:59Z\n";
    assert!(stdout.contains(expected), "{stdout}");
    let report: Value = serde_json::from_str(&check(&world, "json", &[])).unwrap();
    let expected = json!({
        "names": ["dns:localhost", "ip:127.0.0.1"],
        "expires": "2099-12-31T23:59:59Z",
    });
    assert_eq!(report["certificate"], expected);
    given((0..7).map(|number| dns(&format!("n{number}"))).collect());
    let stdout = check(&world, "text", &[]);
    let expected = "certificate: names dns:n0 dns:n1 dns:n2 dns:n3 dns:n4 and 2 more, expires ";
    assert!(stdout.contains(expected), "{stdout}");
    given(Vec::new());
    let stdout = check(&world, "text", &[]);
    assert!(
        stdout.contains("certificate: no names, expires 2099"),
        "{stdout}"
    );
}

#[test]
fn check_notes_each_key_of_the_file_that_a_variable_replaces() {
    let world = World::new();
    let file = world.write_config().display().to_string();
    let certificate = world.path("server.pem").display().to_string();
    let variables = [
        ("AEGIS_TLS_CERT", certificate.as_str()),
        ("AEGIS_LISTEN", "127.0.0.1:0"),
        ("AEGIS_LOG_LEVEL", "debug"),
    ];
    let stdout = check(&world, "text", &variables);
    let notes: Vec<&str> = stdout
        .lines()
        .filter(|line| line.contains(" has no effect"))
        .collect();
    let report: Value = serde_json::from_str(&check(&world, "json", &variables)).unwrap();
    let in_json = report["notes"].as_array().unwrap();
    for (index, (key, variable)) in [
        ("listen", "AEGIS_LISTEN"),
        ("tls.cert_file", "AEGIS_TLS_CERT"),
    ]
    .into_iter()
    .enumerate()
    {
        let start = format!("{key} in {file}:");
        let end = format!(" has no effect: {variable} replaces it");
        let note = notes[index].strip_prefix("note: ").unwrap();
        assert!(note.starts_with(&start) && note.ends_with(&end), "{note}");
        assert_eq!(in_json[index], note);
    }
    assert_eq!(notes.len(), 2, "{stdout}");
    // The file does not set log.level.
    assert!(!check(&world, "text", &[]).contains("has no effect"));
}
