"""The words of `words.toml`, by name."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_READ: dict[str, Any] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))

FIRST_NAMES: tuple[str, ...] = tuple(_READ["first_names"])
LAST_NAMES: tuple[str, ...] = tuple(_READ["last_names"])
TITLES: tuple[str, ...] = tuple(_READ["titles"])
PERSON_QUESTIONS: tuple[str, ...] = tuple(_READ["person_questions"])
COUNTED: tuple[str, ...] = tuple(_READ["counted"])
COUNT_QUESTIONS: tuple[str, ...] = tuple(_READ["count_questions"])
YEAR_QUESTIONS: tuple[str, ...] = tuple(_READ["year_questions"])
UNKNOWN: tuple[str, ...] = tuple(_READ["unknown"])
WRAPPERS: tuple[str, ...] = tuple(_READ["wrappers"])
DENIALS: tuple[str, ...] = tuple(_READ["denials"])
YES: tuple[str, ...] = tuple(_READ["yes"])
NO: tuple[str, ...] = tuple(_READ["no"])
YES_NO_QUESTIONS: tuple[str, ...] = tuple(_READ["yes_no_questions"])
FILLERS: tuple[str, ...] = tuple(_READ["fillers"])
SYLLABLES: tuple[str, ...] = tuple(_READ["syllables"])
ONES: tuple[str, ...] = tuple(_READ["ones"])
TENS: tuple[str, ...] = tuple(_READ["tens"])
ALIASES: tuple[tuple[str, ...], ...] = tuple(map(tuple, _READ["aliases"]))
FAMILIES: dict[str, tuple[str, ...]] = {question: tuple(members) for question, members in _READ["families"].items()}
NARROWER: tuple[str, ...] = tuple(_READ["narrower"])
UNSEEN_TAILS: tuple[str, ...] = tuple(_READ["unseen_tails"])
UNSEEN: tuple[str, ...] = tuple(_READ["unseen"])
DEEDS_INSTEAD: tuple[str, ...] = tuple(_READ["deeds_instead"])
DEEDS_ALONE: frozenset[str] = frozenset(_READ["deeds_alone"])
EXCLUSIVE: tuple[tuple[str, ...], ...] = tuple(map(tuple, _READ["exclusive"]))
WIDER: dict[str, list[str]] = _READ["wider"]
SYNONYMS: dict[str, list[str]] = _READ["synonyms"]


@dataclass(frozen=True, slots=True)
class Unit:
    """`factor` of the smaller unit make one of this; a factor of 1 names the same unit again."""

    question: str
    spellings: tuple[str, ...]
    factor: float
    smaller: tuple[str, ...]


UNITS = tuple(Unit(u["question"], tuple(u["spellings"]), u["factor"], tuple(u["smaller"])) for u in _READ["units"])
