"""Aegis as shipped, a PKI, and what can be seen of the process from outside."""

import contextlib
import json
import os
import re
import resource
import socket
import ssl
import subprocess
import threading
import time
from collections import Counter, deque
from pathlib import Path

from host import ROOT, Server, end, free_port

CONFIG = """listen = ["127.0.0.1:{port}"]
socket_dir = "services"
admin_socket = "admin.sock"
[tls]
cert_file = "pki/server.pem"
key_file = "pki/server.key"
client_ca_file = "pki/ca.pem"
client_crl_files = ["pki/crl.pem"]
[[allow]]
networks = ["127.0.0.0/23"]
identities = ["dns:prometheus.example.org"]
services = ["*"]
[log]
format = "json"
"""


class World:
    def __init__(self, options, work):
        self.options, self.work, self.load = options, work, options.load.resolve()
        self.pki, self.other, self.services = work / "pki", work / "other", work / "services"
        self.log = Log()
        self.leaked, self.metric_offset = [], 0
        self.server = None

    def __enter__(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
        self.generate()
        self.generate("client", "stranger", "--dns", "stranger.example.org")
        self.generate("crl")
        self.generate(folder=self.other)
        self.services.mkdir()
        self.port = free_port()
        self.config = self.work / "aegis.toml"
        self.text = CONFIG.format(port=self.port)
        self.config.write_text(self.text)
        return self

    def __exit__(self, *_):
        if self.server:
            end(self.server.process)
        for stream in self.leaked:
            stream.close()

    def generate(self, *words, folder=None):
        subprocess.run([ROOT / "certs/generate.sh", *words, "--dir", folder or self.pki], check=True, stdout=subprocess.DEVNULL)

    def start(self):
        command = [self.options.aegis.resolve(), "serve", "--config", self.config]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.following = threading.Thread(target=self.log.follow, args=(process.stderr,), daemon=True)
        self.following.start()
        self.server = Server("aegis", process, self.port, self.work)
        deadline = time.monotonic() + 20
        while not self.log.messages["ready"]:
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("aegis did not start:\n" + "\n".join(self.log.last))
            time.sleep(0.02)

    def alive(self):
        return self.server.process.poll() is None

    def stop(self):
        """Ends aegis as an operator would, and gives how it ended."""
        self.server.process.terminate()
        try:
            code = self.server.process.wait(30)
            self.following.join(10)
            return code
        except subprocess.TimeoutExpired:
            return "not within 30 s"

    def metric(self, name):
        return self.server.metric(name) + (self.metric_offset if name == "aegis_panics_total" else 0)

    def memory(self):
        return self.server.memory()

    def descriptors(self):
        with contextlib.suppress(OSError):
            return len(os.listdir(f"/proc/{self.server.process.pid}/fd"))
        return 0

    def threads(self):
        with contextlib.suppress(OSError):
            return int(re.search(r"Threads:\s+(\d+)", Path(f"/proc/{self.server.process.pid}/status").read_text())[1])
        return 0

    def rest(self, held):
        """Waits until there are no more connections than the good scraper's, and nothing is in flight."""
        deadline = time.monotonic() + 20
        count, quiet = 0, 0
        while time.monotonic() < deadline and quiet < 5:
            with contextlib.suppress(OSError):
                count = self.metric("aegis_connections")
            quiet = quiet + 1 if count <= held + len(self.leaked) else 0
            time.sleep(0.1)
        return {"connections": count}

    def context(self):
        context = ssl.create_default_context(cafile=str(self.pki / "ca.pem"))
        context.load_cert_chain(self.pki / "prometheus.pem", self.pki / "prometheus.key")
        return context

    def leak(self, count):
        """Good connections that nobody closes, from addresses of their own."""
        context = self.context()
        source = f"127.0.0.{100 + len(self.leaked) // count}"
        for _ in range(count):
            made = socket.create_connection(("127.0.0.1", self.port), 10, (source, 0))
            self.leaked.append(context.wrap_socket(made, server_hostname="localhost"))


# What aegis says while nothing is wrong with it: docs/logs.md.
KNOWN = re.compile(
    r"(ready|draining|stopped|reloaded|not reloaded: the configuration before stays in force"
    r"|scraped|shown|scrape failed: .*|refused: .*|no longer admitted: .*|the operator can ask here)$"
)


class Log:
    """Counts the lines, keeps the last, and those that nobody expects."""

    def __init__(self):
        self.messages, self.last, self.unknown, self.lines = Counter(), deque(maxlen=30), [], 0

    def follow(self, stream):
        for line in stream:
            self.take(line.rstrip("\n"))

    def take(self, line):
        self.lines += 1
        self.last.append(line)
        try:
            said = json.loads(line)
            message = said["message"]
        except (ValueError, KeyError, TypeError):
            said, message = {}, ""
        # Of errors, only that of a configuration that was broken on purpose is expected.
        expected = KNOWN.match(message) and (said["level"].lower() != "error" or message.startswith("not reloaded"))
        if expected:
            self.messages[message.partition(":")[0]] += 1
        elif len(self.unknown) < 20:
            self.unknown.append(line[:300])
