//! `aegis explain`: what the server would say to a scrape, asked of the server's own code.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgGroup, Args};

use super::flags::Flags;
use super::{complain, misused, say, shown};
use crate::config::{Config, Given};
use crate::credentials;
use crate::escaped::Escaped;
use crate::gate::Gate;
use crate::identity::{Claim, Identity};
use crate::origin::Origin;
use crate::peer::Peer;
use crate::policy::Policy;
use crate::refusal::{Refusal, Refused};
use crate::run::Ended;
use crate::scrape::{self, Explained, Shows};
use crate::service::{InvalidServiceName, ServiceName};

#[derive(Args, Debug)]
#[command(group = ArgGroup::new("scraper").args(["cert", "claims"]).required(true))]
pub(super) struct Question {
    /// Address that the scraper comes from
    #[arg(long, value_name = "IP", value_parser = address)]
    from: IpAddr,

    /// Certificate chain of the scraper, leaf first (PEM)
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,

    /// Name of the scraper, such as dns:prometheus.example.org, repeatable; instead of a
    /// certificate, which is not checked then
    #[arg(long = "as", value_name = "SAN")]
    claims: Vec<Claim>,

    /// Service that it wants to scrape
    #[arg(long, value_name = "NAME", value_parser = service_name)]
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
        Err(faults) => return complain(&Ended::Configuration(faults)),
    };
    let shows = match cert {
        Some(file) => match credentials::certificates(&given(file), "") {
            Ok(chain) => Shows::Chain(chain),
            Err(fault) => return misused(&fault),
        },
        None => match Identity::claimed(claims) {
            Ok(claimed) => Shows::Claimed(claimed),
            Err(error) => return misused(&format_args!("--as: {error}")),
        },
    };
    let note = match shows {
        Shows::Claimed(_) => "note: no certificate was checked; the names are taken as given\n",
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
                said_no(&explained, refused, policy, &peer, &service),
                ExitCode::FAILURE,
            )
        }
    };
    report.push_str(note);
    if !service.is_reserved() && !gate.upstream.knows(&service) {
        report.push_str("note: there is no such service now\n");
    }
    say(&report, code)
}

/// The refusal; and when it is the policy's, what each column says.
fn said_no(
    explained: &Explained,
    refused: &Refused,
    policy: &Policy,
    peer: &Peer,
    service: &ServiceName,
) -> String {
    let mut report = format!("refused: {}\n", shown(refused));
    let is_of_policy = matches!(
        refused.refusal,
        Refusal::Network | Refusal::Identity | Refusal::NotGranted
    );
    let Some(identity) = explained.identity.as_ref().filter(|_| is_of_policy) else {
        return report;
    };
    for said in policy.columns(peer, identity, service) {
        report.push_str(&format!(
            "allow[{}] ({}): networks {}, identities {}, services {}\n",
            said.number, said.entry.origin, said.networks, said.identities, said.services
        ));
    }
    report
}

fn given(file: PathBuf) -> Given<PathBuf> {
    Given {
        value: file,
        origin: Origin::Flag("--cert"),
    }
}

fn address(text: &str) -> Result<IpAddr, &'static str> {
    text.parse()
        .map_err(|_| "is not an IP address; write 192.0.2.7 or fd00:5ca1::7")
}

fn service_name(text: &str) -> Result<ServiceName, String> {
    text.parse()
        .map_err(|error: InvalidServiceName| error.to_string())
}
