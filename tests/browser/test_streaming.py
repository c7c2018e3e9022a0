"""Samples land one by one and fall into meanings, while the rest is still being drawn."""

from __future__ import annotations

from playwright.sync_api import Route, expect

from tests.browser.conftest import Opener
from tests.service.running import Service, wait_for


def test_samples_land_one_by_one(scripted: Service, opened: Opener) -> None:
    """Before there is a verdict, some are there and some are missing; those that are there lie in columns."""
    page = opened(scripted.url)
    page.page.fill("#prompt", "one by one")
    page.page.press("#prompt", "Control+Enter")
    expect(page.page.locator("#progress")).to_contain_text("of 10 samples, 2 meanings so far")
    assert page.page.locator("#settled").is_hidden()
    assert 0 < page.page.locator("#columns .pill").count() < 10
    assert page.page.locator(".slot").count() > 0
    assert page.columns.count() == 2
    page.answered()
    assert page.page.locator("#columns .pill:not(.greedy)").count() == 10
    assert page.page.locator(".slot").count() == 0
    expect(page.page.locator("#meanings-note")).not_to_contain_text("does not tell")


def test_in_one_piece_where_the_service_does_not_stream(scripted: Service, opened: Opener) -> None:
    """The same page, and it says so."""

    def as_json(route: Route) -> None:
        route.continue_(headers={**route.request.headers, "accept": "application/json"})

    page = opened(scripted.url)
    page.page.route("**/v1/answer", as_json)
    page.ask("8 of 10")
    assert page.verdict == "Answer"
    assert page.page.locator("#columns .pill:not(.greedy)").count() == 10
    expect(page.page.locator("#meanings-note")).to_contain_text("it does not tell samples as they land")


def test_what_goes_wrong_on_the_way_is_shown(scripted: Service, opened: Opener) -> None:
    """A connection that ends before the result does, and one that cannot be made."""
    page = opened(scripted.url)
    begun = 'event: start\ndata: {"id": "ans_x", "n": 10}\n\nevent: sample\ndata: {"index": 0, "text": "Pa'
    page.page.route("**/v1/answer", lambda route: route.fulfill(content_type="text/event-stream", body=begun))
    page.page.fill("#prompt", "8 of 10")
    page.page.press("#prompt", "Control+Enter")
    expect(page.page.locator("#trouble")).to_contain_text("The connection broke off")
    page.page.unroute("**/v1/answer")
    page.page.route("**/v1/answer", lambda route: route.abort())
    page.page.press("#prompt", "Control+Enter")
    expect(page.page.locator("#trouble")).to_contain_text("The service cannot be reached")
    page.page.unroute("**/v1/answer")
    page.ask("8 of 10")
    expect(page.page.locator("#trouble")).to_be_hidden()


def test_who_stops_waiting_stops_the_work(scripted: Service, opened: Opener) -> None:
    """Stop leaves the page as it was before, and the service drops what it was drawing."""
    page = opened(scripted.url)
    page.page.fill("#prompt", "never")
    page.page.press("#prompt", "Control+Enter")
    wait_for(lambda: scripted.sampler.n_running > 0, "the draws to begin")
    page.page.get_by_role("button", name="Stop").click()
    expect(page.page.locator("#result")).to_be_hidden()
    expect(page.page.locator("#trouble")).to_be_hidden()
    wait_for(lambda: scripted.sampler.n_running == 0, "the draws to end")


def test_a_new_question_takes_the_place_of_the_old(scripted: Service, opened: Opener) -> None:
    """Whatever the old one may still send."""
    page = opened(scripted.url)
    page.page.fill("#prompt", "never")
    page.page.press("#prompt", "Control+Enter")
    page.ask("8 of 10")
    assert page.verdict == "Answer"
    expect(page.page.locator("#trouble")).to_be_hidden()


def test_feedback_that_cannot_be_kept_says_so(scripted: Service, opened: Opener) -> None:
    """The problem of the service, in words; the button is not pressed."""
    page = opened(scripted.url)
    page.ask("8 of 10")
    gone = {"type": "/problems/store-unavailable", "title": "The store is away", "status": 503, "detail": "no disk"}
    page.page.route("**/v1/feedback", lambda route: route.fulfill(status=503, json=gone))
    right = page.page.get_by_role("button", name="Right", exact=True)
    right.click()
    expect(page.page.locator("#feedback [role=status]")).to_have_text("Not kept. The store is away: no disk")
    expect(right).to_have_attribute("aria-pressed", "false")
