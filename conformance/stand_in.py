#!/usr/bin/env python3
"""The service that is scraped while the kit runs: a few metrics on a Unix socket.

usage: stand_in.py SOCKET
"""

import os
import socketserver
import sys

BODY = b"".join(b'stand_in_total{number="%d"} %d\n' % (number, number) for number in range(200))
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: %d\r\n\r\n" % len(BODY)


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        method = b""
        # nginx and HAProxy ask again on the same connection.
        while line := self.rfile.readline():
            method = method or line.split(b" ")[0]
            if line == b"\r\n":
                self.wfile.write(HEAD + (b"" if method == b"HEAD" else BODY))
                method = b""


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads, request_queue_size = True, 128


def main():
    with Server(sys.argv[1], Handler) as server:
        os.chmod(sys.argv[1], 0o777)
        server.serve_forever()


if __name__ == "__main__":
    main()
