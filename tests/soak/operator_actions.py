"""The actions of an operator: renews certificates, reloads, and sometimes breaks the configuration."""

import os
import random
import signal
import threading
import time

from aegis_host import generate

TEMPORARY = """[[allow]]
networks = ["127.0.0.1"]
identities = ["dns:temporary.example.org"]
services = ["steady"]
"""


class Operator:
    def __init__(self, world, seed):
        self.world, self.chance, self.reloads, self.tightened = world, random.Random(seed), 0, 0
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
        # In random order, each as often as the others.
        actions = [self.renew, self.renew_crl, self.break_and_repair, self.change, self.many_reloads, self.tighten]
        remaining = []
        while not self.stopping.wait(self.chance.uniform(1, 3)):
            if not remaining:
                remaining = self.chance.sample(actions, len(actions))
            with self.may_act:
                try:
                    remaining.pop()()
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

    def tighten(self):
        """Allows another scraper, and takes that back, or revokes its certificate. Its open connection must end too."""
        generate(self.world.pki, "client", "temporary", "--dns", "temporary.example.org", "--force")
        self.config.write_text(self.text + TEMPORARY)
        self.reload()
        connection = self.world.aegis.scraper("temporary")
        self.wait("an added scraper was not served within 15 s", lambda: connection.scrape("/steady") == 200)
        if self.chance.random() < 0.5:
            self.config.write_text(self.text)
        else:
            generate(self.world.pki, "revoke", "temporary")
            generate(self.world.pki, "crl")
        self.reload()
        self.wait("a removed or revoked scraper was still served after 15 s", lambda: self.world.aegis.scraper("temporary").scrape("/steady") != 200)
        if connection.scrape("/steady") == 200:
            self.faults.append("a removed or revoked scraper was served on its open connection")
        connection.close()
        self.config.write_text(self.text)
        self.reload()
        self.tightened += 1

    def reload(self):
        os.kill(self.world.aegis.process.pid, signal.SIGHUP)

    def expect(self, successful):
        self.reload()
        what = f"a {'good' if successful else 'broken'} configuration was not noticed within 15 s"
        self.wait(what, lambda: self.world.aegis.metric("aegis_config_last_reload_successful") == successful)

    def wait(self, what, condition):
        deadline = time.monotonic() + 15
        while not condition():
            if time.monotonic() > deadline:
                self.faults.append(what)
                return
            time.sleep(0.05)
