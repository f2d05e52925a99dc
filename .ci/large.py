"""A service on a Unix socket whose metrics are 20 MiB."""

import http.server
import socketserver
import sys

SIZE = 20 * 1024 * 1024


class Metrics(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(SIZE))
        self.end_headers()
        self.wfile.write(b"#" * SIZE)

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


Server(sys.argv[1], Metrics).serve_forever()
