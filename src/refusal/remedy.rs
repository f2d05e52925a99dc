//! The remedies of refusals, for the status page and the manual.

use super::Refusal;

impl Refusal {
    /// The remedy, in a fixed sentence.
    #[must_use]
    #[expect(clippy::too_many_lines, reason = "a table: one row for each refusal")]
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Network => {
                "Add the scraper's network to an allow entry, or move the scraper to a network that is listed."
            }
            Self::ConnectionLimit => {
                "Find the clients that hold connections open, or raise the limit that the log names."
            }
            Self::Rate => {
                "Let the scraper keep its connections open, or raise limits.connection_rate."
            }
            Self::HandshakeTimeout => {
                "Check the network for packet loss; a port scan looks the same."
            }
            Self::NoCertificate => "Set cert_file and key_file in the scraper's tls_config.",
            Self::Untrusted => {
                "Give the scraper a certificate issued by the client CA, with its intermediates."
            }
            Self::Expired => "Renew the scraper's certificate, or correct the clock.",
            Self::Revoked => "Give the scraper a new certificate, or renew the CRL.",
            Self::Usage => {
                "Issue the scraper's certificate for client authentication (clientAuth)."
            }
            Self::Tls => {
                "Set scheme: https in the scrape job, and ca_file and server_name so that the scraper trusts aegis; for one without TLS 1.3, set tls.min_version to \"1.2\"."
            }
            Self::Identity => {
                "Add one of the certificate's names to the identities of an allow entry; the common name does not count."
            }
            Self::HeadTimeout | Self::Syntax | Self::Body | Self::Header => {
                "Find the client that sends this; it is not Prometheus."
            }
            Self::Version => {
                "Let the client use HTTP/1.1: proxy_http_version 1.1 in nginx, http-check send ver HTTP/1.1 in HAProxy."
            }
            Self::Method => "Scrape with GET.",
            Self::Target => "Scrape /NAME: one path segment, with nothing encoded.",
            Self::Query => {
                "List the parameter under params of the service and write its value in percent-encoded UTF-8, or remove it from the scrape job."
            }
            Self::UnknownService => {
                "Check that the service's socket is NAME.sock in the socket directory."
            }
            Self::NotGranted => "Add the service to an allow entry of this scraper.",
            Self::Missing => {
                "Start the service; it creates its socket when it listens. If it is gone for good, remove it from the configuration, or run aegis forget NAME."
            }
            Self::NotASocket => "Remove the file, and restart the service.",
            Self::Escapes => {
                "Let the service listen in the socket directory itself, or name its socket under [services.NAME]."
            }
            Self::Owner => {
                "Correct owner under [services.NAME], or find the process that answers in place of the service."
            }
            Self::Permission => {
                "In the unit of the service, set UMask=0007 and SupplementaryGroups= to a group of aegis, such as aegis-services; or add the socket's group to aegis's unit."
            }
            Self::Connect => {
                "Start the service; a socket that stays after a crash accepts no connection. If it is gone for good, remove the socket."
            }
            Self::Busy => "Reduce the number of simultaneous scrapes, or raise its max_concurrent.",
            Self::Timeout => {
                "Find out why the service is slow, or raise scrape_timeout in the scrape job."
            }
            Self::Status => {
                "Check the service's log. Set path under [services.NAME] if its metrics are at another path, or host if it serves another host name."
            }
            Self::ContentType => {
                "If that path serves metrics, set content_type under [services.NAME]. Otherwise set path."
            }
            Self::Malformed => {
                "Ask the service with curl --unix-socket, and mend what the log of aegis names; if the answer is empty, path or host may be wrong."
            }
            Self::TooLarge => {
                "Find out why the service's answer is so large, or raise its max_body (limits.response_head for its head)."
            }
            Self::HungUp => {
                "Check the service's log: it stopped or crashed in the middle of its answer. An answer without a length must end with a line feed, or with # EOF in OpenMetrics."
            }
            Self::Abandoned => "If it happens often, raise scrape_timeout in the scrape job.",
            Self::Stalled => "Check whether the scraper is overloaded or the network is slow.",
        }
    }
}
