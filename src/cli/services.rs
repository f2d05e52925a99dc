//! `aegis services`: lists the services that exist now, and the entries that grant them.

mod listed;

use std::path;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use tokio::runtime;

use super::as_user::become_user;
use super::flags::Flags;
use super::{print, print_error, report_error, usage_error};
use crate::config::{Config, ConfigError};
use crate::scrape;
use crate::server::privileges;
use crate::server::run::ServeError;
use crate::services::{Offered, ServiceRegistry};
use crate::text::json::object;
use crate::web::{self, Target};
use listed::Listed;

#[derive(Args, Debug)]
pub(super) struct Which {
    /// Scrape each service once, one after the other
    #[arg(long)]
    probe: bool,

    /// Look and scrape as this user, which aegis runs as; needs root
    #[arg(long, value_name = "NAME")]
    user: Option<String>,

    /// Output format
    #[arg(long, value_enum, default_value_t = ListFormat::Text)]
    format: ListFormat,

    #[command(flatten)]
    flags: Flags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ListFormat {
    /// One line for each service
    Text,
    /// One JSON object
    Json,
    /// For file_sd: targets that are scraped through aegis
    Sd,
    /// For file_sd: the Unix sockets themselves, for a Prometheus from 3.15 or a vmagent here
    SdUnix,
}

/// Needs no key and no certificate, so that any user who can see the sockets can run it.
pub(super) fn services(which: Which) -> ExitCode {
    let Which {
        probe,
        user,
        format,
        flags,
    } = which;
    let is_for_sd = matches!(format, ListFormat::Sd | ListFormat::SdUnix);
    if probe && is_for_sd {
        return usage_error(&"--probe works with --format text and json only");
    }
    if let Some(Err(problem)) = user.as_deref().map(become_user) {
        return usage_error(&problem);
    }
    let opened = Config::load(&flags.into()).and_then(|mut config| {
        if format == ListFormat::SdUnix {
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
    match format {
        ListFormat::Text | ListFormat::Json => list(probe, format, &config, &services, offers),
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

/// Lists the services, one after the other.
fn list(
    probe: bool,
    format: ListFormat,
    config: &Config,
    services: &ServiceRegistry,
    offers: Vec<Offered>,
) -> ExitCode {
    let runtime = probe.then(|| runtime::Builder::new_current_thread().enable_all().build());
    let runtime = match runtime.transpose() {
        Ok(runtime) => runtime,
        Err(error) => return report_error(&ServeError::System(error)),
    };
    if probe && privileges::is_root() {
        print_error(&privileges::root_looks("aegis services --probe"));
    }
    let mut code = ExitCode::SUCCESS;
    let mut objects = Vec::new();
    for offered in offers {
        let mut listed = Listed::new(offered, services, &config.policy);
        if let Some(runtime) = &runtime {
            let probing = scrape::probe(services, listed.service(), &config.limits);
            let probed = runtime.block_on(probing);
            if probed.is_err() {
                code = ExitCode::FAILURE;
            }
            listed.probed = Some(probed);
        }
        match format {
            ListFormat::Json => objects.push(listed.json()),
            // Printed immediately: the next one may hang.
            ListFormat::Text | ListFormat::Sd | ListFormat::SdUnix => {
                code = print(&listed.text(), code);
            }
        }
    }
    let unusable = services.unusable();
    if format == ListFormat::Json {
        let report = object(vec![
            ("services", objects.into()),
            ("unusable", unusable.into()),
        ]);
        return print(&format!("{report}\n"), code);
    }
    let unusable = unusable.into_iter();
    let unusable: String = unusable.map(|why| format!("unusable: {why}\n")).collect();
    print(&unusable, code)
}
