"""The actions of an operator: renews certificates, reloads, and sometimes breaks the configuration."""

import os
import random
import signal
import threading
import time

from aegis_host import generate


class Operator:
    def __init__(self, world, seed):
        self.world, self.chance, self.reloads = world, random.Random(seed), 0
        self.config, self.text = world.aegis.folder / "aegis.toml", world.aegis.text
        self.stopping, self.may_act = threading.Event(), threading.Lock()
        self.faults = []

    def __enter__(self):
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join()

    def run(self):
        actions = [self.renew, self.renew_crl, self.break_and_repair, self.change, self.many_reloads]
        while not self.stopping.wait(self.chance.uniform(1, 3)):
            with self.may_act:
                try:
                    self.chance.choice(actions)()
                except OSError:
                    # aegis has exited, and the verdict reports it.
                    continue
                self.reloads += 1

    def renew(self):
        generate(self.world.pki, "server", "server", "--san", "localhost", "--san", "127.0.0.1", "--force")

    def renew_crl(self):
        generate(self.world.pki, "crl")

    def break_and_repair(self):
        broken = self.chance.choice(["junk\n", "[limits]\nconnections = 0\n", "[services.x]\nno_such_key = 1\n", "\0\n"])
        self.config.write_text(self.text + broken)
        self.expect(0)
        self.config.write_text(self.text)
        self.expect(1)

    def change(self):
        label = self.chance.randrange(1, 5)
        self.config.write_text(self.text + f'[services.steady]\nlabels = {{ change = "{label}" }}\n')
        self.reload()
        time.sleep(0.2)
        self.config.write_text(self.text)
        self.reload()

    def many_reloads(self):
        for _ in range(20):
            self.reload()

    def reload(self):
        os.kill(self.world.aegis.process.pid, signal.SIGHUP)

    def expect(self, successful):
        self.reload()
        deadline = time.monotonic() + 15
        while self.world.aegis.metric("aegis_config_last_reload_successful") != successful:
            if time.monotonic() > deadline:
                self.faults.append(f"a {'good' if successful else 'broken'} configuration was not noticed within 15 s")
                return
            time.sleep(0.05)
