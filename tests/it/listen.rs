//! The addresses that aegis listens on: what cannot be listened on is an error with a remedy.

use super::config::stderr;
use crate::harness::World;
use crate::harness::aegis::run;

#[test]
fn an_address_in_use_is_an_error_that_names_it() {
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
    let said = stderr(&second);
    assert!(
        said.contains(&format!(
            "aegis: --listen: listen: {taken} cannot be listened on: Address already in use (os error 98); `ss -ltnp` shows who has the port"
        )),
        "{said}"
    );
}

#[test]
fn the_remedy_for_an_address_in_use_fits_the_list() {
    let world = World::new();
    let aegis = world.start();
    let config = world.write_config();
    let port = aegis.address().port();
    let said = |listen: &[&str]| {
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
        // One for each family is no overlap: somebody else has the port.
        (["0.0.0.0", "[::]"], "`ss -ltnp` shows who has the port"),
        (["0.0.0.0", "127.0.0.2"], "list no other beside it"),
    ] {
        let said = said(&listen);
        let line = said.lines().find(|line| line.contains(&everywhere));
        assert!(line.is_some_and(|line| line.ends_with(remedy)), "{said}");
    }
}

#[test]
fn an_address_of_one_link_is_refused_unless_it_says_which() {
    let world = World::new();
    let config = world.write_config();
    let asked = |listen: &str| {
        let config = config.to_str().unwrap();
        stderr(&run(&["check", "--config", config, "--listen", listen]))
    };
    let no = "is an address of one link only, and does not say which";
    for (listen, refused) in [
        ("[fe80::1]:31337", true),
        ("[febf:ffff::1]:31337", true),
        ("[fe80::1%1]:31337", false),
        ("[fd00::1]:31337", false),
        ("169.254.0.1:31337", false),
    ] {
        assert_eq!(asked(listen).contains(no), refused, "{listen}");
    }
}
