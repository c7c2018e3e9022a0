"""A small set of real documents: a sentence on the capital of each US state, from the facts in training/facts."""

from __future__ import annotations

import csv
from pathlib import Path

_FACTS = Path(__file__).parents[2] / "training" / "facts" / "state_capital.tsv"

# What the bundled model is sure of; what it does not know but reads right; what is in no document.
KNOWN = ("What is the capital of Florida?", "Tallahassee")
UNKNOWN = ("What is the capital of Wyoming?", "Cheyenne")
NOWHERE = "What is the capital of Wendor?"


def documents() -> dict[str, str]:
    """By state."""
    with _FACTS.open(encoding="utf-8") as rows:
        found = csv.DictReader(rows, delimiter="\t")
        return {row["subject"]: f"The capital of {row['subject']} is {row['value']}." for row in found}


def matching(question: str) -> dict[str, str]:
    """The documents on a state that the question names; no other."""
    return {state: text for state, text in documents().items() if f" {state}?" in question}
