//! The status of a running aegis as a text for people.

use serde_json::Value;

use crate::text::escaped::visible;

/// Writes the status: what is wrong, then each service, failing ones first.
pub(super) fn describe(status: &Value) -> String {
    let configuration = &status["configuration"];
    let mut text = format!(
        "aegis {} on {}, configuration in force since {}\n",
        word(&status["version"]),
        visible(word(&status["host"])),
        word(&configuration["in_force_since"])
    );
    for line in problems(status) {
        text.push_str(&format!("{}\n", visible(&line)));
    }
    let services = list(&status["services"]);
    if services.is_empty() {
        let directory = visible(word(&status["socket_dir"]));
        return text + &format!("no service has a socket in {directory} yet\n");
    }
    let is_failing = |service: &&Value| !service["problem"].is_null();
    let failing = services.iter().filter(is_failing);
    let others = services.iter().filter(|service| !is_failing(service));
    let rows: Vec<Row> = failing.chain(others).map(row).collect();
    text + &table(&rows)
}

/// What is wrong with aegis itself, one sentence each, and what it has refused.
fn problems(status: &Value) -> Vec<String> {
    let configuration = &status["configuration"];
    let mut lines = Vec::new();
    if let Some(problem) = status["not_ready"].as_str() {
        lines.push(format!("not ready: {problem}"));
    }
    for part in list(&configuration["restricted"]) {
        lines.push(format!("removals in the new {} are in force", word(part)));
    }
    if let Some(since) = configuration["failing_since"].as_str() {
        lines.push(format!("reloads fail since {since}"));
    }
    for fault in list(&configuration["faults"]) {
        lines.push(format!("not reloaded: {}", word(fault)));
    }
    let keys = list(&configuration["pending_restart"]).iter().map(word);
    let keys = Vec::from_iter(keys).join(", ");
    if !keys.is_empty() {
        lines.push(format!("changes of {keys} need a restart"));
    }
    let warnings = list(&status["expiries"]).iter();
    let warnings = warnings.filter_map(|expiry| expiry["warning"].as_str());
    lines.extend(warnings.map(str::to_owned));
    if status["services_truncated"].as_bool() == Some(true) {
        let directory = word(&status["socket_dir"]);
        lines.push(format!(
            "services are missing here and from discovery: {directory} holds more files than aegis lists; remove those that are not services"
        ));
    }
    if let Some(lost @ 1..) = status["log_lines_lost"].as_u64() {
        lines.push(format!(
            "log lines lost since start: {lost}; standard error was not being read"
        ));
    }
    let refused = list(&status["refusals"]).iter();
    let refused = refused.map(|refusal| {
        let (stage, reason) = (word(&refusal["stage"]), word(&refusal["reason"]));
        format!("{} {stage} {reason}", refusal["count"])
    });
    let refused: Vec<String> = refused.collect();
    if !refused.is_empty() {
        lines.push(format!("refused since start: {}", refused.join(", ")));
    }
    lines
}

/// A service in the table, with lines below it.
struct Row {
    cells: [String; 5],
    notes: Vec<String>,
}

/// One service: name, state, time and duration of the last scrape, and its size or what is wrong.
/// Below it: what to do, and its past.
fn row(service: &Value) -> Row {
    let last = &service["last_scrape"];
    let took = last["seconds"].as_f64();
    let problem = &service["problem"];
    let result = match (problem.is_null(), last["bytes"].as_u64()) {
        (true, Some(bytes)) => format!("{bytes} bytes"),
        (true, None) => String::new(),
        (false, _) => {
            let detail = problem["detail"].as_str();
            let detail = detail.map(|detail| format!(" ({detail})"));
            format!(
                "{}: {}{}",
                word(&problem["reason"]),
                word(&problem["what"]),
                detail.unwrap_or_default(),
            )
        }
    };
    let remedy = problem["remedy"].as_str().map(str::to_owned);
    let notes = remedy.into_iter().chain(past(service));
    Row {
        cells: [
            word(&service["name"]).to_owned(),
            word(&service["state"]).to_owned(),
            word(&last["at"]).to_owned(),
            took.map_or_else(String::new, |seconds| format!("{:.1} ms", seconds * 1000.0)),
            visible(&result),
        ],
        notes: notes.map(|note| visible(&note)).collect(),
    }
}

/// Since when a failing service fails, how often it failed, and when it will be forgotten.
fn past(service: &Value) -> Option<String> {
    let mut past = Vec::new();
    if let Some(since) = service["failing_since"].as_str() {
        let failures = service["failures_last_hour"].as_u64().unwrap_or_default();
        let success = service["last_success"].as_str();
        past.push(format!(
            "Failing since {since}; failures in the last hour: {failures}; last success: {}.",
            success.unwrap_or("none")
        ));
    }
    if let Some(at) = service["forgotten_at"].as_str() {
        past.push(format!("It is forgotten at {at}."));
    }
    (!past.is_empty()).then(|| past.join(" "))
}

/// Aligns the columns.
fn table(rows: &[Row]) -> String {
    let heading = Row {
        cells: ["SERVICE", "STATE", "LAST SCRAPE", "DURATION", "RESULT"].map(str::to_owned),
        notes: Vec::new(),
    };
    let lines = || std::iter::once(&heading).chain(rows);
    let widths: [usize; 5] = std::array::from_fn(|column| {
        let cells = lines().filter_map(|line| line.cells.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    });
    let mut text = String::new();
    for line in lines() {
        let mut padded = String::new();
        for (cell, width) in line.cells.iter().zip(widths) {
            padded.push_str(&format!("{cell:width$}  "));
        }
        text.push_str(&format!("{}\n", padded.trim_end()));
        for note in &line.notes {
            text.push_str(&format!("    {note}\n"));
        }
    }
    text
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}
