"""Building the models that the settings name."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from demur.backends import build_entailment
from demur.errors import EntailmentUnavailable
from demur.observability.metrics import Metrics
from demur.settings import NLISettings


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
