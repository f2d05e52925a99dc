"""aegis with its defaults, two PKIs, and measurements of the process."""

import contextlib
import json
import re
import resource
import socket
import time
from collections import Counter, deque

import scraper
from aegis_host import Aegis, end, generate


class World:
    def __init__(self, options, work):
        self.options, self.work, self.load = options, work, options.load.resolve()
        self.pki, self.other, self.services = work / "pki", work / "other", work / "services"
        self.log, self.leaked, self.added_panics = Log(), [], 0
        self.aegis = None

    def __enter__(self):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
        generate(self.pki)
        generate(self.pki, "client", "stranger", "--dns", "stranger.example.org")
        generate(self.pki, "crl")
        generate(self.other)
        self.services.mkdir()
        return self

    def __exit__(self, *_):
        if self.aegis:
            end(self.aegis.process)
        for stream in self.leaked:
            stream.close()

    def start(self):
        self.aegis = Aegis(self.work, '[log]\nformat = "json"\n', binary=self.options.aegis, follow=self.log.take,
                           networks=["127.0.0.0/23"], crls=["pki/crl.pem"])  # fmt: skip

    def stop(self):
        """Stops aegis as systemd does, and returns its exit status."""
        status = self.aegis.stop()
        self.aegis.following.join(10)
        return status

    def panics(self):
        return self.aegis.metric("aegis_panics_total") + self.added_panics

    def settle(self, held):
        """Waits until at most this many connections are open, and returns their number."""
        deadline = time.monotonic() + 20
        count, quiet = 0, 0
        while time.monotonic() < deadline and quiet < 5:
            with contextlib.suppress(OSError):
                count = self.aegis.metric("aegis_connections")
            quiet = quiet + 1 if count <= held + len(self.leaked) else 0
            time.sleep(0.1)
        return count

    def connect(self, source, timeout=10):
        return socket.create_connection(("127.0.0.1", self.aegis.port), timeout, (source, 0))

    def handshake(self, stream):
        return scraper.tls(self.pki).wrap_socket(stream, server_hostname="localhost")

    def leak(self, count):
        """Sabotage: connections that stay open, from addresses of their own."""
        source = f"127.0.0.{100 + len(self.leaked) // count}"
        self.leaked += [self.handshake(self.connect(source)) for _ in range(count)]


# The messages of docs/logs.md for a healthy aegis.
KNOWN = re.compile(
    r"(ready|draining|stopped|reloaded|not reloaded: .*|restricted: .*"
    r"|scraped|shown|scrape failed: .*|refused: .*|no longer admitted: .*|admin socket listening"
    r"|aegis runs as root, .*)$"
)


class Log:
    """Counts the lines by message, and keeps the last ones and those that are not expected."""

    def __init__(self):
        self.messages, self.last, self.unknown, self.lines = Counter(), deque(maxlen=30), [], 0

    def take(self, line):
        self.lines += 1
        self.last.append(line)
        try:
            fields = json.loads(line)
            message = fields["message"]
        except (ValueError, KeyError, TypeError):
            fields, message = {}, ""
        # The only expected error is that of a configuration that was broken on purpose.
        if KNOWN.match(message) and (fields["level"].lower() != "error" or message.startswith("not reloaded")):
            self.messages[message.partition(":")[0]] += 1
        elif len(self.unknown) < 20:
            self.unknown.append(line[:300])
