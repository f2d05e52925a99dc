"""Rows of Python's servers, with prometheus_client from PyPI."""

from place import SERVICES_GROUP
from services import TEXT_TYPE, Service

QUERY = "name[]=python_info"


def script(recipe):
    return lambda place: place.start(place.common.venv / "bin/python", place.recipe(recipe))


def program(name, *arguments, recipes=(), **how):
    """A program of the venv, where recipes are in the current folder."""

    def start(place):
        for recipe in recipes:
            place.recipe(recipe)
        filled = [str(argument).replace("/run/aegis/services", str(place.services)) for argument in arguments]
        return place.start(place.common.venv / "bin" / name, *filled, **how)

    return start


def uwsgi(place):
    place.recipe("wsgi.py")
    packages = next(place.common.venv.glob("lib/python3*/site-packages"))
    return place.start("uwsgi", "--ini", place.recipe("uwsgi.ini"), PYTHONPATH=packages)


def uwsgi_chown(place):
    """As root, which then gives up its rights: root listens, and the file is the user's."""
    place.recipe("wsgi.py")
    packages = next(place.common.venv.glob("lib/python3*/site-packages"))
    options = ["--uid", "www-data", "--gid", SERVICES_GROUP, "--chown-socket", f"www-data:{SERVICES_GROUP}", "--chmod-socket=660"]
    return place.start("uwsgi", "--plugins", "python3", "--http-socket", place.socket("uwsgi-chown"), *options, "--module", "wsgi:app",
                       root=True, PYTHONPATH=packages)  # fmt: skip


def gunicorn_by_unit(place):
    place.recipe("wsgi.py")
    return place.socket_unit("gunicorn-unit", place.common.venv / "bin/gunicorn", "wsgi:app")


def uvicorn_by_unit(place):
    place.recipe("asgi.py")
    return place.socket_unit("uvicorn-unit", place.common.venv / "bin/uvicorn", "--fd", "3", "asgi:app")


SERVICES = [
    Service("http-server", "Python `http.server` handler (HTTP/1.0)", "`socketserver` binds it", script("http_server.py"), fast=True),
    Service("prometheus-handler", "`prometheus_client.MetricsHandler`", "`socketserver` binds it", script("prometheus_handler.py"),
            query=QUERY, live=True, fast=True),
    Service("prometheus-wsgi", "`prometheus_client.make_wsgi_app` under wsgiref", "`socketserver` binds it",
            script("prometheus_wsgi.py"), query=QUERY, live=True, fast=True),
    Service("gunicorn", "gunicorn", '`bind = "unix:…"`, `umask = 0o007`; the unit has `Group=aegis-services`',
            program("gunicorn", "-c", "gunicorn.conf.py", "wsgi:app", recipes=["wsgi.py", "gunicorn.conf.py"], group=SERVICES_GROUP),
            query=QUERY, live=True, fast=True),
    Service("gunicorn-unit", "gunicorn by a `.socket` unit", "systemd", gunicorn_by_unit, {"owner": "root"}, query=QUERY, live=True),
    Service("waitress", "waitress", "`--unix-socket=… --unix-socket-perms=660`",
            program("waitress-serve", "--unix-socket=/run/aegis/services/waitress.sock", "--unix-socket-perms=660", "wsgi:app", recipes=["wsgi.py"]),
            query=QUERY, live=True),
    Service("uwsgi", "uWSGI", "`http-socket`, `chmod-socket = 660`", uwsgi, query=QUERY, live=True, fast=True),
    Service("uwsgi-chown", "uWSGI as root with `--chown-socket`", "`--chown-socket www-data:aegis-services`", uwsgi_chown,
            {"owner": "www-data"}, query=QUERY, live=True),
    Service("uvicorn", "uvicorn", "`--uds`; the directory is the boundary, as uvicorn makes it mode 0666",
            program("uvicorn", "--uds", "/run/aegis/services/uvicorn.sock", "asgi:app", recipes=["asgi.py"]), query=QUERY, live=True),
    Service("uvicorn-unit", "uvicorn by a `.socket` unit", "systemd, `--fd 3`", uvicorn_by_unit, {"owner": "app"}, query=QUERY, live=True),
    Service("hypercorn", "hypercorn", '`bind = "unix:…"`, `umask = 0o007`',
            program("hypercorn", "-c", "hypercorn.toml", "asgi:app", recipes=["asgi.py", "hypercorn.toml"]), query=QUERY, live=True),
    Service("aiohttp", "aiohttp", "`run_app(app, path=…)`", script("aiohttp_app.py"), live=True),
    Service("tornado", "tornado, with its default type", "`bind_unix_socket(…, mode=0o660)`", script("tornado_app.py"),
            {"content_type": TEXT_TYPE}, refused="content_type", live=True),
    Service("twisted", "twisted", "`UNIXServerEndpoint(…, mode=0o660)`", script("twisted_app.py"), live=True),
    Service("twisted-plain", "twisted, with its default type", "`UNIXServerEndpoint(…, mode=0o660)`", script("twisted_plain.py"),
            {"content_type": TEXT_TYPE}, refused="content_type"),
    Service("flask", "Flask under gunicorn", '`bind = "unix:…"`',
            program("gunicorn", "--bind", "unix:/run/aegis/services/flask.sock", "--umask", "007", "flask_app:app", recipes=["flask_app.py"],
                    group=SERVICES_GROUP), live=True, fast=True),
    Service("flask-plain", "Flask that returns a string", '`bind = "unix:…"`',
            program("gunicorn", "--bind", "unix:/run/aegis/services/flask-plain.sock", "--umask", "007", "flask_plain:app",
                    recipes=["flask_plain.py"], group=SERVICES_GROUP),
            {"content_type": TEXT_TYPE}, refused="content_type", fast=True),
    Service("django", "Django under gunicorn, with `ALLOWED_HOSTS`", '`bind = "unix:…"`',
            program("gunicorn", "--bind", "unix:/run/aegis/services/django.sock", "--umask", "007", "django_app:app", recipes=["django_app.py"],
                    group=SERVICES_GROUP),
            {"host": "www.example.org"}, refused="status", live=True, fast=True),
    Service("fastapi", "FastAPI under uvicorn", "`--uds`",
            program("uvicorn", "--uds", "/run/aegis/services/fastapi.sock", "fastapi_app:app", recipes=["fastapi_app.py"]), live=True, fast=True),
    Service("fastapi-mount", "FastAPI with `app.mount(\"/metrics\", …)`, which redirects", "`--uds`",
            program("uvicorn", "--uds", "/run/aegis/services/fastapi-mount.sock", "fastapi_mount:app", recipes=["fastapi_mount.py"]),
            {"path": "/metrics/"}, refused="status", query=QUERY, live=True),
]  # fmt: skip
