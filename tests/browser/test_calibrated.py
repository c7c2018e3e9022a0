"""With a calibration profile: probabilities, promises, and what other thresholds would have done."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from playwright.sync_api import expect

from demur.calibration.profile import CurvePoint, write_profile
from demur.settings import CalibrationSettings, Settings
from tests.browser.conftest import Opener
from tests.browser.scripts import script
from tests.service.running import Service, serving
from tests.service.test_calibrated import profile

# Answering from .9 on answers three of ten, one in a hundred of them wrongly; and so on.
CURVE = (CurvePoint(0.9, 0.3, 0.01), CurvePoint(0.7, 0.6, 0.08), CurvePoint(0.2, 1.0, 0.25))


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    fitted, folder = profile(), tmp_path_factory.mktemp("profiles")
    stage = replace(fitted.closed_book, figures=replace(fitted.closed_book.figures, curve=CURVE))
    write_profile(replace(fitted, closed_book=stage), folder / "scripted.json")
    with serving(script, settings=Settings(calibration=CalibrationSettings(profiles=folder))) as running:
        yield running


def test_the_promise_is_shown_and_is_not_for_other_thresholds(calibrated: Service, opened: Opener) -> None:
    """At most 10 % of answers wrong: until somebody moves a threshold."""
    page = opened(calibrated.url)
    page.ask("8 of 10")
    assert page.why == "The answer is sure enough: probability of being right 0.74 ≥ 0.70."
    badges = page.page.locator(".badges")
    expect(badges).to_contain_text("at most 10.0 % of answers wrong")
    expect(badges).not_to_contain_text("uncalibrated")
    page.set_slider("Answer from confidence", 0.8)
    assert page.verdict == "Retrieve"
    expect(badges).not_to_contain_text("of answers wrong")
    expect(badges).to_contain_text("the service said Answer")


@pytest.mark.parametrize(
    ("threshold", "told"),
    [
        (0.7, "60 % of questions answered, 8.0 % of those wrong"),
        (0.75, "30 % of questions answered, 1.0 % of those wrong"),
        (0.1, "100 % of questions answered, 25.0 % of those wrong"),
        (0.95, "no question answered"),
    ],
)
def test_the_curve_says_what_a_threshold_did(calibrated: Service, opened: Opener, threshold: float, told: str) -> None:
    """On the held-out answers: exactly at a point, between two, below all, above all."""
    page = opened(calibrated.url)
    page.ask("8 of 10")
    expect(page.page.locator(".curve polyline")).to_have_count(2)
    page.set_slider("Answer from confidence", threshold)
    expect(page.page.locator(".curve-place [role=status]")).to_have_text(
        f"From {threshold:.2f}, on 900 held-out answers: {told}."
    )


def test_own_thresholds_can_be_asked_with(calibrated: Service, opened: Opener) -> None:
    """The service then decides by them, and promises nothing."""
    page = opened(calibrated.url)
    page.ask("8 of 10")
    page.set_slider("Answer from confidence", 0.8)
    before = page.answer_id
    page.page.get_by_role("button", name="Ask with these").click()
    expect(page.page.locator("#answer-id")).not_to_have_text(before)
    page.answered()
    assert page.verdict == "Retrieve"
    record = page.get(f"/v1/answers/{page.answer_id}")
    assert (record["policy"]["name"], record["policy"]["answer_min"]) == ("custom", 0.8)
    expect(page.page.locator("#thresholds .outcome")).to_contain_text("as the service decided")


def test_a_promise_about_a_retriever_is_for_its_passages(calibrated: Service, opened: Opener) -> None:
    """Passages from anywhere carry none; from the certified retriever, both stages are decided by its thresholds."""
    page = opened(calibrated.url)
    page.page.get_by_role("button", name="Add a passage").click()
    page.page.keyboard.type("Paris")
    page.ask("8 of 10")
    expect(page.page.locator(".badges")).not_to_contain_text("of answers wrong")
    page.page.get_by_label("Passages from").select_option("wiki-1")
    page.page.press("#prompt", "Control+Enter")
    expect(page.page.locator(".badges")).to_contain_text("at most 10.0 % of answers wrong")
    record = page.get(f"/v1/answers/{page.answer_id}")
    assert record["policy"]["answer_min_after_retrieval"] == 0.6
    again = opened(calibrated.url, page.page.evaluate("location.hash"))
    assert again.page.get_by_label("Passages from").input_value() == "wiki-1"
