//! Mistakes that operators make: each is one sentence that names it and its remedy.

use crate::harness::World;
use crate::harness::aegis::{command, run};

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

/// A change of the configuration, and what is said of it.
type Mistake = (fn(&mut World), &'static str);

const MISTAKES: &[Mistake] = &[
    (
        |world| world.settings.allow = world.settings.allow.replace("[[allow]]", "[allow]"),
        "allow: must be a list of tables; write [[allow]] above each of them, but is a table",
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

#[test]
fn a_flag_in_place_of_a_command_is_explained() {
    let output = run(&["--config", "aegis.toml"]);
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).unwrap();
    let hint = "aegis: flags come after a command, as in aegis serve --config FILE\n";
    assert!(stderr.ends_with(hint), "{stderr}");
}
