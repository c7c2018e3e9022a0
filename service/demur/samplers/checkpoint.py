"""A Hugging Face causal language model, loaded so that a broken one is refused instead of answering nonsense."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from demur.errors import BackendError


def load_checkpoint(
    name: str, *, revision: str | None = None, local_files_only: bool = False
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a folder or a Hub name: float32 on the CPU, the saved dtype on a GPU where there is one.

    Only safetensors weights are read, and no code that comes with the checkpoint is run.

    Raises: BackendError.
    """
    folder = Path(name)
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise BackendError(f"{name} is not a Hugging Face model folder: it has no config.json")
    source: dict[str, Any] = {"revision": revision, "local_files_only": local_files_only or folder.is_dir()}
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, **source)
        model, report = AutoModelForCausalLM.from_pretrained(
            name, dtype=_dtype(), use_safetensors=True, output_loading_info=True, **source
        )
    except Exception as error:  # the loader raises whatever its parsers raise
        raise BackendError(f"cannot load the language model {name}: {error}") from error
    _refuse_random_weights(name, report)
    return model.to(_device()).eval(), tokenizer


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _dtype() -> torch.dtype | str:
    return "auto" if torch.cuda.is_available() else torch.float32


def _refuse_random_weights(name: str, report: dict[str, Any]) -> None:
    """transformers fills absent or misshapen weights with random numbers, and only warns."""
    absent = sorted(report["missing_keys"]) + sorted(str(key) for key in report["mismatched_keys"])
    if absent:
        raise BackendError(f"the weights of {name} are incomplete: {len(absent)} missing, among them {absent[0]}")
