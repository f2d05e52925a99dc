//! `aegis health`: queries a running aegis over its admin socket, for containers and scripts.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::admin_client::{self, AdminRequest};
use super::flags::Flags;
use super::{failure, print};
use crate::http::View;

#[derive(Args, Debug)]
#[command(after_help = admin_client::HELP)]
pub(super) struct Health {
    /// Check that scrapes can succeed, not only that aegis answers
    #[arg(long)]
    ready: bool,

    #[command(flatten)]
    flags: Flags,
}

impl Health {
    pub(super) fn run(self) -> ExitCode {
        let view = if self.ready {
            View::Ready
        } else {
            View::Healthy
        };
        let request = AdminRequest {
            method: "GET",
            target: view.path(),
            timeout: TIMEOUT,
        };
        match admin_client::send(self.flags, request) {
            Ok(response) if response.is_success => print(&response.text, ExitCode::SUCCESS),
            Ok(response) => failure(response.text.trim_end()),
            Err(code) => code,
        }
    }
}

/// Shorter than the timeout of common health probes.
const TIMEOUT: Duration = Duration::from_secs(2);
