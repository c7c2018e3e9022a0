"""The playground as a person uses it: what can be done there, and what can be seen."""

from __future__ import annotations

from typing import Any

import httpx2
from playwright.sync_api import ConsoleMessage, Locator, Page, expect

PATIENCE_MS = 90_000  # a machine that runs many tests at once can stall a browser and a model for long
MAX_TABS = 90


class Playground:
    """One window. `faults` are scripts that failed, and whatever the content security policy forbade."""

    def __init__(self, page: Page, url: str, fragment: str = "") -> None:
        self.page = page
        self.url = url
        self.faults: list[str] = []
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", self._hear)
        page.goto(f"{url}/playground{fragment}")
        self.is_ready()

    def is_ready(self) -> None:
        """Wait until the page knows its words and its service."""
        expect(self.page.locator("#running")).not_to_be_empty(timeout=PATIENCE_MS)

    def ask(self, prompt: str, *, quality: str | None = None) -> None:
        """Type it, press Ctrl-Enter, and wait for the verdict."""
        if quality:
            self.page.get_by_label(quality).check()
        self.page.fill("#prompt", prompt)
        self.page.press("#prompt", "Control+Enter")
        self.answered()

    def answered(self) -> None:
        """Wait until all is shown."""
        expect(self.page.locator("#settled")).to_be_visible(timeout=PATIENCE_MS)
        expect(self.page.locator("#result")).not_to_have_attribute("aria-busy", "true", timeout=PATIENCE_MS)

    @property
    def verdict(self) -> str:
        return self.page.locator(".verdict-word").inner_text()

    @property
    def why(self) -> str:
        return self.page.locator(".verdict-why").inner_text()

    @property
    def columns(self) -> Locator:
        return self.page.locator(".column-place")

    def widths(self) -> list[float]:
        """Of the columns, in pixels, once they have stopped moving."""
        self.page.wait_for_timeout(600)  # longer than the transition, which the test is not about
        return [self.columns.nth(i).bounding_box()["width"] for i in range(self.columns.count())]  # type: ignore[index]

    def set_slider(self, name: str, value: float) -> None:
        self.page.get_by_label(name).fill(str(value))

    def tab_to(self, selector: str) -> Locator:
        """With the Tab key alone; what has the focus must show it."""
        for _ in range(MAX_TABS):
            self.page.keyboard.press("Tab")
            focused = self.page.locator(f":focus:is({selector})")
            if focused.count():
                return focused
        raise AssertionError(f"{MAX_TABS} times Tab, and {selector} has not got the focus")

    def overflow(self) -> int:
        """Pixels by which the page is wider than its window."""
        wide: int = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        return wide

    @property
    def answer_id(self) -> str:
        return self.page.locator("#answer-id").inner_text()

    def get(self, path: str) -> Any:
        return httpx2.get(f"{self.url}{path}", timeout=30).json()

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            self.faults.append(message.text)
