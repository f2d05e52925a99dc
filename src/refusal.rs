//! Every refusal: the single source of its status, log sentence, reason and metric label.

mod remedy;

use std::fmt;

use crate::text::escaped::Escaped;
use Blame::{Peer, Service, Us};
use SeenAs::{Closed, Status};
use Stage::{Admit, Authorize, Handshake, Respond, Route, Upstream};

/// Makes the enum, its list and its rows from one table, so that they cannot differ.
macro_rules! refusals {
    ($($name:ident $stage:ident $reason:literal $seen_as:expr, $blame:ident $sentence:literal;)*) => {
        /// A refusal. It is decided at one stage and has one reason; logs and metrics show both.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Refusal {
            $(#[doc = $sentence] $name,)*
        }

        impl Refusal {
            /// Every refusal, in the order of the stages.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            fn row(self) -> Row {
                let (stage, reason, seen_as, blame, sentence) = match self {
                    $(Self::$name => ($stage, $reason, $seen_as, $blame, $sentence),)*
                };
                Row { stage, reason, seen_as, blame, sentence }
            }
        }
    };
}

refusals! {
//  refusal          stage     reason             seen as      to blame  what happened
    Network          Admit     "network"          Closed,      Peer    "no allow entry admits this address";
    ConnectionLimit  Admit     "connection_limit" Closed,      Us      "too many connections are open";
    Rate             Admit     "rate"             Closed,      Peer    "the address opens connections too fast (limits.connection_rate)";
    HandshakeTimeout Handshake "timeout"          Closed,      Peer    "the TLS handshake timed out (limits.handshake_timeout)";
    NoCertificate    Handshake "no_certificate"   Closed,      Peer    "the scraper presented no certificate";
    Untrusted        Handshake "untrusted"        Closed,      Peer    "the certificate does not chain to a client CA";
    Expired          Handshake "expired"          Closed,      Peer    "the certificate is outside its validity period";
    Revoked          Handshake "revoked"          Closed,      Peer    "the certificate is revoked, or no current CRL covers it";
    Usage            Handshake "usage"            Closed,      Peer    "the certificate is not for client authentication";
    Tls              Handshake "tls"              Closed,      Peer    "the TLS handshake failed";
    Identity         Handshake "identity"         Closed,      Peer    "no allow entry admits this identity from this address";
    HeadTimeout      Route     "timeout"          Closed,      Peer    "the request's head did not arrive in time (limits.head_timeout)";
    Syntax           Route     "syntax"           Status(400), Peer    "the request is not well-formed HTTP/1.1";
    Version          Route     "version"          Status(400), Peer    "the request is not HTTP/1.1";
    Method           Route     "method"           Status(405), Peer    "the method is neither GET nor HEAD";
    Target           Route     "target"           Status(400), Peer    "the path is not /NAME";
    Query            Route     "target"           Status(400), Peer    "the query has a parameter that the service does not list, or a value that is not percent-encoded UTF-8";
    Body             Route     "body"             Status(400), Peer    "the request has a body";
    Header           Route     "header"           Status(431), Peer    "the request's headers are too large or unusable";
    UnknownService   Authorize "unknown_service"  Status(404), Peer    "there is no such service";
    NotGranted       Authorize "not_granted"      Status(404), Peer    "no allow entry grants this service to this scraper";
    Missing          Upstream  "missing"          Status(502), Service "the service's socket does not exist";
    NotASocket       Upstream  "not_a_socket"     Status(502), Service "the file with the socket's name is not a socket";
    Escapes          Upstream  "escapes"          Status(502), Service "the socket's name is a symbolic link that leaves the socket directory";
    Owner            Upstream  "owner"            Status(502), Service "the socket's owner, or the process that answers on it, is not the configured user";
    Permission       Upstream  "permission"       Status(502), Service "aegis has no permission to connect to the service's socket";
    Connect          Upstream  "connect"          Status(502), Service "nothing accepts connections on the socket";
    Busy             Upstream  "busy"             Status(503), Us      "too many scrapes of the service are in flight (max_concurrent)";
    Timeout          Respond   "timeout"          Status(504), Service "the service did not finish its answer in time";
    Status           Respond   "status"           Status(502), Service "the service did not answer with status 200";
    ContentType      Respond   "content_type"     Status(502), Service "the content type of the service's answer is not metrics (content_type)";
    Malformed        Respond   "malformed"        Status(502), Service "the service's answer is empty or not well-formed HTTP";
    TooLarge         Respond   "too_large"        Status(502), Service "the service's answer is too large (max_body, or limits.response_head)";
    HungUp           Respond   "hung_up"          Status(502), Service "the service closed the connection before its answer was complete";
    Abandoned        Respond   "abandoned"        Closed,      Peer    "the scraper closed the connection before the answer was complete";
    Stalled          Respond   "stalled"          Closed,      Peer    "the scraper stopped reading, or reads too slowly";
}

impl Refusal {
    /// The stage at which it is decided.
    #[must_use]
    pub fn stage(self) -> Stage {
        self.row().stage
    }

    /// The reason in one word, as logs, metrics and `Aegis-Reason` show it.
    #[must_use]
    pub fn reason(self) -> &'static str {
        self.row().reason
    }

    /// What the scraper sees.
    #[must_use]
    pub fn seen_as(self) -> SeenAs {
        self.row().seen_as
    }

    /// Who has to fix the cause.
    #[must_use]
    pub fn blame(self) -> Blame {
        self.row().blame
    }

    /// What happened, in a fixed sentence for the log.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        self.row().sentence
    }
}

impl Refusal {
    /// Reason and sentence, for the scraper's own window. With the longest status phrase they stay
    /// below 200 bytes.
    #[must_use]
    pub fn explanation(self) -> String {
        format!("{}, {}", self.reason(), self.sentence())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

/// A refusal with details for the log. They are never sent to a peer.
#[derive(Debug)]
pub struct Refused {
    /// The refusal.
    pub refusal: Refusal,
    /// Details, such as the error of a system call.
    pub detail: Option<String>,
}

impl Refused {
    /// Makes a refusal with a detail, which is escaped and cut: foreign text may be in it.
    #[must_use]
    pub fn new(refusal: Refusal, detail: impl fmt::Display) -> Self {
        let detail = Escaped(detail.to_string().as_bytes()).to_string();
        Self {
            refusal,
            detail: Some(detail),
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.refusal.fmt(f)?;
        match &self.detail {
            Some(detail) => write!(f, " ({detail})"),
            None => Ok(()),
        }
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal,
            detail: None,
        }
    }
}

struct Row {
    stage: Stage,
    reason: &'static str,
    seen_as: SeenAs,
    blame: Blame,
    sentence: &'static str,
}

/// The steps of a scrape, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The source address, before a TLS byte is read.
    Admit,
    /// TLS and the client certificate.
    Handshake,
    /// From the request to a service's name.
    Route,
    /// The policy.
    Authorize,
    /// The service's socket.
    Upstream,
    /// The service's answer.
    Respond,
}

impl Stage {
    /// The stage's name in logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Admit => "admit",
            Self::Handshake => "handshake",
            Self::Route => "route",
            Self::Authorize => "authorize",
            Self::Upstream => "upstream",
            Self::Respond => "respond",
        }
    }
}

/// What a scraper sees of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeenAs {
    /// The connection is closed: reset before TLS, by a TLS alert, or in the middle of a body.
    Closed,
    /// This HTTP status, unless a body is already on its way; then the connection is cut.
    Status(u16),
}

/// Who has to fix the cause of a refusal; it decides the log level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The scraper, or an unknown client.
    Peer,
    /// The service behind the socket.
    Service,
    /// A limit of aegis's own.
    Us,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_ordered_by_stage() {
        assert!(Refusal::ALL.is_sorted_by_key(|refusal| refusal.stage()));
    }

    #[test]
    fn stage_and_reason_are_unique() {
        for one in Refusal::ALL.iter().copied() {
            for other in Refusal::ALL.iter().copied() {
                let alike = one.stage() == other.stage() && one.reason() == other.reason();
                // A bad query is a bad target with a text of its own.
                let both_targets = one.reason() == "target" && other.reason() == "target";
                assert_eq!(alike, one == other || both_targets, "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn every_refusal_has_a_sentence_and_a_remedy() {
        for refusal in Refusal::ALL {
            assert!(refusal.sentence().contains(' '), "{refusal:?}");
            assert_eq!(refusal.to_string(), refusal.sentence());
            assert!(!refusal.reason().contains(' '), "{refusal:?}");
            let remedy = refusal.remedy();
            assert!(remedy.contains(' ') && remedy.ends_with('.'), "{remedy}");
        }
        let names = Refusal::ALL.iter().map(|refusal| refusal.stage().name());
        let mut names = Vec::from_iter(names);
        names.dedup();
        assert_eq!(
            names,
            [
                "admit",
                "handshake",
                "route",
                "authorize",
                "upstream",
                "respond"
            ]
        );
    }

    #[test]
    fn reason_and_sentence_fit_into_a_status_line() {
        for refusal in Refusal::ALL {
            let text = refusal.explanation();
            let is_printable = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
            assert!(is_printable && text.len() < 170, "{text}");
        }
    }

    #[test]
    fn details_are_escaped() {
        let refused = Refused::new(Refusal::Target, "/a\n");
        assert_eq!(refused.detail.as_deref(), Some("/a\\x0a"));
        assert_eq!(Refused::from(Refusal::Target).detail, None);
    }

    #[test]
    fn blame_and_status_follow_the_table() {
        assert_eq!(Refusal::Network.blame(), Blame::Peer);
        assert_eq!(Refusal::Missing.blame(), Blame::Service);
        assert_eq!(Refusal::Busy.blame(), Blame::Us);
        assert_eq!(Refusal::Busy.seen_as(), SeenAs::Status(503));
        assert_eq!(Refusal::Stalled.seen_as(), SeenAs::Closed);
    }

    #[test]
    fn unknown_and_ungranted_services_look_alike() {
        assert_eq!(
            Refusal::UnknownService.seen_as(),
            Refusal::NotGranted.seen_as()
        );
    }
}
