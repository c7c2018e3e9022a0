"""Messages to the token ids that a causal language model continues."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from jinja2 import TemplateError
from transformers import AddedToken, PreTrainedTokenizerBase

from demur.errors import FieldError, ValidationFailed
from demur.types import Message

# A character that Unicode reserves for a program's own use, so that no text needs it.
_SEAM = "\ufdd0"


def encode_messages(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[int]:
    """Token ids of the conversation, up to where the model's answer begins.

    With a chat template, the template alone writes special tokens (so there is one BOS, or none if it writes none);
    a base model gets the contents joined by newlines, and the tokenizer adds its own. Either way special tokens
    that stand in a message are text: nobody can close the user's turn from within it. So are other tokens that the
    template writes, such as those around tool calls, but for the assistant's turns, whose thinking templates look for.

    The tokenizer gets one token more, for its user to keep.

    Raises: ValidationFailed, where the template refuses the messages or nothing is left to continue.
    """
    ids = _encode_chat(tokenizer, messages) if tokenizer.chat_template else _encode_text(tokenizer, messages)
    if not ids:
        raise ValidationFailed(FieldError("/messages", "the prompt is empty once tokenised"))
    return ids


def _encode_text(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[int]:
    text = "\n".join(m.content for m in messages)
    return list(tokenizer(text, split_special_tokens=True)["input_ids"])


def _encode_chat(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[int]:
    """A seam within each control token that a message spells keeps the tokenizer from reading it as one."""
    template, seam_id = tokenizer.get_chat_template(), _seam_id(tokenizer)
    added = [token for token in tokenizer.added_tokens_decoder.values() if token.content != _SEAM]
    turns = [{"role": _role(m, template), "content": _as_text(m, added, template)} for m in messages]
    try:
        rendered = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    except TemplateError as error:
        detail = f"the model's chat template refuses these messages: {error}"
        raise ValidationFailed(FieldError("/messages", detail)) from error
    return [i for i in tokenizer(rendered, add_special_tokens=False)["input_ids"] if i != seam_id]


def _seam_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """A token of its own is read apart from what stands around it, by every kind of tokenizer."""
    if tokenizer.convert_tokens_to_ids(_SEAM) in (None, tokenizer.unk_token_id):
        tokenizer.add_tokens(AddedToken(_SEAM, special=True, normalized=False))
    return int(tokenizer.convert_tokens_to_ids(_SEAM))


def _as_text(message: Message, added: Sequence[AddedToken], template: str) -> str:
    """Broken after its first character wherever a token begins, so that no overlap with another one is left whole."""
    content = message.content.replace(_SEAM, "")
    tokens = _control_tokens(added, "" if message.role == "assistant" else template)
    for token in tokens:
        if len(token) == 1 and token in content:
            detail = f"{token!r} is a control token of this model, which cannot be read as text"
            raise ValidationFailed(FieldError("/messages", detail))
    return _beginnings(tokens).sub(rf"\g<0>{_SEAM}", content)


def _control_tokens(added: Sequence[AddedToken], template: str) -> tuple[str, ...]:
    """Single characters and blanks that a tokenizer adds without calling them special are text in templates, too."""
    return tuple(
        token.content
        for token in added
        if token.special or (len(token.content.strip()) > 1 and token.content in template)
    )


@lru_cache(maxsize=16)
def _beginnings(tokens: tuple[str, ...]) -> re.Pattern[str]:
    """The first character of each occurrence; of no token, nothing."""
    return re.compile(f"(?={'|'.join(map(re.escape, tokens)) or '(?!)'}).", re.DOTALL)


def _role(message: Message, template: str) -> str:
    """Few templates know the newer role "developer"; the others call it "system"."""
    return "system" if message.role == "developer" and "developer" not in template else message.role
