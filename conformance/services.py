"""Services that misbehave, and things in the socket directory that are none.

The kit puts sockets of its own into the directory, and asks the endpoint for them by name.
"""

import contextlib
import os
import secrets
import shutil
import socket
import threading
import time
from pathlib import Path

from verdict import NO, YES, Check, Untried

GROUP = "Services"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n"
CANARY = b"outside_the_directory 1\n"
FORBIDDEN = ("cookie", "authorization", "x-forwarded-for", "x-evil", "connection-named", "te", "range", "if-none-match", "origin")
WITHHELD = ("set-cookie", "server", "location", "keep-alive", "proxy-authenticate", "trailer", "upgrade", "x-internal", "www-authenticate")


def checks(endpoint):
    place = Place(endpoint)

    def add(what, expected, act, waits=False, good=False):
        def run():
            if not endpoint.options.socket_dir:
                raise Untried("no --socket-dir")
            return act(place)

        return Check(GROUP, what, expected, run, waits, good)

    def fails(what, said, **more):
        return add(what, "an error", lambda place: failed(place, said, **more))

    def visible(what, said):
        return add(what, "an error, or visibly cut off", lambda place: broken_off(place, said))

    body = b"up 1\n" * 1000
    whole = HEAD + b"Content-Length: 5000\r\n\r\n" + body
    return [
        add("one that works", "200, the same bytes", lambda place: works(place, whole, body), good=True),
        add("what it is told of the scraper's request", "nothing but what a scrape needs", forwarded),
        add("what comes out of its head", "type, encoding, length", withheld),
        fails("a redirect", b"HTTP/1.1 302 Found\r\nLocation: https://elsewhere.invalid/\r\nContent-Length: 0\r\n\r\n"),
        fails("a permanent redirect", b"HTTP/1.1 308 Permanent Redirect\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"),
        fails("a 204", b"HTTP/1.1 204 No Content\r\n\r\n"),
        fails("a 500 that tells its insides", b"HTTP/1.1 500 Oops\r\nContent-Length: 6\r\n\r\nsecret", leak=b"secret"),
        fails("a 101", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nup 1\n"),
        fails("HTTP/0.9", b"up 1\n"),
        fails("a head that never ends", HEAD + b"X-Odd: 1\r\n" * 200000),
        fails("two different lengths", HEAD + b"Content-Length: 5\r\nContent-Length: 4\r\n\r\nup 1\n"),
        fails("a length and chunks", HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nup 1\n\r\n0\r\n\r\n"),
        fails("a line end within a header", HEAD + b"X-Odd: 1\n\nContent-Length: 5\r\n\r\nup 1\n"),
        fails("nothing, and hangs up", b""),
        fails("no length and no chunks, and hangs up", HEAD + b"\r\n" + body),
        visible("hangs up in the middle of its length", HEAD + b"Content-Length: 10000\r\n\r\n" + body),
        visible("hangs up in the middle of a chunk", HEAD + b"Transfer-Encoding: chunked\r\n\r\n1388\r\n" + body[:900]),
        visible("hangs up between chunks", HEAD + b"Transfer-Encoding: chunked\r\n\r\n1388\r\n" + body + b"\r\n"),
        visible("a broken chunk", HEAD + b"Transfer-Encoding: chunked\r\n\r\n1388\r\n" + body + b"XX" + b"0\r\n\r\n"),
        add("silent", "an error before the scraper's timeout of 3 s", lambda place: silent(place, b""), waits=True),
        add("silent in the middle", "cut off by the scraper's timeout of 3 s", lambda place: silent(place, whole[:600]), waits=True),
        add("never accepts, its backlog full", "an error before the scraper's timeout of 3 s", full, waits=True),
        add("30 MB to a scraper that reads nothing", "cut off within 2 s of its timeout of 3 s", unread, waits=True),
        *(add(what, "an error, the canary unread", lambda place, make=make: outside(place, make)) for what, make in OUTSIDE),
    ]


class Place:
    """The socket directory, a folder outside it, and what was put there."""

    def __init__(self, endpoint):
        self.endpoint = endpoint
        self.folder = endpoint.options.socket_dir
        self.outside, self.one_canary = endpoint.work / "outside", threading.Lock()
        self.outside.mkdir()
        # The endpoint may be another user: nothing but itself must keep it out.
        endpoint.work.chmod(0o711)
        self.outside.chmod(0o755)

    @contextlib.contextmanager
    def offers(self, said, **more):
        """A name under which a service says always the same; with what it heard."""
        name = f"kit-{secrets.token_hex(4)}"
        with Service(self.folder / f"{name}.sock", said, **more) as service:
            yield name, service

    def ask(self, name, headers=(), timeout=None):
        more = [f"X-Prometheus-Scrape-Timeout-Seconds: {timeout}"] if timeout else []
        path = self.endpoint.options.path.format(service=name)
        return self.endpoint.ask(self.endpoint.request(path, headers=[*headers, *more, "Connection: close"]))


class Service:
    """Reads a head, says what it was told to, and hangs up; `holds` leaves the connection open."""

    def __init__(self, path, said, holds=False):
        self.path, self.said, self.holds, self.heard = path, said, holds, []
        self.ended = threading.Event()

    def __enter__(self):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.path))
        self.path.chmod(0o777)
        self.listener.listen(16)
        threading.Thread(target=self.serve, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self.one, args=(self.listener.accept()[0],), daemon=True).start()

    def one(self, stream):
        with contextlib.closing(stream), contextlib.suppress(OSError):
            stream.settimeout(30)
            head = b""
            while b"\r\n\r\n" not in head:
                piece = stream.recv(65536)
                if not piece:
                    return
                head += piece
            self.heard.append(head)
            stream.sendall(self.said)
            if self.holds:
                self.ended.wait(30)


def works(place, said, body):
    with place.offers(said) as (name, _):
        seen = place.ask(name)
    same = seen.statuses == [200] and seen.answers[0].whole and seen.answers[0].body == body
    return (YES if same else NO), str(seen)


def forwarded(place):
    headers = [
        "Cookie: a=b", "Authorization: Basic eDp5", "X-Forwarded-For: 192.0.2.7", "X-Evil: 1", "Connection: connection-named",
        "Connection-Named: 1", "TE: trailers", "Range: bytes=0-1", "If-None-Match: x", "Origin: https://elsewhere.invalid",
    ]  # fmt: skip
    with place.offers(HEAD + b"Content-Length: 5\r\n\r\nup 1\n") as (name, service):
        seen = place.ask(name, headers)
    if not service.heard:
        return YES, f"nothing at all: {seen}"
    names = [line.partition(b":")[0].decode("latin-1").lower() for line in service.heard[0].split(b"\r\n")[1:] if line]
    found = [name for name in FORBIDDEN if name in names]
    return (NO if found else YES), "told: " + ", ".join(found or sorted(names))


def withheld(place):
    lines = [b"Set-Cookie: a=b", b"Server: old/1.0", b"Location: https://elsewhere.invalid/", b"Keep-Alive: timeout=9", b"Trailer: X-Odd",
             b"Proxy-Authenticate: Basic", b"WWW-Authenticate: Basic", b"Upgrade: h2c", b"X-Internal: 10.0.0.1", b"Connection: X-Internal"]  # fmt: skip
    with place.offers(HEAD + b"\r\n".join(lines) + b"\r\nContent-Length: 5\r\n\r\nup 1\n") as (name, _):
        seen = place.ask(name)
    names = {key for answer in seen.answers for key, _ in answer.headers}
    found = [name for name in WITHHELD if name in names]
    return (NO if found or not names else YES), "came out: " + ", ".join(found or sorted(names))


def failed(place, said, leak=None):
    with place.offers(said) as (name, _):
        seen = place.ask(name)
    if leak and leak in seen.data:
        return NO, f"{seen}, with what it said"
    return (YES if seen.statuses and seen.statuses[0] >= 400 else NO), str(seen)


def broken_off(place, said):
    with place.offers(said) as (name, _):
        seen = place.ask(name)
    visible = bool(seen.statuses) and (seen.statuses[0] >= 400 or not seen.answers[-1].whole)
    return (YES if visible else NO), str(seen)


def silent(place, said):
    with place.offers(said, holds=True) as (name, _):
        seen = place.ask(name, timeout=3)
    visible = seen.closed and bool(seen.statuses) and (seen.statuses[0] >= 400 or not seen.answers[-1].whole)
    return (YES if visible and seen.seconds < 3.5 else NO), f"{seen} after {seen.seconds:.1f} s"


def full(place):
    name = f"kit-{secrets.token_hex(4)}"
    path = place.folder / f"{name}.sock"
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(contextlib.closing(socket.socket(socket.AF_UNIX)))
        listener.bind(str(path))
        stack.callback(path.unlink)
        path.chmod(0o777)
        listener.listen(0)
        for _ in range(2):
            waiting = stack.enter_context(contextlib.closing(socket.socket(socket.AF_UNIX)))
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(str(path))
        seen = place.ask(name, timeout=3)
    return (YES if seen.statuses and seen.statuses[0] >= 400 and seen.seconds < 3.5 else NO), f"{seen} after {seen.seconds:.1f} s"


def unread(place):
    endpoint = place.endpoint
    said = HEAD + b"Content-Length: 30000000\r\n\r\n" + bytes(30_000_000)
    with place.offers(said) as (name, _), contextlib.closing(endpoint.open()) as stream:
        path = endpoint.options.path.format(service=name)
        stream.sendall(endpoint.request(path, headers=["X-Prometheus-Scrape-Timeout-Seconds: 3"]))
        begun = time.monotonic()
        came = 0
        time.sleep(5)
        # What the kernels on the way hold is still to be read; the rest must not come.
        with contextlib.suppress(OSError):
            stream.settimeout(2)
            while piece := stream.recv(1 << 20):
                came += len(piece)
        after = time.monotonic() - begun
    return (NO if came >= 30_000_000 else YES), f"{came / 1e6:.1f} MB came, ended after {after:.1f} s"


def link(place, name):
    os.symlink(place.outside / "canary.sock", place.folder / f"{name}.sock")
    return name


def hard_link(place, name):
    try:
        os.link(place.outside / "canary.sock", place.folder / f"{name}.sock")
    except OSError as error:
        raise Untried(f"no hard link can be made: {error.strerror}") from error
    return name


def regular(place, name):
    (place.folder / f"{name}.sock").write_bytes(HEAD + b"\r\n" + CANARY)
    return name


def fifo(place, name):
    os.mkfifo(place.folder / f"{name}.sock", 0o777)
    return name


def directory(place, name):
    (place.folder / f"{name}.sock").mkdir()
    return name


def dead(place, name):
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as left:
        left.bind(str(place.folder / f"{name}.sock"))
    return name


def below(place, name):
    os.symlink(place.outside, place.folder / name)
    return f"{name}/canary"


def above(place, _):
    return os.path.relpath(place.outside / "canary", place.folder.resolve())


def hidden(place, name):
    os.symlink(place.outside / "canary.sock", place.folder / f".{name}.sock")
    return f".{name}"


OUTSIDE = [
    ("a symbolic link to a socket outside", link),
    ("a hard link to a socket outside", hard_link),
    ("a regular file", regular),
    ("a FIFO", fifo),
    ("a folder", directory),
    ("a socket whose service is dead", dead),
    ("a link to a folder with a socket", below),
    ("a socket by its path from the directory", above),
    ("a hidden link to a socket outside", hidden),
]


def outside(place, make):
    """Asks for something that leads to a socket outside the directory, or is no socket."""
    name = f"kit-{secrets.token_hex(4)}"
    with place.one_canary, Service(place.outside / "canary.sock", HEAD + b"Content-Length: %d\r\n\r\n" % len(CANARY) + CANARY) as canary:
        try:
            asked = make(place, name)
            seen = place.ask(asked)
        finally:
            for left in (place.folder / f"{name}.sock", place.folder / name, place.folder / f".{name}.sock"):
                remove(left)
    if canary.heard or CANARY in seen.data:
        return NO, f"{seen}, the canary was read"
    return (YES if seen.statuses and seen.statuses[0] >= 400 else NO), str(seen)


def remove(left: Path):
    if left.is_dir() and not left.is_symlink():
        shutil.rmtree(left)
    else:
        left.unlink(missing_ok=True)
