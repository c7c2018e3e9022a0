"""Draws one greedy and n sampled answers to a prompt in one batch, with the model's own logprobs.

`generate()` of transformers treats all rows of a batch alike, so the greedy answer would be a second pass over the
prompt; it returns when the longest row is done, and does not hand out finished rows. Hence this loop.
"""

from __future__ import annotations

import inspect
import math
import random
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, PreTrainedModel, PreTrainedTokenizerBase

from demur.errors import BackendError, ContextLengthExceeded
from demur.samplers.base import OnText
from demur.samplers.chat_template import encode_messages
from demur.samplers.checkpoint import load_checkpoint
from demur.samplers.next_token import next_tokens
from demur.samplers.settled import first_stop, settled
from demur.types import Message, Sample, Sampling


@dataclass(slots=True)
class _Row:
    """An answer while it grows. The greedy one has no generator; the others have one each, used once per token."""

    index: int
    generator: random.Random | None
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)

    def uniform(self) -> float | None:
        return self.generator.random() if self.generator else None

    @property
    def has_failed(self) -> bool:
        return math.isnan(self.logprobs[-1])


class Decoder:
    """A model and its tokenizer. Synchronous, for one thread at a time."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        # the forward pass and the tokenizer's methods differ by architecture, which their common types cannot say
        self._model: Any = model
        self._tokenizer: Any = tokenizer
        self._eos_ids = _eos_ids(model, tokenizer)
        self._prefill_options = _prefill_options(model)
        self._n_embeddings: int = self._model.get_input_embeddings().num_embeddings
        self._context_length: int = getattr(model.config.get_text_config(), "max_position_embeddings", None) or 2**31

    @classmethod
    def load(cls, name: str, *, revision: str | None = None, local_files_only: bool = False) -> Decoder:
        """Load a checkpoint and draw from it once, so that one that cannot answer is found before a caller finds it.

        Raises: BackendError.
        """
        decoder = cls(*load_checkpoint(name, revision=revision, local_files_only=local_files_only))
        try:
            list(decoder.draw([Message("user", "?")], Sampling(n=1, max_tokens=2), lambda: False))
        except Exception as error:  # whatever this architecture, template or vocabulary raises
            raise BackendError(f"the language model {name} cannot answer: {error}") from error
        return decoder

    def draw(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        is_stopped: Callable[[], bool],
        on_text: OnText | None = None,
    ) -> Iterator[Sample]:
        """Yield each answer as soon as it is finished; `is_stopped` is asked before every forward pass.

        `on_text` hears after each of them what of the greedy answer is settled.

        `max_tokens` is lowered to what the prompt leaves of the context. A row whose logits are not numbers is dropped.

        Raises: ContextLengthExceeded, ValidationFailed; BackendError where no row succeeded.
        """
        prompt = self._encode(messages, sampling)
        sampling = replace(sampling, max_tokens=min(sampling.max_tokens, self._context_length - len(prompt)))
        rows, n_failed = _rows(sampling), 0
        if is_stopped():
            return
        logits, cache = self._read(prompt, len(rows))
        while True:
            _extend(rows, logits, sampling)
            if on_text and rows[0].generator is None:
                on_text(settled(self._text(rows[0]), sampling.stop))
            going = []
            for place, row in enumerate(rows):
                if row.has_failed:
                    n_failed += 1
                elif sample := self._finished(row, sampling, len(prompt)):
                    yield sample
                else:
                    going.append(place)
            if not going or is_stopped():
                break
            rows = _keep(rows, cache, going)
            logits = self._step(rows, cache)
        if n_failed == sampling.n_drawn:
            raise BackendError("the language model gave logits that are not numbers: its weights may be damaged")

    def _encode(self, messages: Sequence[Message], sampling: Sampling) -> list[int]:
        ids = encode_messages(self._tokenizer, messages)
        if len(ids) >= self._context_length:
            raise ContextLengthExceeded(n_tokens=len(ids), max_tokens=sampling.max_tokens, limit=self._context_length)
        if max(ids) >= self._n_embeddings:  # on a GPU the look-up would take the whole process down
            raise BackendError("the tokenizer and the language model do not belong together: unknown token id")
        return ids

    def _read(self, prompt: list[int], n_rows: int) -> tuple[Tensor, Cache]:
        """One pass over the prompt, shared by all rows: the logits of their first token, and the cache for each."""
        output = self._forward([prompt], **self._prefill_options)
        cache = getattr(output, "past_key_values", None)
        if not isinstance(cache, Cache):
            raise BackendError(f"{type(self._model).__name__} keeps no cache that answers could share")
        _select(cache, [0] * n_rows)
        return output.logits[:, -1].expand(n_rows, -1), cache

    def _step(self, rows: Sequence[_Row], cache: Cache) -> Tensor:
        logits: Tensor = self._forward([row.token_ids[-1:] for row in rows], past_key_values=cache).logits
        return logits[:, -1]

    def _forward(self, token_ids: list[list[int]], **options: Any) -> Any:
        with torch.inference_mode():
            return self._model(input_ids=torch.tensor(token_ids, device=self._model.device), use_cache=True, **options)

    def _text(self, row: _Row) -> str:
        has_ended = row.token_ids[-1] in self._eos_ids
        text: str = self._tokenizer.decode(row.token_ids[: -1 if has_ended else None], skip_special_tokens=True)
        return text

    def _finished(self, row: _Row, sampling: Sampling, n_prompt_tokens: int) -> Sample | None:
        """The answer, if its last token ended it; a stop string is looked for in the text, as it may span tokens."""
        has_ended = row.token_ids[-1] in self._eos_ids
        is_full = len(row.token_ids) == sampling.max_tokens
        if not (has_ended or is_full or sampling.stop):
            return None
        text = self._text(row)
        cut = first_stop(text, sampling.stop)
        if cut is None and not (has_ended or is_full):
            return None
        return Sample(
            text=text[:cut],
            index=row.index,
            finish_reason="stop" if has_ended or cut is not None else "length",
            tokens=tuple(token or "" for token in self._tokenizer.convert_ids_to_tokens(row.token_ids)),
            token_logprobs=tuple(row.logprobs),
            logprob_source="raw",
            is_greedy=row.generator is None,
            n_prompt_tokens=n_prompt_tokens,
            n_completion_tokens=len(row.token_ids),
        )


def _rows(sampling: Sampling) -> list[_Row]:
    """Each row's generator depends on the seed and its index alone, so that no row's end changes another's draws."""
    seed = secrets.token_hex(16) if sampling.seed is None else sampling.seed
    samples = [_Row(i, random.Random(f"{seed}/{i}")) for i in range(sampling.n)]
    return [_Row(0, None), *samples] if sampling.with_greedy else samples


def _extend(rows: Sequence[_Row], logits: Tensor, sampling: Sampling) -> None:
    token_ids, logprobs = next_tokens(logits, [row.uniform() for row in rows], sampling)
    for row, token_id, logprob in zip(rows, token_ids, logprobs, strict=True):
        row.token_ids.append(token_id)
        row.logprobs.append(logprob)


def _keep(rows: list[_Row], cache: Cache, places: list[int]) -> list[_Row]:
    """Leave the finished rows out of the batch."""
    if len(places) < len(rows):
        _select(cache, places)
    return [rows[place] for place in places]


def _select(cache: Cache, places: list[int]) -> None:
    """Rows of the cache, each as often as it is named; recurrent layers know no other selection than this one."""
    with torch.inference_mode():
        cache.reorder_cache(torch.tensor(places))


def _eos_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Checkpoints name their end tokens in the generation config, the tokenizer, or both."""
    named = getattr(model.generation_config, "eos_token_id", None)
    ids = [*(named if isinstance(named, list) else [named]), tokenizer.eos_token_id]
    return frozenset(i for i in ids if i is not None)


def _prefill_options(model: PreTrainedModel) -> dict[str, int]:
    """Logits of the last position alone: of a long prompt, all of them would fill gigabytes."""
    return {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}
