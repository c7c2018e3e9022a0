"""Server-sent events, as a client reads them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

Event = tuple[str, dict[str, Any]]


def read_events(lines: Iterable[str]) -> Iterator[Event]:
    """(name, data) of each event; a ping is (":", {})."""
    name = ""
    for line in lines:
        if line.startswith(":"):
            yield ":", {}
        elif line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))
        else:
            assert line == "", f"no line of an event: {line!r}"
