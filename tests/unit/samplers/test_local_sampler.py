"""What a failing model does to a request, and to the requests after it."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from demur.errors import BackendError
from demur.samplers.decoding import Decoder
from demur.samplers.local import LocalSampler
from demur.types import Message, Sample, Sampling
from tests.conformance.tiny_checkpoint import build_checkpoint

pytestmark = pytest.mark.anyio

FRANCE = [Message("user", "What is the capital of France?")]
SAMPLING = Sampling(n=9, seed=9, max_tokens=30)

Spoil = Callable[[int, Any], None]


class FailingModel:
    """A real tiny model; `spoil(k, output)` may change or refuse the output of its k-th forward pass."""

    def __init__(self, folder: Path) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).eval()
        self.model.register_forward_hook(self._after_forward)
        self.sampler = LocalSampler(Decoder(self.model, AutoTokenizer.from_pretrained(folder)), model="tiny")
        self.spoil: Spoil = lambda k, output: None
        self.n_passes = 0

    def _after_forward(self, module: torch.nn.Module, args: Any, output: Any) -> None:
        self.n_passes += 1
        self.spoil(self.n_passes, output)

    async def draw(self) -> list[Sample]:
        self.n_passes = 0
        return [sample async for sample in self.sampler.sample(FRANCE, SAMPLING)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def failing(folder: Path) -> FailingModel:
    return FailingModel(folder)


def raise_at(moment: int, error: Exception) -> Spoil:
    def spoil(k: int, output: Any) -> None:
        if k == moment:
            raise error

    return spoil


async def test_an_error_before_the_first_answer_fails_the_request_alone(failing: FailingModel) -> None:
    """It is named; the next request is served."""
    failing.spoil = raise_at(1, RuntimeError("kernel image is invalid"))
    with pytest.raises(BackendError, match=r"the language model failed \(RuntimeError: kernel image is invalid\)"):
        await failing.draw()
    failing.spoil = lambda k, output: None
    assert len(await failing.draw()) == 10


async def test_between_passes_others_get_their_turn(failing: FailingModel) -> None:
    """A batch of pairs does not wait for a whole answer."""
    ran_before: list[int] = []
    failing.spoil = lambda k, output: (
        failing.sampler._thread.submit_quick(lambda: ran_before.append(failing.n_passes + 1)) if k == 2 else None
    )
    assert len(await failing.draw()) == 10
    assert ran_before == [3]
    assert failing.n_passes > 3


async def test_running_out_of_gpu_memory_says_what_to_lower(failing: FailingModel) -> None:
    failing.spoil = raise_at(1, torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(BackendError, match="ran out of GPU memory; lower"):
        await failing.draw()


async def test_answers_drawn_before_an_error_are_kept(failing: FailingModel, caplog: pytest.LogCaptureFixture) -> None:
    """The others are dropped, and the log says why."""
    whole = await failing.draw()
    failing.spoil = raise_at(5, RuntimeError("lost device"))
    kept = await failing.draw()
    assert kept == [s for s in whole if (s.n_completion_tokens or 0) < 5]
    assert 0 < len(kept) < 10
    assert "lost device" in caplog.text


async def test_a_row_that_is_not_numbers_is_dropped_alone(failing: FailingModel) -> None:
    """The other rows' answers are what they would have been."""
    whole = await failing.draw()

    def spoil(k: int, output: Any) -> None:
        if k == 2:
            output.logits[0] = torch.nan  # the greedy row

    failing.spoil = spoil
    assert await failing.draw() == [s for s in whole if not s.is_greedy]


async def test_no_sample_is_made_of_logits_that_are_not_numbers(failing: FailingModel) -> None:
    failing.spoil = lambda k, output: output.logits.fill_(torch.nan)
    with pytest.raises(BackendError, match="logits that are not numbers"):
        await failing.draw()


async def test_logits_of_the_prompt_are_not_kept(failing: FailingModel) -> None:
    """Only the last position's: of a long prompt and a large vocabulary they would fill gigabytes."""
    shapes = []
    failing.spoil = lambda k, output: shapes.append(tuple(output.logits.shape[:2]))
    samples = await failing.draw()
    assert (samples[0].n_prompt_tokens or 0) > 5
    assert shapes[0] == (1, 1)


async def test_closing_frees_the_model(failing: FailingModel) -> None:
    """Its memory is there for the next one."""
    await failing.draw()
    sampler, model = failing.sampler, weakref.ref(failing.model)
    await sampler.aclose()
    del failing.model
    gc.collect()
    assert model() is None
