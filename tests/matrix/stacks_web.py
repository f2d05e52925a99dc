"""Rows of web servers and proxies: their own metrics, files, and what runs behind them."""

from place import SERVICES_GROUP
from services import TEXT_TYPE, Service

METRICS = "# HELP backup_age_seconds Age of the last backup.\n# TYPE backup_age_seconds gauge\nbackup_age_seconds 42\n"


def files(place):
    folder = place.folder / "files"
    folder.mkdir()
    (folder / "metrics.prom").write_text(METRICS)
    (folder / "metrics").write_text(METRICS)


def nginx(recipe):
    def start(place):
        files(place)
        return place.start("nginx", "-g", "daemon off;", "-c", place.recipe(recipe), root=True)

    return start


def php(place):
    place.recipe("metrics.php")
    fpm = place.start("php-fpm8.2", "--nodaemonize", "--fpm-config", place.recipe("php-fpm.conf"), root=True)
    place.wait_for(place.runtime / "php-fpm.sock")
    place.start("nginx", "-g", "daemon off;", "-c", place.recipe("php_nginx.conf"), root=True)
    return fpm


def lighttpd(place):
    files(place)
    return place.start("lighttpd", "-D", "-f", place.recipe("lighttpd.conf"))


def lighttpd_cgi(place):
    files(place)
    place.recipe("cgi.sh").rename(place.folder / "metrics.sh")
    return place.start("lighttpd", "-D", "-f", place.recipe("lighttpd_cgi.conf"))


def haproxy(place):
    config = place.recipe("haproxy.cfg")
    config.write_text(config.read_text().replace("group aegis-services", f"gid {SERVICES_GROUP}"))
    return place.start("haproxy", "-f", config)


def haproxy_user(place):
    """As root, for the user of a web server."""
    config = place.recipe("haproxy.cfg")
    text = config.read_text().replace("group aegis-services", f"user www-data gid {SERVICES_GROUP}")
    config.write_text(text.replace("haproxy.sock", "haproxy-user.sock").replace("global\n", "global\n    user haproxy\n"))
    return place.start("haproxy", "-f", config, root=True)


def caddy(place):
    return place.start("caddy", "run", "--adapter", "caddyfile", "--config", place.recipe("Caddyfile"))


def netdata(place):
    return place.start("netdata", "-D", "-c", place.recipe("netdata.conf"), "-P", place.runtime / "netdata.pid")


SERVICES = [
    Service("php-script", "PHP under php-fpm and nginx", "nginx: `listen unix:…`", php),
    Service("php-status", "php-fpm's own status", "nginx: `listen unix:…`", php, {"path": "/status?openmetrics"},
            refused="status", live=True, fast=True),
    Service("nginx-static", "nginx with a file, typed and with gzip", "`listen unix:…`", nginx("nginx_static.conf"), fast=True),
    Service("nginx-untyped", "nginx with a file of no type", "`listen unix:…`", nginx("nginx_untyped.conf"),
            {"content_type": TEXT_TYPE}, refused="content_type", fast=True),
    Service("lighttpd", "lighttpd with a file", "`server.bind`, `server.socket-perms`", lighttpd, {"path": "/metrics.prom"},
            refused="content_type"),
    Service("lighttpd-cgi", "lighttpd with a CGI script", "`server.bind`, `server.socket-perms`", lighttpd_cgi),
    Service("haproxy", "HAProxy's exporter", "`bind unix@… mode 660 group aegis-services`", haproxy, query="scope=global&no-maint",
            live=True, fast=True),
    Service("haproxy-user", "HAProxy that gives its socket to another user", "`bind unix@… mode 660 user www-data group aegis-services`",
            haproxy_user, {"owner": "www-data"}, live=True),
    Service("caddy", "Caddy's admin endpoint", "`admin unix/…`", caddy, {"host": ""}, refused="status", live=True),
    Service("caddy-site", "a named site of Caddy with `metrics`", "`bind unix/…`", caddy, {"host": "metrics.example.org"},
            refused="malformed", live=True),
    Service("netdata", "netdata", "`bind to = unix:…`", netdata, {"path": "/api/v1/allmetrics?format=prometheus"}, refused="status", live=True),
]  # fmt: skip
