"""A PKI, services, a canary outside the socket directory, and a server in front: what is attacked."""

import collections
import contextlib
import ctypes
import enum
import errno
import json
import os
import re
import resource
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benches/peers"))

import peers

# Whom every server admits, and from where the attacks come.
ADMITTED = "127.0.0.0/23"
NEAR, FAR = "127.0.1.0", "127.0.9.0"
BIG = 30_000_000
BIG_NAMES = 50


class Kernel(enum.Enum):
    THIS = enum.auto()
    # Sockets cannot refuse descriptors that are passed along.
    BEFORE_6_16 = enum.auto()


def lose_so_passrights():
    """Has setsockopt(SOL_SOCKET, SO_PASSRIGHTS) fail with ENOPROTOOPT from here on (seccomp(2), x86-64 and AArch64)."""
    call = {"x86_64": 54, "aarch64": 208}[os.uname().machine]
    load, equal, give = 0x20, 0x15, 0x06
    program = [
        (load, 0, 0, 0),
        (equal, 0, 5, call),
        (load, 0, 0, 16 + 8),
        (equal, 0, 3, socket.SOL_SOCKET),
        (load, 0, 0, 16 + 16),
        (equal, 0, 1, 83),
        (give, 0, 0, 0x00050000 | errno.ENOPROTOOPT),
        (give, 0, 0, 0x7FFF0000),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in program))
    filter_ = struct.pack("HxxxxxxQ", len(program), ctypes.addressof(code))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(38, 1, 0, 0, 0) or prctl(22, 2, filter_, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


class Heart:
    """Hears from aegis's own watch over its threads, in the place of systemd.

    A thread that does not turn keeps aegis from giving a sign of life (sd_notify(3), WATCHDOG=1).
    """

    EVERY = 0.25

    def __init__(self, path):
        self.beats = [time.monotonic()]
        self.environment = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": str(int(self.EVERY * 2e6))}
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        while True:
            if b"WATCHDOG=1" in self.socket.recv(4096):
                self.beats.append(time.monotonic())

    def longest_pause(self, since):
        """The longest time without a sign of life, up to now."""
        beats = [since, *(beat for beat in self.beats if beat > since), time.monotonic()]
        return max(after - before for before, after in zip(beats, beats[1:]))


class Host:
    def __init__(self, work, aegis, load):
        self.work, self.aegis, self.load = Path(work), aegis, load
        self.pki, self.other, self.services = self.work / "pki", self.work / "other", self.work / "services"
        self.started = 0
        generate = ROOT / "certs/generate.sh"
        for folder, words in ((self.pki, []), (self.other, []), (self.pki, ["client", "stranger", "--dns", "stranger.example.org"])):
            subprocess.run([generate, *words, "--dir", folder], check=True, stdout=subprocess.DEVNULL)
        for folder in (self.services, self.work / "outside"):
            folder.mkdir()
        for folder in (self.work, self.services):
            folder.chmod(0o755)
        self.canary = Canary(self.work / "outside/canary.sock")
        (self.services / "canary-link.sock").symlink_to(self.canary.path)
        (self.services / ".canary.sock").symlink_to(self.canary.path)
        os.link(self.canary.path, self.services / "canary-hard.sock")
        self.big = Big(self.work / "big.sock")

    @contextlib.contextmanager
    def serving(self):
        command = [self.load, "service", "--dir", self.services]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=ranked(FIRST))
        self.tcp_ports = {}
        for line in process.stdout:
            if line.strip() == "ready":
                break
            name, port = line.split()
            self.tcp_ports[name] = int(port)
        try:
            yield
        finally:
            end(process)

    @contextlib.contextmanager
    def server(self, name, descriptors=None, wait=True, kernel=Kernel.THIS):
        """A server started afresh, on both cores; aegis with its defaults."""
        self.started += 1
        work = self.work / f"start-{self.started}"
        work.mkdir()
        port = free_port()
        command = self.command(name, work, port)

        def few():
            ranked(FIRST)()
            if kernel is Kernel.BEFORE_6_16:
                lose_so_passrights()
            if descriptors:
                resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

        heart = Heart(work / "notify.sock")
        with (work / "log").open("w") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=few, env={**os.environ, **heart.environment})
        server = Server(name, process, port, work, heart)
        try:
            deadline = time.monotonic() + 20
            while wait and not server.listens():
                if process.poll() is not None or time.monotonic() > deadline:
                    sys.exit(f"{name} did not start:\n{server.log()}")
                time.sleep(0.02)
            with server.watched():
                yield server
        finally:
            end(process)

    def command(self, name, work, port):
        if name == "aegis":
            config = work / "aegis.toml"
            names = "".join(f'[services.big{number}]\nsocket = "{self.big.path}"\n' for number in range(BIG_NAMES))
            config.write_text(AEGIS.format(port=port, services=self.services, work=work, pki=self.pki, admitted=ADMITTED, names=names))
            return [self.aegis, "serve", "--config", config]
        one = {"nginx": peers.Nginx, "HAProxy": peers.HAProxy}[name]()
        place = peers.Place(work, self.pki, self.services, self.tcp_ports, port, "l10k", 2)
        command = one.command(place)
        config = work / one.template
        config.write_text(config.read_text().replace("127.0.0.0/8", ADMITTED))
        return command

    def words(self, server, command, *more):
        common = ["--tls", f"127.0.0.1:{server.port}", "--pki", self.pki, "--check", "no", "--path", "/l10k", "--expect", 10 << 10]
        return [str(word) for word in (self.load, command, *common, *more)]

    def attack(self, server, command, *more):
        out = subprocess.run(self.words(server, command, *more), check=True, capture_output=True, text=True).stdout
        return json.loads(out.strip().splitlines()[-1])

    @contextlib.contextmanager
    def attacking(self, server, command, *more):
        """The attack beside whatever is done meanwhile; what it said is in the list afterwards."""
        # The attacker is another machine. What is measured and what measures comes first.
        rank = EVEN if command == "attack" else FIRST
        process = subprocess.Popen(self.words(server, command, *more), stdout=subprocess.PIPE, text=True, preexec_fn=ranked(rank))
        said = []
        try:
            yield said
            out, _ = process.communicate(timeout=7200)
            said.append(json.loads(out.strip().splitlines()[-1]))
        finally:
            end(process)

    @contextlib.contextmanager
    def hostile(self, server, seconds, pause):
        """Services of every hostile kind, each scraped again and again; how is in the list afterwards."""
        words = [Path(__file__).with_name("tricks.py"), self.services, server.port, self.pki, seconds, pause]
        process = subprocess.Popen([str(word) for word in words], stdout=subprocess.PIPE, text=True, preexec_fn=ranked(EVEN))
        said = []
        try:
            assert process.stdout.readline() == "ready\n"
            yield said
            out, _ = process.communicate(timeout=600)
            ended = json.loads(out.strip().splitlines()[-1])
            said.append({name: collections.Counter(every) for name, every in ended.items()})
        finally:
            end(process)

    def scrapes(self, server, seconds, warm=100, cold=20):
        """A good scraper for some seconds: on three open connections, and on new ones one after the other.

        More at once than `scrapes_per_service`, and a 503 would be right.
        """
        runs = {}
        for mode, rate, count in (("warm", warm, 3), ("cold", cold, 1)):
            if rate:
                words = self.words(server, "paced", "--mode", mode, "--rate", rate, "--connections", count, "--seconds", seconds)
                runs[mode] = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, preexec_fn=ranked(FIRST))
        return {mode: json.loads(run.communicate(timeout=seconds + 120)[0]) for mode, run in runs.items()}


AEGIS = """listen = ["127.0.0.1:{port}"]
socket_dir = "{services}"
admin_socket = "{work}/admin.sock"
[tls]
cert_file = "{pki}/server.pem"
key_file = "{pki}/server.key"
client_ca_file = "{pki}/ca.pem"
[[allow]]
networks = ["{admitted}"]
identities = ["dns:prometheus.example.org"]
services = ["*"]
{names}"""


class Server:
    def __init__(self, name, process, port, work, heart=None):
        self.name, self.process, self.port, self.work, self.heart = name, process, port, work, heart
        self.peak, self.samples = 0, []

    def listens(self):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def log(self):
        return (self.work / "log").read_text(errors="replace")

    def memory(self):
        """Resident bytes."""
        with contextlib.suppress(OSError):
            found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text())
            return int(found[1]) * 1024 if found else 0
        return 0

    @contextlib.contextmanager
    def watched(self):
        over = threading.Event()

        def watch():
            while not over.wait(0.05):
                self.samples.append(self.memory())
                self.peak = max(self.peak, self.samples[-1])

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def threads_that_close(self):
        """How many of its threads wait until a socket has sent what it holds (SO_LINGER)."""
        threads = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum((thread / "wchan").read_text() == "wait_woken" for thread in threads)

    def cpu(self):
        """Seconds of processor time."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def metric(self, name):
        """The sum of a metric, asked of the admin socket."""
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as stream:
            stream.settimeout(5)
            stream.connect(str(self.work / "admin.sock"))
            stream.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            text = b"".join(iter(lambda: stream.recv(65536), b"")).decode()
        return sum(float(value) for value in re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE))


FIRST, EVEN = -15, 0


def ranked(nice):
    """What a child does first: takes its rank among everything that runs on this machine.

    Where the kernel schedules whole sessions (sched(7), autogroup), `nice` alone ranks it only
    among its own. Only root may go before others.
    """

    def rank():
        os.setsid()
        if nice >= 0 or os.geteuid() == 0:
            os.nice(nice)
            with contextlib.suppress(OSError), open("/proc/self/autogroup", "w", encoding="ascii") as autogroup:
                autogroup.write(str(nice))

    return rank


class Answering:
    """Something that listens on a Unix socket, and says the same to everybody."""

    def __init__(self, path, said):
        self.path, self.said, self.connections = path, said, 0
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        path.chmod(0o777)
        self.listener.listen(256)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            stream, _ = self.listener.accept()
            self.connections += 1
            threading.Thread(target=self.one, args=(stream,), daemon=True).start()

    def one(self, stream):
        with contextlib.closing(stream), contextlib.suppress(OSError):
            stream.recv(4096)
            stream.sendall(self.said)


class Canary(Answering):
    def __init__(self, path):
        super().__init__(path, b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 24\r\n\r\noutside_the_directory 1\n")


class Big(Answering):
    def __init__(self, path):
        super().__init__(path, b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % BIG + bytes(BIG))


def busy():
    """Seconds of processor time that the whole machine has spent, and stolen from it."""
    fields = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    return (sum(fields[i] for i in (0, 1, 2, 5, 6, 7))) / os.sysconf("SC_CLK_TCK")


def end(process):
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout:
        process.stdout.close()


def free_port():
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return tried.getsockname()[1]


def has(name):
    return name == "aegis" or shutil.which({"HAProxy": "haproxy"}.get(name, name), path=os.environ["PATH"] + ":/usr/sbin")
