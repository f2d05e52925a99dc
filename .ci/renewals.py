#!/usr/bin/env python3
"""Renews the certificate of a running aegis, its client CA and its CRL, under scrapes.

renewals.py ROOT FOLDER URL --renewals N [--owner GID MODE] [--revocation CONFIG]

FOLDER has pki/ and other/, two PKIs of certs/generate.sh. The files in ROOT/etc/aegis are replaced in every
way that tools do it, with broken files in between. Each correct one must be in force within MAX_SECONDS of
its last write. Meanwhile there are 20 scrapes a second on new connections, and four connections that stay
open: none may fail. Prints figures. Exits with 1 if anything failed.

Time in which this process waits for a processor, on a busy machine, does not count.
"""

import argparse
import collections
import itertools
import os
import pathlib
import random
import shutil
import ssl
import sys
import threading
import time
import urllib.parse

sys.dont_write_bytecode = True
sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "tests/tools"))

from aegis_host import generate
from scraper import Scraper, SteadyScrapes, tls

MAX_SECONDS = 3.0
RATE = 20
KEPT_OPEN = 4
CERTIFICATE, KEY, CLIENT_CA, CRL = "server.pem", "server.key", "client-ca.pem", "crl.pem"


class Files:
    """The files of aegis, and the ways to write them."""

    def __init__(self, folder, owner):
        self.folder, self.owner, self.versions = folder, owner, itertools.count()

    def set_owner(self, path):
        gid, mode = self.owner
        os.chown(path, 0, gid)
        path.chmod(mode)

    def in_place(self, name, text):
        path = self.folder / name
        if path.is_symlink():
            path.unlink()
        path.touch()
        self.set_owner(path)
        path.write_text(text)

    def renamed(self, name, text):
        new = self.folder / f".{name}.new"
        new.write_text(text)
        self.set_owner(new)
        new.rename(self.folder / name)

    def linked(self, files):
        """As Kubernetes replaces volumes: FILE -> ..data/FILE, ..data -> another directory."""
        version = self.folder / f"..version-{next(self.versions)}"
        version.mkdir(mode=0o755)
        for name, text in files.items():
            (version / name).write_text(text)
            self.set_owner(version / name)
        old = self.folder / "..data"
        before = old.resolve() if old.is_symlink() else None
        new = self.folder / "..data.new"
        new.symlink_to(version.name)
        new.rename(old)
        for name in files:
            link = self.folder / name
            if not link.is_symlink():
                (self.folder / "..link").symlink_to(f"..data/{name}")
                (self.folder / "..link").rename(link)
        if before:
            shutil.rmtree(before)


class ProcessorDelay:
    """The time that this process has waited for a CPU."""

    EVERY = 0.05

    def __init__(self):
        self.late = collections.deque(maxlen=10_000)
        threading.Thread(target=self.watch, daemon=True).start()

    def watch(self):
        while True:
            due = time.monotonic() + self.EVERY
            time.sleep(self.EVERY)
            now = time.monotonic()
            self.late.append((now, now - due))

    def since(self, then):
        return sum(late for when, late in list(self.late) if when >= then)


class Trial:
    def __init__(self, url, folder, files):
        self.url, self.files, self.delay = url, files, ProcessorDelay()
        self.pki, self.other = folder / "pki", folder / "other"
        self.problems, self.took = [], collections.defaultdict(list)
        self.random = random.Random(18)

    def scraper(self, pki=None, name="prometheus"):
        """A scraper with a certificate of one CA. It trusts the server of the first."""
        context = tls(self.pki)
        context.load_cert_chain(f"{pki or self.pki}/{name}.pem", f"{pki or self.pki}/{name}.key")
        return Scraper(self.url.port, context, self.url.hostname)

    def presented(self):
        scraper = self.scraper()
        scraper.connection.connect()
        certificate = scraper.connection.sock.getpeercert(True)
        scraper.close()
        return certificate

    def metrics(self):
        scraper = self.scraper()
        text = scraper.get("/metrics")[1].decode()
        scraper.close()
        return text

    def admitted(self, pki, name="prometheus"):
        scraper = self.scraper(pki, name)
        status = scraper.scrape(self.url.path)
        scraper.close()
        return status == 200

    def kept_open(self, pki, name="prometheus"):
        """A scraper with an open connection, which does not connect again once that is closed."""
        scraper = self.scraper(pki, name)
        if scraper.scrape(self.url.path) != 200:
            self.problems.append(f"{name} of {pki.name} is refused")
        scraper.connection.auto_open = False
        return scraper

    def served(self, scraper):
        return scraper.scrape(self.url.path) == 200

    def until(self, what, holds, since=None):
        """Waits until a condition holds, and records how long that took since the last write."""
        since = since or time.monotonic()
        while not holds():
            if time.monotonic() - since > 4 * MAX_SECONDS:
                self.problems.append(f"{what}: not after {4 * MAX_SECONDS} s")
                return
            time.sleep(0.02)
        took = time.monotonic() - since
        self.took[what.split(" (")[0]].append(took)
        delay = self.delay.since(since)
        if took - delay > MAX_SECONDS:
            self.problems.append(f"{what}: only after {took:.2f} s, of which the machine was busy {delay:.2f} s")

    def pair(self):
        """Another certificate and key of the server."""
        generate(self.pki, "server", "renewed", "--san", "localhost", "--force")
        return (self.pki / "renewed.pem").read_text(), (self.pki / "renewed.key").read_text()

    def renew(self, number):
        pair = dict(zip((CERTIFICATE, KEY), self.pair()))
        wanted = ssl.PEM_cert_to_DER_cert(pair[CERTIFICATE])
        ways = [
            ("in place", self.files.in_place, [CERTIFICATE, KEY], 0),
            ("key first, in place", self.files.in_place, [KEY, CERTIFICATE], 0),
            ("by rename", self.files.renamed, [CERTIFICATE, KEY], 0),
            ("key first, by rename", self.files.renamed, [KEY, CERTIFICATE], 0),
            ("a second apart", self.files.renamed, [CERTIFICATE, KEY], 1.3),
            ("key a second before", self.files.in_place, [KEY, CERTIFICATE], 1.1),
            ("by a link", None, [], 0),
            ("by a link again", None, [], 0),
        ]
        way, write, order, pause = ways[number % len(ways)]
        if write is None:
            self.files.linked(pair)
        else:
            write(order[0], pair[order[0]])
            time.sleep(pause)
            write(order[1], pair[order[1]])
        self.until(f"renewal ({way}, number {number})", lambda: self.presented() == wanted)

    def damage(self, number):
        """Writes a broken file: the old ones stay in force, and the metrics report it. The next renewal repairs it."""
        before = self.presented()
        certificate, key = self.pair()
        half = lambda text: text[: len(text) // 2]
        name, text = [
            (CERTIFICATE, certificate),
            (KEY, key),
            (KEY, half(key)),
            (CERTIFICATE, half(certificate)),
            (KEY, ""),
            (CERTIFICATE, "junk\n"),
            (KEY, certificate),
            (KEY, None),
        ][number % 8]
        if text is None:
            (self.files.folder / name).unlink()
        else:
            self.random.choice([self.files.in_place, self.files.renamed])(name, text)
        failed = "\naegis_config_last_reload_successful 0"
        self.until(f"broken files are reported (number {number})", lambda: failed in self.metrics())
        if self.presented() != before:
            self.problems.append(f"broken files number {number} are in force")

    def change_cas(self):
        one, both = ((self.pki / "ca.pem").read_text(), (self.other / "ca.pem").read_text())
        for number, write in enumerate([self.files.in_place, self.files.renamed]):
            write(CLIENT_CA, one + both)
            self.until(f"an added CA ({number})", lambda: self.admitted(self.other))
            kept = self.kept_open(self.other)
            write(CLIENT_CA, one)
            since = time.monotonic()
            self.until(f"a removed CA ({number})", lambda: not self.admitted(self.other), since)
            self.until(f"a removed CA, open connection ({number})", lambda: not self.served(kept), since)

    def revoke(self, config):
        generate(self.pki, "client", "grafana", "--dns", "prometheus.example.org")
        self.renew_crl()
        config.write_text(config.read_text().replace("[tls]\n", f'[tls]\nclient_crl_files = ["{CRL}"]\n', 1))
        self.until("a CRL by the configuration", lambda: "aegis_tls_crl_next_update_timestamp_seconds" in self.metrics())
        kept = self.kept_open(self.pki, "grafana")
        generate(self.pki, "revoke", "grafana")
        self.renew_crl()
        since = time.monotonic()
        self.until("a revoked certificate", lambda: not self.admitted(self.pki, "grafana"), since)
        self.until("a revoked certificate, open connection", lambda: not self.served(kept), since)

    def renew_crl(self):
        generate(self.pki, "crl")
        self.files.renamed(CRL, (self.pki / "crl.pem").read_text())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("url", type=urllib.parse.urlsplit)
    parser.add_argument("--renewals", type=int, required=True)
    parser.add_argument("--owner", nargs=2, default=("0", "600"))
    parser.add_argument("--revocation", type=pathlib.Path)
    options = parser.parse_args()
    files = Files(options.root / "etc/aegis", (int(options.owner[0]), int(options.owner[1], 8)))
    trial = Trial(options.url, options.folder, files)
    rounds = [(options.url.path, 1, False)] * RATE + [(options.url.path, 0.5, True)] * KEPT_OPEN
    with SteadyScrapes(rounds, trial.scraper) as scrapes:
        for number in range(options.renewals):
            if number % 3 == 2:
                trial.damage(number // 3)
            trial.renew(number)
        trial.change_cas()
        if options.revocation:
            trial.revoke(options.revocation)
    if scrapes.closed:
        trial.problems.append(f"{scrapes.closed} open connections were closed")
    for why, times in collections.Counter(failure.why for failure in scrapes.failures).items():
        trial.problems.append(f"failed {times} times: {why}")

    for what, took in trial.took.items():
        print(f"{what}: {len(took)}, in {sorted(took)[len(took) // 2]:.2f} s (median), {max(took):.2f} s (longest)")
    print(f"busy: {trial.delay.since(0):.2f} s in all")
    print(f"scrapes: {scrapes.good} good, {len(scrapes.failures)} failed, {scrapes.longest:.2f} s (longest)")
    print(*trial.problems, sep="\n")
    sys.exit(bool(trial.problems))


main()
