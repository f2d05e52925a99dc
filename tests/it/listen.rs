//! The addresses of `listen`: one that cannot be bound is an error with a remedy.

use super::config::stderr;
use crate::harness::World;
use crate::harness::aegis::run;

#[test]
fn an_address_in_use_is_reported() {
    let world = World::new();
    let aegis = world.start();
    let taken = aegis.address().to_string();
    let config = world.write_config();
    let second = run(&[
        "serve",
        "--config",
        config.to_str().unwrap(),
        "--listen",
        &taken,
    ]);
    assert_eq!(second.status.code(), Some(1));
    let stderr = stderr(&second);
    assert!(
        stderr.contains(&format!(
            "aegis: --listen: listen: {taken} cannot be listened on: Address already in use (os error 98); `ss -ltnp` shows which process uses the port"
        )),
        "{stderr}"
    );
}

#[test]
fn the_remedy_for_an_address_in_use_matches_the_listen_list() {
    let world = World::new();
    let aegis = world.start();
    let config = world.write_config();
    let port = aegis.address().port();
    let serve_stderr = |listen: &[&str]| {
        let listen = listen.iter().map(|ip| format!("{ip}:{port}"));
        let listen: Vec<String> = listen.collect();
        let config = config.to_str().unwrap();
        stderr(&run(&[
            "serve",
            "--config",
            config,
            "--listen",
            &listen.join(","),
        ]))
    };
    let everywhere = format!("0.0.0.0:{port} cannot be listened on: Address already in use");
    for (listen, remedy) in [
        // One address of each family does not overlap: another process uses the port.
        (
            ["0.0.0.0", "[::]"],
            "`ss -ltnp` shows which process uses the port",
        ),
        (["0.0.0.0", "127.0.0.2"], "list nothing else with it"),
    ] {
        let stderr = serve_stderr(&listen);
        let line = stderr.lines().find(|line| line.contains(&everywhere));
        assert!(line.is_some_and(|line| line.ends_with(remedy)), "{stderr}");
    }
}

#[test]
fn a_link_local_address_without_a_zone_is_refused() {
    let world = World::new();
    let config = world.write_config();
    let check_stderr = |listen: &str| {
        let config = config.to_str().unwrap();
        stderr(&run(&["check", "--config", config, "--listen", listen]))
    };
    let no = "is link-local and has no zone";
    for (listen, refused) in [
        ("[fe80::1]:31337", true),
        ("[febf:ffff::1]:31337", true),
        ("[fe80::1%1]:31337", false),
        ("[fd00::1]:31337", false),
        ("169.254.0.1:31337", false),
    ] {
        assert_eq!(check_stderr(listen).contains(no), refused, "{listen}");
    }
}
