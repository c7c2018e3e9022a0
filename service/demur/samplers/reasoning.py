"""Thinking text is no part of the answer: not for NLI, not for token scores."""

from __future__ import annotations

import re
from collections.abc import Sequence

_TAGS = ("think", "thinking", "reasoning", "seed:think")
_OPENING = re.compile(rf"\s*(?:<(?:{'|'.join(_TAGS)})>|\[THINK\])")
_OPENINGS = (*(f"<{tag}>" for tag in _TAGS), "[THINK]")
_CLOSING = re.compile(rf"</(?:{'|'.join(_TAGS)})>|\[/THINK\]")
_SPECIAL = re.compile(rb"(?:\s*<[^<>\s]*>\s*)*")


def strip_reasoning(text: str) -> str:
    """What follows the thinking. Empty where the text was cut while the model still thought.

    A closing tag alone counts too: some chat templates open the thinking within the prompt.
    """
    if _OPENING.match(text) and not _CLOSING.search(text):
        return ""
    thought_end = max((found.end() for found in _CLOSING.finditer(text)), default=0)
    return text[thought_end:].lstrip() if thought_end else text


def may_be_thinking(text: str) -> bool:
    """Whether a text that is being written thinks still, or has written too little to tell."""
    begun = text.lstrip()
    if any(tag.startswith(begun) for tag in _OPENINGS):
        return True
    return _OPENING.match(text) is not None and _CLOSING.search(text) is None


def first_answer_token(tokens: Sequence[bytes], answer: str) -> int | None:
    """Index of the first token of `answer`, when the tokens before it are thinking; None where it cannot be told.

    The tokens from there on must spell the answer, followed by nothing but special tokens such as `<|im_end|>`.
    Blanks around the answer do not matter.
    """
    wanted, spelled = answer.strip().encode(), b""
    if not wanted:
        return None
    for index in range(len(tokens) - 1, -1, -1):
        spelled = tokens[index] + spelled
        begun = spelled.lstrip()
        if begun.startswith(wanted) and _SPECIAL.fullmatch(begun[len(wanted) :].strip()):
            return index
    return None
