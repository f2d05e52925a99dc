//! The configuration: its sources, its defaults and its errors.

use std::process::Output;

use crate::harness::aegis::{command, run};
use crate::harness::{Aegis, Pki, World, answer};

fn check(world: &World, more: &[&str]) -> Output {
    let config = world.write_config();
    let mut command = command();
    command.args(["check", "--config"]).arg(config).args(more);
    command.output().unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[track_caller]
pub fn complains(world: &World, expected: &[&str]) {
    let output = check(world, &[]);
    let stderr = stderr(&output);
    assert_eq!(output.status.code(), Some(78), "{stderr}");
    for text in expected {
        assert!(stderr.contains(text), "no {text:?} in\n{stderr}");
    }
}

#[test]
fn check_accepts_a_good_configuration_and_summarizes_it() {
    let world = World::new();
    let _service = world.service("node", answer("up 1\n"));
    let output = check(&world, &[]);
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stdout}");
    assert!(
        stdout.starts_with("ok: would listen on 127.0.0.1:0, with 1 allow entry and 1 socket in "),
        "{stdout}"
    );
}

#[test]
fn empty_lists_are_errors_and_never_allow_everyone() {
    let mut world = World::new();
    world.settings.allow = String::new();
    complains(
        &world,
        &["there is no [[allow]] entry, so no client could scrape"],
    );
    world.settings.allow =
        "[[allow]]\nnetworks = []\nidentities = [\"*\"]\nservices = [\"*\"]".to_owned();
    complains(&world, &["allow[0].networks: is empty"]);
    world.settings.allow = "[[allow]]\nidentities = [\"*\"]\nservices = [\"*\"]".to_owned();
    complains(&world, &["allow[0].networks: is not set"]);
}

#[test]
fn a_toml_error_is_reported_with_its_line() {
    let mut world = World::new();
    world.settings.rest = "[log\nlevel = \"info\"".to_owned();
    complains(&world, &["is not TOML"]);
}

#[test]
fn unusable_files_are_reported() {
    let world = World::new();
    let broken = |name: &str, text: &str, expected: &[&str]| {
        let path = world.path(name);
        let before = std::fs::read(&path).unwrap();
        std::fs::write(&path, text).unwrap();
        complains(&world, expected);
        std::fs::write(&path, before).unwrap();
    };
    let other = Pki::new();
    broken(
        "ca.pem",
        "",
        &["tls.client_ca_file: ", "ca.pem holds no certificate in PEM"],
    );
    broken(
        "ca.pem",
        "-----BEGIN CERTIFICATE-----\nMII",
        &["tls.client_ca_file: "],
    );
    broken(
        "server.pem",
        "junk",
        &["tls.cert_file: ", "holds no certificate in PEM"],
    );
    broken(
        "server.key",
        "junk",
        &["tls.key_file: ", "holds no unencrypted private key"],
    );
    broken(
        "server.key",
        &other.server().key.serialize_pem(),
        &[
            "server.key is not the key of the certificate in ",
            "server.pem",
        ],
    );
    let leaf = std::fs::read_to_string(world.path("server.pem")).unwrap();
    broken(
        "ca.pem",
        &leaf,
        &["holds a certificate (CN=leaf) that is not a CA; it needs basicConstraints"],
    );
    let mut missing = World::new();
    missing.settings.tls = r#"client_crl_files = ["absent.pem", "services"]"#.to_owned();
    complains(
        &missing,
        &[
            "absent.pem cannot be read: No such file",
            "services cannot be read: it is not a regular file",
        ],
    );
    std::fs::write(missing.path("absent.pem"), "junk").unwrap();
    complains(&missing, &["absent.pem holds no CRL (PEM or DER)"]);
}

#[test]
fn crls_that_could_admit_a_revoked_scraper_are_errors() {
    let mut world = World::new();
    let day = std::time::Duration::from_secs(24 * 3600);
    let mut write = |files: &str, text: String| {
        world.settings.tls = format!("client_crl_files = [{files}]");
        std::fs::write(world.path("crl.pem"), text).unwrap();
        (check(&world, &[]), stderr(&check(&world, &[])))
    };
    let pki = Pki::new();
    let (older, newer) = (
        pki.crl_revoking(&pki.client(), day),
        pki.crl_revoking(&pki.client(), day),
    );
    let broken = newer.replace("-----END", "!!!\n-----END");
    let (output, message) = write(r#""crl.pem""#, format!("{older}{broken}"));
    assert_eq!(output.status.code(), Some(78));
    assert!(message.contains("crl.pem: line "), "{message}");
    // A CRL with text around it, as openssl writes it, is accepted.
    let (output, message) = write(
        r#""crl.pem""#,
        format!("Certificate Revocation List:\n{newer}"),
    );
    assert_eq!(output.status.code(), Some(0), "{message}");
    let late = pki.crl_revoking(&pki.client(), std::time::Duration::from_secs(60));
    let (output, _) = write(r#""crl.pem""#, late);
    let message = String::from_utf8(output.stdout).unwrap();
    assert!(
        message.contains("warning: the CRL of CN=aegis test CA expired at "),
        "{message}"
    );
}

#[test]
fn uid_65534_is_refused_as_an_owner() {
    let mut world = World::new();
    world.settings.rest = "[services.node]\nowner = 65534\n".to_owned();
    complains(
        &world,
        &["services.node.owner: \"65534\" is uid 65534, which stands for every unmapped user"],
    );
}

#[test]
fn content_type_must_be_a_type_of_metrics() {
    let mut world = World::new();
    world.settings.rest = "[services.node]\ncontent_type = \"text/html\"\n".to_owned();
    complains(
        &world,
        &[
            "services.node.content_type: \"text/html\" is not a media type of metrics; write \"text/plain; version=0.0.4\"",
        ],
    );
}

#[test]
fn host_and_params_of_a_service_are_checked() {
    let mut world = World::new();
    world.settings.rest = "[services.a]\nhost = \"http://a\"\n[services.b]\npath = \"/status?full=yes\"\nparams = [\"full\"]\n[services.c]\npath = \"/status?\"\nclose_delimited = \"no\"\n".to_owned();
    complains(
        &world,
        &[
            "services.a.host: \"http://a\" is not a host; write a name or an address",
            "services.b.params: \"full\" is already in the query of path; remove it",
            "services.c.path: \"/status?\" is not a path; write it as /metrics or /status?format=prometheus",
            "services.c.close_delimited: is a string, but must be true or false",
        ],
    );
}

#[test]
fn an_admin_socket_in_the_socket_directory_is_an_error() {
    let mut world = World::new();
    world.settings.top = "admin_socket = \"services/admin.sock\"".to_owned();
    complains(
        &world,
        &["is in socket_dir, where scrapers reach sockets as services"],
    );
}

#[test]
fn an_expired_server_certificate_or_ca_is_an_error() {
    let world = World::new();
    let day = std::time::Duration::from_secs(24 * 3600);
    let past = std::time::SystemTime::now() - day;
    let expired = world
        .pki
        .client_with(|params| params.not_after = past.into());
    expired.write(world.folder.path(), "server");
    complains(
        &world,
        &[
            "tls.cert_file: ",
            "is valid only from",
            "renew it, or set the clock",
        ],
    );
}

#[test]
fn a_fifo_in_place_of_a_file_does_not_block_check() {
    let world = World::new();
    std::fs::remove_file(world.path("ca.pem")).unwrap();
    let made = std::process::Command::new("mkfifo")
        .arg(world.path("ca.pem"))
        .status();
    assert!(made.unwrap().success());
    complains(&world, &["ca.pem cannot be read: it is not a regular file"]);
}

#[test]
fn a_missing_socket_directory_is_an_error() {
    let world = World::new();
    std::fs::remove_dir(world.path("services")).unwrap();
    complains(
        &world,
        &[
            "socket_dir: ",
            "cannot be opened: No such file",
            "create the directory",
        ],
    );
}

#[test]
fn serve_refuses_an_invalid_configuration_with_the_errors_of_check() {
    let mut world = World::new();
    world.settings.limits = "connections = -1".to_owned();
    let config = world.write_config();
    let serve = run(&["serve", "--config", config.to_str().unwrap()]);
    assert_eq!(serve.status.code(), Some(78));
    assert_eq!(stderr(&serve), stderr(&check(&world, &[])));
}

#[test]
fn flags_override_the_environment_and_the_environment_overrides_the_file() {
    let mut world = World::new();
    world.settings.rest = "[log]\nlevel = \"file\"\n".to_owned();
    let config = world.write_config();
    let check_stderr = |environment: Option<&str>, flag: Option<&str>| {
        let mut command = command();
        command.args(["check", "--config"]).arg(&config);
        command.envs(environment.map(|value| ("AEGIS_LOG_LEVEL", value)));
        command.args(flag.map(|value| format!("--log-level={value}")));
        stderr(&command.output().unwrap())
    };
    assert!(check_stderr(None, None).contains("\"file\" is not one of"));
    assert!(
        check_stderr(Some("environment"), None)
            .contains("aegis: AEGIS_LOG_LEVEL: log.level: \"environment\" is not one of")
    );
    assert!(
        check_stderr(Some("environment"), Some("flag"))
            .contains("--log-level: log.level: \"flag\" is not one of")
    );
    assert_eq!(check_stderr(Some("environment"), Some("info")), "");
}

#[test]
fn flags_alone_can_configure_aegis_also_by_their_old_names() {
    let world = World::new();
    let _service = world.service("node", answer("up 1\n"));
    let mut command = command();
    command.args(["serve", "--hostport", "127.0.0.1:0", "--sockdir"]);
    command.arg(world.path("services"));
    for (flag, file) in [
        ("--tls-cert", "server.pem"),
        ("--tls-key", "server.key"),
        ("--client-ca", "ca.pem"),
    ] {
        command.arg(flag).arg(world.path(file));
    }
    command.args([
        "--allow-network",
        "127.0.0.1,::1",
        "--allow-identity",
        "dns:*.example.org",
    ]);
    let aegis = Aegis::spawn(command);
    assert_eq!(world.prometheus(&aegis).get("/node").status, 200);
    aegis.logged(&["scraped", "entry=--allow-network"]);
}

#[test]
fn allow_flags_replace_the_entries_of_the_file_and_need_both_columns() {
    let world = World::new();
    let only_networks = check(&world, &["--allow-network", "192.0.2.0/24"]);
    assert_eq!(only_networks.status.code(), Some(78));
    assert!(
        stderr(&only_networks).contains("allow[0].identities: is not set"),
        "{}",
        stderr(&only_networks)
    );
    let both = check(
        &world,
        &["--allow-network", "192.0.2.0/24", "--allow-identity", "*"],
    );
    let stdout = String::from_utf8(both.stdout).unwrap();
    assert!(
        stdout.contains("warning: --allow-network and --allow-identity replace"),
        "{stdout}"
    );
    assert!(stdout.contains("with 1 allow entry"), "{stdout}");
}

#[test]
fn dangerous_settings_are_warnings() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut world = World::new();
    world.settings.allow = crate::harness::allow(r#""0.0.0.0/0""#, r#""*""#, r#""*""#);
    std::fs::write(world.socket("metrics"), "").unwrap();
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(world.path("server.key"), open).unwrap();
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(world.path("services"), open.clone()).unwrap();
    std::fs::create_dir_all(world.path("open/of-another")).unwrap();
    std::fs::set_permissions(world.path("open"), open).unwrap();
    world.settings.rest = "[services.x]\nsocket = \"open/of-another/x.sock\"\n".to_owned();
    let output = check(&world, &[]);
    assert_eq!(output.status.code(), Some(0));
    let stdout = String::from_utf8(output.stdout).unwrap();
    for warning in [
        "0.0.0.0/0 admits every address",
        "server.key: every user of this host can read the private key; chmod o-rwx it, and create a new key: others may have copied it",
        "metrics.sock: the name is reserved",
        "services: every user of this host can create a socket here",
        "services.x.socket: another user can replace",
    ] {
        assert!(stdout.contains(warning), "no {warning:?} in\n{stdout}");
    }
}

#[test]
fn wrong_usage_exits_with_2_and_version_and_help_with_0() {
    for (arguments, code) in [
        (&["serve", "--colour"][..], 2),
        (&["sever"][..], 2),
        (&[][..], 2),
        (&["--version"][..], 0),
        (&["--help"][..], 0),
        (&["serve", "--help"][..], 0),
    ] {
        assert_eq!(run(arguments).status.code(), Some(code), "{arguments:?}");
    }
    let version = String::from_utf8(run(&["--version"]).stdout).unwrap();
    assert_eq!(version, format!("aegis {}\n", env!("CARGO_PKG_VERSION")));
}
