"""A real Prometheus and a real vmagent, which scrape as operators configure them."""

import shutil
import subprocess
import sys

from aegis_host import end
from real_scrapers import results, scrapes_of_vmagent, sink, targets, tcp_port

INTERVAL = 2
# These never fail. Prometheus also scrapes a service that does, when it is restarted.
STEADY, RESTARTED = ("steady", "replaced", "large"), "restarted"
# The connections that both keep.
KEPT = 2 * len(STEADY) + 1


class Agents:
    def __init__(self, world):
        self.world, self.processes, self.errors = world, [], set()
        missing = [program for program in ("prometheus", "vmagent") if not shutil.which(program)]
        if missing:
            sys.exit(f"not installed: {', '.join(missing)} (Debian packages prometheus and victoria-metrics)")

    def __enter__(self):
        folder = self.world.work
        config = self.config("prometheus", (*STEADY, RESTARTED))
        self.prometheus = self.start("prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder}/prometheus",
                                     "--web.listen-address=127.0.0.1:0")  # fmt: skip
        config = self.config("vmagent", STEADY)
        self.vmagent = self.start("vmagent", f"-promscrape.config={config}", "-httpListenAddr=127.0.0.1:0",
                                  f"-remoteWrite.url=http://127.0.0.1:{sink()}/", f"-remoteWrite.tmpDataPath={folder}/vmagent")  # fmt: skip
        return self

    def __exit__(self, *_):
        for process in self.processes:
            end(process)

    def config(self, program, services):
        pki = self.world.pki
        jobs = "".join(f"""
  - job_name: {service}
    scheme: https
    metrics_path: /{service}
    tls_config: {{ca_file: {pki}/ca.pem, cert_file: {pki}/prometheus.pem, key_file: {pki}/prometheus.key, server_name: localhost}}
    static_configs: [{{targets: ["127.0.0.1:{self.world.aegis.port}"]}}]""" for service in services)  # fmt: skip
        path = self.world.work / f"{program}.yml"
        path.write_text(f"global: {{scrape_interval: {INTERVAL}s, scrape_timeout: {INTERVAL}s}}\nscrape_configs:{jobs}\n")
        return path

    def start(self, program, *words):
        with (self.world.work / f"{program}.log").open("wb") as log:
            self.processes.append(subprocess.Popen([program, *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log))
        return tcp_port(self.processes[-1])

    def look(self):
        """Keeps what Prometheus shows as the last error of a target."""
        self.errors |= {f"{target['labels']['job']}: {target['lastError']}" for target in targets(self.prometheus) if target["lastError"]}

    def faults(self):
        """What they say of all their scrapes. Only those of a service that is restarted may fail."""
        window = "[1w]"
        total = {labels["job"]: value for labels, value in results(self.prometheus, f"count_over_time(up{window})")}
        good = {labels["job"]: value for labels, value in results(self.prometheus, f"sum_over_time(up{window})")}
        rows = {f"Prometheus: {service}": (total.get(service, 0), good.get(service, 0)) for service in (*STEADY, RESTARTED)}
        scrapes, failed = scrapes_of_vmagent(self.vmagent)
        rows[f"vmagent: {', '.join(STEADY)}"] = (scrapes, scrapes - failed)
        faults = []
        for row, (scrapes, good) in rows.items():
            print(f"{row}: {scrapes:.0f} scrapes, {scrapes - good:.0f} failed")
            if not good:
                faults.append(f"{row}: no scrape succeeded")
            elif good < scrapes and not row.endswith(RESTARTED):
                faults.append(f"{row}: {scrapes - good:.0f} of {scrapes:.0f} scrapes failed")
        if faults:
            faults += [f"Prometheus: its last errors: {error}" for error in sorted(self.errors)[:5]]
        return faults
