"""Attacks, two at a time. The seed decides which, and for how long."""

import contextlib
import os
import subprocess
import time

# The addresses of `far` are not admitted. All others are, and have a wrong certificate or request.
NEAR, FAR = "127.0.1.0", "127.0.9.0"

KINDS = ["malformed", "strangers", "hello", "far", "silent", "slow_readers"]


class Hostile:
    def __init__(self, world, chance):
        self.world, self.chance, self.attacks = world, chance, 0

    def warm_up(self):
        """Runs every attack once, so that aegis has allocated what it keeps before it is measured."""
        for kinds in zip(KINDS[::2], KINDS[1::2]):
            self.attack(time.monotonic() + 4, kinds)

    def attack(self, until, kinds=None):
        """Two attacks at once, for a few seconds."""
        seconds = max(min(self.chance.uniform(2, 6), until - time.monotonic()), 0.5)
        kinds = kinds or self.chance.sample(KINDS, 2)
        running = [self.start(kind, seconds) for kind in kinds]
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                self.chance.choice([self.leave_early, self.garbage, self.drip])()
            time.sleep(self.chance.uniform(0.02, 0.2))
        for process in running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            if process.poll() is None:
                process.kill()
            process.wait()
        self.attacks += len(kinds)

    def start(self, kind, seconds):
        world = self.world
        words = ["--tls", f"127.0.0.1:{world.aegis.port}", "--pki", world.pki, "--other-pki", world.other, "--check", "no",
                 "--from", FAR if kind == "far" else NEAR, "--addresses", 50, "--seed", self.chance.randrange(1 << 30)]  # fmt: skip
        if kind == "silent":
            words = ["silent", *words, "--count", 300, "--rate", 300, "--hold", seconds]
        elif kind == "slow_readers":
            words = ["sip", *words, "--count", 4, "--path", "/huge", "--seconds", seconds, "--timeout", 3]
        else:
            threads = 4 if kind in ("malformed", "strangers") else 8
            words = ["attack", *words, "--kind", {"far": "hello"}.get(kind, kind), "--path", "/junk", "--threads", threads,
                     "--seconds", seconds, "--pause", 0.005]  # fmt: skip
        command = ["nice", "-n", "10", world.load, *words]
        return subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def leave_early(self):
        """A scraper that closes in the middle of a body."""
        with self.world.handshake(self.connect()) as stream:
            stream.sendall(b"GET /%s HTTP/1.1\r\nHost: localhost\r\n\r\n" % self.chance.choice([b"large", b"huge", b"broken"]))
            stream.recv(self.chance.randrange(1, 20000))

    def garbage(self):
        with self.connect() as stream:
            stream.sendall(self.chance.choice([b"", b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\n\r\n", b"PROXY UNKNOWN\r\n"]))
            stream.sendall(os.urandom(self.chance.randrange(1, 4000)))
            stream.settimeout(0.2)
            stream.recv(100)

    def drip(self):
        with self.world.handshake(self.connect()) as stream:
            for byte in b"GET /junk HTTP/1.1\r\nHost":
                stream.sendall(bytes([byte]))

    def connect(self):
        return self.world.connect(f"127.0.1.{self.chance.randrange(100, 250)}", 5)
