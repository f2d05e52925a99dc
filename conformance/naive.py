#!/usr/bin/env python3
"""An endpoint that is wrong in every way that the kit looks for, so that each check is seen to fail.

usage: naive.py PORT PKI SOCKET_DIR

It believes everybody, speaks every version of TLS, answers what it does not understand, waits
for ever, follows every link, and passes on whatever a service says. Never use it for anything.
"""

import contextlib
import os
import re
import socket
import ssl
import sys
import threading
import urllib.parse

FIXED = b"HTTP/1.1 200 OK\r\nServer: naive\r\nContent-Length: 5\r\nContent-Type: text/plain\r\n\r\nup 1\n"


def main():
    port, pki, folder = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.set_ciphers("ALL:@SECLEVEL=0")
    tls.minimum_version = ssl.TLSVersion.TLSv1
    tls.load_cert_chain(f"{pki}/server.pem", f"{pki}/server.key")
    tls.set_alpn_protocols(["h2", "acme-tls/1", "http/1.1"])
    listener = socket.create_server(("127.0.0.1", port), backlog=256)
    print("ready", flush=True)
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0], tls, folder), daemon=True).start()


def serve(stream, tls, folder):
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
            # Anything else gets an answer in the clear, or is waited for.
            if first.startswith((b"GET", b"PRI", b"SSH")):
                stream.sendall(FIXED)
            return threading.Event().wait()
        with tls.wrap_socket(stream, server_side=True) as over:
            requests(over, folder)


def requests(over, folder):
    read = b""
    while True:
        while not (end := re.search(rb"\r?\n\r?\n|\r\r", read)):
            piece = over.recv(65536)
            if not piece:
                return
            read += piece
        head, read = read[: end.end()], read[end.end() :]
        if b"expect:" in head.lower():
            over.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if b"upgrade:" in head.lower():
            over.sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        path = urllib.parse.unquote((head.split() + [b"", b""])[1].decode("latin-1"))
        socket_path = f"{folder}{path}.sock"
        if "kit-" in path or "canary" in path:
            relay(over, head, socket_path)
            return
        missing = "such" in path and f" {socket_path}: no such file or directory"
        over.sendall(FIXED if not missing else b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n%s" % (len(missing), missing.encode()))
        if b"connection: close" in head.lower():
            return


def relay(over, head, path):
    if not os.path.exists(path):
        return over.sendall(FIXED)
    service = socket.socket(socket.AF_UNIX)
    try:
        service.connect(path)
    except OSError:
        return over.sendall(FIXED)
    service.sendall(head)
    whole = b"".join(iter(lambda: service.recv(65536), b""))
    # Whatever came is made to look whole.
    said, found, body = whole.partition(b"\r\n\r\n")
    if not found:
        return over.sendall(FIXED)
    kept = [line for line in said.split(b"\r\n") if not line.lower().startswith((b"content-length", b"transfer-encoding"))]
    over.sendall(b"\r\n".join([*kept, b"Content-Length: %d" % len(body), b"", body]))
    return None


if __name__ == "__main__":
    main()
