#!/usr/bin/env python3
"""An endpoint with every fault that the kit looks for. Each check must fail against it.

usage: naive.py PORT PKI

It accepts every certificate and every version of TLS, answers what it does not understand, and waits
forever. Never use it for anything else.
"""

import contextlib
import re
import socket
import ssl
import sys
import threading
import urllib.parse

FIXED = b"HTTP/1.1 200 OK\r\nServer: naive\r\nContent-Length: 5\r\nContent-Type: text/plain\r\n\r\nup 1\n"


def main():
    port, pki = int(sys.argv[1]), sys.argv[2]
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.set_ciphers("ALL:@SECLEVEL=0")
    tls.minimum_version = ssl.TLSVersion.TLSv1
    tls.load_cert_chain(f"{pki}/server.pem", f"{pki}/server.key")
    tls.set_alpn_protocols(["h2", "acme-tls/1", "http/1.1"])
    listener = socket.create_server(("127.0.0.1", port), backlog=256)
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0], tls), daemon=True).start()


def serve(stream, tls):
    with contextlib.suppress(OSError, ValueError):
        while True:
            first = stream.recv(65536, socket.MSG_PEEK)
            if first.startswith(b"\r\n\r\n\0\r\nQUIT\n"):
                stream.recv(28)
            elif first.startswith(b"PROXY "):
                stream.recv(first.index(b"\r\n") + 2)
            else:
                break
        if not re.match(rb"\x16\x03[\0-\4][\0-\x40].\x01\0", first, re.DOTALL) or len(first) < 50:
            # Not TLS: an answer without encryption, or none.
            if first.startswith((b"GET", b"PRI", b"SSH")):
                stream.sendall(FIXED)
            return threading.Event().wait()
        with tls.wrap_socket(stream, server_side=True) as session:
            requests(session)


def requests(session):
    read = b""
    while True:
        while not (end := re.search(rb"\r?\n\r?\n|\r\r", read)):
            piece = session.recv(65536)
            if not piece:
                return
            read += piece
        head, read = read[: end.end()], read[end.end() :]
        if b"expect:" in head.lower():
            session.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if b"upgrade:" in head.lower():
            session.sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        path = urllib.parse.unquote((head.split() + [b"", b""])[1].decode("latin-1"))
        missing = "such" in path and f" /run{path}.sock: no such file or directory"
        session.sendall(FIXED if not missing else b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n%s" % (len(missing), missing.encode()))
        if b"connection: close" in head.lower():
            return


if __name__ == "__main__":
    main()
