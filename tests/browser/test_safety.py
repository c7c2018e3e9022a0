"""What strangers say stays text, keys stay where they belong, and the content security policy holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx2
import pytest
from playwright.sync_api import expect
from pydantic import SecretStr

import demur
from demur.access.keys import new_key
from demur.api.playground import PAGE_POLICY
from demur.settings import AuthSettings, ServerSettings, Settings
from tests.browser.conftest import Opener
from tests.browser.playground import Playground
from tests.browser.scripts import PAYLOAD, script
from tests.service.running import Service, serving

SECRET, KEY = new_key("visitor", "answer,feedback")
INJECT = """() => {
  const script = document.createElement("script");
  script.textContent = "window.pwned = 1";
  document.body.append(script);
  const image = document.createElement("div");
  image.innerHTML = '<img src="data:," onerror="window.pwned = 2">';
  document.body.append(image);
}"""


@pytest.fixture(scope="module")
def locked() -> Iterator[Service]:
    auth = AuthSettings(api_keys=SecretStr(KEY.line), rate_limit="off", rate_limit_samples="off")
    with serving(script, settings=Settings(auth=auth)) as running:
        yield running


def is_untouched(page: Playground) -> bool:
    """Nothing ran, and nothing became an element but what the page itself made."""
    made = page.page.evaluate("[document.images.length, document.scripts.length, document.querySelector('#bold')]")
    return page.page.evaluate("window.pwned") is None and made == [0, 2, None]


def test_hostile_text_stays_text(scripted: Service, opened: Opener) -> None:
    """Markup and script in the question, a passage, the answers and the link: read as they are written, run nowhere."""
    page = opened(scripted.url, f"#q={quote(PAYLOAD)}&passage={quote(PAYLOAD)}")
    page.page.press("#prompt", "Control+Enter")
    page.answered()
    for i in range(page.columns.count()):
        page.columns.nth(i).get_by_role("button").click()
        expect(page.page.locator("#detail h3")).to_contain_text(PAYLOAD)
    assert page.page.locator(".answer").inner_text() == PAYLOAD
    page.page.get_by_role("button", name="Remove passage 1").click()
    page.ask(PAYLOAD)
    expect(page.page.locator("#comparison")).to_contain_text(PAYLOAD)
    expect(page.page.locator("#history")).to_contain_text(PAYLOAD)
    for language in ("curl", "Python", "OpenAI client"):
        page.page.get_by_label(language).check()
    assert is_untouched(page)


def test_hostile_problems_stay_text(scripted: Service, opened: Opener) -> None:
    """A problem that repeats what was sent: the scripted model names the question it has no answer to."""
    page = opened(scripted.url)
    page.page.fill("#prompt", f"unknown {PAYLOAD}")
    page.page.press("#prompt", "Control+Enter")
    expect(page.page.locator("#trouble")).to_contain_text("<img src=x")
    assert is_untouched(page)


def test_the_policy_holds(scripted: Service, opened: Opener) -> None:
    """Script that gets into the page does not run: the browser refuses it, and says so."""
    page = opened(scripted.url)
    with page.page.expect_console_message(lambda m: "Content Security Policy" in m.text):
        page.page.evaluate(INJECT)
    assert page.page.evaluate("window.pwned") is None
    assert any("Content Security Policy" in fault for fault in page.faults)
    page.faults.clear()


@pytest.mark.parametrize("path", ["/playground", "/playground/main.js", "/playground/style.css"])
def test_every_part_comes_with_the_policy(scripted: Service, path: str) -> None:
    """Nothing inline, nothing from elsewhere, no frame, no other base."""
    reply = scripted.client.get(path)
    assert reply.status_code == 200
    assert reply.headers["content-security-policy"] == PAGE_POLICY
    assert "unsafe" not in PAGE_POLICY
    assert reply.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", ["nothing.js", "..%2Fpolicy.py", "%2e%2e/policy.py", "index.html%00", ".."])
def test_nothing_else_is_served(scripted: Service, name: str) -> None:
    """Only what the page is made of."""
    assert scripted.client.get(f"/playground/{name}").status_code == 404


def test_the_page_writes_no_markup() -> None:
    """No part of it makes elements out of text; the tests above could not find every way to do so."""
    sources = sorted((Path(demur.__file__).parent / "playground").glob("*.js"))
    assert len(sources) > 10
    for source in sources:
        text = source.read_text(encoding="utf-8")
        for way in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "srcdoc",
        ):
            assert way not in text, f"{source.name} uses {way}"


def test_a_key_is_asked_for_and_kept_to_the_tab(locked: Service, opened: Opener) -> None:
    """The page is open; asking needs a key, which is typed, used, and found nowhere but in sessionStorage."""
    page = opened(locked.url)
    page.page.fill("#prompt", "sure")
    page.page.press("#prompt", "Control+Enter")
    expect(page.page.locator("#key-dialog")).to_be_visible()
    expect(page.page.locator("#key-why")).to_contain_text("API key")
    page.page.fill("#key", SECRET)
    page.page.press("#key", "Enter")
    page.ask("sure")
    assert page.verdict == "Answer"
    kept = page.page.evaluate(
        "[JSON.stringify(sessionStorage), JSON.stringify(localStorage), document.cookie, location.href]"
    )
    assert [SECRET in place for place in kept] == [True, False, False, False]
    assert SECRET not in page.page.content()
    assert "$DEMUR_API_KEY" in page.page.locator("pre").inner_text()
    page.page.locator("#key-open").click()
    page.page.get_by_role("button", name="Forget it").click()
    assert SECRET not in page.page.evaluate("JSON.stringify(sessionStorage)")


def test_the_page_can_be_switched_off() -> None:
    """DEMUR_SERVER__PLAYGROUND=false."""
    with serving(script, settings=Settings(server=ServerSettings(playground=False))) as service:
        assert httpx2.get(f"{service.url}/playground").status_code == 404
