//! JSON objects for answers and `--json`.

use serde_json::Value;

/// Makes a JSON object. Unlike `json!`, it takes finished values, so it cannot panic.
#[must_use]
pub(crate) fn object(members: Vec<(&'static str, Value)>) -> Value {
    members.into_iter().collect()
}
