"""What an operator does meanwhile: renews, reloads, and breaks the configuration now and then."""

import contextlib
import os
import random
import signal
import threading
import time


class Operator:
    def __init__(self, world, seed):
        self.world, self.chance, self.reloads = world, random.Random(seed), 0
        self.over, self.may_act = threading.Event(), threading.Lock()
        self.unmended = []

    def __enter__(self):
        self.thread = threading.Thread(target=self.act)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()

    def paused(self):
        return self.may_act

    def act(self):
        while not self.over.wait(self.chance.uniform(1, 3)):
            with self.may_act, contextlib.suppress(OSError):
                self.chance.choice([self.renew, self.renew_crl, self.break_and_mend, self.change, self.storm])()
                self.reloads += 1

    def renew(self):
        self.world.generate("server", "server", "--san", "localhost", "--san", "127.0.0.1", "--force")

    def renew_crl(self):
        self.world.generate("crl")

    def break_and_mend(self):
        broken = self.chance.choice(["junk\n", "[limits]\nconnections = 0\n", "[services.x]\nno_such_key = 1\n", "\0\n"])
        self.world.config.write_text(self.world.text + broken)
        self.becomes(0)
        self.world.config.write_text(self.world.text)
        self.becomes(1)

    def change(self):
        more = self.chance.randrange(1, 5)
        self.world.config.write_text(self.world.text + f'[services.steady]\nlabels = {{ turn = "{more}" }}\n')
        self.signal()
        time.sleep(0.2)
        self.world.config.write_text(self.world.text)
        self.signal()

    def storm(self):
        for _ in range(20):
            self.signal()

    def signal(self):
        os.kill(self.world.server.process.pid, signal.SIGHUP)

    def becomes(self, wanted):
        self.signal()
        deadline = time.monotonic() + 15
        while self.world.metric("aegis_config_last_reload_successful") != wanted:
            if time.monotonic() > deadline:
                self.unmended.append(f"a reload was not {'good' if wanted else 'refused'} within 15 s")
                return
            time.sleep(0.05)
