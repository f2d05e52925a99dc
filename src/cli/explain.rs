//! `aegis explain`: decides a scrape as the server would, with the server's own code.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgGroup, Args};

use super::flags::Flags;
use super::{describe, print, report_error, usage_error};
use crate::config::{Config, Located};
use crate::gate::Gate;
use crate::policy::Policy;
use crate::policy::identity::{Claim, Identity};
use crate::policy::peer::Peer;
use crate::policy::service_name::ServiceName;
use crate::refusal::{Refusal, Refused};
use crate::scrape::{self, Explained, Shows};
use crate::server::run::ServeError;
use crate::text::escaped::Escaped;
use crate::text::origin::Origin;
use crate::tls::credentials;

#[derive(Args, Debug)]
#[command(group = ArgGroup::new("scraper").args(["cert", "claims"]).required(true))]
pub(super) struct Question {
    /// Source address of the scraper
    #[arg(long, value_name = "IP", value_parser = address)]
    from: IpAddr,

    /// Certificate chain of the scraper, leaf first (PEM)
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,

    /// Name of the scraper, such as dns:prometheus.example.org, repeatable; instead of a
    /// certificate, which is not checked then
    #[arg(long = "as", value_name = "SAN")]
    claims: Vec<Claim>,

    /// Service to scrape
    #[arg(long, value_name = "NAME", value_parser = super::service_name)]
    service: ServiceName,

    #[command(flatten)]
    flags: Flags,
}

pub(super) fn explain(question: Question) -> ExitCode {
    let Question {
        from,
        cert,
        claims,
        service,
        flags,
    } = question;
    let gate = Config::load(&flags.into()).and_then(|config| Gate::build(config, None));
    let gate = match gate {
        Ok(gate) => gate,
        Err(faults) => return report_error(&ServeError::Configuration(faults)),
    };
    let shows = match cert {
        Some(file) => match credentials::certificates(&from_argument(file), "") {
            Ok(chain) => Shows::Chain(chain),
            Err(fault) => return usage_error(&fault),
        },
        None => match Identity::claimed(claims) {
            Ok(claimed) => Shows::Claimed(claimed),
            Err(error) => return usage_error(&format_args!("--as: {error}")),
        },
    };
    let note = match shows {
        Shows::Claimed(_) => {
            "note: no certificate was checked; the names of --as are not verified\n"
        }
        Shows::Chain(_) => "",
    };
    let peer = Peer::new(SocketAddr::new(from, 0));
    let explained = scrape::explain(&gate, peer, shows, &service);
    let (mut report, code) = match &explained.decided {
        Ok(permit) => {
            let matched = Escaped(permit.matched().as_bytes());
            let (number, origin) = (permit.number(), permit.entry());
            let from = peer.address();
            let allowed = format!(
                "allowed: {service} for {matched} from {from}, by allow[{number}] ({origin})\n"
            );
            (allowed, ExitCode::SUCCESS)
        }
        Err(refused) => {
            let policy = &gate.policy;
            (
                refusal_report(&explained, refused, policy, &peer, &service),
                ExitCode::FAILURE,
            )
        }
    };
    report.push_str(note);
    if !service.is_reserved() && !gate.services.knows(&service) {
        report.push_str("note: this service does not exist at present\n");
    }
    print(&report, code)
}

/// The refusal, and for one of the policy, the result of each column.
fn refusal_report(
    explained: &Explained,
    refused: &Refused,
    policy: &Policy,
    peer: &Peer,
    service: &ServiceName,
) -> String {
    let mut report = format!("refused: {}\n", describe(refused));
    let is_of_policy = matches!(
        refused.refusal,
        Refusal::Network | Refusal::Identity | Refusal::NotGranted
    );
    let Some(identity) = explained.identity.as_ref().filter(|_| is_of_policy) else {
        return report;
    };
    for row in policy.columns(peer, identity, service) {
        report.push_str(&format!(
            "allow[{}] ({}): networks {}, identities {}, services {}\n",
            row.number, row.entry.origin, row.networks, row.identities, row.services
        ));
    }
    report
}

fn from_argument(file: PathBuf) -> Located<PathBuf> {
    Located {
        value: file,
        origin: Origin::Flag("--cert"),
    }
}

fn address(text: &str) -> Result<IpAddr, &'static str> {
    text.parse()
        .map_err(|_| "is not an IP address; write 192.0.2.7 or fd00:5ca1::7")
}
