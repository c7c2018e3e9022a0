"""A checkpoint that cannot answer is refused when it is loaded, with words that help."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    Lfm2Config,
    MambaConfig,
    MistralConfig,
    PreTrainedConfig,
)

from demur.errors import BackendError
from demur.samplers.chat_template import encode_messages
from demur.samplers.decoding import Decoder
from demur.samplers.local import LocalSampler
from demur.types import Message, Sampling
from tests.conformance.tiny_checkpoint import build_checkpoint

SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return build_checkpoint(tmp_path / "tiny")


def load(folder: Path | str) -> LocalSampler:
    return LocalSampler.load(str(folder), local_files_only=True)


def change_weights(folder: Path, change: dict[str, torch.Tensor | None]) -> None:
    path = folder / "model.safetensors"
    weights = {**load_file(path), **change}
    save_file({name: w for name, w in weights.items() if w is not None}, path, metadata={"format": "pt"})


def test_a_folder_that_holds_no_model(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"not a Hugging Face model folder: it has no config\.json"):
        load(tmp_path)


def test_a_name_that_is_nowhere() -> None:
    with pytest.raises(BackendError, match="cannot load the language model nobody/no-such-model"):
        load("nobody/no-such-model")


def test_a_config_that_is_no_json(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    with pytest.raises(BackendError, match="cannot load the language model"):
        load(folder)


def test_weights_that_are_missing(folder: Path) -> None:
    """The loader would make them up at random and only warn."""
    change_weights(folder, {"model.layers.1.mlp.up_proj.weight": None})
    with pytest.raises(BackendError, match=r"incomplete: 1 missing, among them model\.layers\.1\.mlp\.up_proj\.weight"):
        load(folder)


def test_weights_of_another_shape(folder: Path) -> None:
    change_weights(folder, {"model.norm.weight": torch.ones(33)})
    with pytest.raises(BackendError, match=r"model\.norm\.weight|mismatch"):
        load(folder)


def test_weights_that_are_not_numbers(folder: Path) -> None:
    """Found by the trial answer, before any caller gets one."""
    change_weights(folder, {"model.norm.weight": torch.full((32,), torch.nan)})
    with pytest.raises(BackendError, match="logits that are not numbers"):
        load(folder)


def test_pickled_weights_are_not_read(folder: Path) -> None:
    """Loading them could run code."""
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(BackendError, match="safetensors"):
        load(folder)


def test_code_in_the_checkpoint_is_not_run(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config", "AutoModelForCausalLM": "mine.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "mine.py").write_text("raise SystemExit('code was run')")
    with pytest.raises(BackendError, match="cannot load the language model"):
        load(folder)


def test_a_tokenizer_of_another_model(folder: Path) -> None:
    """It has tokens that the model has no place for."""
    small = torch.zeros(20, 32)
    change_weights(folder, {"model.embed_tokens.weight": small, "lm_head.weight": small.clone()})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": 20}))
    with pytest.raises(BackendError, match="do not belong together"):
        load(folder)


def test_a_missing_package_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "demur.samplers.decoding")
    monkeypatch.delattr(importlib.import_module("demur.samplers"), "decoding")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(BackendError, match=r"pip install 'demur\[local\]'"):
        load(folder)


def test_importing_the_sampler_imports_no_torch() -> None:
    """Only loading a model does; the service starts without it where the model is remote."""
    code = "import sys, demur.samplers.local, demur.samplers.scripted; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "config",
    [
        GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=256),
        MistralConfig(**SIZES, **HEADS, sliding_window=8, max_position_embeddings=256),
        Lfm2Config(**SIZES, **HEADS, layer_types=["conv", "full_attention"], max_position_embeddings=256),
    ],
    ids=["learned positions", "sliding window", "convolution and attention"],
)
def test_other_architectures_answer_with_their_own_logprobs(folder: Path, config: PreTrainedConfig) -> None:
    """Rows forked from one prompt and dropped as they end give what a forward pass over the whole text gives."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    config.vocab_size = len(tokenizer)
    config.eos_token_id = list(range(len(tokenizer) - 40, len(tokenizer)))
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    (folder / "generation_config.json").unlink()
    model.save_pretrained(folder)
    messages = [Message("user", "What is the capital of France?")]
    samples = list(Decoder.load(str(folder)).draw(messages, Sampling(n=8, max_tokens=24, seed=3), lambda: False))
    prompt = encode_messages(tokenizer, messages)
    assert len({s.n_completion_tokens for s in samples}) > 3
    for sample in samples:
        drawn = tokenizer.convert_tokens_to_ids(list(sample.tokens or ()))
        with torch.inference_mode():
            after = model(input_ids=torch.tensor([prompt + drawn])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        expected = after.gather(-1, torch.tensor(drawn)[:, None]).squeeze(-1).tolist()
        assert sample.token_logprobs == pytest.approx(expected, abs=1e-4)


def test_an_architecture_without_a_cache_to_share_is_refused(folder: Path) -> None:
    """Rather than answered wrongly."""
    model = AutoModelForCausalLM.from_config(MambaConfig(vocab_size=320, hidden_size=32, num_hidden_layers=1))
    model.save_pretrained(folder)
    with pytest.raises(BackendError, match="keeps no cache that answers could share"):
        load(folder)
