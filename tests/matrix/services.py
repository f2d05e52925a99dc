"""What a row of services is, and all of them in the order of the table."""

import dataclasses
from collections.abc import Callable

from place import SERVICE_ID

TEXT_TYPE = "text/plain; version=0.0.4"


@dataclasses.dataclass
class Service:
    """One stack. `start` starts it in a Place, so that it listens on `place.socket(name)`.

    `settings` are the lines of [services.NAME] that it needs or that are worth having. `refused` is the
    reason that aegis gives without them; without `refused`, the answers are the same before and after.
    """

    name: str
    title: str
    how: str
    start: Callable
    settings: dict = dataclasses.field(default_factory=dict)
    refused: str | None = None
    # A query of the service. Its parameters are listed in `params`.
    query: str | None = None
    # Values change from one answer to the next.
    live: bool = False
    # A part of the subset that every CI run tries.
    fast: bool = False

    @property
    def path(self):
        return self.settings.get("path", "/metrics")

    @property
    def host(self):
        return self.settings.get("host", "localhost")

    def toml(self):
        """Its table in aegis.toml."""
        settings = dict(self.settings)
        if self.query:
            settings["params"] = sorted({part.split("=")[0] for part in self.query.split("&")})
        if settings.get("owner") == "app":  # The user of services has no name here.
            settings["owner"] = str(SERVICE_ID)
        lines = [f"{key} = {toml(value)}" for key, value in settings.items()]
        return "\n".join([f"[services.{self.name}]", *lines, ""]) if lines else ""

    def shown_settings(self):
        return ", ".join(f"`{key} = {toml(value)}`" for key, value in self.settings.items()) or "nothing"

    def result(self):
        if self.refused:
            return f"same; without the setting: `{self.refused}`"
        return "same"


def toml(value):
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return f'"{value}"'


def all_services():
    import stacks_other
    import stacks_python
    import stacks_systemd
    import stacks_web

    found = [*stacks_python.SERVICES, *stacks_other.SERVICES, *stacks_web.SERVICES, *stacks_systemd.SERVICES]
    names = [service.name for service in found]
    if len(set(names)) != len(names):
        raise SystemExit("two rows have the same name")
    return found
