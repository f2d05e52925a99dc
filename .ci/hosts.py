"""Hosts for .ci/page and .ci/scripting: services on Unix sockets in every state, and aegis in front of them."""

import atexit
import http.client
import os
import re
import socket
import socketserver
import ssl
import subprocess
import threading
import time

PATIENCE = 20


def soon(what, condition):
    """Waits until a condition holds, and gives what it gave."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.02)
    return found


def answer(status="200 OK", kind="text/plain; version=0.0.4", body=b"up 1\n"):
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def serve(path, said, asked=None):
    """A service that says the same to everybody, and nothing at all if that is None.

    What it is asked goes to a list, if there is one.
    """

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            while (line := self.rfile.readline()) not in (b"", b"\r\n"):
                if asked is not None:
                    asked.append(line)
            if said is None:
                self.rfile.read()  # until aegis gives up
            else:
                self.wfile.write(said)

    class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        daemon_threads = True

    threading.Thread(target=Server(path, Handler).serve_forever, daemon=True).start()


def abandon(path):
    """A socket that was left behind by a service that is dead."""
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(path)


class Aegis:
    """A running aegis with a folder, a configuration and a log of its own."""

    def __init__(self, program, folder, pki, rest=""):
        self.folder, self.pki = folder, pki
        self.config = f"{folder}/aegis.toml"
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(CONFIGURATION.format(pki=pki, rest=rest))
        with open(f"{folder}/log", "wb") as log:
            self.process = subprocess.Popen(
                [program, "serve", "--config", self.config],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )
        atexit.register(self.kill)

        def address():
            if self.process.poll() is not None:
                raise RuntimeError(f"aegis did not start:\n{self.log()}")
            return re.search(r'listen="?127\.0\.0\.1:(\d+)', self.log())

        self.port = int(soon("aegis is ready", address)[1])
        self.url = f"https://127.0.0.1:{self.port}/"

    def log(self):
        with open(f"{self.folder}/log", encoding="utf-8") as file:
            return file.read()

    def scrape(self, service):
        """Scrapes as Prometheus would, and gives the status."""
        tls = ssl.create_default_context(cafile=f"{self.pki}/ca.pem")
        tls.load_cert_chain(f"{self.pki}/prometheus.pem", f"{self.pki}/prometheus.key")
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=PATIENCE, context=tls
        )
        connection.request("GET", f"/{service}")
        response = connection.getresponse()
        response.read()
        connection.close()
        return response.status

    def break_configuration(self):
        with open(self.config, "a", encoding="utf-8") as file:
            file.write("[services.node]\ntimeuot = 1\n")
        soon("a failed reload", lambda: "not reloaded" in self.log())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def kill(self):
        self.process.kill()
        self.process.wait()


CONFIGURATION = """
listen = ["127.0.0.1:0"]
socket_dir = "services"
[tls]
cert_file = "{pki}/server.pem"
key_file = "{pki}/server.key"
client_ca_file = "{pki}/ca.pem"
client_crl_files = ["crl.pem"]
[[allow]]
networks = ["127.0.0.1"]
identities = ["dns:prometheus.example.org"]
services = ["*"]
{rest}"""
