"""Rows of Prometheus and vmagent."""

import contextlib

from aegis_host import wait_until
from fake_service import FakeService, abandon, response, stalled
from real_scrapers import query, scrapes_of_prometheus, scrapes_of_vmagent, sink, targets, tcp_port
from scrapers import NAME, Scraper, jobs

# What the service of `jobs` has.
SERIES = 200
SUM = sum(range(SERIES))

TLS = "{{ca_file: {pki}/ca.pem, cert_file: {pki}/prometheus.pem, key_file: {pki}/prometheus.key, server_name: localhost}}"


def static(place, aegis, names, interval="1s", timeout="1s"):
    """A scrape configuration with one target for each name of a service."""
    labels = (f"{{__metrics_path__: /{name}, service: {name}, number: '{number}'}}" for number, name in enumerate(names))
    targets = "".join(f"      - {{targets: ['127.0.0.1:{aegis.port}'], labels: {each}}}\n" for each in labels)
    return f"""global: {{scrape_interval: {interval}, scrape_timeout: {timeout}}}
scrape_configs:
  - job_name: services
    scheme: https
    tls_config: {TLS.format(pki=place.common.pki)}
    static_configs:
{targets}"""


def discovered(place, aegis, refresh="        refresh_interval: 1s\n"):
    tls = TLS.format(pki=place.common.pki)
    return f"""global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: services
    tls_config: {tls}
    http_sd_configs:
      - url: https://localhost:{aegis.port}/-/sd
{refresh}        tls_config: {tls}
    relabel_configs:
      - {{source_labels: [__meta_aegis_service], target_label: service}}
"""


def prometheus(place, config, *options):
    """Starts Prometheus. Returns its port."""
    (place.folder / "prometheus.yml").write_text(config)
    storage = "--storage.agent.path" if "--enable-feature=agent" in options else "--storage.tsdb.path"
    process = place.start("prometheus", f"--config.file={place.folder}/prometheus.yml", f"{storage}={place.folder}/data",
                          "--web.listen-address=127.0.0.1:0", *options, root=True)  # fmt: skip
    return tcp_port(process)


def vmagent(place, config, *options):
    (place.folder / "vmagent.yml").write_text(config)
    process = place.start("vmagent", f"-promscrape.config={place.folder}/vmagent.yml", "-httpListenAddr=127.0.0.1:0",
                          f"-remoteWrite.url=http://127.0.0.1:{sink()}/", f"-remoteWrite.tmpDataPath={place.folder}/data",
                          "-promscrape.suppressScrapeErrors", *options, root=True)  # fmt: skip
    return tcp_port(process)


def all_up(port, count=1):
    found = targets(port)
    return len(found) == count and all(target["health"] == "up" and not target["lastError"] for target in found)


def has_series(port):
    return query(port, "sum(fake_jobs_total)") == SUM and query(port, "count(fake_jobs_total)") == SERIES


def prometheus_static(place):
    with jobs(place) as aegis:
        port = prometheus(place, static(place, aegis, [NAME]))
        wait_until("Prometheus has all series", lambda: has_series(port), 30)
        return None if all_up(port) else f"{targets(port)}"


def prometheus_discovers(place):
    with jobs(place) as aegis:
        port = prometheus(place, discovered(place, aegis))
        wait_until("Prometheus has all series", lambda: has_series(port), 30)
        return None if query(port, f'up{{service="{NAME}"}}') == 1 else f"{targets(port)}"


def prometheus_agent(place):
    with jobs(place) as aegis:
        config = static(place, aegis, [NAME]) + f"remote_write:\n  - url: http://127.0.0.1:{sink()}/\n"
        port = prometheus(place, config, "--enable-feature=agent")
        wait_until("the target is up", lambda: all_up(port), 30)


def vmagent_static(place):
    with jobs(place) as aegis:
        port = vmagent(place, static(place, aegis, [NAME]))
        wait_until("the target is up", lambda: all_up(port), 30)
        samples = targets(port)[0]["lastSamplesScraped"]
        return None if samples == SERIES else f"{samples} samples"


def vmagent_discovers(place):
    with jobs(place) as aegis:
        port = vmagent(place, discovered(place, aegis, refresh=""), "-promscrape.httpSDCheckInterval=1s")
        wait_until("the target is up", lambda: all_up(port), 30)
        labels = targets(port)[0]["labels"]
        return None if labels["service"] == NAME else f"{labels}"


REASONS = ("missing", "connect", "permission", "status", "content_type", "timeout", "too_large", "busy")


def prometheus_reasons(place):
    """The reason of each failure stands in Prometheus's `lastError`."""
    more = '[services.missing]\n[services.too_large]\nmax_body = "1KiB"\n[services.busy]\nmax_concurrent = 1\n'
    answers = {
        "permission": response(), "status": response(status="500 Internal Server Error"), "content_type": response(kind="text/html"),
        "timeout": stalled(), "too_large": response(b"#" * 4096 + b"\n"),
    }  # fmt: skip
    with contextlib.ExitStack() as stack:
        for name, answer in answers.items():
            stack.enter_context(FakeService(place.socket(name), answer))
        busy = stack.enter_context(FakeService(place.socket("busy"), stalled()))
        place.socket("permission").chmod(0o600)
        abandon(place.socket("connect"))
        aegis = stack.enter_context(place.aegis(more))
        # Another scraper has the only slot. With the same timeout, it would give it back in time.
        pki = place.common.pki
        place.start("curl", "--cacert", pki / "ca.pem", "--cert", pki / "prometheus.pem", "--key", pki / "prometheus.key",
                    "--header", "X-Prometheus-Scrape-Timeout-Seconds: 60", f"https://localhost:{aegis.port}/busy", root=True)  # fmt: skip
        wait_until("the slot is taken", lambda: busy.requests)
        port = prometheus(place, static(place, aegis, REASONS))
        shown = Shown()
        with contextlib.suppress(TimeoutError):
            wait_until("each reason was shown", lambda: shown.has_all(port), 30)
        wrong = {name: shown.last.get(name) for name in REASONS if name not in shown.right}
        return f"not shown, but: {wrong}" if wrong else None


class Shown:
    """The reasons that Prometheus has shown."""

    def __init__(self):
        self.right, self.last = set(), {}

    def has_all(self, port):
        for target in targets(port):
            name, error = target["labels"]["service"], target["lastError"]
            status = {"busy": "503 Service Unavailable", "timeout": "504 Gateway Timeout"}.get(name, "502 Bad Gateway")
            self.last[name] = error
            if error.startswith(f"server returned HTTP status {status}: {name}, "):
                self.right.add(name)
        return self.right == set(REASONS)


MANY = 300
# Two minutes at an interval of two seconds.
SCRAPES = MANY * 60


def many(start, count):
    """300 targets at an interval of 2 s, while connections are closed for their age: no scrape is lost."""

    def run(place):
        names = [f"many-{number}" for number in range(MANY)]
        tables = "".join(f'[services.{name}]\nsocket = "{place.socket(NAME)}"\n' for name in names)
        with jobs(place, f'{tables}[limits]\nconnection_age = "7s"\n') as aegis:
            port = start(place, static(place, aegis, names, "2s", "2s"))
            wait_until("two minutes of scrapes", lambda: count(port)[0] >= SCRAPES, 240, pause=2)
            scrapes, failed = count(port)
            lines = [line for line in aegis.log().splitlines() if " INFO scraped" not in line]
            return f"{failed:.0f} of {scrapes:.0f} scrapes failed; aegis logged: {lines[:20]}" if failed else None

    return run


SCRAPERS = [
    Scraper("prometheus", "Prometheus", "`static_configs`", prometheus_static, fast=True),
    Scraper("prometheus-sd", "Prometheus", "`http_sd_configs`", prometheus_discovers, fast=True),
    Scraper("prometheus-agent", "Prometheus", "agent mode", prometheus_agent),
    Scraper("prometheus-reasons", "Prometheus", "eight failing services", prometheus_reasons, "`lastError` has the reason of each", fast=True),
    Scraper("prometheus-300", "Prometheus", "300 targets every 2 s, `connection_age = \"7s\"`, two minutes",
            many(prometheus, scrapes_of_prometheus), "no scrape lost", alone=True),
    Scraper("vmagent", "vmagent", "`static_configs`", vmagent_static, fast=True),
    Scraper("vmagent-sd", "vmagent", "`http_sd_configs`", vmagent_discovers),
    Scraper("vmagent-300", "vmagent", "300 targets every 2 s, `connection_age = \"7s\"`, two minutes",
            many(vmagent, scrapes_of_vmagent), "no scrape lost", alone=True),
]  # fmt: skip
