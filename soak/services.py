"""Services on Unix sockets: one that is always there, and others that come and go."""

import bisect
import contextlib
import os
import random
import socket
import threading
import time

BODY = b"".join(b'soak_jobs_total{number="%d"} %d\n' % (number, number) for number in range(100))


def answer(body):
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: %d\r\n\r\n" % len(body) + body


class Services:
    """`steady` never fails; `restarted` is down now and then; the socket of `replaced` is exchanged
    under the scrapes, and none may fail; `broken` says something else each time; `huge` is for
    those that read slowly, `junk` for requests that are none.
    """

    def __init__(self, world, seed):
        self.world, self.chance = world, random.Random(seed)
        # Of each service, from when to when it was away, in the order of time.
        self.away = {"restarted": []}
        self.restarts = 0
        self.over, self.may_change = threading.Event(), threading.Lock()

    def __enter__(self):
        self.steady = Service(self.path("steady"), lambda: answer(BODY))
        self.junk = Service(self.path("junk"), lambda: answer(BODY))
        self.large = Service(self.path("large"), lambda: answer(BODY * 400))
        self.huge = Service(self.path("huge"), lambda: answer(bytes(30_000_000)))
        self.broken = Service(self.path("broken"), self.say_something_broken)
        self.restarted = Service(self.path("restarted"), lambda: answer(BODY))
        self.replaced = Service(self.path("replaced"), lambda: answer(BODY))
        self.thread = threading.Thread(target=self.change)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()

    def path(self, name):
        return self.world.services / f"{name}.sock"

    def change(self):
        while not self.over.wait(self.chance.uniform(0.2, 1.5)):
            with self.may_change:
                self.chance.choice([self.restart, self.replace])()
                self.restarts += 1

    def restart(self):
        """Some leave their socket behind, some take it away."""
        window = [time.monotonic(), float("inf")]
        self.away["restarted"].append(window)
        self.restarted.end(leave=self.chance.random() < 0.5)
        self.over.wait(self.chance.uniform(0, 0.5))
        self.restarted = Service(self.path("restarted"), lambda: answer(BODY))
        window[1] = time.monotonic()

    def replace(self):
        """Another socket takes the place of the first in one step; the first still serves who came before."""
        before, beside = self.replaced, self.world.services / ".replacing"
        self.replaced = Service(beside, lambda: answer(BODY))
        os.rename(beside, self.path("replaced"))
        self.over.wait(0.3)
        before.end(leave=True)

    def die_silently(self):
        """Sabotage: `steady` is away for a second, and nobody has written it down."""
        self.steady.end()
        time.sleep(1)
        self.steady = Service(self.path("steady"), lambda: answer(BODY))

    def paused(self):
        return self.may_change

    def say_something_broken(self):
        return self.chance.choice([
            b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", b"\x00" * 1000,
            b"HTTP/1.1 500 Oops\r\nContent-Length: 1\r\n\r\nx", answer(BODY)[:500], b"HTTP/1.1 100 Continue\r\n\r\n" * 1000,
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/plain\r\n\r\n5\r\nup 1\nXX", b"X: y\r\n" * 20000,
        ])  # fmt: skip

    def was_away(self, name, begun, ended):
        windows = self.away.get(name, [])
        # The last that began before the scrape ended is also the last to end.
        before = bisect.bisect_right(windows, ended, key=lambda window: window[0])
        # What a dying service had accepted may still break off a moment later.
        return before > 0 and begun <= windows[before - 1][1] + 0.2


class Service:
    def __init__(self, path, say):
        self.path, self.say, self.over = path, say, False
        path.unlink(missing_ok=True)
        self.listener = socket.socket(socket.AF_UNIX)
        # Not seen before it answers: bind and listen are two steps.
        beside = path.with_name(f".{path.name}.starting")
        self.listener.bind(str(beside))
        self.listener.listen(256)
        os.rename(beside, path)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        with contextlib.suppress(OSError):
            while not self.over:
                threading.Thread(target=self.one, args=(self.listener.accept()[0],), daemon=True).start()

    def one(self, stream):
        with contextlib.closing(stream), contextlib.suppress(OSError):
            stream.settimeout(60)
            head = b""
            while b"\r\n\r\n" not in head:
                piece = stream.recv(65536)
                if not piece:
                    return
                head += piece
            stream.sendall(self.say())

    def end(self, leave=False):
        self.over = True
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        if not leave:
            self.path.unlink(missing_ok=True)
