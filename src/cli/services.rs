//! `aegis services`: what is there to scrape now, and whom it is granted to.

use std::collections::BTreeMap;
use std::path;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use nix::unistd::{Uid, User};
use tokio::runtime;

use super::flags::Flags;
use super::{complain, misused, say, shown};
use crate::config::{Config, Fault, Limits};
use crate::policy::Policy;
use crate::refusal::Refusal;
use crate::run::Ended;
use crate::scrape::{self, Offered, Upstream};
use crate::service::ServiceName;
use crate::views::{self, Target};

#[derive(Args, Debug)]
pub(super) struct Which {
    /// Scrape each service once, one after the other
    #[arg(long)]
    probe: bool,

    /// Form of the list
    #[arg(long, value_enum, default_value_t = Format::Text, conflicts_with = "probe")]
    format: Format,

    #[command(flatten)]
    flags: Flags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One line for each service
    Text,
    /// For file_sd: targets that are scraped through aegis
    Sd,
    /// For file_sd: the Unix sockets themselves, for a Prometheus from 3.15 or a vmagent here
    SdUnix,
}

/// Needs no key and no certificate, so that whoever may see the sockets can ask.
pub(super) fn services(which: Which) -> ExitCode {
    let opened = Config::load(&which.flags.into()).and_then(|mut config| {
        if which.format == Format::SdUnix {
            name_sockets_absolutely(&mut config);
        }
        let upstream = Upstream::open(&config, None)?;
        let offers = upstream.offers().map_err(|error| {
            let problem = format!("cannot be read: {error}");
            vec![Fault::new(&config.socket_dir.origin, "socket_dir", problem)]
        })?;
        Ok((config, upstream, offers))
    });
    let (config, upstream, offers) = match opened {
        Ok(opened) => opened,
        Err(faults) => return complain(&Ended::Configuration(faults)),
    };
    match which.format {
        Format::Text => list(which.probe, &config, &upstream, offers),
        Format::Sd => match reached_at(&config) {
            Some(reached) => write_targets(Target::Aegis(&reached), &upstream),
            None => misused(
                &"it cannot be told by what address Prometheus reaches aegis; set advertise in the configuration",
            ),
        },
        Format::SdUnix => write_targets(Target::Socket, &upstream),
    }
}

/// Whoever reads targets does so from another directory.
fn name_sockets_absolutely(config: &mut Config) {
    let sockets = config.services.values_mut();
    let sockets = sockets.filter_map(|service| service.socket.as_mut());
    for path in sockets.chain([&mut config.socket_dir.value]) {
        if let Ok(absolute) = path::absolute(&path) {
            *path = absolute;
        }
    }
}

/// The address of aegis for whoever is elsewhere; `None` if only `advertise` could tell.
fn reached_at(config: &Config) -> Option<String> {
    config.advertise.clone().or_else(|| {
        let address = config.listen.first()?.value.address()?;
        let can_be_reached = !address.ip().is_unspecified() && address.port() > 0;
        can_be_reached.then(|| address.to_string())
    })
}

fn write_targets(target: Target<'_>, upstream: &Upstream) -> ExitCode {
    let targets = views::targets(upstream.known().into_iter(), target, upstream);
    say(&format!("{targets:#}\n"), ExitCode::SUCCESS)
}

fn list(probe: bool, config: &Config, upstream: &Upstream, offers: Vec<Offered>) -> ExitCode {
    let probes = match probe {
        true => match runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => Some(runtime),
            Err(error) => return complain(&Ended::System(error)),
        },
        false => None,
    };
    let mut code = ExitCode::SUCCESS;
    for offered in offers {
        let labels = &upstream.settings(&offered.service).labels;
        let mut line = listed(&offered, labels, &config.policy);
        if let Some(runtime) = &probes {
            let probing = probed(upstream, &offered.service, &config.limits);
            match runtime.block_on(probing) {
                Ok(said) => line.push_str(&said),
                Err(said) => {
                    code = ExitCode::FAILURE;
                    line.push_str(&said);
                }
            }
        }
        // Each at once: the next one may hang.
        code = say(&format!("{line}\n"), code);
    }
    let unusable = upstream.unusable().into_iter();
    let unusable: String = unusable.map(|why| format!("unusable: {why}\n")).collect();
    say(&unusable, code)
}

/// One line on a service: its name, its socket, the socket's owner, and who may scrape it.
fn listed(offered: &Offered, labels: &BTreeMap<String, String>, policy: &Policy) -> String {
    let Offered {
        service,
        socket,
        owner,
    } = offered;
    let state = match owner {
        Ok(uid) => format!("owner {}", user(*uid)),
        Err(refused) if refused.refusal == Refusal::Missing => "missing".to_owned(),
        Err(refused) if refused.refusal == Refusal::UnknownService => "missing".to_owned(),
        Err(refused) => format!("unusable, {}", shown(refused)),
    };
    let grants = grants(policy, service);
    let labels = labels
        .iter()
        .map(|(name, value)| format!(", {name}={value:?}"));
    let labels: String = labels.collect();
    format!(
        "{service}: {}, {state}, granted by {grants}{labels}",
        socket.display()
    )
}

/// The entries that grant a service to somebody.
fn grants(policy: &Policy, service: &ServiceName) -> String {
    let entries = policy.entries().iter().enumerate();
    let grants: Vec<String> = entries
        .filter(|(_, entry)| entry.grants(service))
        .map(|(number, _)| format!("allow[{number}]"))
        .collect();
    match grants.as_slice() {
        [] => "nobody".to_owned(),
        grants => grants.join(", "),
    }
}

fn user(uid: u32) -> String {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => format!("{} (uid {uid})", user.name),
        Ok(None) | Err(_) => format!("uid {uid}"),
    }
}

/// What a scrape gave, or why it failed.
async fn probed(
    upstream: &Upstream,
    service: &ServiceName,
    limits: &Limits,
) -> Result<String, String> {
    match scrape::probe(upstream, service, limits).await {
        Ok(probed) => Ok(format!(
            "; probe: status 200, {} bytes in {:.3} s",
            probed.bytes,
            probed.duration.as_secs_f64()
        )),
        Err(refused) => Err(format!("; probe failed: {}", shown(&refused))),
    }
}
