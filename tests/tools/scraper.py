#!/usr/bin/env python3
"""Scrapers of aegis: one that scrapes once, and one that scrapes at a steady rate.

usage: scraper.py URL RATE PKI

Scrapes at this rate, each time on a new connection, until SIGTERM. Then prints one JSON object: how
many scrapes were complete, what failed, and the longest in seconds.
"""

import collections
import http.client
import json
import math
import signal
import ssl
import sys
import threading
import time
import urllib.parse
from pathlib import Path

TIMEOUT = 15
CLOSED = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError, ssl.SSLEOFError, ssl.SSLZeroReturnError)


def tls(pki, name="prometheus"):
    """Trusts the CA of a folder, and presents the certificate of that name."""
    context = ssl.create_default_context(cafile=f"{pki}/ca.pem")
    context.load_cert_chain(f"{pki}/{name}.pem", f"{pki}/{name}.key")
    return context


class Scraper:
    """One connection at a time, kept open from scrape to scrape."""

    def __init__(self, port, context, host="127.0.0.1"):
        self.connection = http.client.HTTPSConnection(host, port, timeout=TIMEOUT, context=context)

    def get(self, path, timeout=None):
        """The response and its body. A body that is not complete is an error."""
        headers = {"X-Prometheus-Scrape-Timeout-Seconds": str(timeout)} if timeout else {}
        try:
            self.connection.request("GET", path, headers=headers)
            response = self.connection.getresponse()
            return response, response.read()
        except (OSError, http.client.HTTPException):
            self.close()
            raise

    def scrape(self, path, timeout=None):
        """The status, or a description of the failure."""
        try:
            return self.get(path, timeout)[0].status
        except (OSError, http.client.HTTPException) as error:
            return f"{type(error).__name__}: {error}"

    def close(self):
        self.connection.close()


Failure = collections.namedtuple("Failure", "path begun ended why")


class SteadyScrapes:
    """Threads that scrape until `stop`. Each of `rounds` is a path, a pause, and whether its connection is kept.
    With `same_size`, the body of a path must always have the same size.

    A kept connection that was closed before a byte of the answer came is counted, and the request is
    sent once more on a new one, as Go's HTTP client does.
    """

    def __init__(self, rounds, scraper, same_size=False):
        self.scraper, self.lock, self.stopping = scraper, threading.Lock(), threading.Event()
        self.good, self.closed, self.longest, self.failures = 0, 0, 0.0, []
        self.sizes = {} if same_size else None
        self.threads = [threading.Thread(target=self.run, args=(*each, number / len(rounds))) for number, each in enumerate(rounds)]
        for thread in self.threads:
            thread.start()

    def run(self, path, pause, kept, phase):
        self.stopping.wait(phase * pause)
        due, scraper = time.monotonic(), self.scraper()
        while not self.stopping.is_set():
            begun = time.monotonic()
            why = self.once(scraper, path)
            if why or not kept:
                scraper.close()
            with self.lock:
                self.longest = max(self.longest, time.monotonic() - begun)
                if why:
                    self.failures.append(Failure(path, begun, time.monotonic(), why))
                else:
                    self.good += 1
            due = max(due + pause, time.monotonic() - pause)
            self.stopping.wait(max(0, due - time.monotonic()))
        scraper.close()

    def once(self, scraper, path):
        """Why a scrape failed, or None."""
        used = scraper.connection.sock is not None
        try:
            try:
                response, body = scraper.get(path)
            except CLOSED:
                if not used:
                    raise
                with self.lock:
                    self.closed += 1
                response, body = scraper.get(path)
        except (OSError, http.client.HTTPException) as error:
            return f"{type(error).__name__}: {error}"
        if response.status != 200:
            return f"{response.status} {response.headers.get('Aegis-Reason')}"
        same = self.sizes is None or len(body) == self.sizes.setdefault(path, len(body))
        return None if body and same else f"{len(body)} bytes"

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def main():
    url, rate, pki = urllib.parse.urlsplit(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3])
    context, stop = tls(pki), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    # Twice as many as the rate, so that slow scrapes do not lower it.
    threads = math.ceil(rate * 2)
    with SteadyScrapes([(url.path, threads / rate, False)] * threads, lambda: Scraper(url.port, context, url.hostname)) as scrapes:
        stop.wait()
    failed = collections.Counter(failure.why for failure in scrapes.failures)
    print(json.dumps({"good": scrapes.good, "failed": failed, "longest": round(scrapes.longest, 3)}))


if __name__ == "__main__":
    main()
