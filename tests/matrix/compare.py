"""Compares what a service answers directly with what aegis relays.

A static service must answer byte for byte the same. A live one is asked directly before and after: a
line that all direct answers have must be in aegis's, one that none has must not, and a value that is the
same in all of them must be aegis's, except for those that the scrape itself changes. Encoded bodies are
unpacked first, because gzip writes the time.
"""

import dataclasses
import gzip
import re
import struct
import subprocess
import tempfile
import zlib
from pathlib import Path

TEXT = "text/plain;version=0.0.4;q=1,*/*;q=0.1"
OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
PROTOBUF = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,text/plain;version=0.0.4;q=0.5"
)

# The name of each request, its Accept and its Accept-Encoding.
REQUESTS = {
    "plain": (TEXT, None),
    "gzip": (TEXT, "gzip"),
    "OpenMetrics": (OPENMETRICS, "gzip"),
    "protobuf": (PROTOBUF, "gzip"),
}

# Sockets that are open and memory that is in use, also by the scrape in between.
CHANGED_BY_SCRAPES = re.compile(r"node_(netstat|sockstat)_|go_memstats_|go_goroutines|process_(resident|virtual)_memory|process_open_fds")

# A live service may answer otherwise in between. What is wrong is wrong each time.
TRIES = 5


@dataclasses.dataclass
class Answer:
    status: int
    phrase: str
    headers: dict
    body: bytes

    @property
    def reason(self):
        return self.headers.get("aegis-reason")

    def meta(self):
        """What must be the same, except for the body."""
        return self.status, self.headers.get("content-type", ""), self.headers.get("content-encoding", "")

    def unpacked(self):
        if self.headers.get("content-encoding", "") == "gzip":
            return gzip.decompress(self.body)
        if self.headers.get("content-encoding", "") == "deflate":
            return zlib.decompress(self.body)
        return self.body


def curl(url, *arguments):
    """One request by curl. An answer that is cut off is an error."""
    with tempfile.TemporaryDirectory(prefix="matrix-curl-") as folder:
        head, body = Path(folder) / "head", Path(folder) / "body"
        command = ["curl", "--silent", "--show-error", "--globoff", "--http1.1", "--max-time", "30", "--dump-header", head, "--output", body]
        ended = subprocess.run([*command, *arguments, url], stderr=subprocess.PIPE, text=True, check=False)
        if ended.returncode:
            raise OSError(f"curl {url}: {ended.stderr.strip()}")
        lines = head.read_text(errors="replace").splitlines()
        _, status, *phrase = lines[0].split(" ", 2)
        fields = [line.partition(":") for line in lines[1:] if ":" in line]
        headers = {name.strip().lower(): value.strip() for name, _, value in fields}
        # With --head, curl writes the head in place of a body.
        has_body = body.exists() and "--head" not in arguments
        return Answer(int(status), "".join(phrase), headers, body.read_bytes() if has_body else b"")


def accepting(accept, encoding):
    headers = ["--header", f"Accept: {accept}"]
    return headers + (["--header", f"Accept-Encoding: {encoding}"] if encoding else [])


@dataclasses.dataclass
class Direct:
    """The service itself, asked by `curl --unix-socket`."""

    socket: Path
    path: str
    host: str

    def ask(self, request, query=""):
        path = self.path + (("&" if "?" in self.path else "?") + query if query else "")
        return curl(f"http://localhost{path}", "--unix-socket", self.socket, "--header", self.host_header(), *accepting(*REQUESTS[request]))

    def host_header(self):
        # curl writes an empty header so.
        return f"Host: {self.host}" if self.host else "Host;"


@dataclasses.dataclass
class Relayed:
    """The same service through aegis."""

    port: int
    pki: Path
    name: str

    def ask(self, request, query="", head=False):
        pki = self.pki
        tls = ["--cacert", pki / "ca.pem", "--cert", pki / "prometheus.pem", "--key", pki / "prometheus.key"]
        url = f"https://localhost:{self.port}/{self.name}" + (f"?{query}" if query else "")
        return curl(url, *tls, *(["--head"] if head else []), *accepting(*REQUESTS[request]))


def differences(direct, relayed, row, content_type=None, query=True):
    """What differs, in words, and the reasons of refusals: one item for each request that is not the same."""
    found = []
    asked = [(request, "", False) for request in REQUESTS] + [("plain", "", True)]
    if query and row.query:
        asked.append(("plain", row.query, False))
    for request, parameters, head in asked:
        difference = compare(direct, relayed, row, content_type, (request, parameters, head))
        if difference:
            what = "HEAD" if head else f"query {parameters}" if parameters else request
            found.append((what, *difference))
    return found


def compare(direct, relayed, row, content_type, asked):
    """The difference in words and the reason, if it is a refusal; None if there is no difference."""
    request, parameters, head = asked
    difference, answers = None, []
    for _ in range(TRIES if row.live else 1):
        before = direct.ask(request, parameters)
        through = relayed.ask(request, parameters, head)
        answers += [before, direct.ask(request, parameters)] if row.live else [before]
        if before.status != 200 or not before.body:
            return f"the service itself answers with {before.status} and {len(before.body)} bytes", None
        if through.reason:
            return f"refused: {through.status} {through.phrase}", through.reason
        difference = differs(answers, through, content_type, head)
        if not difference:
            return None
    return difference, None


def differs(answers, through, content_type, head):
    """The difference between aegis's answer and the direct ones so far; the last ones are next to it."""
    status, kind, encoding = answers[-1].meta()
    wanted = (status, content_type or kind, encoding)
    if through.meta() != wanted:
        return f"{through.meta()} in place of {wanted}"
    if head or through.unpacked() == answers[-1].unpacked():
        return None
    if len(answers) == 1:
        return f"other bytes: {len(through.unpacked())} in place of {len(answers[0].unpacked())}"
    return lines_differ([series(answer) for answer in answers], series(through))


def lines_differ(direct, through):
    """The first differences between answers of a live service."""
    always = set.intersection(*map(set, direct))
    constant = {key for key in always if all(answer[key] == direct[0][key] for answer in direct) and not is_changed_by_scrapes(key)}
    missing = [key for key in always if key not in through]
    invented = [key for key in through if not any(key in answer for answer in direct)]
    changed = [key for key in constant if key in through and through[key] != direct[0][key]]
    words = [f"{what}: {keys[:3]}" for what, keys in (("missing", missing), ("invented", invented), ("another value", changed)) if keys]
    return "; ".join(words) or None


def is_changed_by_scrapes(key):
    name = key if isinstance(key, str) else key[0].decode() if isinstance(key[0], bytes) else ""
    return bool(CHANGED_BY_SCRAPES.match(name))


SAMPLE = re.compile(r'([^\s{#]+(?:\{(?:[^"}]|"(?:[^"\\]|\\.)*")*\})?)\s+(.*)')


def series(answer):
    """The lines of an exposition: series to value. Comments are lines without a value."""
    if "protobuf" in answer.headers.get("content-type", ""):
        return dict(protobuf_series(answer.unpacked()))
    lines = {}
    for line in answer.unpacked().decode().splitlines():
        sample = SAMPLE.fullmatch(line)
        key, value = sample.groups() if sample else (line, "")
        lines[key] = value
    return lines


def protobuf_series(data):
    """The same of delimited protobuf (io.prometheus.client.MetricFamily)."""
    for family in delimited(data):
        name = help_text = kind = b""
        metrics = []
        for number, value in fields(family):
            if number == 1:
                name = value
            elif number == 2:
                help_text = value
            elif number == 3:
                kind = value
            elif number == 4:
                metrics.append(value)
        yield ("family", name, help_text, kind), ""
        for metric in metrics:
            parts = list(fields(metric))
            yield (name, tuple(value for number, value in parts if number == 1)), tuple(part for part in parts if part[0] != 1)


def delimited(data):
    at = 0
    while at < len(data):
        size, at = varint(data, at)
        yield data[at : at + size]
        at += size


def fields(message):
    at = 0
    while at < len(message):
        tag, at = varint(message, at)
        if tag & 7 == 0:
            value, at = varint(message, at)
        elif tag & 7 == 1:
            (value,), at = struct.unpack_from("<d", message, at), at + 8
        else:
            size, at = varint(message, at)
            value, at = message[at : at + size], at + size
        yield tag >> 3, value


def varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if not data[at - 1] & 0x80:
            return value, at
