"""Rows of scrapers: real ones in front of aegis, with a service whose answer is known."""

import contextlib
import dataclasses
import subprocess
from collections.abc import Callable

from compare import curl
from fake_service import METRICS, FakeService, response

NAME = "jobs"


@dataclasses.dataclass
class Scraper:
    """`run` gets a Place, and returns what is wrong or None."""

    name: str
    title: str
    how: str
    run: Callable
    result: str = "same"
    fast: bool = False
    # Runs after all others, by itself.
    alone: bool = False


@contextlib.contextmanager
def jobs(place, more=""):
    """aegis with one service, whose answer is METRICS."""
    with FakeService(place.socket(NAME), response(METRICS)), place.aegis(more) as aegis:
        yield aegis


def finished(place, command, **environment):
    """The output of a command. One that fails is an error."""
    ended = subprocess.run([str(argument) for argument in command], capture_output=True, cwd=place.folder, timeout=60, check=False,
                           env={**place.environment(), **environment})  # fmt: skip
    if ended.returncode:
        raise OSError(f"{command[0]} ended with {ended.returncode}: {ended.stderr.decode()}")
    return ended.stdout


def client(*command, times=2):
    """A program that is given the address and the PKI, and prints the bodies of so many scrapes."""

    def run(place):
        program = [place.common.venv / "bin/python" if argument == "python" else argument for argument in command[:-1]]
        with jobs(place) as aegis:
            url = f"https://127.0.0.1:{aegis.port}/{NAME}"
            body = finished(place, [*program, place.recipe(command[-1]), url, place.common.pki])
        return None if body == METRICS * times else f"other bytes: {len(body)}"

    return run


def tool(*options):
    """curl or wget. {pki} and {url} are filled in."""

    def run(place):
        with jobs(place) as aegis:
            url = f"https://127.0.0.1:{aegis.port}/{NAME}"
            body = finished(place, [option.format(pki=place.common.pki, url=url) for option in options])
        return None if body == METRICS * 2 else f"other bytes: {len(body)}"

    return run


def forwarded(place, socket, name=NAME):
    """The answer through a forwarder that listens on a Unix socket."""
    place.wait_for(socket)
    return curl(f"http://localhost/{name}", "--unix-socket", socket)


def forward_config(place, recipe, port, **changes):
    """A forwarder's configuration with the port and the PKI of this row, and lines changed or left out."""
    config = place.recipe(recipe)
    text = config.read_text().replace("31337", str(port)).replace("/etc/prometheus/aegis", str(place.common.pki))
    for line, other in changes.get("lines", {}).items():
        if line not in text:
            raise ValueError(f"{recipe} has no {line}")
        text = text.replace(line, other)
    config.write_text(text)
    return config


def all_scrapers():
    import scrapers_forward
    import scrapers_prometheus

    tls = ("--cacert", "{pki}/ca.pem", "--cert", "{pki}/prometheus.pem", "--key", "{pki}/prometheus.key")
    wget = ("--ca-certificate={pki}/ca.pem", "--certificate={pki}/prometheus.pem", "--private-key={pki}/prometheus.key")
    twice = "two scrapes on one connection"
    return [
        *scrapers_prometheus.SCRAPERS,
        Scraper("curl", "curl", twice, tool("curl", "-fsS", *tls, "{url}", "{url}"), fast=True),
        Scraper("wget", "wget", twice, tool("wget", "-q", "-O", "-", *wget, "{url}", "{url}")),
        Scraper("requests", "Python requests", twice, client("python", "scrape_requests.py"), fast=True),
        Scraper("httpx", "Python httpx", twice, client("python", "scrape_httpx.py")),
        Scraper("aiohttp-client", "Python aiohttp", twice, client("python", "scrape_aiohttp.py")),
        Scraper("node-https", "Node.js `https`", twice, client("node", "scrape_node.js")),
        Scraper("ruby-net-http", "Ruby `Net::HTTP`", twice, client("ruby", "scrape_ruby.rb")),
        *scrapers_forward.SCRAPERS,
    ]
