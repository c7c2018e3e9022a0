"""vLLM's engine: it runs in a process of its own, and is spoken to from this one."""

from __future__ import annotations

import logging
import random
import secrets
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Literal
from uuid import uuid4

from transformers import AutoTokenizer
from vllm import SamplingParams
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.exceptions import GracefulHTTPError, VLLMClientError
from vllm.inputs import tokens_input
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError

from demur.errors import (
    BackendError,
    BackendUnavailable,
    ContextLengthExceeded,
    DemurError,
    Overloaded,
    UnsupportedByBackend,
)
from demur.samplers.base import OnText
from demur.samplers.chat_template import encode_messages
from demur.samplers.replies import clean_logprobs
from demur.samplers.settled import settled
from demur.types import Message, Sample, Sampling

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prompt:
    """`salt` sets apart what the engine remembers of it."""

    ids: tuple[int, ...]
    salt: str | None = None


class VLLMEngine:
    """An engine and its tokenizer. `encode` is for one thread at a time; `complete` belongs to one event loop."""

    def __init__(self, engine: AsyncLLM) -> None:
        # vLLM's types are not installed where ours are checked
        self._engine: Any = engine
        self._tokenizer: Any = _load_tokenizer(engine)
        self._context_length: int = engine.vllm_config.model_config.max_model_len

    @classmethod
    def start(cls, model: str, *, revision: str | None, max_model_len: int, arguments: Mapping[str, Any]) -> VLLMEngine:
        """Load a model folder or a Hub name; blocks for as long as that takes, on a GPU some minutes.

        `arguments` are fields of vLLM's AsyncEngineArgs and go before ours. Without `max_model_len` among them, the
        context is the model's own, `max_model_len` tokens at most.

        Raises: BackendError.
        """
        try:
            return cls(AsyncLLM.from_engine_args(_engine_args(model, revision, max_model_len, arguments)))
        except DemurError:
            raise
        except Exception as error:  # whatever its loaders, parsers and processes raise
            raise BackendError(f"vLLM cannot start with {model}: {error}") from error

    @property
    def process_ids(self) -> list[int]:
        """Of the engine's own processes."""
        return [process.pid for process in self._engine.engine_core.resources.engine_manager.processes]

    def encode(self, messages: Sequence[Message], sampling: Sampling, salt: str | None = None) -> Prompt:
        """Raises: ContextLengthExceeded, ValidationFailed."""
        ids = encode_messages(self._tokenizer, messages)
        if len(ids) >= self._context_length:
            raise ContextLengthExceeded(n_tokens=len(ids), max_tokens=sampling.max_tokens, limit=self._context_length)
        return Prompt(tuple(ids), salt)

    async def complete(
        self, prompt: Prompt, sampling: Sampling, index: int | None, on_text: OnText | None = None
    ) -> Sample:
        """Sample `index`, or the greedy answer (None); `on_text` hears it grow. Cancelling aborts it in the engine.

        Raises: Overloaded, UnsupportedByBackend, BackendUnavailable (the engine has died), BackendError.
        """
        room = self._context_length - len(prompt.ids)
        wanted = tokens_input(list(prompt.ids), cache_salt=prompt.salt)
        try:
            parameters = _parameters(sampling, index, room, is_heard=on_text is not None)
            outputs, result = self._engine.generate(wanted, parameters, uuid4().hex), None
            async with aclosing(outputs):
                async for output in outputs:
                    result = output
                    if on_text is not None:
                        on_text(settled(output.outputs[0].text, sampling.stop))
        except Exception as error:
            raise _translate(error) from error
        if result is None:
            raise BackendError("vLLM gave no answer")
        return self._sample(result.outputs[0], index, len(prompt.ids))

    def shutdown(self) -> None:
        """Blocks until the engine's processes have ended."""
        engine, self._engine = self._engine, None  # left to the interpreter's end, it fails noisily
        if engine is not None:
            engine.shutdown()

    def _sample(self, output: Any, index: int | None, n_prompt_tokens: int) -> Sample:
        logprobs = clean_logprobs([row[i].logprob for row, i in zip(output.logprobs, output.token_ids, strict=True)])
        tokens = tuple(token or "" for token in self._tokenizer.convert_ids_to_tokens(output.token_ids))
        return Sample(
            text=output.text,
            index=index or 0,
            finish_reason=_finish_reason(output.finish_reason),
            tokens=tokens if logprobs else None,
            token_logprobs=logprobs,
            logprob_source="raw" if logprobs else "unknown",
            is_greedy=index is None,
            n_prompt_tokens=n_prompt_tokens,
            n_completion_tokens=len(output.token_ids),
        )


def _engine_args(model: str, revision: str | None, max_model_len: int, arguments: Mapping[str, Any]) -> AsyncEngineArgs:
    ours = {
        "model": model,
        "revision": revision,
        "tokenizer_revision": revision,
        "enable_prefix_caching": True,  # the samples of a request share their prompt
        "seed": secrets.randbits(31),  # vLLM's own is 0: the same answers after every start
    }
    if arguments.get("logprobs_mode", "raw_logprobs") != "raw_logprobs":
        raise BackendError("DEMUR_VLLM__ARGS must leave logprobs_mode alone: the estimators need raw log-probabilities")
    try:
        engine_args = AsyncEngineArgs(**{**ours, **arguments})
    except TypeError as error:
        raise BackendError(f"DEMUR_VLLM__ARGS: {error}") from error
    if engine_args.max_model_len is None:
        engine_args.max_model_len = min(max_model_len, engine_args.create_model_config().max_model_len)
    return engine_args


def _load_tokenizer(engine: AsyncLLM) -> Any:
    """One of our own: vLLM's is used by its threads."""
    settings = engine.vllm_config.model_config
    return AutoTokenizer.from_pretrained(
        settings.tokenizer, revision=settings.tokenizer_revision, trust_remote_code=settings.trust_remote_code
    )


def _parameters(sampling: Sampling, index: int | None, room: int, *, is_heard: bool) -> SamplingParams:
    drawn: dict[str, Any] = {"temperature": 0.0}
    if index is not None:
        drawn = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": _seed(sampling.seed, index),
        }
    return SamplingParams(
        max_tokens=min(sampling.max_tokens, room),
        stop=[text for text in sampling.stop if text],
        logprobs=0,  # of the drawn token alone
        output_kind=RequestOutputKind.CUMULATIVE if is_heard else RequestOutputKind.FINAL_ONLY,
        **drawn,
    )


def _seed(seed: int | None, index: int) -> int | None:
    """Of neighbouring seeds, no sample is the same: vLLM's own `seed + index` would share all but one."""
    return None if seed is None else random.Random(f"{seed}/{index}").getrandbits(63)


def _finish_reason(reason: str | None) -> Literal["stop", "length"]:
    if reason not in ("stop", "length"):
        raise BackendError(f"vLLM gave an answer up ({reason})")
    return "stop" if reason == "stop" else "length"


def _translate(error: Exception) -> DemurError:
    """Refusals of the engine, in our words."""
    if isinstance(error, GracefulHTTPError):  # its limits on what waits
        return Overloaded(f"vLLM is busy: {error}")
    if isinstance(error, EngineDeadError):
        return BackendUnavailable("the vLLM engine has died; the service has to be started again")
    if isinstance(error, VLLMClientError):
        return UnsupportedByBackend(f"vLLM refuses the request: {error}")
    cause = error.__cause__ or error
    return BackendError(f"the language model failed ({type(cause).__name__}: {cause})")
