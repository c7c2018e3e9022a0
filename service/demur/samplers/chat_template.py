"""Messages to the token ids that a causal language model continues."""

from __future__ import annotations

from collections.abc import Sequence

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from demur.errors import FieldError, ValidationFailed
from demur.types import Message


def encode_messages(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[int]:
    """Token ids of the conversation, up to where the model's answer begins.

    With a chat template, the template alone writes special tokens (so there is one BOS, or none if it writes none);
    a base model gets the contents joined by newlines, and the tokenizer adds its own. Either way special tokens
    that stand in a message are text: nobody can close the user's turn from within it.

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
    template = tokenizer.get_chat_template()
    turns = [{"role": _role(m, template), "content": m.content} for m in messages]
    try:
        encoded = tokenizer.apply_chat_template(turns, add_generation_prompt=True, sanitize_control_tokens=True)
    except TemplateError as error:
        detail = f"the model's chat template refuses these messages: {error}"
        raise ValidationFailed(FieldError("/messages", detail)) from error
    return list(encoded["input_ids"])


def _role(message: Message, template: str) -> str:
    """Few templates know the newer role "developer"; the others call it "system"."""
    return "system" if message.role == "developer" and "developer" not in template else message.role
