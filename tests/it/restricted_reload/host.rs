//! A host with broken files, on which a change removes the access of some scrapers.

use std::fs;

use rustix::process::Signal;

use crate::harness::pki::dns;
use crate::harness::{
    Aegis, Certified, PROMETHEUS, Pki, Scraper, Service, World, admin_socket, allow, answer,
    metric, wait_until,
};
use crate::reload::DAY;

pub const LEAVER: &str = "leaver.example.org";
pub const NEWCOMER: &str = "newcomer.example.org";

/// A host with two client CAs, each with a CRL, on the day that some scrapers lose their access.
pub struct Host {
    pub world: World,
    pub aegis: Aegis,
    _service: Service,
    pub of_removed_ca: Pki,
    pub of_new_ca: Pki,
    pub revoked: Certified,
    good: Vec<(&'static str, Vec<u8>)>,
}

const FILES: &[&str] = &["server.pem", "server.key", "ca.pem", "crl.pem", "other.pem"];

impl Host {
    pub fn new() -> Self {
        let mut world = World::new();
        let (of_removed_ca, of_new_ca) = (Pki::named("removed"), Pki::named("new"));
        let revoked = world.pki.client();
        let both = world.pki.ca_pem() + &of_removed_ca.ca_pem();
        fs::write(world.path("ca.pem"), both).unwrap();
        fs::write(world.path("crl.pem"), world.pki.crl_with([], |_| {})).unwrap();
        fs::write(world.path("other.pem"), of_removed_ca.crl_with([], |_| {})).unwrap();
        world.settings.top = "admin_socket = \"admin.sock\"".to_owned();
        world.settings.tls = r#"client_crl_files = ["crl.pem", "other.pem"]"#.to_owned();
        world.settings.limits = "connection_burst = 100000".to_owned();
        world.settings.allow = before();
        world.settings.rest = "[log]\n".to_owned();
        let service = world.service("node", answer("up 1\n"));
        let aegis = world.start();
        let good = FILES
            .iter()
            .map(|file| (*file, fs::read(world.path(file)).unwrap()));
        Self {
            good: good.collect(),
            world,
            aegis,
            _service: service,
            of_removed_ca,
            of_new_ca,
            revoked,
        }
    }

    pub fn scraper(&self, certificate: &Certified) -> Scraper {
        self.world.scraper(&self.aegis, Some(certificate))
    }

    pub fn scraper_named(&self, name: &str) -> Scraper {
        let names = vec![dns(name)];
        let certificate = self
            .world
            .pki
            .client_with(|params| params.subject_alt_names = names);
        self.scraper(&certificate)
    }

    /// Writes the files that remove access, and then breaks some of them. aegis is stopped meanwhile:
    /// it would enforce what a file removes before it is broken.
    pub fn revoke_access(&mut self, breakage: &Breakage) {
        self.aegis.signal(Signal::STOP);
        wait_until(|| self.aegis.is_stopped());
        let new_cas = self.world.pki.ca_pem() + &self.of_new_ca.ca_pem();
        fs::write(self.world.path("ca.pem"), new_cas).unwrap();
        let crl = self.world.pki.crl_with([&self.revoked], |_| {});
        fs::write(self.world.path("crl.pem"), crl).unwrap();
        self.world.settings.allow = after();
        let text = fs::read_to_string(self.world.write_config()).unwrap();
        (breakage.break_it)(&self.world, &text);
        self.aegis.signal(Signal::CONT);
    }

    /// Restores all files, and reloads them.
    pub fn restore(&mut self) {
        for (file, bytes) in &self.good {
            let path = self.world.path(file);
            drop(fs::remove_file(&path));
            drop(fs::remove_dir(&path));
            fs::write(path, bytes).unwrap();
        }
        drop(fs::rename(
            self.world.path("gone"),
            self.world.path("services"),
        ));
        self.world.settings.allow = before();
        self.world.write_config();
        assert_eq!(self.request_reload(), "reloaded\n");
    }

    pub fn request_reload(&self) -> String {
        admin_socket::request(&self.world.path("admin.sock"), "POST", "/-/reload", "").text()
    }

    pub fn own_metric(&self, name: &str) -> f64 {
        let metrics = admin_socket::request(&self.world.path("admin.sock"), "GET", "/metrics", "");
        metric(&metrics.text(), name).unwrap()
    }
}

pub fn before() -> String {
    let all = format!(r#""dns:{PROMETHEUS}", "dns:{LEAVER}""#);
    allow(r#""127.0.0.1""#, &all, r#""*""#)
}

pub fn after() -> String {
    let all = format!(r#""dns:{PROMETHEUS}", "dns:{NEWCOMER}""#);
    allow(r#""127.0.0.1""#, &all, r#""*""#)
}

/// Which file with a removal is broken itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    Nothing,
    Policy,
    Cas,
    Crls,
}

pub struct Breakage {
    pub what: &'static str,
    pub lost: Lost,
    /// Called with the text of the configuration.
    pub break_it: fn(&World, &str),
}

const fn breakage(what: &'static str, break_it: fn(&World, &str)) -> Breakage {
    Breakage {
        what,
        lost: Lost::Nothing,
        break_it,
    }
}

const fn breakage_of(lost: Lost, what: &'static str, break_it: fn(&World, &str)) -> Breakage {
    Breakage {
        what,
        lost,
        break_it,
    }
}

pub const BREAKAGES: &[Breakage] = &[
    breakage("no key", |world, _| remove(world, "server.key")),
    breakage("empty key", |world, _| write(world, "server.key", "")),
    breakage("another key", |world, _| {
        let key = Pki::new().server().key.serialize_pem();
        write(world, "server.key", &key);
    }),
    breakage("half a key", |world, _| halve(world, "server.key")),
    breakage("no certificate", |world, _| remove(world, "server.pem")),
    breakage("empty certificate", |world, _| {
        write(world, "server.pem", "")
    }),
    breakage("half a certificate", |world, _| halve(world, "server.pem")),
    breakage("expired certificate", |world, _| {
        let expired = world.pki.client_with(|params| {
            params.not_after = (std::time::SystemTime::now() - DAY).into();
        });
        expired.write(world.folder.path(), "server");
    }),
    breakage("a directory for a key", |world, _| {
        remove(world, "server.key");
        fs::create_dir(world.path("server.key")).unwrap();
    }),
    breakage("no socket directory", |world, _| {
        fs::rename(world.path("services"), world.path("gone")).unwrap();
    }),
    breakage("broken service", |world, text| {
        let service = "[services.node]\npath = \"metrics\"\n";
        write(world, "aegis.toml", &format!("{text}{service}"));
    }),
    breakage("broken limit", |world, text| {
        swap(world, text, "[limits]\n", "[limits]\nhead_timeout = 10\n");
    }),
    breakage("unknown limit", |world, text| {
        swap(world, text, "[limits]\n", "[limits]\nconections = 1\n");
    }),
    breakage("unknown key", |world, text| {
        swap(world, text, "listen =", "color = \"blue\"\nlisten =");
    }),
    breakage("broken address", |world, text| {
        swap(world, text, "\"127.0.0.1:0\"", "\"127.0.0.1\"");
    }),
    breakage("broken log format", |world, text| {
        swap(world, text, "[log]\n", "[log]\nformat = \"xml\"\n");
    }),
    breakage("broken sandbox", |world, text| {
        swap(world, text, "listen =", "sandbox = \"some\"\nlisten =");
    }),
    breakage("broken advertise", |world, text| {
        swap(world, text, "listen =", "advertise = \"host\"\nlisten =");
    }),
    breakage("a CRL for a list of CRLs", |world, text| {
        let (list, text_alone) = (r#"["crl.pem", "other.pem"]"#, r#""crl.pem""#);
        swap(world, text, list, text_alone);
    }),
    breakage("no certificate named", |world, text| {
        swap(world, text, "cert_file = \"server.pem\"\n", "");
    }),
    breakage("no other CRL", |world, _| remove(world, "other.pem")),
    breakage("junk for the other CRL", |world, _| {
        write(world, "other.pem", "junk");
    }),
    breakage_of(Lost::Cas, "no CA", |world, _| remove(world, "ca.pem")),
    breakage_of(Lost::Cas, "junk for CAs", |world, _| {
        write(world, "ca.pem", "junk");
    }),
    breakage_of(Lost::Cas, "a leaf among the CAs", |world, _| {
        world.pki.client().write(world.folder.path(), "leaf");
        let leaf = fs::read_to_string(world.path("leaf.pem")).unwrap();
        write(world, "ca.pem", &(world.pki.ca_pem() + &leaf));
    }),
    breakage_of(Lost::Cas, "1 GB of CAs, sparse", |world, _| {
        let file = fs::File::create(world.path("ca.pem")).unwrap();
        file.set_len(1 << 30).unwrap();
    }),
    breakage_of(Lost::Policy, "no TOML", |world, text| {
        write(world, "aegis.toml", &format!("{text}\n[tls]\n"));
    }),
    breakage_of(Lost::Policy, "no configuration", |world, _| {
        remove(world, "aegis.toml");
    }),
    breakage_of(Lost::Policy, "broken entry", |world, text| {
        swap(world, text, "identities =", "identity =");
    }),
    breakage_of(Lost::Policy, "misspelt entry", |world, text| {
        write(world, "aegis.toml", &format!("{text}\n[[alow]]\n"));
    }),
    breakage_of(Lost::Crls, "junk for the CRL", |world, _| {
        write(world, "crl.pem", "junk");
    }),
];

pub fn write(world: &World, file: &str, text: &str) {
    fs::write(world.path(file), text).unwrap();
}

pub fn remove(world: &World, file: &str) {
    fs::remove_file(world.path(file)).unwrap();
}

fn halve(world: &World, file: &str) {
    let text = fs::read(world.path(file)).unwrap();
    fs::write(world.path(file), &text[..text.len() / 2]).unwrap();
}

fn swap(world: &World, text: &str, from: &str, to: &str) {
    assert!(text.contains(from), "{text}");
    write(world, "aegis.toml", &text.replacen(from, to, 1));
}
