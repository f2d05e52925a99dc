//! `aegis status`, `aegis reload` and `aegis forget`: operate a running aegis over its admin socket.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::admin_client::{self, AdminRequest, AdminResponse};
use super::flags::Flags;
use super::{failure, print};
use crate::http::{Refresh, View};
use crate::policy::service_name::ServiceName;
use crate::text::escaped::visible;
use crate::text::json::object;

#[derive(Args, Debug)]
pub(super) struct Status {
    /// Output format
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    format: OutputFormat,

    #[command(flatten)]
    flags: Flags,
}

#[derive(Args, Debug)]
pub(super) struct Reload {
    /// Output format
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    format: OutputFormat,

    #[command(flatten)]
    flags: Flags,
}

#[derive(Args, Debug)]
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

/// The status for people: what is wrong, then each service, failing ones first.
fn describe(status: &Value) -> String {
    let configuration = &status["configuration"];
    let mut text = format!(
        "aegis {} on {}, configuration in force since {}\n",
        word(&status["version"]),
        visible(word(&status["host"])),
        word(&configuration["in_force_since"])
    );
    let mut add = |line: String| text.push_str(&format!("{}\n", visible(&line)));
    if let Some(problem) = status["not_ready"].as_str() {
        add(format!("not ready: {problem}"));
    }
    for part in list(&configuration["restricted"]) {
        add(format!("removals in the new {} are in force", word(part)));
    }
    if let Some(since) = configuration["failing_since"].as_str() {
        add(format!("reloads fail since {since}"));
    }
    for fault in list(&configuration["faults"]) {
        add(format!("not reloaded: {}", word(fault)));
    }
    for expiry in list(&status["expiries"]) {
        if let Some(warning) = expiry["warning"].as_str() {
            add(format!("{}: {warning}", word(&expiry["what"])));
        }
    }
    let services = list(&status["services"]);
    let is_failing = |service: &&Value| !service["problem"].is_null();
    let failing = services.iter().filter(is_failing);
    let others = services.iter().filter(|service| !is_failing(service));
    let rows: Vec<[String; 5]> = failing.chain(others).map(row).collect();
    text + &table(&rows)
}

/// One service: name, state, time and duration of the last scrape, and its size or what is wrong.
fn row(service: &Value) -> [String; 5] {
    let last = &service["last_scrape"];
    let took = last["seconds"].as_f64();
    let problem = &service["problem"];
    let detail = service
        .pointer("/last_failure/detail")
        .and_then(Value::as_str);
    let result = match (problem.is_null(), last["bytes"].as_u64()) {
        (true, Some(bytes)) => format!("{bytes} bytes"),
        (true, None) => String::new(),
        (false, _) => {
            let detail = detail.map(|detail| format!(" ({detail})"));
            format!(
                "{}: {}{}. {}{}",
                word(&problem["reason"]),
                word(&problem["what"]),
                detail.unwrap_or_default(),
                word(&problem["remedy"]),
                past(service)
            )
        }
    };
    [
        word(&service["name"]).to_owned(),
        word(&service["state"]).to_owned(),
        word(&last["at"]).to_owned(),
        took.map_or_else(String::new, |seconds| format!("{:.1} ms", seconds * 1000.0)),
        visible(&result).to_string(),
    ]
}

/// Since when a failing service fails, how often it failed, and when it will be forgotten.
fn past(service: &Value) -> String {
    let mut past = String::new();
    if let Some(since) = service["failing_since"].as_str() {
        let failures = service["failures_last_hour"].as_u64().unwrap_or_default();
        let success = service["last_success"].as_str();
        past += &format!(
            " Failing since {since}; failures in the last hour: {failures}; last success: {}.",
            success.unwrap_or("none")
        );
    }
    if let Some(at) = service["forgotten_at"].as_str() {
        past += &format!(" It is forgotten at {at}.");
    }
    past
}

/// Aligns the columns.
fn table(rows: &[[String; 5]]) -> String {
    let heading = ["SERVICE", "STATE", "LAST SCRAPE", "DURATION", "RESULT"].map(str::to_owned);
    let lines = || std::iter::once(&heading).chain(rows);
    let widths: [usize; 5] = std::array::from_fn(|column| {
        let cells = lines().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    });
    let mut text = String::new();
    for line in lines() {
        let mut padded = String::new();
        for (cell, width) in line.iter().zip(widths) {
            padded.push_str(&format!("{cell:width$}  "));
        }
        text.push_str(&format!("{}\n", padded.trim_end()));
    }
    text
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

const STATUS_TIMEOUT: Duration = Duration::from_secs(10);

/// Longer than aegis waits for files before it answers.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(60);
