//! `aegis status`, `aegis reload` and `aegis forget`: operate a running aegis over its admin socket.

mod describe;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::admin_client::{self, AdminRequest, AdminResponse};
use super::flags::Flags;
use super::{failure, print};
use crate::http::{Refresh, View};
use crate::policy::service_name::ServiceName;
use crate::text::json::object;
use describe::describe;

#[derive(Args, Debug)]
#[command(after_help = admin_client::HELP)]
pub(super) struct Status {
    /// Output format
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    format: OutputFormat,

    #[command(flatten)]
    flags: Flags,
}

#[derive(Args, Debug)]
#[command(after_help = admin_client::HELP)]
pub(super) struct Reload {
    /// Output format
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    format: OutputFormat,

    #[command(flatten)]
    flags: Flags,
}

#[derive(Args, Debug)]
#[command(after_help = admin_client::HELP)]
pub(super) struct Forget {
    /// Name of the service, whose socket is gone
    #[arg(value_parser = super::service_name)]
    service: ServiceName,

    /// Output format
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    format: OutputFormat,

    #[command(flatten)]
    flags: Flags,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OutputFormat {
    /// For people; errors go to standard error
    Text,
    /// One JSON object on standard output
    Json,
}

impl Status {
    pub(super) fn run(self) -> ExitCode {
        let request = AdminRequest {
            method: "GET",
            target: View::Status(Refresh::On).target(),
            timeout: STATUS_TIMEOUT,
        };
        let response = match admin_client::send(self.flags, request) {
            Ok(response) if response.is_success => response,
            Ok(response) => return failure(response.text.trim_end()),
            Err(code) => return code,
        };
        match (self.format, serde_json::from_str(&response.text)) {
            (OutputFormat::Json, _) => print(&response.text, ExitCode::SUCCESS),
            (OutputFormat::Text, Ok(status)) => print(&describe(&status), ExitCode::SUCCESS),
            (OutputFormat::Text, Err(error)) => {
                failure(&format!("aegis sent a status that cannot be read: {error}"))
            }
        }
    }
}

impl Reload {
    pub(super) fn run(self) -> ExitCode {
        let request = AdminRequest {
            method: "POST",
            target: "/-/reload",
            timeout: RELOAD_TIMEOUT,
        };
        finish(admin_client::send(self.flags, request), self.format)
    }
}

impl Forget {
    pub(super) fn run(self) -> ExitCode {
        let target = format!("/-/forget/{}", self.service);
        let request = AdminRequest {
            method: "POST",
            target: &target,
            timeout: STATUS_TIMEOUT,
        };
        finish(admin_client::send(self.flags, request), self.format)
    }
}

/// Prints the answer to an action.
fn finish(response: Result<AdminResponse, ExitCode>, format: OutputFormat) -> ExitCode {
    let AdminResponse { is_success, text } = match response {
        Ok(response) => response,
        Err(code) => return code,
    };
    let code = if is_success {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    };
    match format {
        OutputFormat::Json => {
            let messages: Vec<Value> = text.lines().map(Value::from).collect();
            let report = object(vec![
                ("ok", is_success.into()),
                ("messages", messages.into()),
            ]);
            print(&format!("{report}\n"), code)
        }
        OutputFormat::Text if is_success => print(&text, code),
        OutputFormat::Text => failure(text.trim_end()),
    }
}

const STATUS_TIMEOUT: Duration = Duration::from_secs(10);

/// Longer than aegis waits for files before it answers.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(60);
