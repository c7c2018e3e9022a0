"""Links bring questions back, and code asks them from elsewhere."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Route, expect

from tests.browser.conftest import Opener
from tests.service.running import Service

ODD = "What's \"Perú\" called, $HOME? \\ 'q'"
CLIENT = Path(__file__).parents[2] / "clients/python/src"


def test_a_link_brings_the_question_back(scripted: Service, opened: Opener) -> None:
    """Question, preset and passages are in the address; opening it asks nothing by itself."""
    page = opened(scripted.url)
    page.page.get_by_role("button", name="Add a passage").click()
    page.page.keyboard.type("It is in Lima & more")
    page.ask(ODD, quality="Fast")
    again = opened(scripted.url, page.page.evaluate("location.hash"))
    assert again.page.input_value("#prompt") == ODD
    assert again.page.get_by_label("Fast").is_checked()
    assert again.page.input_value("#passages textarea") == "It is in Lima & more"
    assert again.page.locator("#result").is_hidden()


def test_curl_sends_the_same(scripted: Service, opened: Opener) -> None:
    """As a shell reads it, quotes, dollars and all."""
    page = opened(scripted.url)
    page.ask(ODD)
    words = shlex.split(page.page.locator("pre").inner_text().replace("\\\n", " "))
    assert words[:3] == ["curl", "-s", f"{scripted.url}/v1/answer"]
    sent = json.loads(words[words.index("-d") + 1])
    assert sent == {"prompt": ODD, "quality": "balanced"}
    assert scripted.client.post("/v1/answer", json=sent).status_code == 200


@pytest.mark.parametrize("language", ["Python", "OpenAI client"])
def test_python_runs_as_it_stands(scripted: Service, opened: Opener, language: str) -> None:
    """With the client of this repository, and with OpenAI's: the question comes through unchanged, passage and all."""
    page = opened(scripted.url)
    page.page.get_by_role("button", name="Add a passage").click()
    page.page.keyboard.type("Peru")
    page.ask(ODD)
    page.page.get_by_label(language).check()
    code = page.page.locator("pre").inner_text()
    environment = {**os.environ, "PYTHONPATH": str(CLIENT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert {"answer", "Peru"} <= set(done.stdout.split()), done.stderr


def test_code_is_copied(scripted: Service, opened: Opener) -> None:
    """What is shown is what is on the clipboard."""
    page = opened(scripted.url, permissions=["clipboard-read", "clipboard-write"])
    page.ask("sure")
    page.page.get_by_role("button", name="Copy", exact=True).click()
    expect(page.page.locator("#snippets [role=status]")).to_have_text("Copied.")
    assert page.page.evaluate("navigator.clipboard.readText()") == page.page.locator("pre").inner_text()


def test_two_of_the_session_side_by_side(scripted: Service, opened: Opener) -> None:
    """Any two, picked in the list; a click on one shows it again."""
    page = opened(scripted.url)
    for prompt in ("sure", "split", "all differ"):
        page.ask(prompt)
    entries = page.page.locator(".entry")
    assert entries.count() == 3
    for place in (0, 2):
        entries.nth(place).get_by_role("button", name="Compare").click()
    heads = page.page.locator("#comparison thead th")
    assert heads.all_inner_texts() == ["sure", "all differ"]
    entries.nth(1).locator(".entry-open").click()
    assert page.verdict == "Retrieve"
    expect(page.page.locator("#columns .column-place")).to_have_count(2)


def test_under_a_path_of_a_proxy(scripted: Service, opened: Opener) -> None:
    """All addresses are relative: a proxy may put the service under any path, and strip it."""
    page = opened(scripted.url)

    def strip(route: Route) -> None:
        route.continue_(url=route.request.url.replace("/some/where/", "/"))

    page.page.route("**/some/where/**", strip)
    page.page.goto(f"{scripted.url}/some/where/playground")
    page.is_ready()
    page.ask("sure")
    assert page.verdict == "Answer"
    assert f"{scripted.url}/some/where/v1/answer" in page.page.locator("pre").inner_text()
