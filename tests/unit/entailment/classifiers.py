"""Pair classifiers for tests: a deterministic one, and checkpoints written to disk for the real loader."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from demur.types import Pair, Statement, Verdict

LABELS = ("contradiction", "entailment", "neutral")
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@dataclass(frozen=True)
class WordPair:
    """A pair whose tokens are its words; what is beyond `max_words` counts as cut."""

    pair: Pair
    n_tokens: int
    is_truncated: bool


@dataclass
class WordClassifier:
    """Entailment where the premise holds every word of the hypothesis. `on_predict` is where tests break it."""

    seconds: float = 0.0
    max_words: int = 512
    on_predict: Callable[[list[Pair]], None] | None = None
    on_encode: Callable[[Sequence[Pair]], None] | None = None
    batches: list[list[WordPair]] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)
    model: str = "words"

    def encode(self, pairs: Sequence[Pair]) -> list[WordPair]:
        if self.on_encode:
            self.on_encode(pairs)
        sizes = [sum(len(_words(side)) for side in (pair.premise, pair.hypothesis)) for pair in pairs]
        return [
            WordPair(pair, n_tokens=min(n, self.max_words), is_truncated=n > self.max_words)
            for pair, n in zip(pairs, sizes, strict=True)
        ]

    def predict(self, batch: Sequence[WordPair]) -> list[Verdict]:
        self.batches.append(list(batch))
        self.threads.add(threading.get_ident())
        time.sleep(self.seconds)
        if self.on_predict:
            self.on_predict([encoded.pair for encoded in batch])
        return [_verdict(encoded) for encoded in batch]

    @property
    def asked(self) -> list[Pair]:
        """Every pair that reached the model."""
        return [encoded.pair for batch in self.batches for encoded in batch]


def _words(statement: Statement) -> list[str]:
    return f"{statement.question} {statement.answer}".split()


def _verdict(encoded: WordPair) -> Verdict:
    wanted, given = set(_words(encoded.pair.hypothesis)), set(_words(encoded.pair.premise))
    share = len(wanted & given) / max(len(wanted), 1)
    return Verdict(share, (1 - share) / 2, (1 - share) / 2, is_truncated=encoded.is_truncated)


def pair(premise: str, hypothesis: str, question: str = "") -> Pair:
    return Pair(Statement(premise, question), Statement(hypothesis, question))


def bert_tokenizer() -> Tokenizer:
    """WordPiece over single characters and a few words, with BERT's special tokens."""
    characters = [chr(code) for code in range(33, 127)]
    pieces = [*SPECIAL, *characters, *(f"##{c}" for c in characters), "paris", "is", "the", "capital", "of", "france"]
    tokenizer = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer


def save_tiny_bert(
    folder: Path,
    labels: Sequence[str] = LABELS,
    *,
    dtype: torch.dtype = torch.float32,
    change: Callable[[BertForSequenceClassification], None] | None = None,
    max_positions: int = 128,
) -> Path:
    """A random BERT whose output means `labels`; the same weights for every order of the three labels."""
    torch.manual_seed(7)
    config = BertConfig(
        vocab_size=bert_tokenizer().get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=max_positions,
        initializer_range=0.4,
        id2label=dict(enumerate(labels)),
        label2id={name: i for i, name in enumerate(labels)},
    )
    model = BertForSequenceClassification(config)
    if set(labels) == set(LABELS):
        _permute(model, [LABELS.index(name) for name in labels])
    if change:
        change(model)
    model.to(dtype).save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=bert_tokenizer(),
        model_max_length=max_positions,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **{f"{piece.strip('[]').lower()}_token": piece for piece in SPECIAL},
    ).save_pretrained(folder)
    return folder


def _permute(model: BertForSequenceClassification, order: list[int]) -> None:
    with torch.no_grad():
        model.classifier.weight.copy_(model.classifier.weight[order].clone())
        model.classifier.bias.copy_(model.classifier.bias[order].clone())
