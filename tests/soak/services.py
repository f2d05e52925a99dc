"""Services on Unix sockets. Some are always there, others are restarted or replaced."""

import bisect
import random
import threading
import time

from fake_service import CHUNKED, FakeService, fixed, response

BODY = b"".join(b'soak_jobs_total{number="%d"} %d\n' % (number, number) for number in range(100))
BROKEN = [
    b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", b"\x00" * 1000,
    response(b"x", "500 Oops"), response(BODY)[:500], b"HTTP/1.1 100 Continue\r\n\r\n" * 1000,
    CHUNKED + b"5\r\nup 1\nXX", b"X: y\r\n" * 20000,
]  # fmt: skip


class Services:
    """`steady` and `large` never fail. `restarted` is sometimes down. The socket of `replaced` is
    replaced under the scrapes, and none may fail. `broken` answers something broken, `huge` is for
    slow readers, and `junk` for malformed requests.
    """

    def __init__(self, world, seed):
        self.folder, self.chance = world.services, random.Random(seed)
        # The windows in which `restarted` was away, in order.
        self.away = []
        self.restarts = 0
        self.stopping, self.may_change = threading.Event(), threading.Lock()

    def __enter__(self):
        self.running = {name: self.serve(name) for name in ("steady", "junk", "restarted", "replaced")}
        self.serve("large", response(BODY * 400))
        self.serve("huge", response(bytes(30_000_000)))
        self.serve("broken", lambda stream: fixed(self.chance.choice(BROKEN))(stream))
        self.thread = threading.Thread(target=self.change)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join()

    def serve(self, name, answer=response(BODY)):
        return FakeService(self.folder / f"{name}.sock", answer)

    def change(self):
        while not self.stopping.wait(self.chance.uniform(0.2, 1.5)):
            with self.may_change:
                self.chance.choice([self.restart, self.replace])()
                self.restarts += 1

    def restart(self):
        """Stops a service, which may leave its socket, and starts it again."""
        window = [time.monotonic(), float("inf")]
        self.away.append(window)
        self.running["restarted"].close(unlink=self.chance.random() < 0.5)
        self.stopping.wait(self.chance.uniform(0, 0.5))
        self.running["restarted"] = self.serve("restarted")
        window[1] = time.monotonic()

    def replace(self):
        """Another socket takes the place of the first in one step. The first still serves its connections."""
        before = self.running["replaced"]
        self.running["replaced"] = self.serve("replaced")
        self.stopping.wait(0.3)
        before.close(unlink=False)

    def die_unrecorded(self):
        """Sabotage: `steady` is away for three seconds outside of any window."""
        self.running["steady"].close()
        time.sleep(3)
        self.running["steady"] = self.serve("steady")

    def was_away(self, path, begun, ended):
        if path != "/restarted":
            return False
        # The last window that began before the scrape ended is also the last to end.
        before = bisect.bisect_right(self.away, ended, key=lambda window: window[0])
        # A connection that a stopping service had accepted may still break a moment later.
        return before > 0 and begun <= self.away[before - 1][1] + 0.2
