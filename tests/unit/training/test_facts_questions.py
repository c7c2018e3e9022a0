"""The questions that the bundled model's profile is fitted on."""

from __future__ import annotations

import json
from pathlib import Path

from demur.evaluation.dataset import read_dataset
from demur.evaluation.graders import matches_exactly
from training.facts_model.questions import references, rows
from training.facts_model.relations import RELATIONS, load_facts


def test_every_row_is_one_that_demur_reads(tmp_path: Path) -> None:
    """Over a thousand, each with passages; the same at every call."""
    written = rows()
    path = tmp_path / "facts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in written))
    dataset = read_dataset(path)
    assert len(dataset.rows) > 1000
    assert all(1 <= len(row.context) <= 4 for row in dataset.rows)
    assert written == rows()


def test_no_two_are_asked_in_the_same_words() -> None:
    """A question that stands on both sides of a split would be graded by memory."""
    prompts = [row["prompt"] for row in rows()]
    assert len(set(prompts)) > 0.99 * len(prompts)


def test_passages_tell_it_in_five_of_six() -> None:
    """Where they do not, the second stage has something to refuse."""
    facts = {f"{fact.relation}/{fact.subject}": fact for fact in load_facts()}
    told = [any(facts[row["id"]].value in p["text"] for p in row["context"]) for row in rows()]
    assert 0.8 < sum(told) / len(told) < 0.87


def test_whole_sentences_are_graded() -> None:
    """Any wording of the right value matches; of a wrong one, none."""
    fact = next(f for f in load_facts() if f.relation == "capital" and f.subject == "France")
    known = references(fact)
    for wording in RELATIONS["capital"].answers("France", "Paris"):
        assert matches_exactly(wording, known)
    for wording in RELATIONS["capital"].answers("France", "Lyon"):
        assert not matches_exactly(wording, known)
