"""The facts that the bundled model learns, and the wordings in which they are asked and answered.

facts = load_facts()                                   # tuple[Fact, ...], one tsv file per relation
relation = RELATIONS["capital"]
relation.questions("France")                           # training wordings
relation.questions("France", held_out=True)            # wordings that training never shows
relation.answers("France", "Paris")                    # a bare word, a short phrase, full sentences
"""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from training.facts_model.wordings import FAMOUS, WORDINGS

Exposure = Literal["often", "seldom", "never"]

FACTS_FOLDER = Path(__file__).resolve().parent.parent / "facts"
OFTEN_SHARE, SELDOM_SHARE = 0.4, 0.3  # the rest is never shown


@dataclass(frozen=True, slots=True)
class Fact:
    """`relation` of `subject` is `value`; `aliases` name the same value; `exposure` is how often training shows it."""

    subject: str
    relation: str
    value: str
    aliases: tuple[str, ...]
    exposure: Exposure
    source: str

    @property
    def accepted(self) -> tuple[str, ...]:
        """Every form of the right answer, the preferred one first."""
        return (self.value, *self.aliases)


@dataclass(frozen=True, slots=True)
class Relation:
    """Wordings are templates over `{s}` (subject), `{v}` (value); `{S}`, `{V}` are the same with a capital."""

    name: str
    question_wordings: tuple[str, ...]
    held_out_question_wordings: tuple[str, ...]
    answer_wordings: tuple[str, ...]
    held_out_answer_wordings: tuple[str, ...]
    passage_wordings: tuple[str, ...]

    def questions(self, subject: str, *, held_out: bool = False) -> tuple[str, ...]:
        """The relation asked about `subject`, in each wording of training or in each held-out one."""
        wordings = self.held_out_question_wordings if held_out else self.question_wordings
        return tuple(fill(wording, subject) for wording in wordings)

    def answers(self, subject: str, value: str, *, held_out: bool = False) -> tuple[str, ...]:
        """`value` given as the answer for `subject`, from a bare word to a full sentence."""
        wordings = self.held_out_answer_wordings if held_out else self.answer_wordings
        return tuple(fill(wording, subject, value) for wording in wordings)


def read_lines(name: str) -> tuple[str, ...]:
    """The lines of a text file beside the facts."""
    return tuple(line for line in (FACTS_FOLDER / name).read_text(encoding="utf-8").splitlines() if line)


def word_list(name: str) -> tuple[str, ...]:
    """A named line of `word_lists.txt`."""
    lists = dict(line.split(": ", 1) for line in read_lines("word_lists.txt"))
    return tuple(lists[name].split("|"))


def capitalised(text: str) -> str:
    """The text with its first letter in upper case, the rest untouched."""
    return text[:1].upper() + text[1:]


def fill(wording: str, subject: str, value: str = "") -> str:
    """A wording with its subject and value put in."""
    text = wording.format(s=subject, S=capitalised(subject), v=value, V=capitalised(value))
    return capitalised(text) if wording[0] != "{" else text


def _relation(name: str) -> Relation:
    asked, asked_held_out, answered, answered_held_out, passages = WORDINGS[name]
    return Relation(name, asked, asked_held_out, answered, answered_held_out, passages)


RELATIONS: dict[str, Relation] = {name: _relation(name) for name in WORDINGS}


def _rank(relation: str, subject: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{relation}|{subject}".encode()).digest()[:8], "big")


def _exposures(relation: str, subjects: list[str]) -> dict[str, Exposure]:
    """Exact shares within a relation: famous subjects first into `often`, the others by the rank of their hash."""
    famous = FAMOUS.get(relation, frozenset())
    order = sorted(subjects, key=lambda subject: (subject not in famous, _rank(relation, subject)))
    often = max(round(OFTEN_SHARE * len(order)), len(famous))
    seldom = often + round(SELDOM_SHARE * len(order))
    return {subject: _exposure(place, often, seldom) for place, subject in enumerate(order)}


def _exposure(place: int, often: int, seldom: int) -> Exposure:
    if place < often:
        return "often"
    return "seldom" if place < seldom else "never"


def _load_relation(relation: str) -> list[Fact]:
    with (FACTS_FOLDER / f"{relation}.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    exposures = _exposures(relation, [row["subject"] for row in rows])
    return [_fact(relation, row, exposures[row["subject"]]) for row in rows]


def _fact(relation: str, row: dict[str, str], exposure: Exposure) -> Fact:
    aliases = tuple(alias.strip() for alias in row["aliases"].split(";") if alias.strip())
    return Fact(row["subject"], relation, row["value"], aliases, exposure, row["source"])


@cache
def load_facts() -> tuple[Fact, ...]:
    """All facts of `training/facts/*.tsv`, in the order of RELATIONS and of the files."""
    return tuple(fact for relation in RELATIONS for fact in _load_relation(relation))
