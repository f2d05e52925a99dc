#!/usr/bin/env python3
"""Scrapes at a steady rate, each time over a connection of its own, until told to stop.

steady.py URL RATE CA CERT KEY: prints one JSON object at SIGTERM: how many scrapes were whole, what
went wrong with the others, and the longest in seconds.
"""

import collections
import concurrent.futures
import json
import signal
import ssl
import sys
import threading
import time
import urllib.request

PATIENCE = 15


def main():
    url, rate, ca, certificate, key = sys.argv[1:]
    tls = ssl.create_default_context(cafile=ca)
    tls.load_cert_chain(certificate, key)
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls)
    )
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    good, longest, failed = 0, 0.0, collections.Counter()

    def scrape():
        started = time.monotonic()
        try:
            with opener.open(url, timeout=PATIENCE) as answer:
                body = answer.read()
            error = None if body else "an empty body"
        except OSError as problem:
            error = str(getattr(problem, "reason", problem))
        return time.monotonic() - started, error

    with concurrent.futures.ThreadPoolExecutor(max_workers=64) as scrapers:
        scrapes, due = [], time.monotonic()
        while not stop.wait(max(0, due - time.monotonic())):
            scrapes.append(scrapers.submit(scrape))
            due += 1 / float(rate)
        for done in scrapes:
            took, error = done.result()
            longest = max(longest, took)
            if error:
                failed[error] += 1
            else:
                good += 1
    print(json.dumps({"good": good, "failed": failed, "longest": round(longest, 3)}))


main()
