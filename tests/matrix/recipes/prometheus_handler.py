import os
import socketserver

import prometheus_client

SOCKET = "/run/aegis/services/prometheus-handler.sock"
JOBS = prometheus_client.Counter("jobs", "Jobs done.")
JOBS.inc(3)


class Handler(prometheus_client.MetricsHandler):
    def address_string(self):
        return "unix"


if os.path.exists(SOCKET):
    os.unlink(SOCKET)
socketserver.ThreadingUnixStreamServer(SOCKET, Handler).serve_forever()
