"""How Demur looks and speaks wherever people see it: the playground's files, read for the terminal and for reports."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demur.types import Action, Reason

_FOLDER = Path(__file__).parent / "playground"
_WORDS: dict[str, Any] = json.loads((_FOLDER / "words.json").read_text(encoding="utf-8"))

TOKENS_CSS = (_FOLDER / "tokens.css").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Face:
    """A verdict as people meet it. `colour` is `#rrggbb`, to be seen on light and on dark."""

    icon: str
    word: str
    advice: str
    colour: str


def _colour(name: str) -> str:
    found = re.search(rf"--{name}: (#[0-9a-f]{{6}});", TOKENS_CSS)
    if found is None:
        raise LookupError(f"tokens.css gives no colour to {name!r}")
    return found[1]


FACES = {action: Face(**_WORDS["verdicts"][action.value], colour=_colour(action.value)) for action in Action}
WHY: dict[Reason, str] = {reason: _WORDS["reasons"][reason.value] for reason in Reason}
