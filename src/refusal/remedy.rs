//! What to do about a refusal, for whoever reads the status page.

use super::Refusal;

impl Refusal {
    /// What to do about it, in a fixed sentence.
    #[must_use]
    #[expect(clippy::too_many_lines, reason = "a table: one row for each refusal")]
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Network => {
                "Add the scraper's network to an allow entry, or let it come from one that is there."
            }
            Self::ConnectionLimit => {
                "Find out who holds the connections open, or raise limits.connections."
            }
            Self::Rate => {
                "Let the scraper keep its connections open, or raise limits.connection_rate."
            }
            Self::HandshakeTimeout => {
                "See whether the network loses packets; a scan looks the same."
            }
            Self::NoCertificate => "Set cert_file and key_file in the scraper's tls_config.",
            Self::Untrusted => {
                "Give the scraper a certificate of the client CA, with its intermediates."
            }
            Self::Expired => "Renew the scraper's certificate, or set the clock.",
            Self::Revoked => "Give the scraper a new certificate, or renew the CRL.",
            Self::Usage => {
                "Issue the scraper's certificate for client authentication (clientAuth)."
            }
            Self::Tls => {
                "Set scheme: https in the scrape job, and ca_file and server_name so that the scraper trusts aegis; for one without TLS 1.3, set tls.min_version to \"1.2\"."
            }
            Self::Identity => {
                "Add one of the certificate's names to the identities of an allow entry; the common name is none."
            }
            Self::HeadTimeout | Self::Syntax | Self::Body | Self::Header => {
                "Find out what sends this; Prometheus does not."
            }
            Self::Method => "Scrape with GET.",
            Self::Target => "Scrape /NAME: one path segment, with nothing encoded.",
            Self::Query => {
                "List the parameter under params of the service and write its value in percent-encoded UTF-8, or take it out of the scrape job."
            }
            Self::UnknownService => {
                "See that the service's socket is NAME.sock in the socket directory."
            }
            Self::NotGranted => "Add the service to an allow entry of this scraper.",
            Self::Missing => "Start the service; it makes its socket when it listens.",
            Self::NotASocket => "Remove the file, and start the service again.",
            Self::Escapes => {
                "Let the service listen in the socket directory itself, or name its socket under [services.NAME]."
            }
            Self::Owner => {
                "Correct owner under [services.NAME], or find out who answers in the service's place."
            }
            Self::Connect => "See that the service runs, and that aegis may write to its socket.",
            Self::Busy => "Scrape it less often at once, or raise its max_concurrent.",
            Self::Timeout => {
                "See why the service is slow, or raise scrape_timeout in the scrape job."
            }
            Self::Status => {
                "See the service's own log; if its metrics are elsewhere, set path under [services.NAME]."
            }
            Self::ContentType => {
                "Something else than metrics is at that path; set path under [services.NAME]."
            }
            Self::Malformed => {
                "Let the service state the length of its answer or send it in chunks."
            }
            Self::TooLarge => "Find out why the service says so much, or raise its max_body.",
            Self::HungUp => {
                "See the service's own log: it ended, or crashed, in the middle of its answer."
            }
            Self::Abandoned => "Raise scrape_timeout in the scrape job, if it happens often.",
            Self::Stalled => "See whether the scraper is overloaded, or the network slow.",
        }
    }
}
