//! Everything of the benchmark that has to be fast: the load client, the service, a relay without
//! TLS, and the cryptography of a handshake by itself. `benches/peers/run` starts them.

mod attack;
mod client;
mod crypto;
mod herd;
mod load;
mod malformed;
mod paced;
mod procs;
mod relay;
mod ready;
mod service;
mod watch;

use std::collections::HashMap;
use std::error::Error;
use std::str::FromStr;

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let command = words.next().unwrap_or_default();
    let options = Options::from_words(words)?;
    match command.as_str() {
        "service" => service::serve(&options),
        "relay" => relay::serve(&options),
        "load" => load::run(&options),
        "first" => load::first(&options),
        "count" => load::count(&options),
        "idle" => load::idle(&options),
        "crypto" => crypto::measure(&options),
        "paced" => paced::run(&options),
        "herd" => herd::run(&options),
        "watch" => watch::run(&options),
        "attack" => attack::attack(&options),
        "silent" => attack::silent(&options),
        "sip" => attack::sip(&options),
        _ => Err(
            "commands: service relay load first count idle crypto paced herd watch attack silent sip".into(),
        ),
    }
}

/// The options of the form `--name value`.
struct Options(HashMap<String, String>);

impl Options {
    fn from_words(mut words: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let mut given = HashMap::new();
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").ok_or("options are --name value")?;
            let value = words.next().ok_or("an option lacks its value")?;
            given.insert(name.to_owned(), value);
        }
        Ok(Self(given))
    }

    /// The same with one value changed.
    fn with(&self, name: &str, value: &str) -> Self {
        let mut given = self.0.clone();
        given.insert(name.to_owned(), value.to_owned());
        Self(given)
    }

    fn text(&self, name: &str) -> Result<&str, Box<dyn Error>> {
        let value = self.0.get(name).map(String::as_str);
        value.ok_or_else(|| format!("--{name} is missing").into())
    }

    fn or<T: FromStr>(&self, name: &str, default: T) -> Result<T, Box<dyn Error>> {
        match self.0.get(name) {
            None => Ok(default),
            Some(value) => value
                .parse()
                .map_err(|_| format!("--{name} {value} is not usable").into()),
        }
    }
}
