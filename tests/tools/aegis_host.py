"""Starts aegis with its own PKI on a free port, watches it and stops it.

A host is a folder: pki/ services/ aegis.toml admin.sock notify.sock log.
"""

import atexit
import contextlib
import ctypes
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import scraper

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
RELEASE = TARGET / "release/aegis"


def end_on_sigterm():
    """Turns SIGTERM into an exception, so that child processes are ended."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))


def generate(pki, *arguments):
    """Runs certs/generate.sh. Without arguments it makes a CA, a server and the scraper `prometheus`."""
    subprocess.run([ROOT / "certs/generate.sh", *map(str, arguments), "--dir", pki], check=True, stdout=subprocess.DEVNULL)


def build_load():
    """A build of benches/peers/load, which makes requests as fast as it can."""
    environment = {**os.environ, "CARGO_TARGET_DIR": str(TARGET / "peers")}
    command = ["cargo", "build", "--quiet", "--release", "--locked"]
    subprocess.run(command, cwd=ROOT / "benches/peers/load", env=environment, check=True)
    return TARGET / "peers/release/peers-load"


def wait_until(what, condition, seconds=20, pause=0.02):
    """Waits until a condition holds, and returns its value."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s: {what}")
        time.sleep(pause)
    return found


def end(process):
    """Ends a process that was started here."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for stream in (process.stdout, process.stderr):
        if stream:
            stream.close()


def config(more="", *, top="", pki="pki", services="services", listen=("127.0.0.1:0",), networks=("127.0.0.1",),
           identities=("dns:prometheus.example.org",), crls=(), key=None, min_version="1.3"):  # fmt: skip
    """The text of aegis.toml: one entry that allows all services, `top` before the tables and `more` after them."""
    texts = lambda values: json.dumps([str(value) for value in values])
    return f"""listen = {texts(listen)}
socket_dir = "{services}"
admin_socket = "admin.sock"
{top}
[tls]
cert_file = "{pki}/server.pem"
key_file = "{key or f'{pki}/server.key'}"
client_ca_file = "{pki}/ca.pem"
client_crl_files = {texts(crls)}
min_version = "{min_version}"
[[allow]]
networks = {texts(networks)}
identities = {texts(identities)}
services = ["*"]
{more}"""


def install_filter(*program):
    """Installs a seccomp filter of classic BPF instructions in this process (seccomp(2))."""
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *instruction) for instruction in program))
    header = struct.pack("HxxxxxxP", len(program), ctypes.addressof(code))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(38, 1, 0, 0, 0) or prctl(22, 2, ctypes.c_char_p(header), 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


class Server:
    """A running server, and its figures from /proc."""

    def __init__(self, process, port, folder):
        self.process, self.port, self.folder = process, port, Path(folder)

    def alive(self):
        return self.process.poll() is None

    def log(self):
        return (self.folder / "log").read_text(errors="replace")

    def proc(self, name):
        with contextlib.suppress(OSError):
            return Path(f"/proc/{self.process.pid}/{name}").read_text()
        return ""

    def status(self, field):
        found = re.search(rf"^{field}:\s+(\d+)", self.proc("status"), re.M)
        return int(found[1]) if found else 0

    def memory(self):
        """Resident bytes."""
        return self.status("VmRSS") * 1024

    def threads(self):
        return self.status("Threads")

    def descriptors(self):
        with contextlib.suppress(OSError):
            return len(os.listdir(f"/proc/{self.process.pid}/fd"))
        return 0

    def cpu(self):
        """Seconds of processor time."""
        fields = self.proc("stat").rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        end(self.process)


class Aegis(Server):
    """A running aegis, ready. Its settings are those of `config`.

    `inherit` is a listener that it gets as from systemd, `watchdog` the WatchdogSec=, `before` a
    function for the child before it runs aegis. `follow` is called with each log line, which then
    are in no file.
    """

    def __init__(self, folder, more="", *, binary=RELEASE, inherit=None, watchdog=None, before=None, follow=None,
                 environment=None, **settings):  # fmt: skip
        folder = Path(folder).resolve()
        self.pki, self.services = folder / settings.get("pki", "pki"), folder / settings.get("services", "services")
        if not self.pki.exists():
            generate(self.pki)
        self.services.mkdir(exist_ok=True)
        super().__init__(None, None, folder)
        self.configure(more, **settings)
        # aegis warns of variables that look like its own, such as those of .ci/run.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AEGIS_")}
        environment = {**inherited, **(environment or {}), "NOTIFY_SOCKET": self.notified()}
        if watchdog:
            environment["WATCHDOG_USEC"] = str(int(watchdog * 1e6))
        command = [Path(binary).resolve(), "serve", "--config", folder / "aegis.toml"]
        if inherit:
            # Standard input stays a duplicate of the listener.
            command = ["sh", "-c", 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@" 3<&0', "sh", *command]
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                command, stdin=inherit or subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=environment,
                stderr=subprocess.PIPE if follow else log, text=True, preexec_fn=before,
            )  # fmt: skip
        atexit.register(self.process.kill)
        if follow:
            self.first, self.log = [], lambda: "".join(self.first)
            self.following = threading.Thread(target=self.follow, args=(follow,), daemon=True)
            self.following.start()
        try:
            self.port = int(wait_until("aegis is ready", self.ready)[1])
        except BaseException:
            end(self.process)
            print(self.log(), file=sys.stderr)
            raise

    def configure(self, more="", **settings):
        """Writes the configuration in one step. A running aegis notices by itself."""
        self.text = config(more, **settings)
        (self.folder / "aegis.new").write_text(self.text)
        (self.folder / "aegis.new").rename(self.folder / "aegis.toml")

    def notified(self):
        """Listens in the place of the service manager (sd_notify(3))."""
        path = self.folder / "notify.sock"
        path.unlink(missing_ok=True)
        manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        manager.bind(str(path))
        manager.settimeout(None)
        self.is_ready, self.heartbeats = False, []
        threading.Thread(target=self.listen, args=(manager,), daemon=True).start()
        return str(path)

    def listen(self, manager):
        while True:
            message = manager.recv(4096)
            self.is_ready |= message.startswith(b"READY=1\n")
            if b"WATCHDOG=1" in message:
                self.heartbeats.append(time.monotonic())

    def ready(self):
        if not self.alive():
            raise SystemExit("aegis did not start")
        return self.is_ready and re.search(r'listen"?[=:]"[^"]*?:(\d+)[" ]', self.log())

    def follow(self, take):
        for line in self.process.stderr:
            self.first = [*self.first, line][:100]
            take(line.rstrip("\n"))

    def longest_pause(self, since):
        """The longest time without a heartbeat from then to now. A blocked thread keeps aegis from sending one."""
        heartbeats = [since, *(heartbeat for heartbeat in self.heartbeats if heartbeat > since), time.monotonic()]
        return max(after - before for before, after in zip(heartbeats, heartbeats[1:]))

    def metrics(self):
        """Its metrics, from the admin socket."""
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as stream:
            stream.settimeout(5)
            stream.connect(str(self.folder / "admin.sock"))
            stream.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return b"".join(iter(lambda: stream.recv(65536), b"")).decode()

    def metric(self, name):
        """The sum of all series of a metric."""
        found = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", self.metrics(), re.M)
        return sum(map(float, found))

    def scraper(self, name="prometheus"):
        return scraper.Scraper(self.port, scraper.tls(self.pki, name))

    def stop(self, seconds=30):
        """Ends it as systemd does, and returns its exit status."""
        self.process.terminate()
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return f"not within {seconds} s"
