"""Building the models that the settings name."""

from __future__ import annotations

import gc
import threading
from pathlib import Path

import pytest

from demur.backends import build_entailment, open_sampler
from demur.engine.drawing import draw
from demur.errors import EntailmentUnavailable
from demur.observability.metrics import Metrics
from demur.settings import NLISettings, Settings
from demur.types import Message, Pair, Sampling, Statement


@pytest.mark.parametrize("was_enabled", [True, False])
def test_a_model_that_cannot_be_loaded_leaves_garbage_collection_as_it_was(tmp_path: Path, was_enabled: bool) -> None:
    """It is off while models load, and a failure must not leave it so."""
    (gc.enable if was_enabled else gc.disable)()
    try:
        with pytest.raises(EntailmentUnavailable):
            build_entailment(NLISettings(model=str(tmp_path)), Metrics())
        assert gc.isenabled() == was_enabled
    finally:
        gc.enable()


@pytest.mark.anyio
async def test_both_bundled_models_compute_on_one_thread() -> None:
    """Two would bring more OpenMP workers than there are cores."""
    sampler, entailment = await open_sampler(Settings(), Metrics()), build_entailment(NLISettings(), Metrics())
    before = {thread.name for thread in threading.enumerate()}
    assert "demur-models" in before
    drawn = await draw(sampler, [Message("user", "What is the capital of France?")], Sampling(n=2), seconds=60)
    await entailment.label([Pair(Statement("Paris"), Statement(drawn.samples[0].text))])
    assert {thread.name for thread in threading.enumerate()} - before <= {"AnyIO worker thread"}
    await sampler.aclose()
    await entailment.aclose()
