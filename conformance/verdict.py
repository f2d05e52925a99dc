"""What a check is, and what can be said of an endpoint by it."""

from dataclasses import dataclass
from typing import Callable

# As expected; refused, but later or less clearly than it could be; not refused.
YES, WEAKER, NO = "yes", "weaker", "**no**"


class Untried(Exception):
    """This run had not what the check needs."""


@dataclass
class Check:
    group: str
    what: str
    expected: str
    # Gives a verdict and what was observed.
    run: Callable
    # Whether it mostly waits for a deadline, and so runs beside the others.
    waits: bool = False
    # Whether it asks that something works; all others ask that something is refused.
    good: bool = False


def said(text):
    """Bytes or text as a cell of a table shows them."""
    if isinstance(text, bytes):
        text = text.decode("latin-1")
    shown = "".join(char if " " <= char <= "~" and char != "`" else f"\\x{ord(char):02x}" for char in text)
    return f"`{shown if len(shown) <= 60 else shown[:40] + '…' + shown[-8:]}`"
