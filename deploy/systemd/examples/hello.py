"""A service whose metrics are served on a socket that systemd listens on (descriptor 3)."""

import http.server
import itertools
import socket

SCRAPES = itertools.count(1)


class Metrics(http.server.BaseHTTPRequestHandler):
    timeout = 10

    def do_GET(self):
        if self.path != "/metrics":
            return self.send_error(404)
        # With prometheus_client, this is generate_latest().
        text = f"# TYPE hello_scrapes_total counter\nhello_scrapes_total {next(SCRAPES)}\n"
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Logs nothing: a client of a Unix socket has no address."""


class Server(http.server.ThreadingHTTPServer):
    # Use the inherited socket, and discard the one that the base class creates.
    address_family = socket.AF_UNIX


# A thread for each scrape: a hung one delays no other.
server = Server("", Metrics, bind_and_activate=False)
server.socket.close()
server.socket = socket.socket(fileno=3)
server.serve_forever()
