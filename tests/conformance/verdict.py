"""A check, and its verdicts."""

from dataclasses import dataclass
from typing import Callable

# As expected; refused, but later or less clearly than possible; not refused.
YES, WEAKER, NO = "yes", "weaker", "**no**"


class Untried(Exception):
    """The check needs an option that was not given."""


@dataclass
class Check:
    group: str
    what: str
    expected: str
    # Returns a verdict and the observation.
    run: Callable
    # Whether it mostly waits for a deadline, and so runs in the background.
    waits: bool = False
    # Whether the request must succeed. In all other checks it must be refused.
    good: bool = False


def shown_bytes(text):
    """Bytes or text for the cell of a table."""
    if isinstance(text, bytes):
        text = text.decode("latin-1")
    shown = "".join(char if " " <= char <= "~" and char != "`" else f"\\x{ord(char):02x}" for char in text)
    return f"`{shown if len(shown) <= 60 else shown[:40] + '…' + shown[-8:]}`"
