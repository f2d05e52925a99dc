import http.server
import os
import socketserver

SOCKET = "/run/aegis/services/http-server.sock"
METRICS = b"# TYPE jobs_total counter\njobs_total 3\n"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(METRICS)

    def address_string(self):
        return "unix"


if os.path.exists(SOCKET):
    os.unlink(SOCKET)
socketserver.ThreadingUnixStreamServer(SOCKET, Handler).serve_forever()
