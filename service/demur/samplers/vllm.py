"""vLLM in this process: a GPU's full speed without a server beside the service."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demur.errors import BackendError, BackendUnavailable, DemurError
from demur.samplers.base import OnText
from demur.samplers.cache_salt import CacheSalt
from demur.samplers.draws import cancel_all, graver
from demur.types import Message, Sample, Sampling

if TYPE_CHECKING:
    from demur.samplers.vllm_engine import VLLMEngine

logger = logging.getLogger(__name__)

_CLOSED = "the language model has been shut down"

# What vLLM reads nowhere else, and the process that it starts inherits.
_ENVIRONMENT = {
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_DO_NOT_TRACK": "1",
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # a fork would copy the locks of our threads, but not the threads
    "VLLM_CONFIGURE_LOGGING": "0",  # its lines go where ours go
}


class VLLMSampler:
    """Draws from vLLM's engine, which batches the answers of all requests.

    Each answer is a request of its own to the engine, so that it arrives when it is finished; they share the prompt
    through the prefix cache (docs/design/0011). Sample i has a seed made of the request's and i: the same seed gives
    the same answers, a larger n the same first ones. What else is in a batch changes logits in their last bits; where
    answers must not change even so, start the service with vLLM's own VLLM_BATCH_INVARIANT=1.

    Logprobs are `raw`, the model's own at T=1. It belongs to the event loop that draws first.
    """

    def __init__(
        self,
        engine: VLLMEngine,
        *,
        model: str,
        salt: CacheSalt | None = None,
        on_death: Callable[[], None] = lambda: None,
    ) -> None:
        self._engine: VLLMEngine | None = engine
        self._model = model
        self._salt = salt or CacheSalt()
        self._on_death = on_death
        self._tokenizing = ThreadPoolExecutor(1, "demur-tokenizer")
        self._running: set[asyncio.Task[Sample]] = set()
        self._is_dead = False

    @classmethod
    def load(
        cls,
        model: str,
        *,
        name: str | None = None,
        revision: str | None = None,
        max_model_len: int = 4096,
        arguments: Mapping[str, Any] | None = None,
        salt: CacheSalt | None = None,
        on_death: Callable[[], None] = lambda: None,
    ) -> VLLMSampler:
        """Start an engine on a model folder or a Hub name; blocks for as long as that takes.

        `name` is shown to callers, by default the folder's own or the Hub name; `max_model_len` bounds prompt and
        answer in tokens; `arguments` are fields of vLLM's AsyncEngineArgs. `on_death` is called once, when a request
        finds the engine dead, which nothing brings back.

        Raises: BackendError.
        """
        for variable, value in _ENVIRONMENT.items():
            os.environ.setdefault(variable, value)  # noqa: TID251 - vLLM is told in no other way
        try:
            from demur.samplers.vllm_engine import VLLMEngine
        except ImportError as error:
            raise BackendError(f"the vllm sampler lacks a package ({error}): pip install 'demur[vllm]'") from error
        engine = VLLMEngine.start(model, revision=revision, max_model_len=max_model_len, arguments=arguments or {})
        folder = Path(model)
        shown = name or (folder.resolve().name if folder.is_dir() else model)
        return cls(engine, model=shown, salt=salt, on_death=on_death)

    @property
    def model(self) -> str:
        return self._model

    @property
    def engine(self) -> VLLMEngine:
        """Raises: BackendError, once it is closed."""
        if self._engine is None:
            raise BackendError(_CLOSED)
        return self._engine

    async def sample(
        self, messages: Sequence[Message], sampling: Sampling, on_text: OnText | None = None
    ) -> AsyncGenerator[Sample, None]:
        encode, salt = self.engine.encode, self._salt.of(sampling.cache_scope)
        loop = asyncio.get_running_loop()
        prompt = await loop.run_in_executor(self._tokenizing, encode, tuple(messages), sampling, salt)
        engine = self.engine  # it may have been closed meanwhile
        running = {self._start(engine.complete(prompt, sampling, index)) for index in range(sampling.n)}
        if sampling.with_greedy:
            running.add(self._start(engine.complete(prompt, sampling, None, on_text)))
        failure: DemurError = BackendError("the language model gave no answer")
        n_drawn = 0
        try:
            while running:
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    try:
                        sample = self._result(task)
                    except DemurError as error:
                        failure = graver(failure, error)
                        continue
                    n_drawn += 1
                    yield sample
        finally:
            await cancel_all(running)
        if n_drawn == 0:
            raise failure

    async def aclose(self) -> None:
        engine, self._engine = self._engine, None
        await cancel_all(self._running)
        self._tokenizing.shutdown(wait=False)
        if engine is not None:
            await asyncio.to_thread(engine.shutdown)

    def _start(self, work: Coroutine[Any, Any, Sample]) -> asyncio.Task[Sample]:
        """A task that `sample` awaits or cancels, and `aclose` cancels."""
        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    def _result(self, task: asyncio.Task[Sample]) -> Sample:
        """Raises: DemurError."""
        if task.cancelled():
            raise BackendError(_CLOSED)
        try:
            return task.result()
        except BackendUnavailable:
            self._report_death()
            raise

    def _report_death(self) -> None:
        if self._engine is not None and not self._is_dead:
            self._is_dead = True
            logger.critical("the vLLM engine has died; the service has to be started again")
            self._on_death()
