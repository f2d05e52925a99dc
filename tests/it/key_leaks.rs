//! No message contains a private key, however broken its file is.

mod traces;

use std::fs;
use std::path::{Path, PathBuf};

use aegis::config::{Config, ConfigError, Overrides};
use aegis::gate::Gate;
use data_encoding::{BASE64, BASE64URL, HEXLOWER, HEXUPPER};
use rustix::process::Signal;

use crate::harness::aegis::command;
use crate::harness::mangled::{self, KEYS, Random};
use crate::harness::{World, admin_socket};
use traces::Traces;

/// The settings that name files of certificates and keys, with the file of each.
const SETTINGS: [(&str, &str); 4] = [
    ("tls.cert_file", "server.pem"),
    ("tls.key_file", "server.key"),
    ("tls.client_ca_file", "ca.pem"),
    ("tls.client_crl_files", "crl.pem"),
];

const MANGLED_FILES: usize = 1000;
/// One of this many files is also passed to the real binary.
const SAMPLED: usize = 25;
const MAX_MESSAGE_BYTES: usize = 500;

/// A world with valid files, a CRL and an admin socket.
fn world() -> World {
    let mut world = World::new();
    world.settings.top = "admin_socket = \"admin.sock\"".to_owned();
    world.settings.tls = r#"client_crl_files = ["crl.pem"]"#.to_owned();
    let crl = world.pki.crl_with([], |_| {});
    fs::write(world.path("crl.pem"), crl).unwrap();
    world.write_config();
    world
}

/// The messages about the files, from the code that `check`, `serve` and a reload share.
fn messages_about(config: &Path) -> Vec<String> {
    let overrides = Overrides {
        config: Some(config.to_owned()),
        ..Overrides::default()
    };
    match Config::load(&overrides).and_then(|config| Gate::build(config, None)) {
        Ok(gate) => gate.warnings().collect(),
        Err(faults) => {
            let debug = format!("{faults:?}");
            let messages = faults.iter().map(ConfigError::to_string);
            messages.chain([debug]).collect()
        }
    }
}

/// Asserts that no message is long or contains a part of the key.
#[track_caller]
fn assert_no_key<'a>(messages: impl IntoIterator<Item = &'a str>, key: &Traces, what: &str) {
    for line in messages.into_iter().flat_map(str::lines) {
        if let Some(trace) = key.found_in(line) {
            panic!("{what}: {trace:?} of the key is in: {line}");
        }
        // One line of Debug output contains several errors.
        let is_debug = line.starts_with("[ConfigError ");
        assert!(is_debug || line.len() < MAX_MESSAGE_BYTES, "{what}: {line}");
    }
}

// #18
#[test]
fn messages_about_mangled_files_contain_no_key() {
    let world = world();
    let config = world.path("aegis.toml");
    let mut random = Random::new(18);
    let certificate = fs::read_to_string(world.path("server.pem")).unwrap();
    let mut refused = 0;
    for number in 0..MANGLED_FILES {
        let (setting, name) = SETTINGS[number % SETTINGS.len()];
        let key = KEYS[number / SETTINGS.len() % KEYS.len()].pem();
        let (file, how) = mangled::file(&mut random, key, &certificate);
        let traces = Traces::of(key);
        let path = world.path(name);
        let good = fs::read(&path).unwrap();
        fs::write(&path, &file).unwrap();
        let what = format!("{number}, {setting}, {how}");
        let messages = messages_about(&config);
        refused += usize::from(messages.iter().any(|line| line.contains(setting)));
        assert_no_key(messages.iter().map(String::as_str), &traces, &what);
        if number % SAMPLED == 0 {
            assert_commands_print_no_key(&config, &path, &traces, &what);
        }
        fs::write(&path, good).unwrap();
        // The same file, named by mistake as the configuration.
        fs::write(world.path("mistaken.toml"), &file).unwrap();
        let messages = messages_about(&world.path("mistaken.toml"));
        assert!(!messages.is_empty(), "{what}");
        assert_no_key(messages.iter().map(String::as_str), &traces, &what);
    }
    assert!(refused > MANGLED_FILES * 3 / 4, "{refused}");
    let messages = messages_about(&config);
    assert!(!messages.iter().any(|line| line.contains("tls.")));
}

/// Asserts the same of all output of the commands, `serve` at its start included.
fn assert_commands_print_no_key(config: &Path, file: &Path, key: &Traces, what: &str) {
    let of = |path: &Path| path.to_str().unwrap().to_owned();
    let (config, file) = (of(config), of(file));
    for line in [
        format!("check --config {config}"),
        format!("check --format json --config {config}"),
        format!("check --config {file}"),
        format!("check --format json --config {file}"),
        format!("explain --from ::1 --service node --cert {file} --config {config}"),
    ] {
        let output = command().args(line.split(' ')).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).unwrap();
        match line.contains("json") {
            false => assert_no_key([text.as_str()], key, what),
            true => {
                let report: serde_json::Value = serde_json::from_str(&text).unwrap();
                assert_no_key([&*format!("[ConfigError {report}")], key, what);
            }
        }
    }
}

// #18
#[test]
fn messages_of_a_reload_of_mangled_files_contain_no_key() {
    let world = world();
    let aegis = world.start();
    let admin = world.path("admin.sock");
    let mut random = Random::new(1800);
    let certificate = fs::read_to_string(world.path("server.pem")).unwrap();
    let all = KEYS.iter().map(|key| Traces::of(key.pem()));
    let all: Vec<Traces> = all.collect();
    for number in 0..MANGLED_FILES / SAMPLED {
        let (setting, name) = SETTINGS[number % SETTINGS.len()];
        let key = KEYS[number / SETTINGS.len() % KEYS.len()].pem();
        let (file, how) = mangled::file(&mut random, key, &certificate);
        let path = world.path(name);
        let good = fs::read(&path).unwrap();
        replace(&path, &file);
        let what = format!("{number}, {setting}, {how}");
        let answer = admin_socket::request(&admin, "POST", "/-/reload", "Content-Length: 0\r\n");
        let page = admin_socket::request(&admin, "GET", "/", "Accept: text/html\r\n");
        let status = admin_socket::request(&admin, "GET", "/", "Accept: application/json\r\n");
        for traces in &all {
            assert_no_key([&*answer.text()], traces, &what);
            // These are one long line.
            for shown in [page.text(), status.text()] {
                let shown = format!("[ConfigError {}", shown.replace('\n', " "));
                assert_no_key([&*shown], traces, &what);
            }
        }
        replace(&path, &good);
    }
    aegis.signal(Signal::HUP);
    let answer = admin_socket::request(&admin, "POST", "/-/reload", "Content-Length: 0\r\n");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let log = aegis.log();
    assert!(log.iter().any(|line| line.contains("not reloaded")));
    for traces in &all {
        assert_no_key(log.iter().map(String::as_str), traces, "log");
    }
}

/// Replaces a file by a rename, as tools that renew certificates do.
fn replace(path: &Path, bytes: &[u8]) {
    let new = PathBuf::from(format!("{}.new", path.display()));
    fs::write(&new, bytes).unwrap();
    fs::rename(new, path).unwrap();
}

// #18
#[test]
fn pem_in_place_of_a_path_is_reported_and_not_shown() {
    let world = world();
    let key = KEYS[0].pem();
    let traces = Traces::of(key);
    let complains = |arguments: &[&str], variable: (&str, &str), code, expected: &str| {
        let mut check = command();
        check.arg("check").args(arguments);
        let output = check.env(variable.0, variable.1).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(stderr.contains(expected), "{stderr}");
        assert_no_key([&*stderr], &traces, expected);
    };
    let file = world.path("aegis.toml");
    let by_file = ["--config", file.to_str().unwrap()];
    let body: String = key.lines().filter(|line| !line.contains('-')).collect();
    let nothing = ("UNUSED", "");
    for (variable, setting) in [
        ("AEGIS_TLS_KEY", "tls.key_file: "),
        ("AEGIS_TLS_CERT", "tls.cert_file: "),
        ("AEGIS_CLIENT_CA", "tls.client_ca_file: "),
        ("AEGIS_CLIENT_CRL", "tls.client_crl_files[0]: "),
    ] {
        for key in [
            key,
            &key.replace('\n', "\\n"),
            &key.replace('\n', ""),
            &body,
        ] {
            let expected = format!("{variable}: {setting}is PEM, not a path; write it to a file");
            complains(&by_file, (variable, key), 78, &expected);
        }
    }
    for key in [key, &body] {
        let expected = "AEGIS_CONFIG: is PEM, not a path";
        complains(&[], ("AEGIS_CONFIG", key), 78, expected);
        let expected = "an argument is PEM, not a path";
        complains(&["--config", key], nothing, 2, expected);
        complains(&[key], nothing, 2, expected);
    }
    let key_file = world.path("server.key");
    let by_key = ["--config", key_file.to_str().unwrap()];
    complains(&by_key, nothing, 78, "server.key holds PEM in line 1");
    let config = fs::read_to_string(&file).unwrap();
    let pasted = config.replacen("\"server.key\"", &format!("\"\"\"{key}\"\"\""), 1);
    fs::write(&file, pasted).unwrap();
    complains(&by_file, nothing, 78, "aegis.toml holds PEM in line ");
    // A key without its BEGIN line, twice: a duplicate key in TOML.
    let body = key.lines().nth(1).unwrap().replace(['+', '/'], "-");
    fs::write(&file, format!("{body} = 1\n{body} = 1\n!\n")).unwrap();
    complains(&by_file, nothing, 78, "is not TOML: duplicate key\n");
}

/// A key in many notations, complete and in part.
fn notations(pem: &str) -> Vec<String> {
    let body: String = pem.lines().filter(|line| !line.contains('-')).collect();
    let der = BASE64.decode(body.as_bytes()).unwrap();
    let whole = [BASE64, BASE64URL, HEXLOWER, HEXUPPER]
        .map(|form| [form.encode(pem.as_bytes()), form.encode(&der)])
        .concat();
    let parts = whole
        .iter()
        .map(|text| text.chars().take(text.len() * 2 / 3).collect());
    let named = [format!("key: {body}"), format!("tls.key:{}", whole[0])];
    let parts: Vec<String> = parts.chain(named).collect();
    [whole, parts].concat()
}

/// The output of `aegis` with these arguments and this variable.
fn check_output(arguments: &[&str], variable: &str, value: &str) -> String {
    let mut check = command();
    check.args(arguments).env(variable, value);
    let output = check.output().unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

#[test]
fn a_pasted_key_in_any_notation_is_reported_and_not_shown() {
    let world = world();
    let file = world.path("aegis.toml");
    let config = ["check", "--config", file.to_str().unwrap()];
    let pem = KEYS[0].pem();
    let traces = Traces::of(pem);
    let assert_reported = |output: &str, what: &str| {
        assert!(output.contains("is PEM, not a path"), "{what}: {output}");
        assert_no_key([output], &traces, what);
    };
    for key in &notations(pem) {
        for variable in VARIABLES {
            let arguments = match variable {
                "AEGIS_CONFIG" => &config[..1],
                _ => &config,
            };
            let output = check_output(arguments, variable, key);
            assert_reported(&output, variable);
            assert!(output.contains(variable), "{output}");
        }
        for arguments in [
            &["check", key.as_str()][..],
            &["check", &format!("--{key}")],
            &["check", &format!("--tls-key={key}")],
            &["check", &format!("--{key}=1")],
            &["health", "--admin-socket", key],
            &[key],
        ] {
            assert_reported(&check_output(arguments, "UNUSED", ""), "an argument");
        }
    }
}

const VARIABLES: [&str; 11] = [
    "AEGIS_CONFIG",
    "AEGIS_LISTEN",
    "AEGIS_SOCKET_DIR",
    "AEGIS_TLS_CERT",
    "AEGIS_TLS_KEY",
    "AEGIS_CLIENT_CA",
    "AEGIS_CLIENT_CRL",
    "AEGIS_ALLOW_NETWORK",
    "AEGIS_ALLOW_IDENTITY",
    "AEGIS_ADMIN_SOCKET",
    "AEGIS_LOG_LEVEL",
];

#[test]
fn a_key_in_any_notation_is_refused_in_a_configuration_file() {
    let world = world();
    let file = world.path("aegis.toml");
    let written = fs::read_to_string(&file).unwrap();
    let pem = KEYS[0].pem();
    let traces = Traces::of(pem);
    for key in &notations(pem) {
        for pasted in [
            format!(
                "listen = [{key:?}]\n{}",
                written.replacen("listen", "listening", 1)
            ),
            format!("{key:?} = 1\n{written}"),
            format!("{written}\n[services.{key:?}]\npath = \"/\"\n"),
            format!("{written}\n[services.{key:?}]\n[services.{key:?}]\n"),
            format!("{written}\n[services.node]\nlabels = {{ {key:?} = \"x\", y = {key:?} }}\n"),
        ] {
            fs::write(&file, &pasted).unwrap();
            let messages = messages_about(&file);
            let is_named =
                |line: &String| line.contains("PEM, not a path") || line.contains("duplicate");
            assert!(messages.iter().any(is_named), "{messages:?}");
            assert_no_key(messages.iter().map(String::as_str), &traces, &pasted);
        }
    }
}

#[test]
fn a_single_line_of_a_key_is_cut_in_every_message() {
    let world = world();
    let file = world.path("aegis.toml");
    let config = ["check", "--config", file.to_str().unwrap()];
    // A text that looks like a key, the same in each run.
    let mut random = Random::new(64);
    let lines = (0..20).map(|_| {
        let bytes: Vec<u8> = (0..48)
            .map(|_| u8::try_from(random.below(256)).unwrap())
            .collect();
        BASE64.encode(&bytes)
    });
    let lines: Vec<String> = lines.collect();
    let traces = Traces::of(&lines.join("\n"));
    for line in &lines {
        for variable in VARIABLES {
            // A path with short directories may be reported.
            let line = match variable {
                "AEGIS_ADMIN_SOCKET" => &line.replace('/', "+"),
                _ => line,
            };
            let output = check_output(&config, variable, line);
            assert_no_key([&*output], &traces, variable);
        }
        for arguments in [
            &["check", line][..],
            &["check", &format!("--x{line}")],
            &["health", "--admin-socket", line],
        ] {
            let output = check_output(arguments, "UNUSED", "");
            assert_no_key([&*output], &traces, "an argument");
        }
    }
    let mut help = command();
    help.args(["check", "--help"])
        .env("AEGIS_TLS_KEY", &lines[0]);
    let output = String::from_utf8(help.output().unwrap().stdout).unwrap();
    assert!(output.contains("[env: AEGIS_TLS_KEY]"), "{output}");
}

#[test]
fn a_key_pasted_at_run_time_is_in_no_log_answer_or_page() {
    let world = world();
    let aegis = world.start();
    let admin = world.path("admin.sock");
    let file = world.path("aegis.toml");
    let written = fs::read_to_string(&file).unwrap();
    let pem = KEYS[0].pem();
    let traces = Traces::of(pem);
    for key in notations(pem) {
        let pasted = written.replacen("\"server.key\"", &format!("{key:?}"), 1);
        assert_ne!(pasted, written);
        replace(&file, &pasted.into_bytes());
        let answer = admin_socket::request(&admin, "POST", "/-/reload", "Content-Length: 0\r\n");
        assert_ne!(answer.status, 200, "{key}");
        assert!(answer.text().contains("is PEM, not"), "{key}");
        let page = admin_socket::request(&admin, "GET", "/", "Accept: text/html\r\n");
        for output in [answer.text(), page.text()] {
            let output = format!("[ConfigError {}", output.replace('\n', " "));
            assert_no_key([&*output], &traces, "an answer");
        }
    }
    replace(&file, written.as_bytes());
    let answer = admin_socket::request(&admin, "POST", "/-/reload", "Content-Length: 0\r\n");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let log = aegis.log();
    assert_no_key(log.iter().map(String::as_str), &traces, "log");
}
