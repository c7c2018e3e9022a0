"""A real browser, and the services whose page it opens.

Package scope, not session: while Playwright runs, no other event loop can start in this thread.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.playground import Playground
from tests.browser.scripts import script
from tests.service.running import Process, Service, serve_process, serving

Opener = Callable[..., Playground]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Several waits of `PATIENCE_MS` each may be in one test."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(400))


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium")
    assert program, "these tests need chromium: `make system-packages`, or install it"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def bundled() -> Iterator[Process]:
    """`demur serve` on its embedded default."""
    with serve_process() as process:
        yield process


@pytest.fixture(scope="package")
def scripted() -> Iterator[Service]:
    """A service whose answers are written in `scripts.py`."""
    with serving(script) as running:
        yield running


@pytest.fixture
def opened(browser: Browser) -> Iterator[Opener]:
    """Opens the playground of a service in a fresh window; in the end, nothing may have gone wrong on any page."""
    pages: list[Playground] = []

    def open_page(url: str, fragment: str = "", **options: Any) -> Playground:
        page = browser.new_context(**{"viewport": {"width": 1100, "height": 900}, **options}).new_page()
        pages.append(Playground(page, url, fragment))
        return pages[-1]

    yield open_page
    for each in pages:
        _close(each.page)
    assert [each.faults for each in pages] == [[] for _ in pages]


def _close(page: Page) -> None:
    page.context.close()
