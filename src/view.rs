//! What aegis says of itself: where it is asked for, and the form of the answer.

use serde_json::Value;

/// A thing that aegis says of itself. All paths but the first begin as no service's does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// `/`: a page for people.
    Status,
    /// `/-/sd`: the targets for Prometheus (HTTP SD).
    Discovery,
    /// `/-/healthy`: whether the process answers.
    Healthy,
    /// `/-/ready`: whether a scrape can succeed.
    Ready,
}

impl View {
    /// Every view.
    pub const ALL: &[Self] = &[Self::Status, Self::Discovery, Self::Healthy, Self::Ready];

    /// Its path.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Status => "/",
            Self::Discovery => "/-/sd",
            Self::Healthy => "/-/healthy",
            Self::Ready => "/-/ready",
        }
    }

    /// The view at a path.
    #[must_use]
    pub fn at(path: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|view| view.path() == path)
    }
}

/// An answer of aegis's own.
#[derive(Debug)]
pub struct Shown {
    /// The HTTP status.
    pub status: u16,
    /// Its content type.
    pub content_type: &'static str,
    /// What a browser may do with it (Content-Security-Policy); nothing, unless it says so.
    pub browsers: Option<String>,
    /// The body.
    pub text: String,
}

impl Shown {
    /// A line of text.
    #[must_use]
    pub fn line(status: u16, text: &str) -> Self {
        Self {
            status,
            content_type: "text/plain; charset=utf-8",
            browsers: None,
            text: format!("{text}\n"),
        }
    }

    /// JSON.
    #[must_use]
    pub fn json(value: &Value) -> Self {
        Self {
            status: 200,
            content_type: "application/json",
            browsers: None,
            text: format!("{value}\n"),
        }
    }
}

/// A JSON object. Each value is one already: `json!` would make them as it goes, and panic where
/// one cannot be made.
#[must_use]
pub fn object(members: Vec<(&'static str, Value)>) -> Value {
    members.into_iter().collect()
}

/// Whether an `Accept` header names a media type.
#[must_use]
pub fn accepts(accept: Option<&str>, media_type: &str) -> bool {
    let mut ranges = accept.unwrap_or_default().split(',');
    ranges.any(|range| {
        let range = range.split(';').next().unwrap_or_default();
        range.trim().eq_ignore_ascii_case(media_type)
    })
}
