"""Rows of Node.js, Ruby and Perl."""

from place import SERVICES_GROUP
from services import TEXT_TYPE, Service


def node(recipe):
    return lambda place: place.start("node", place.recipe(recipe))


def puma(place):
    place.recipe("config.ru")
    return place.start("puma", "-C", place.recipe("puma.rb"))


def unicorn(*options):
    def start(place):
        place.recipe("config.ru")
        return place.start("unicorn", *options, "-c", place.recipe("unicorn.rb"))

    return start


def unicorn_production(place):
    place.recipe("config.ru")
    return place.start("unicorn", "-E", "production", "-l", place.socket("unicorn-production"))


def starman(place):
    return place.start("starman", "--listen", place.socket("starman"), "--workers", "2", place.recipe("app.psgi"), group=SERVICES_GROUP)


def twiggy(place):
    return place.start("twiggy", "--listen", place.socket("twiggy"), place.recipe("app.psgi"))


def thin(place):
    place.recipe("config.ru")
    return place.start("thin", "--socket", place.socket("thin"), "--environment", "production", "start")


SERVICES = [
    Service("prom-client", "Node.js `http` with prom-client", "`listen(PATH)` after `process.umask(0o007)`", node("node_prom_client.js"),
            live=True),
    Service("express", "Express with prom-client", "`app.listen(PATH)` after `process.umask(0o007)`", node("node_express.js")),
    Service("express-plain", "Express that sends a string", "`app.listen(PATH)`", node("node_express_plain.js"),
            {"content_type": TEXT_TYPE}, refused="content_type"),
    Service("fastify", "Fastify with prom-client", "`listen({ path })` after `process.umask(0o007)`", node("node_fastify.js")),
    Service("puma", "puma", "`bind \"unix://…?umask=0007\"`", puma, fast=True),
    Service("unicorn", "unicorn", "`listen …, umask: 0o007`", unicorn()),
    Service("unicorn-production", "unicorn `-E production`", "`-l`", unicorn_production),
    Service("thin", "thin", "`--socket`", thin),
    Service("webrick", "WEBrick", "`UNIXServer` in `listeners`", lambda place: place.start("ruby", place.recipe("webrick.rb"))),
    Service("http-daemon", "Perl's HTTP::Daemon", "`IO::Socket::UNIX`", lambda place: place.start("perl", place.recipe("http_daemon.pl"))),
    Service("starman", "starman", "`--listen PATH`; the unit has `Group=aegis-services`", starman, fast=True),
    Service("twiggy", "twiggy", "`--listen PATH`", twiggy),
]  # fmt: skip
