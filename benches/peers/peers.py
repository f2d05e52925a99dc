"""The programs that are compared, and how each is started for the same job."""

import os
import pwd
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGETS = [mark + size for size in ("10k", "1m", "20m") for mark in "lc"]


@dataclass
class Place:
    """The paths and the target for one start of a peer."""

    work: Path
    pki: Path
    services: Path
    tcp_ports: dict
    port: int
    target: str
    cores: int
    # All services that the peer is configured for.
    targets: tuple = tuple(TARGETS)

    def fill(self, text, **more):
        values = {
            "WORK": self.work,
            "PKI": self.pki,
            "SERVICES": self.services,
            "SERVICE": self.services / f"{self.target}.sock",
            "PORT": self.port,
            "CORES": self.cores,
            "USER": pwd.getpwuid(os.getuid()).pw_name,
            **more,
        }
        return re.sub(r"@([A-Z_]+)@", lambda found: str(values[found[1]]), text)


class Peer:
    """A program that does aegis's job, or a part of it. With a root, it is that of another system."""

    name = ""
    logs = ""
    program, version_words = "", []
    # It can be configured for many services. Its threads and processes live as long as it does.
    has_many_services = keeps_its_threads = True
    # Which template each target adds to the configuration, under @LOCATIONS_EACH@ and @SERVICES_EACH@.
    template = ""
    location = service = ""
    between = "\n"
    speaks_http = True
    scheme = "tls"

    def __init__(self, root=None, release=None):
        self.root = root
        self.release = release

    @property
    def key(self):
        """A short name that does not depend on versions."""
        key = re.sub(r"[^a-z]+", "-", self.name.lower())
        return f"{key}-{self.release}" if self.root else key

    @property
    def title(self):
        """The name in tables: with the version where releases are compared."""
        if self.release is None:
            return self.name
        name, comma, rest = self.name.partition(",")
        return f"{name} {'.'.join(self.version().split('.')[:2])}{comma}{rest} (Debian {self.release})"

    def binary(self):
        """The executable, or None where it is not installed."""
        path = f"{self.root}/usr/sbin" if self.root else os.environ["PATH"] + ":/usr/sbin"
        found = shutil.which(self.program, path=path)
        return Path(found) if found else None

    def inner(self):
        """The path of the executable as the peer's own system sees it."""
        return Path("/") / self.binary().relative_to(self.root) if self.root else self.binary()

    def lines_of(self, words):
        """What a command of the peer's own system prints."""
        return all_lines(["chroot", self.root, *words] if self.root else words)

    def version(self):
        return version_in(self.lines_of([self.inner(), *self.version_words]))

    def enter(self):
        """Runs in the child process that becomes the peer: there is no further process to count."""
        if self.root:
            os.chroot(self.root)
            os.chdir("/")

    def path(self, target):
        return f"/{target}"

    def configure(self, place):
        text = (HERE / "peers" / self.template).read_text()
        each = {
            key: self.between.join(
                place.fill(one, TARGET=target, SOCKET=place.services / f"{target}.sock", TCP=place.tcp_ports[target])
                for target in place.targets
            )
            for key, one in (("LOCATIONS_EACH", self.location), ("SERVICES_EACH", self.service))
        }
        file = place.work / self.template
        reuseport = " reuseport" if place.cores > 1 else ""
        file.write_text(place.fill(text, REUSEPORT=reuseport, **each))
        return file

    def command(self, place):
        raise NotImplementedError

    def unable(self, scenario):
        """The reason why it cannot run a scenario, or None."""
        if scenario.kind == "prometheus" and not self.has_many_services:
            return "one service per port"
        if scenario.kind == "paced" and scenario.mode == "cold" and not self.keeps_its_threads:
            return "a thread per connection"
        return None


class Aegis(Peer):
    name, logs, template = "aegis", "one line per scrape", "aegis.toml"

    version_words = ["--version"]

    def __init__(self, binary):
        super().__init__()
        self._binary = binary

    def binary(self):
        return self._binary

    def command(self, place):
        return [self._binary, "serve", "--config", self.configure(place)]


class Nginx(Peer):
    name, program, version_words = "nginx", "nginx", ["-v"]
    logs, template = "one line per scrape", "nginx.conf"
    service = "    upstream @TARGET@ { server unix:@SOCKET@; keepalive 64; keepalive_requests 1000000000; }"
    location = "        location = /@TARGET@ { proxy_pass http://@TARGET@/metrics; }"

    def command(self, place):
        file = self.configure(place)
        return [self.inner(), "-p", place.work, "-e", place.work / "nginx-error.log", "-c", file]


class NginxReconnecting(Nginx):
    """nginx that connects to the service for each scrape, as aegis does."""

    name = "nginx, reconnecting"
    service = "    upstream @TARGET@ { server unix:@SOCKET@; }"


class HAProxy(Peer):
    name, program, version_words = "HAProxy", "haproxy", ["-v"]
    logs, template = "one line per scrape", "haproxy.cfg"
    location = "    use_backend @TARGET@ if { path /@TARGET@ }"
    service = "backend @TARGET@\n    http-request set-path /metrics\n    server service unix@@SOCKET@"

    def command(self, place):
        chain = (place.pki / "server.pem").read_text() + (place.pki / "server.key").read_text()
        both = place.work / "server-chain.pem"
        both.touch(mode=0o600)
        both.write_text(chain)
        return [self.inner(), "-db", "-f", self.configure(place)]


class Caddy(Peer):
    name, program, version_words = "Caddy", "caddy", ["version"]
    logs, template, between = "one line per scrape", "caddy.json", ",\n"
    location = (
        '            {"match": [{"path": ["/@TARGET@"], "remote_ip": {"ranges": ["127.0.0.0/8"]}}], "handle": ['
        '{"handler": "rewrite", "uri": "/metrics"}, '
        '{"handler": "reverse_proxy", "upstreams": [{"dial": "unix/@SOCKET@"}]}]}'
    )

    def command(self, place):
        return [self.binary(), "run", "--config", self.configure(place)]


class Stunnel(Peer):
    name, program, version_words = "stunnel", "stunnel4", ["-version"]
    logs, template, speaks_http = "one line per connection", "stunnel.conf", False
    has_many_services = keeps_its_threads = False

    def command(self, place):
        return [self.binary(), self.configure(place)]


class ExporterExporter(Peer):
    name, program, version_words = "exporter_exporter", "prometheus-exporter-exporter", ["-version"]
    logs, template = "nothing per scrape; service over TCP", "exporter_exporter.yml"
    # The name of the service is in the query, which Prometheus sets in another way.
    has_many_services = False
    service = "  @TARGET@: {method: http, http: {port: @TCP@, address: 127.0.0.1, path: /metrics, verify: false}}"

    def path(self, target):
        return f"/proxy?module={target}"

    def command(self, place):
        return [
            self.binary(), f"-config.file={self.configure(place)}", "-web.listen-address=",
            f"-web.tls.listen-address=127.0.0.1:{place.port}", "-web.tls.verify", "-web.tls.certmatch=^prometheus",
            f"-web.tls.cert={place.pki}/server.pem", f"-web.tls.key={place.pki}/server.key",
            f"-web.tls.ca={place.pki}/ca.pem", "-allow.net=127.0.0.0/8",
        ]  # fmt: skip


class Go(Peer):
    """A reverse proxy of Go's standard library, with or without keep-alives to the service."""

    def __init__(self, build_dir, keep_alive):
        super().__init__()
        self.name = "Go, keep-alive" if keep_alive else "Go"
        self.logs = "nothing per scrape"
        self.keep_alive = keep_alive
        self.built = build_dir / "go-reverse-proxy"

    def binary(self):
        return self.built if self.built.exists() else None

    def version(self):
        return f"Go {version_in(all_lines(['go', 'version']))}"

    def command(self, place):
        return [
            self.built, "-listen", f"127.0.0.1:{place.port}", "-sockets", place.services, "-pki", place.pki,
            f"-keep-alive={str(self.keep_alive).lower()}",
        ]  # fmt: skip


class CommandLine(Peer):
    """A further peer: NAME=COMMAND with @PORT@, @PKI@, @SERVICES@, @SERVICE@ and @CORES@ in it."""

    logs = "as given"
    has_many_services = False

    def __init__(self, definition):
        super().__init__()
        self.name, _, self.line = definition.partition("=")
        self.program = shlex.split(self.line)[0]

    def version(self):
        return "as given"

    def command(self, place):
        return shlex.split(place.fill(self.line))


class Relay(Peer):
    """A lower bound: the same path without TLS, HTTP, log or checks."""

    name, logs, scheme = "plain TCP relay", "nothing", "tcp"

    has_many_services = False

    def __init__(self, load):
        super().__init__()
        self._binary = load

    def binary(self):
        return self._binary

    def version(self):
        return "-"

    def command(self, place):
        service = place.services / f"{place.target}.sock"
        return [self._binary, "relay", "--listen", f"127.0.0.1:{place.port}", "--unix", service]


class Direct(Peer):
    """A lower bound: the service itself, with the same client."""

    name, logs, scheme = "direct socket", "nothing", "unix"

    def binary(self):
        return Path("/")

    def version(self):
        return "-"

    def command(self, _place):
        return None

    def unable(self, scenario):
        return None if scenario.kind in ("load", "paced") else "no program in between"


def all_lines(command):
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return ended.stdout.splitlines()


def version_in(lines):
    """The first text that looks like a version. The rest has names of hosts and people."""
    found = re.search(r"\d+\.\d+(\.\d+)*", "\n".join(lines))
    return found[0] if found else "unknown"


def release_here():
    """The number of this Debian, or None on another system."""
    lines = dict(line.partition("=")[::2] for line in all_lines(["cat", "/etc/os-release"]))
    return lines.get("VERSION_ID", "").strip('"') if lines.get("ID") == "debian" else None


def first_line(command):
    return next(iter(all_lines(command)), "unknown").strip()
