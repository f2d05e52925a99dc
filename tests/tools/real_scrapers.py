"""Real scrapers, Prometheus and vmagent: where they listen, and what they say of their scrapes."""

import contextlib
import http.server
import json
import os
import threading
import urllib.parse
import urllib.request
from pathlib import Path

from aegis_host import wait_until


def tcp_port(process):
    """The port of 127.0.0.1 or of any address on which a process listens, once it does."""

    def find():
        if process.poll() is not None:
            raise RuntimeError(f"{process.args[0]} ended with {process.returncode}")
        inodes = set()
        with contextlib.suppress(OSError):
            for descriptor in Path(f"/proc/{process.pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    inodes.add(os.readlink(descriptor))
        for table in ("tcp", "tcp6"):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                    return int(fields[1].rsplit(":", 1)[1], 16)
        return None

    return wait_until(f"{process.args[0]} listens on TCP", find, 30)


class Sink(http.server.BaseHTTPRequestHandler):
    """Takes what vmagent and an agent write, and forgets it."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def sink():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


def fetch(port, path):
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as response:
        return response.read().decode()
    return ""


def api(port, path):
    with contextlib.suppress(ValueError):
        return json.loads(fetch(port, f"/api/v1/{path}"))["data"]
    return None


def results(port, expression):
    """The series of a query: labels and value."""
    data = api(port, "query?query=" + urllib.parse.quote(expression))
    return [(series["metric"], float(series["value"][1])) for series in data["result"]] if data else []


def query(port, expression):
    """The first value of a query, or None."""
    return next((value for _, value in results(port, expression)), None)


def targets(port):
    return (api(port, "targets") or {"activeTargets": []})["activeTargets"]


def scrapes_of_prometheus(port):
    """All scrapes, and those that failed."""
    scrapes = query(port, "sum(count_over_time(up[10m]))")
    failed = query(port, "sum(count_over_time(up[10m]) - sum_over_time(up[10m]))")
    return scrapes or 0, failed or 0


def scrapes_of_vmagent(port):
    """All scrapes, and those that failed."""
    metrics = fetch(port, "/metrics").splitlines()
    value = lambda name: sum(float(line.split()[-1]) for line in metrics if line.startswith((f"{name} ", f"{name}{{")))
    return value("vm_promscrape_scrapes_total"), value("vm_promscrape_scrapes_failed_total")
