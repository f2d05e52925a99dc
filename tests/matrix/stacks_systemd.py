"""Rows of exporters and scripts whose socket comes from systemd, or from socat and ncat."""

from real_scrapers import tcp_port
from services import Service

PROXY = "/lib/systemd/systemd-socket-proxyd"


def toolkit(row, program, *arguments):
    """An exporter of Prometheus's toolkit takes the socket of a .socket unit."""
    return lambda place: place.socket_unit(row, program, "--web.systemd-socket", *arguments)


def mysqld(place):
    """Without a database: its metrics say so."""
    options = place.folder / "my.cnf"
    options.write_text("[client]\nuser = exporter\npassword = none\n")
    return toolkit("mysqld", "prometheus-mysqld-exporter", f"--config.my-cnf={options}")(place)


def proxied(row, *command):
    """An exporter on TCP behind systemd-socket-proxyd."""

    def start(place):
        port = tcp_port(place.start(*command))
        return place.socket_unit(row, PROXY, f"127.0.0.1:{port}")

    return start


def accept(row, recipe):
    """A script for each connection, as of a .socket unit with Accept=yes."""
    return lambda place: place.socket_unit(row, place.recipe(recipe), options=["--accept", "--inetd"])


def socat(row, recipe):
    def start(place):
        script = place.recipe(recipe)
        return place.start("socat", f"UNIX-LISTEN:{place.socket(row)},fork,umask=007", f"EXEC:{script}")

    return start


def ncat(place):
    script = place.recipe("exporter.sh")
    return place.start("ncat", "--listen", "--keep-open", "--unixsock", place.socket("shell-ncat"), "--exec", script)


UNIT = "a `.socket` unit and `--web.systemd-socket`"
PROXYD = "a `.socket` unit and `systemd-socket-proxyd`"

SERVICES = [
    Service("node", "node exporter", UNIT, toolkit("node", "prometheus-node-exporter"), {"owner": "root"}, query="collect[]=cpu&collect[]=uname",
            live=True, fast=True),
    Service("bind", "bind exporter", UNIT, toolkit("bind", "prometheus-bind-exporter"), {"owner": "root"}, live=True),
    Service("snmp", "snmp exporter", UNIT, toolkit("snmp", "prometheus-snmp-exporter", "--config.file=/etc/prometheus/snmp.yml"),
            {"owner": "root"}, live=True),
    Service("mysqld", "mysqld exporter", UNIT, mysqld, {"owner": "root"}, live=True),
    Service("haproxy-exporter", "haproxy exporter", UNIT, toolkit("haproxy-exporter", "prometheus-haproxy-exporter"), {"owner": "root"}, live=True),
    Service("apache", "apache exporter", PROXYD, proxied("apache", "prometheus-apache-exporter", "--telemetry.address=127.0.0.1:0"),
            {"owner": "root"}, live=True),
    Service("pushgateway", "pushgateway", UNIT, toolkit("pushgateway", "prometheus-pushgateway"), {"owner": "root"}, live=True),
    Service("redis", "redis exporter", PROXYD, proxied("redis", "prometheus-redis-exporter", "-web.listen-address", "127.0.0.1:0"),
            {"owner": "root"}, live=True, fast=True),
    Service("blackbox", "blackbox exporter", PROXYD,
            proxied("blackbox", "prometheus-blackbox-exporter", "--config.file=/etc/prometheus/blackbox.yml", "--web.listen-address=127.0.0.1:0"),
            {"owner": "root"}, live=True),
    Service("shell-accept", "a shell script by `Accept=yes`", "systemd", accept("shell-accept", "exporter.sh"), {"owner": "root"}, fast=True),
    Service("shell-close", "the same without a length", "systemd", accept("shell-close", "exporter_close.sh"), {"owner": "root"}, fast=True),
    Service("shell-socat", "a shell script by socat", "`UNIX-LISTEN:…,fork,umask=007`", socat("shell-socat", "exporter.sh"), fast=True),
    Service("shell-socat-close", "the same without a length", "`UNIX-LISTEN:…,fork,umask=007`", socat("shell-socat-close", "exporter_close.sh")),
    Service("shell-ncat", "a shell script by ncat", "`--keep-open --unixsock … --exec`", ncat),
]  # fmt: skip
