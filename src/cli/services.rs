//! `aegis services`: lists the services that exist now, and the entries that grant them.

use std::collections::BTreeMap;
use std::path;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use nix::unistd::{Uid, User};
use tokio::runtime;

use super::flags::Flags;
use super::{describe, print, report_error, usage_error};
use crate::config::{Config, ConfigError, Limits};
use crate::policy::Policy;
use crate::policy::service_name::ServiceName;
use crate::refusal::Refusal;
use crate::scrape;
use crate::server::run::ServeError;
use crate::services::{Offered, ServiceRegistry};
use crate::web::{self, Target};

#[derive(Args, Debug)]
pub(super) struct Which {
    /// Scrape each service once, one after the other
    #[arg(long)]
    probe: bool,

    /// Output format
    #[arg(long, value_enum, default_value_t = ListFormat::Text, conflicts_with = "probe")]
    format: ListFormat,

    #[command(flatten)]
    flags: Flags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ListFormat {
    /// One line for each service
    Text,
    /// For file_sd: targets that are scraped through aegis
    Sd,
    /// For file_sd: the Unix sockets themselves, for a Prometheus from 3.15 or a vmagent here
    SdUnix,
}

/// Needs no key and no certificate, so that any user who can see the sockets can run it.
pub(super) fn services(which: Which) -> ExitCode {
    let opened = Config::load(&which.flags.into()).and_then(|mut config| {
        if which.format == ListFormat::SdUnix {
            make_sockets_absolute(&mut config);
        }
        let (services, listing) = ServiceRegistry::open(&config, None)?;
        services.remember_all(&listing);
        let offers = services.offers().map_err(|error| {
            let problem = format!("cannot be read: {error}");
            vec![ConfigError::new(
                &config.socket_dir.origin,
                "socket_dir",
                problem,
            )]
        })?;
        Ok((config, services, offers))
    });
    let (config, services, offers) = match opened {
        Ok(opened) => opened,
        Err(faults) => return report_error(&ServeError::Configuration(faults)),
    };
    match which.format {
        ListFormat::Text => list(which.probe, &config, &services, offers),
        ListFormat::Sd => match reached_at(&config) {
            Some(reached) => write_targets(Target::Aegis(&reached), &services),
            None => usage_error(
                &"the address at which Prometheus reaches aegis is unknown; set advertise in the configuration",
            ),
        },
        ListFormat::SdUnix => write_targets(Target::Socket, &services),
    }
}

/// A program that reads targets has another working directory.
fn make_sockets_absolute(config: &mut Config) {
    let sockets = config.services.values_mut();
    let sockets = sockets.filter_map(|service| service.socket.as_mut());
    for path in sockets.chain([&mut config.socket_dir.value]) {
        if let Ok(absolute) = path::absolute(&path) {
            *path = absolute;
        }
    }
}

/// The address at which other hosts reach aegis; `None` if `advertise` must name it.
fn reached_at(config: &Config) -> Option<String> {
    config.advertise.clone().or_else(|| {
        let address = config.listen.first()?.value.address()?;
        let can_be_reached = !address.ip().is_unspecified() && address.port() > 0;
        can_be_reached.then(|| address.to_string())
    })
}

fn write_targets(target: Target<'_>, services: &ServiceRegistry) -> ExitCode {
    let targets = web::targets(services.known().into_iter(), target, services);
    print(&format!("{targets:#}\n"), ExitCode::SUCCESS)
}

fn list(
    probe: bool,
    config: &Config,
    services: &ServiceRegistry,
    offers: Vec<Offered>,
) -> ExitCode {
    let runtime = probe.then(|| runtime::Builder::new_current_thread().enable_all().build());
    let runtime = match runtime.transpose() {
        Ok(runtime) => runtime,
        Err(error) => return report_error(&ServeError::System(error)),
    };
    let mut code = ExitCode::SUCCESS;
    for offered in offers {
        let labels = &services.settings(&offered.service).labels;
        let mut line = listed(&offered, labels, &config.policy);
        if let Some(runtime) = &runtime {
            let probing = probed(services, &offered.service, &config.limits);
            match runtime.block_on(probing) {
                Ok(result) => line.push_str(&result),
                Err(result) => {
                    code = ExitCode::FAILURE;
                    line.push_str(&result);
                }
            }
        }
        // Printed immediately: the next one may hang.
        code = print(&format!("{line}\n"), code);
    }
    let unusable = services.unusable().into_iter();
    let unusable: String = unusable.map(|why| format!("unusable: {why}\n")).collect();
    print(&unusable, code)
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
        Err(refused) => format!("unusable, {}", describe(refused)),
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

/// The entries that grant a service.
fn grants(policy: &Policy, service: &ServiceName) -> String {
    let entries = policy.entries().iter().enumerate();
    let grants: Vec<String> = entries
        .filter(|(_, entry)| entry.grants(service))
        .map(|(number, _)| format!("allow[{number}]"))
        .collect();
    match grants.as_slice() {
        [] => "no entry".to_owned(),
        grants => grants.join(", "),
    }
}

fn user(uid: u32) -> String {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => format!("{} (uid {uid})", user.name),
        Ok(None) | Err(_) => format!("uid {uid}"),
    }
}

/// The result of one scrape.
async fn probed(
    services: &ServiceRegistry,
    service: &ServiceName,
    limits: &Limits,
) -> Result<String, String> {
    match scrape::probe(services, service, limits).await {
        Ok(probed) => Ok(format!(
            "; probe: status 200, {} bytes in {:.3} s",
            probed.bytes,
            probed.duration.as_secs_f64()
        )),
        Err(refused) => Err(format!("; probe failed: {}", describe(&refused))),
    }
}
