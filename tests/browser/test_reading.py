"""The page's own readers: events that arrive in pieces, and tokens in the spellings of several vocabularies."""

from __future__ import annotations

import pytest

from tests.browser.conftest import Opener
from tests.service.running import Service

STREAM = (
    ": ping\r\n\r\nevent: sample\r\ndata: {\r\ndata: 1}\r\n\r\n: ping\n\n"
    "event:progress\ndata:Zürich 🏔\n\ndata: unnamed\n\nevent: empty\n\nevent: cut\ndata: off"
)

_EVENTS = """async ([text, size]) => {
  const { events } = await import("/playground/events.js");
  const bytes = new TextEncoder().encode(text);
  const stream = new ReadableStream({
    start(controller) {
      for (let i = 0; i < bytes.length; i += size) controller.enqueue(bytes.slice(i, i + size));
      controller.close();
    },
  });
  const found = [];
  for await (const { name, data } of events(stream)) found.push([name, data]);
  return found;
}"""
_PIECES = """async ([tokens, text]) => {
  const { piecesOf } = await import("/playground/shading.js");
  return piecesOf(tokens.map((token, i) => ({ token, logprob: -i })), text)?.map((p) => [p.text, -p.logprob]) ?? null;
}"""


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_events_are_the_same_in_any_pieces(scripted: Service, opened: Opener, size: int) -> None:
    """Pings are passed over, lines of data joined; what the end cuts off is no event."""
    found = opened(scripted.url).page.evaluate(_EVENTS, [STREAM, size])
    assert found == [["sample", "{\n1}"], ["progress", "Zürich 🏔"], ["message", "unnamed"]]


@pytest.mark.parametrize(
    ("tokens", "text", "pieces"),
    [
        (["It", " is", " Paris", "</s>"], "It is Paris", [["It", 0], [" is", 1], [" Paris", 2]]),
        (["SÃ£o", "ĠPaulo", ".", "<|end|>"], "São Paulo.", [["São", 0], [" Paulo", 1], [".", 2]]),
        (["Ã", "£", "o"], "ão", [["ã", 1], ["o", 2]]),
        (["▁New", "▁York"], "New York", [["New", 0], [" York", 1]]),
        (["Ġ", "Paris"], "Paris", [["Paris", 1]]),
        (["Paris"], "Paris in France", None),
        (["Lyon"], "Paris", None),
        ([], "", None),
    ],
)
def test_tokens_spell_the_answer_or_are_left_out(
    scripted: Service, opened: Opener, tokens: list[str], text: str, pieces: list[list[object]] | None
) -> None:
    """As text, in bytes written as characters, with a mark for blanks; the end of sequence is no word."""
    assert opened(scripted.url).page.evaluate(_PIECES, [tokens, text]) == pieces
