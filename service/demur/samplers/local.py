"""A language model in this process, run by transformers."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from demur.errors import BackendError, DemurError
from demur.model_thread import ModelThread, shared_thread
from demur.samplers.base import OnText
from demur.types import Message, Sample, Sampling

if TYPE_CHECKING:
    from demur.samplers.decoding import Decoder

logger = logging.getLogger(__name__)

_CLOSED = "the language model has been shut down"
_CLOSE_SECONDS = 5.0


class LocalSampler:
    """Draws from a Hugging Face causal language model in this process, on a GPU where there is one.

    One thread computes. Requests run one after another in order of arrival, each as one batch of all its answers: so
    what runs beside a request never changes its numbers, and with them its answers. One that is closed while it waits
    never starts; one that runs stops before its next forward pass (a pass under way is finished). Between passes it
    gives way to what is quick, as batches of pairs are.

    Sample i draws one uniform number per token from a generator seeded with (seed, i). So the same seed gives the same
    answers, a larger n the same first ones, and different seeds unrelated ones. Logprobs are `raw`: the model's own
    at T=1, whatever temperature and top-p the sample was drawn with. Of the checkpoint's generation config only the
    end tokens count; how to sample is the request's to say.
    """

    def __init__(
        self, decoder: Decoder, *, model: str, n_threads: int | None = None, thread: ModelThread | None = None
    ) -> None:
        """`thread` stays its owner's to close; without one the model has a thread of its own."""
        self._decoder: Decoder | None = decoder
        self._model = model
        self._is_closed = False
        self._n_threads = n_threads
        self._thread = thread or ModelThread("demur-sampler")
        self._owns_thread = thread is None

    @classmethod
    def load(
        cls,
        model: str,
        *,
        name: str | None = None,
        revision: str | None = None,
        n_threads: int | None = None,
        local_files_only: bool = False,
    ) -> LocalSampler:
        """Load a model folder or a Hub name on the thread that all models share; blocks for as long as that takes.

        `name` is shown to callers, by default the folder's own or the Hub name. `n_threads` are the CPU threads of a
        forward pass, to be shared with other models in the process; None leaves it to torch.

        Raises: BackendError.
        """
        try:
            from demur.samplers.decoding import Decoder
        except ImportError as error:
            raise BackendError(f"the local sampler lacks a package ({error}): pip install 'demur[local]'") from error
        thread, folder = shared_thread(), Path(model)
        decoder = thread.run(lambda: Decoder.load(model, revision=revision, local_files_only=local_files_only))
        shown = name or (folder.resolve().name if folder.is_dir() else model)
        return cls(decoder, model=shown, n_threads=n_threads, thread=thread)

    @property
    def model(self) -> str:
        return self._model

    async def sample(
        self, messages: Sequence[Message], sampling: Sampling, on_text: OnText | None = None
    ) -> AsyncGenerator[Sample, None]:
        if self._is_closed:
            raise BackendError(_CLOSED)
        arrivals = _Arrivals()
        drawing = self._thread.submit(
            lambda: self._draw(tuple(messages), sampling, arrivals, tells=on_text is not None)
        )
        drawing.add_done_callback(arrivals.end)
        try:
            while (arrived := await arrivals.get()) is not None:
                if isinstance(arrived, Sample):
                    yield arrived
                elif on_text:
                    on_text(arrived)
            drawing.result()
        finally:
            arrivals.refuse()
            drawing.cancel()

    async def aclose(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        last = self._thread.submit(self._forget_decoder)  # all before it end at once
        if self._owns_thread:
            self._thread.close()
        with anyio.move_on_after(_CLOSE_SECONDS):
            await asyncio.wrap_future(last)

    def _forget_decoder(self) -> None:
        self._decoder = None

    def _draw(self, messages: tuple[Message, ...], sampling: Sampling, arrivals: _Arrivals, *, tells: bool) -> None:
        """On the model's thread. A failure is the request's only if it comes before the first answer."""

        from demur.torch_threads import use_threads

        def is_stopped() -> bool:
            self._thread.give_way()
            use_threads(self._n_threads)
            return self._is_closed or arrivals.is_refused

        n_drawn = 0
        try:
            on_text = arrivals.put if tells else None
            for sample in self._open_decoder().draw(messages, sampling, is_stopped, on_text):
                arrivals.put(sample)
                n_drawn += 1
            if n_drawn == 0 and self._is_closed:
                raise BackendError(_CLOSED)
        except Exception as error:
            if n_drawn == 0:
                raise _translate(error) from error
            logger.warning("a request kept %d of %d answers: %s", n_drawn, sampling.n_drawn, error, exc_info=error)

    def _open_decoder(self) -> Decoder:
        if self._decoder is None:
            raise BackendError(_CLOSED)
        return self._decoder


class _Arrivals:
    """Samples, and texts of the greedy one, on their way from the owner thread to the event loop that ran at first."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Sample | str | None] = asyncio.Queue()
        self._refused = threading.Event()

    @property
    def is_refused(self) -> bool:
        """Whether nobody waits any longer."""
        return self._refused.is_set()

    def refuse(self) -> None:
        self._refused.set()

    def put(self, arrived: Sample | str | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._queue.put_nowait, arrived)
        except RuntimeError:  # the loop was closed, and its waiters with it
            self.refuse()

    def end(self, _: Future[None]) -> None:
        self.put(None)

    async def get(self) -> Sample | str | None:
        """What comes next, or None at the end."""
        return await self._queue.get()


def _translate(error: Exception) -> DemurError:
    if isinstance(error, DemurError):
        return error
    if type(error).__name__ == "OutOfMemoryError":
        return BackendError("the language model ran out of GPU memory; lower sampling.n, max_tokens or the prompt")
    return BackendError(f"the language model failed ({type(error).__name__}: {error})")
