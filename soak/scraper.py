"""The good scraper: on open connections and on new ones, and every failure with its time."""

import http.client
import threading
import time

# Of each: the service, seconds between two scrapes, and whether each connects anew.
ROUNDS = [("steady", 0.1, False), ("steady", 0.4, True), ("restarted", 0.1, False), ("replaced", 0.1, False),
          ("replaced", 0.5, True), ("large", 0.5, False)]  # fmt: skip


class Scraper:
    def __init__(self, world):
        self.world, self.good, self.failed, self.closed = world, 0, [], 0
        self.over, self.counting = threading.Event(), threading.Lock()
        self.lengths = {}

    def __enter__(self):
        self.threads = [threading.Thread(target=self.go_on, args=each) for each in ROUNDS]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()

    def go_on(self, service, pause, cold):
        context, connection = self.world.context(), None
        while not self.over.wait(pause):
            begun = time.monotonic()
            try:
                if connection is None:
                    connection = http.client.HTTPSConnection("127.0.0.1", self.world.port, timeout=15, context=context)
                    reused = False
                else:
                    reused = True
                connection.request("GET", f"/{service}")
                response = connection.getresponse()
                body = response.read()
                wrong = None if response.status == 200 else f"{response.status} {response.headers.get('Aegis-Reason')}"
                if not wrong and len(body) != self.lengths.setdefault(service, len(body)):
                    wrong = f"{len(body)} bytes"
            except (http.client.RemoteDisconnected, BrokenPipeError) as error:
                # An idle connection ends at its age, as any client knows; once, on a used one.
                connection.close()
                connection = None
                if reused:
                    with self.counting:
                        self.closed += 1
                    continue
                wrong = repr(error)
            except (OSError, http.client.HTTPException) as error:
                wrong = repr(error)
            with self.counting:
                if wrong:
                    self.failed.append((service, begun, time.monotonic(), wrong))
                else:
                    self.good += 1
            if connection and (cold or wrong):
                connection.close()
                connection = None
