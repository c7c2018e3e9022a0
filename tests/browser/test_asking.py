"""A newcomer's first minutes, on the bundled models: ask, look behind the answer, turn the screws, judge it."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Opener
from tests.service.running import Process

pytestmark = pytest.mark.model
LEAST_WIDTH = 125  # pixels: of the answer's own column, so that its words can be read
UNKNOWN = "What is the capital of Wendor?"


def test_the_verdict_comes_first(bundled: Process, opened: Opener) -> None:
    """What the service decided: the word, an icon, why, and the answer, above everything else."""
    page = opened(bundled.url)
    page.ask("What is the capital of France?")
    record = page.get(f"/v1/answers/{page.answer_id}")
    assert page.verdict == record["decision"].capitalize()
    assert f"{record['confidence']:.2f}" in page.why
    assert page.page.locator(".verdict-head svg").count() == 1
    assert "Paris" in page.page.locator(".answer").inner_text()
    assert not re.search("null|undefined|NaN", page.page.locator("#result").inner_text())


def test_columns_are_as_wide_as_their_mass(bundled: Process, opened: Opener) -> None:
    """Above the least width, in the same proportion, the heaviest first; all samples are in them, and T=0."""
    page = opened(bundled.url)
    page.ask("What is the currency of Peru?")
    masses = [c["mass"] for c in page.get(f"/v1/answers/{page.answer_id}")["clusters"]]
    widths = page.widths()
    assert len(widths) == len(masses)
    free = [w / m for w, m in zip(widths, sorted(masses, reverse=True), strict=True) if w > LEAST_WIDTH]
    assert free == pytest.approx([free[0]] * len(free), rel=0.02)
    assert page.page.locator("#meanings .pill:not(.greedy)").count() == 10
    assert page.page.locator("#meanings .pill.greedy").count() == 1


def test_a_column_opens_on_what_is_behind_it(bundled: Process, opened: Opener) -> None:
    """Who said it in which words, each word shaded; a second click closes it."""
    page = opened(bundled.url)
    page.ask("What is the capital of France?")
    column = page.columns.nth(0).get_by_role("button")
    column.click()
    expect(column).to_have_attribute("aria-expanded", "true")
    expect(page.page.locator("#detail h4").first).to_contain_text("of 10")
    assert page.page.locator("#detail .token").count() > 0
    column.click()
    expect(page.page.locator("#detail")).to_be_hidden()


def test_a_slider_decides_again(bundled: Process, opened: Opener) -> None:
    """Where anything is good enough, what was not is answered, or shown why not; and back again."""
    page = opened(bundled.url)
    page.ask("What is the currency of Peru?")
    decided = page.verdict
    page.page.get_by_label("Something can be looked up").uncheck()
    assert page.verdict == {"Retrieve": "Abstain"}.get(decided, decided)
    page.set_slider("Answer from confidence", 0)
    is_answered = page.verdict == "Answer"
    assert is_answered or page.page.locator(".hurdle").inner_text().startswith("No threshold makes this an answer")
    expect(page.page.locator(".badges")).to_contain_text(f"your thresholds; the service said {decided}")
    page.page.get_by_role("button", name="Back to the service's").click()
    assert page.verdict == decided
    expect(page.page.locator(".badges")).not_to_contain_text("your thresholds")


def test_feedback_is_stored(bundled: Process, opened: Opener) -> None:
    """What is clicked is what the service keeps; a second click replaces it."""
    page = opened(bundled.url)
    page.ask("Who wrote Hamlet?")
    for word, label in (("Wrong", "incorrect"), ("Right", "correct")):
        page.page.get_by_role("button", name=word, exact=True).click()
        expect(page.page.locator("#feedback [role=status]")).to_contain_text("Kept: 1 label")
        expect(page.page.get_by_role("button", name=word, exact=True)).to_have_attribute("aria-pressed", "true")
        [kept] = [f for f in page.get("/v1/feedback")["data"] if f["answer_id"] == page.answer_id]
        assert (kept["label"], kept["source"]) == (label, "human")


def test_retrieval_is_tried_and_compared(bundled: Process, opened: Opener) -> None:
    """`retrieve` offers a card for what was found; asked with it, both answers stand side by side."""
    page = opened(bundled.url)
    page.ask(UNKNOWN)
    assert page.verdict == "Retrieve"
    page.page.get_by_role("button", name="Add what you found").click()
    page.page.keyboard.type("The capital of Wendor is Maltby.")
    page.page.keyboard.press("Control+Enter")
    table = page.page.locator("#comparison table")
    expect(table).to_be_visible()
    assert table.locator("thead th").all_inner_texts() == ["Without passages, balanced", "With 1 passage, balanced"]
    assert "Maltby" in table.locator(".said").nth(1).inner_text()
    assert page.page.locator(".gauge", has_text="Groundedness").locator(".reading").inner_text() != "–"
    assert page.verdict in ("Answer", "Abstain")  # there is nothing left to look up


def test_what_is_remembered_can_be_asked_afresh(bundled: Process, opened: Opener) -> None:
    """The badge says that it is from the cache; one click draws it again, as another answer."""
    page = opened(bundled.url)
    page.ask("What is the chemical symbol for gold?")
    page.ask("What is the chemical symbol for gold?")
    expect(page.page.locator(".badges")).to_contain_text("from the cache")
    remembered = page.answer_id
    page.page.get_by_role("button", name="ask again, fresh").click()
    expect(page.page.locator("#answer-id")).not_to_have_text(remembered)
    expect(page.page.locator(".badges")).not_to_contain_text("from the cache")
