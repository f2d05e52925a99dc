"""The endpoint under test, and its answers."""

import contextlib
import re
import socket
import ssl
import subprocess
import threading
import time

PATIENCE = 15
# The time to wait after an answer for a second one or for the end of the connection.
QUIET = 0.4


class Endpoint:
    def __init__(self, options, work):
        host, _, port = options.address.rpartition(":")
        self.place = (host.strip("[]"), int(port))
        self.options, self.work, self.pki = options, work, options.pki
        self.service = options.service
        self.path = options.path.format(service=options.service)
        self.server_name = options.server_name or self.place[0]
        self.handshake_deadline, self.head_deadline = options.handshake_deadline, options.head_deadline
        self.one_scrape = threading.Lock()
        self.good = (self.pki / f"{options.scraper}.pem", self.pki / f"{options.scraper}.key")

    def connect(self, source=None):
        """A TCP connection. If there is none, the check cannot run: OSError is raised."""
        made = socket.create_connection(self.place, PATIENCE, source and (source, 0))
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def context(self, pair="good", alpn=None, newest=None):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.pki / "ca.pem")
        if newest:
            # OpenSSL offers old versions only with old ciphers.
            context.set_ciphers("ALL:@SECLEVEL=0")
            context.minimum_version = context.maximum_version = newest
        if alpn:
            context.set_alpn_protocols(alpn)
        if pair:
            context.load_cert_chain(*(self.good if pair == "good" else pair))
        return context

    def open(self, pair="good", before=b"", session=None, **more):
        """Makes a TLS connection, with a certificate, after some bytes without TLS."""
        made = self.connect()
        return self.secured(made, pair, before, session, **more)

    def secured(self, made, pair="good", before=b"", session=None, **more):
        try:
            made.sendall(before)
            context = session[0] if session else self.context(pair, **more)
            return context.wrap_socket(made, server_hostname=self.server_name, session=session and session[1])
        except BaseException:
            made.close()
            raise

    def request(self, path=None, method="GET", headers=(), version="HTTP/1.1"):
        lines = [f"{method} {path or self.path} {version}", "Host: localhost", *headers, "", ""]
        return "\r\n".join(lines).encode("latin-1")

    def ask(self, raw, pair="good", **more):
        """Sends some bytes over TLS, and returns the answer."""
        made = self.connect()
        try:
            stream = self.secured(made, pair, **more)
        except (ConnectionError, socket.timeout, ssl.SSLError) as error:
            return Observed(ended=ending(error))
        with contextlib.closing(stream):
            return self.exchange(stream, raw)

    def exchange(self, stream, raw, patience=None):
        begun = time.monotonic()
        with contextlib.suppress(OSError):  # it may answer and close before it has read everything
            stream.sendall(raw)
        seen = Observed(method=raw.split(b" ", 1)[0])
        deadline = begun + (patience or self.head_deadline + 2)
        while True:
            try:
                stream.settimeout(max(deadline - time.monotonic(), 0.01))
                piece = stream.recv(65536)
            except OSError as error:
                seen.ended = ending(error)
            else:
                if not piece:
                    seen.ended = "closed"
                seen.data += piece
            if seen.ended:
                break
            if seen.is_whole():
                deadline = time.monotonic() + QUIET
        seen.seconds = time.monotonic() - begun
        return seen

    def scrape(self):
        """Scrapes as the good scraper does."""
        # One at a time: limits of concurrent scrapes are not under test.
        with self.one_scrape:
            try:
                return self.ask(self.request(headers=["Accept: text/plain", "Connection: close"]))
            except OSError as error:
                return Observed(ended=str(error))

    def openssl(self, *words, **more):
        command = ["openssl", *map(str, words)]
        ended = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, **more, check=False)
        if ended.returncode:
            raise RuntimeError(f"{' '.join(command)}: {ended.stderr}")
        return ended.stdout


class Observed:
    """The bytes received over TLS, and how the connection ended."""

    def __init__(self, data=b"", ended=None, method=b"GET"):
        self.data, self.ended, self.method, self.seconds = data, ended, method, 0.0

    @property
    def answers(self):
        return list(answers(self.data, self.method))

    @property
    def statuses(self):
        return [answer.status for answer in self.answers]

    def is_whole(self):
        found = self.answers
        return bool(found) and found[-1].whole

    @property
    def closed(self):
        return self.ended != "still open"

    @property
    def served(self):
        """Whether any byte of a service arrived."""
        return any(200 <= status < 300 for status in self.statuses) or (bool(self.data) and not self.answers)

    def __str__(self):
        words = [str(status) for status in self.statuses]
        if self.data and not words:
            words = [f"{len(self.data)} bytes that are not an answer"]
        if words and not self.is_whole() and self.answers:
            words.append("cut off")
        return ", ".join([*words, self.ended])


class Answer:
    def __init__(self, status, headers, body, whole):
        self.status, self.headers, self.body, self.whole = status, headers, body, whole

    def values(self, name):
        return [value for key, value in self.headers if key == name]


def answers(data, method):
    """Parses the answers in some bytes. The last may be cut off."""
    while data.startswith(b"HTTP/1."):
        head, found, data = data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        words = lines[0].split()
        status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
        headers = [(key.lower(), value.strip()) for key, _, value in (line.partition(":") for line in lines[1:])]
        answer = Answer(status, headers, b"", bool(found))
        lengths = answer.values("content-length")
        if method == b"HEAD" or 100 <= status < 200 or status in (204, 304):
            pass
        elif "chunked" in answer.values("transfer-encoding"):
            answer.body, answer.whole, data = unchunked(data)
        elif lengths and lengths[0].isdigit():
            answer.body, data = data[: int(lengths[0])], data[int(lengths[0]) :]
            answer.whole = answer.whole and len(answer.body) == int(lengths[0])
        else:
            # The body ends with the connection, so a part of it looks complete.
            answer.body, answer.whole, data = data, True, b""
        yield answer


def unchunked(data):
    body = b""
    while True:
        line, found, rest = data.partition(b"\r\n")
        try:
            size = int(line.split(b";")[0], 16)
        except ValueError:
            return body, False, b""
        if not found or (size and len(rest) < size + 2) or (not size and not rest.startswith(b"\r\n")):
            return body + rest[:size], False, b""
        if not size:
            return body, True, rest[2:]
        body, data = body + rest[:size], rest[size + 2 :]


def ending(error):
    """How a connection ended, in words, with the name of a TLS alert."""
    if isinstance(error, (socket.timeout, TimeoutError)):
        return "still open"
    if isinstance(error, ConnectionError):
        return "reset"
    if not isinstance(error, ssl.SSLError):
        return str(error)
    reason = (error.reason or str(error)).lower().replace("_", " ")
    if isinstance(error, ssl.SSLEOFError) or "eof" in reason:
        return "closed"
    found = re.search(r"alert ([a-z ]+)", reason)
    return f"alert {found[1].strip()}" if found else f"TLS error {reason}"


def until_closed(stream, deadline):
    """Reads without TLS until the endpoint closes. Returns the bytes, the kind of end and the seconds."""
    begun, data = time.monotonic(), b""
    while True:
        left = begun + deadline - time.monotonic()
        if left <= 0:
            return data, "still open", deadline
        try:
            stream.settimeout(left)
            piece = stream.recv(65536)
        except OSError as error:
            return data, ending(error), time.monotonic() - begun
        if not piece:
            return data, "closed", time.monotonic() - begun
        data += piece


def dripping(stream, data, pause):
    """Sends byte by byte in the background. Returns a function that stops it."""
    stop = threading.Event()

    def drip():
        for byte in data:
            if stop.wait(pause):
                return
            try:
                stream.send(bytes([byte]))
            except OSError:
                return

    threading.Thread(target=drip, daemon=True).start()
    return stop.set
