"""Rows of nginx and HAProxy as forwarders: with HTTP/1.1, and with HTTP/1.0 as they come."""

import csv
import io

from aegis_host import wait_until
from compare import curl
from fake_service import METRICS
from scrapers import NAME, Scraper, forward_config, forwarded, jobs


def nginx(lines):
    """Runs nginx in front of aegis. Returns the answer."""

    def run(place):
        with jobs(place) as aegis:
            config = forward_config(place, "forward_nginx.conf", aegis.port, lines=lines)
            place.start("nginx", "-g", "daemon off;", "-c", config, root=True)
            return forwarded(place, place.runtime / "forward.sock")

    return run


def nginx_1_1(place):
    answer = nginx({})(place)
    return None if (answer.status, answer.body) == (200, METRICS) else f"{answer}"


def nginx_1_0(place):
    answer = nginx({"            proxy_http_version 1.1;\n": ""})(place)
    return None if answer.status == 400 and b"HTTP/1.1" in answer.body else f"not refused with a sentence about HTTP/1.1: {answer}"


def haproxy(place, lines):
    """Runs HAProxy in front of aegis. Returns the answer, and the state of its health check."""
    pki = place.common.pki
    both = place.folder / "both.pem"
    both.write_text((pki / "prometheus.pem").read_text() + (pki / "prometheus.key").read_text())
    with jobs(place) as aegis:
        config = forward_config(place, "forward_haproxy.cfg", aegis.port, lines={**lines, f"{pki}/both.pem": str(both)})
        place.start("haproxy", "-f", config, root=True)
        place.wait_for(place.runtime / "state.sock")
        state = wait_until("HAProxy has checked aegis", lambda: checked(place.runtime / "state.sock"))
        return forwarded(place, place.runtime / "forward.sock"), state


def checked(socket):
    """The server's row of HAProxy's statistics, once it was checked."""
    answer = curl("http://localhost/;csv", "--unix-socket", socket)
    rows = list(csv.DictReader(io.StringIO(answer.body.decode())))
    row = next(row for row in rows if row["svname"] == "aegis")
    return row if row["check_status"] not in ("", "INI") and not row["check_status"].startswith("*") else None


def haproxy_1_1(place):
    answer, state = haproxy(place, {})
    if (answer.status, answer.body) != (200, METRICS):
        return f"{answer}"
    return None if state["status"] == "UP" and state["check_code"] == "200" else f"the check: {state}"


def haproxy_1_0(place):
    check = f"    http-check send meth GET uri /{NAME} ver HTTP/1.1 hdr Host localhost\n"
    _, state = haproxy(place, {check: "", "    option httpchk\n": f"    option httpchk GET /{NAME}\n"})
    return None if state["check_code"] == "400" else f"the check: {state}"


SCRAPERS = [
    Scraper("nginx-1.1", "nginx as a forwarder", "`proxy_http_version 1.1`", nginx_1_1),
    Scraper("nginx-1.0", "nginx as a forwarder", "HTTP/1.0, its default", nginx_1_0, "refused with 400: HTTP/1.1 is needed"),
    Scraper("haproxy-1.1", "HAProxy as a forwarder, with a health check", "`http-check send … ver HTTP/1.1`", haproxy_1_1),
    Scraper("haproxy-1.0", "HAProxy's health check", "`option httpchk` with HTTP/1.0, its default", haproxy_1_0,
            "refused with 400: HTTP/1.1 is needed"),
]  # fmt: skip
