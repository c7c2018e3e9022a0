"""For everybody: by keyboard alone, on a phone, in the dark, without motion, with a screen reader."""

from __future__ import annotations

import re
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.browser.conftest import Opener
from tests.browser.playground import Playground
from tests.service.running import Service

SERIOUS = {"serious", "critical"}


def luminance(colour: str) -> float:
    """0 = black, 1 = white, of a computed `rgb(...)`."""
    red, green, blue = (float(part) / 255 for part in re.findall(r"[\d.]+", colour)[:3])
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def background(page: Playground) -> float:
    return luminance(page.page.evaluate("getComputedStyle(document.body).backgroundColor"))


def findings(page: Playground) -> list[tuple[str, list[Any]]]:
    page.page.wait_for_timeout(600)  # colours that are on their way are not what anybody reads
    found = Axe().run(page.page).response["violations"]
    return [(f["id"], [n["target"] for n in f["nodes"]]) for f in found if f["impact"] in SERIOUS]


def test_by_keyboard_alone(scripted: Service, opened: Opener) -> None:
    """From typing the question to feedback without a mouse; whatever has the focus shows it."""
    page = opened(scripted.url)
    expect(page.page.locator("#prompt")).to_be_focused()
    page.page.keyboard.type("8 of 10")
    page.page.keyboard.press("Control+Enter")
    page.answered()
    page.page.locator("#prompt").focus()
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    page.tab_to(".answer, .column")
    page.tab_to(".column")
    page.page.keyboard.press("Enter")
    expect(page.page.locator("#detail")).to_be_visible()
    page.tab_to("[type=range]")
    assert page.page.evaluate(outline) != "none"
    for _ in range(2):
        page.page.keyboard.press("ArrowRight")
    assert page.verdict == "Retrieve"
    page.tab_to("#feedback button")
    page.page.keyboard.press("Space")
    expect(page.page.locator("#feedback [role=status]")).to_contain_text("Kept")


def test_tokens_are_walked_with_the_arrows(scripted: Service, opened: Opener) -> None:
    """Shaded by probability, underlined where it is under one half, and told in words one by one."""
    page = opened(scripted.url)
    page.ask("sure")
    tokens = page.page.locator(".answer .token")
    assert tokens.all_inner_texts() == ["It", "is", "Paris"]
    assert [bool(re.search("unsure", t.get_attribute("class") or "")) for t in tokens.all()] == [False, True, False]
    page.page.locator(".answer").focus()
    page.page.keyboard.press("ArrowRight")
    page.page.keyboard.press("ArrowRight")
    expect(page.page.locator(".readout")).to_have_text("“is”, probability 0.40")


@pytest.mark.parametrize("prompt", ["8 of 10", "all differ"])
def test_on_a_phone_nothing_sticks_out(scripted: Service, opened: Opener, prompt: str) -> None:
    """360 pixels: no sideways scrolling, whatever is open."""
    page = opened(scripted.url, viewport={"width": 360, "height": 740}, has_touch=True)
    assert page.overflow() == 0
    page.page.get_by_role("button", name="Add a passage").click()
    page.page.keyboard.type("word " * 30)
    page.ask(prompt, quality="Thorough")
    page.columns.nth(0).get_by_role("button").tap()
    page.page.get_by_role("button", name="Remove passage 1").tap()
    page.ask(prompt)
    expect(page.page.locator("#comparison")).to_be_visible()
    assert page.overflow() == 0
    page.page.locator("#key-open").tap()
    expect(page.page.locator("#key-dialog")).to_be_visible()
    assert page.overflow() == 0


def test_dark_as_the_system_is_and_as_one_likes(scripted: Service, opened: Opener) -> None:
    """The system's scheme first; the button goes light, dark, and back; what was chosen lasts."""
    page = opened(scripted.url, color_scheme="dark")
    assert background(page) < 0.2
    page.page.locator("#theme").click()
    assert background(page) > 0.8
    page.page.reload()
    assert background(page) > 0.8
    page.is_ready()
    page.page.locator("#theme").click()
    assert background(page) < 0.2
    page.page.emulate_media(color_scheme="light")
    assert background(page) < 0.2
    page.page.locator("#theme").click()
    assert background(page) > 0.8


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_rules_of_accessibility(scripted: Service, opened: Opener, scheme: str) -> None:
    """axe-core finds nothing serious: empty, with each verdict, opened, compared, and in the dialog."""
    page = opened(scripted.url, color_scheme=scheme)
    assert findings(page) == []
    for prompt in ("sure", "split", "no idea"):
        page.ask(prompt)
    page.ask("8 of 10")
    page.columns.nth(0).get_by_role("button").click()
    page.page.get_by_role("button", name="Add a passage").click()
    page.page.keyboard.type("Lyon")
    page.page.keyboard.press("Control+Enter")
    expect(page.page.locator("#comparison")).to_be_visible()
    assert page.verdict == "Answer"
    page.columns.nth(1).get_by_role("button").click()
    assert findings(page) == []
    page.page.get_by_label("Answer from confidence").fill("1")
    assert page.verdict == "Abstain"
    assert findings(page) == []
    page.page.locator("#key-open").click()
    assert findings(page) == []


def test_who_wants_less_motion_gets_none(scripted: Service, opened: Opener) -> None:
    """Nothing glides or fades, while samples land or after."""
    page = opened(scripted.url, reduced_motion="reduce")
    page.page.fill("#prompt", "all differ")
    page.page.press("#prompt", "Control+Enter")
    expect(page.columns.first).to_be_visible()
    assert page.page.evaluate("document.getAnimations().length") == 0
    page.answered()
    page.columns.nth(0).get_by_role("button").click()
    assert page.page.evaluate("document.getAnimations().length") == 0


def test_verdicts_differ_in_more_than_colour(scripted: Service, opened: Opener) -> None:
    """Each has a word and a shape of its own."""
    page = opened(scripted.url)
    seen = set()
    for prompt in ("sure", "split"):
        page.ask(prompt)
        seen.add((page.verdict, page.page.locator(".verdict-head svg").inner_html()))
    page.page.get_by_label("Something can be looked up").uncheck()
    seen.add((page.verdict, page.page.locator(".verdict-head svg").inner_html()))
    assert {word for word, _ in seen} == {"Answer", "Retrieve", "Abstain"}
    assert len({shape for _, shape in seen}) == 3
