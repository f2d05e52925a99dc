"""A PKI, services, a canary outside the socket directory, and the server in front of them that is attacked."""

import collections
import contextlib
import enum
import errno
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "benches/peers"), str(ROOT / "tests/tools")]

import peers
from aegis_host import Aegis, Server, end, generate, install_filter, wait_until
from fake_service import FakeService, response

# The networks that every server admits, and those of attackers.
ADMITTED = "127.0.0.0/23"
NEAR, FAR = "127.0.1.0", "127.0.9.0"
BIG = 30_000_000
BIG_NAMES = 50


class Kernel(enum.Enum):
    THIS = enum.auto()
    # Sockets cannot refuse passed descriptors.
    BEFORE_6_16 = enum.auto()


def disable_so_passrights():
    """Makes setsockopt(SOL_SOCKET, SO_PASSRIGHTS) fail with ENOPROTOOPT (x86-64 and AArch64)."""
    call = {"x86_64": 54, "aarch64": 208}[os.uname().machine]
    load, equal, give = 0x20, 0x15, 0x06
    install_filter(
        (load, 0, 0, 0), (equal, 0, 5, call), (load, 0, 0, 16 + 8), (equal, 0, 3, socket.SOL_SOCKET), (load, 0, 0, 16 + 16),
        (equal, 0, 1, 83), (give, 0, 0, 0x00050000 | errno.ENOPROTOOPT), (give, 0, 0, 0x7FFF0000),
    )  # fmt: skip


class Host:
    def __init__(self, work, aegis, load):
        self.work, self.aegis, self.load = Path(work), aegis, load
        self.pki, self.other, self.services = self.work / "pki", self.work / "other", self.work / "services"
        self.started = 0
        generate(self.pki)
        generate(self.pki, "client", "stranger", "--dns", "stranger.example.org")
        generate(self.other)
        for folder in (self.services, self.work / "outside"):
            folder.mkdir()
        for folder in (self.work, self.services):
            folder.chmod(0o755)
        self.canary = FakeService(self.work / "outside/canary.sock", response(b"outside_the_directory 1\n"))
        for name in ("canary-link", ".canary"):
            (self.services / f"{name}.sock").symlink_to(self.canary.path)
        os.link(self.canary.path, self.services / "canary-hard.sock")
        self.big = FakeService(self.work / "big.sock", response(bytes(BIG)))

    @contextlib.contextmanager
    def serving(self):
        with self.running(FIRST, self.load, "service", "--dir", self.services) as process:
            self.tcp_ports = {}
            for line in process.stdout:
                if line.strip() == "ready":
                    break
                name, port = line.split()
                self.tcp_ports[name] = int(port)
            yield

    @contextlib.contextmanager
    def running(self, nice, *words):
        process = subprocess.Popen([str(word) for word in words], stdout=subprocess.PIPE, text=True, preexec_fn=ranked(nice))
        try:
            yield process
        finally:
            end(process)

    @contextlib.contextmanager
    def server(self, name, descriptors=None, kernel=Kernel.THIS):
        """A newly started server on both cores. aegis has its defaults."""
        self.started += 1
        work = self.work / f"start-{self.started}"
        work.mkdir()

        def before():
            ranked(FIRST)()
            if kernel is Kernel.BEFORE_6_16:
                disable_so_passrights()
            if descriptors:
                resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

        if name == "aegis":
            names = "".join(f'[services.big{number}]\nsocket = "{self.big.path}"\n' for number in range(BIG_NAMES))
            server = Aegis(work, names, binary=self.aegis, before=before, watchdog=0.5, pki=self.pki, services=self.services, networks=[ADMITTED])
        else:
            server = self.peer(name, work, before)
        with server, watched(server):
            yield server

    def peer(self, name, work, before):
        with socket.socket() as tried:
            tried.bind(("127.0.0.1", 0))
            port = tried.getsockname()[1]
        one = {"nginx": peers.Nginx, "HAProxy": peers.HAProxy}[name]()
        command = one.command(peers.Place(work, self.pki, self.services, self.tcp_ports, port, "l10k", 2))
        config = work / one.template
        config.write_text(config.read_text().replace("127.0.0.0/8", ADMITTED))
        with (work / "log").open("w") as log:
            server = Server(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=before), port, work)

        def listens():
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return True
            return False

        wait_until(f"{name} listens", listens)
        return server

    def words(self, server, command, *more):
        common = ["--tls", f"127.0.0.1:{server.port}", "--pki", self.pki, "--check", "no", "--path", "/l10k", "--expect", 10 << 10]
        return [self.load, command, *common, *more]

    def attack(self, server, command, *more):
        with self.attacking(server, command, *more) as results:
            pass
        return results[0]

    @contextlib.contextmanager
    def attacking(self, server, command, *more):
        """Runs an attack during the block, and adds its results to the list."""
        # The attacker would be another machine. The measured scrapes have priority.
        results = []
        with self.running(EVEN if command == "attack" else FIRST, *self.words(server, command, *more)) as process:
            yield results
            results.append(last_line(process, 7200))

    @contextlib.contextmanager
    def hostile(self, server, seconds, pause):
        """Runs services of every hostile kind during the block, and scrapes each again and again."""
        results = []
        tricks = Path(__file__).with_name("tricks.py")
        with self.running(EVEN, tricks, self.services, server.port, self.pki, seconds, pause) as process:
            assert process.stdout.readline() == "ready\n"
            yield results
            results.append({name: collections.Counter(every) for name, every in last_line(process, 600).items()})

    def scrapes(self, server, seconds, warm=100, cold=20):
        """A good scraper for some seconds: on three open connections, and on new ones one after the other.

        With more at once than `scrapes_per_service`, a 503 would be correct.
        """
        with contextlib.ExitStack() as stack:
            runs = {}
            for mode, rate, count in (("warm", warm, 3), ("cold", cold, 1)):
                words = self.words(server, "paced", "--mode", mode, "--rate", rate, "--connections", count, "--seconds", seconds)
                runs[mode] = stack.enter_context(self.running(FIRST, *words))
            return {mode: last_line(run, seconds + 120) for mode, run in runs.items()}


def last_line(process, seconds):
    """The JSON in the last line of what a process prints."""
    out, _ = process.communicate(timeout=seconds)
    return json.loads(out.strip().splitlines()[-1])


@contextlib.contextmanager
def watched(server):
    """Records the peak of a server's memory during the block."""
    server.peak, stop = 0, threading.Event()

    def watch():
        while not stop.wait(0.05):
            server.peak = max(server.peak, server.memory())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def blocked_closing_threads(server):
    """The number of its threads that wait until a socket has sent its queue (SO_LINGER)."""
    threads = Path(f"/proc/{server.process.pid}/task").iterdir()
    return sum((thread / "wchan").read_text() == "wait_woken" for thread in threads)


FIRST, EVEN = -15, 0


def ranked(nice):
    """A function for a child: takes this rank among all processes of the machine.

    Where the kernel schedules whole sessions (sched(7), autogroup), `nice` alone ranks it only
    among its own. Only root may go first.
    """

    def rank():
        os.setsid()
        if nice >= 0 or os.geteuid() == 0:
            os.nice(nice)
            with contextlib.suppress(OSError), open("/proc/self/autogroup", "w", encoding="ascii") as autogroup:
                autogroup.write(str(nice))

    return rank


def busy():
    """The seconds of CPU time that the machine used, and the stolen seconds."""
    fields = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    return (sum(fields[i] for i in (0, 1, 2, 5, 6, 7))) / os.sysconf("SC_CLK_TCK")


def has(name):
    return name == "aegis" or shutil.which({"HAProxy": "haproxy"}.get(name, name), path=os.environ["PATH"] + ":/usr/sbin")
