"""A cross-encoder in process: any three-way NLI checkpoint that sentence-transformers loads.

`encode` (any thread) turns pairs into tokens, `predict` (one thread) turns tokens into verdicts; the batcher stands
between the two. Import this module only where the model is built: it brings torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from demur.entailment.fitting import CHARACTERS_PER_TOKEN, shares
from demur.entailment.labels import LabelOrder
from demur.errors import EntailmentUnavailable
from demur.types import Pair, Statement, Verdict

try:
    import torch
    from sentence_transformers import CrossEncoder
    from tokenizers import Tokenizer

    from demur.entailment.bert import QuickBert, is_quick_bert
    from demur.torch_threads import use_threads
except ImportError as error:
    raise ImportError("a local NLI model needs torch and sentence-transformers: pip install 'demur[local]'") from error

Dtype = Literal["auto", "float32", "bfloat16"]
Forward = Callable[[Mapping[str, torch.Tensor]], torch.Tensor]  # from features to logits

# How near the two most probable relations must be in bfloat16 for float32 to prefer the other one: of 6,000 pairs of
# recorded answers 15 got another label, the clearest of them by .019; 130 are this close (benchmarks/precision.py).
_CLOSE_CALL = 0.05

# A CPU's kernels are made for each shape of batch, and kept: for all shapes that come up they take a gigabyte, for
# these a tenth of it, and the padding takes no more time than making the others did (600 random shapes).
_WIDTH_STEP = 8


@dataclass(frozen=True, slots=True)
class EncodedPair:
    """One pair as the model reads it. `is_truncated`: some of its text was left out."""

    ids: list[int]
    type_ids: list[int]
    is_truncated: bool

    @property
    def n_tokens(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class _PairTemplate:
    """The special tokens that a tokenizer puts before, between and after the two texts of a pair."""

    before: list[int]
    between: list[int]
    after: list[int]
    type_ids: tuple[int, int, int, int, int]

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> _PairTemplate:
        """Read from an encoded pair, so that no family of models needs to be known here."""
        probe = tokenizer.encode("a", "a")
        side = probe.sequence_ids
        first, second = side.index(0), side.index(1)
        first_end, second_end = first + side.count(0), second + side.count(1)
        ids, types = probe.ids, [*probe.type_ids, 0]
        return cls(
            before=ids[:first],
            between=ids[first_end:second],
            after=ids[second_end:],
            type_ids=(types[0], types[first], types[first_end], types[second], types[second_end]),
        )

    @property
    def n_tokens(self) -> int:
        return len(self.before) + len(self.between) + len(self.after)

    def join(self, first: list[int], second: list[int], *, is_truncated: bool) -> EncodedPair:
        parts = (self.before, first, self.between, second, self.after)
        ids = [token for part in parts for token in part]
        types = [kind for part, kind in zip(parts, self.type_ids, strict=True) for _ in part]
        return EncodedPair(ids, types, is_truncated)


@dataclass(frozen=True, slots=True)
class _Side:
    """A tokenised statement. `is_cut`: its text was so long that not all of it was tokenised."""

    question: list[int]
    answer: list[int]
    is_cut: bool

    def __len__(self) -> int:
        return len(self.question) + len(self.answer)

    def fitted(self, n_question: int, n_answer: int) -> list[int]:
        """Keeps the end of the question, where it usually is asked, and the beginning of the answer."""
        return self.question[len(self.question) - n_question :] + self.answer[:n_answer]


class PairEncoder:
    """Turns pairs into tokens: "question answer" against "question answer", in at most `max_length` tokens.

    Both answers survive: questions are shortened first, at their beginning; an answer is cut, at its end, only where
    the two answers alone do not fit, and then keeps at least half the window. Text that spells a special token
    ("[SEP]") stays text. Safe to use from several threads.
    """

    def __init__(self, tokenizer: Tokenizer, *, max_length: int, special_ids: frozenset[int]) -> None:
        self._tokenizer = Tokenizer.from_str(tokenizer.to_str())
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._template = _PairTemplate.of(self._tokenizer)
        self._tokenizer.encode_special_tokens = True
        self._special_ids = special_ids
        self._n_free = max_length - self._template.n_tokens
        self._max_characters = max_length * CHARACTERS_PER_TOKEN

    def encode(self, pairs: Sequence[Pair]) -> list[EncodedPair]:
        # A statement stands in many pairs of one call; it is tokenised once.
        statements = {statement for pair in pairs for statement in (pair.premise, pair.hypothesis)}
        sides = {statement: self._side(statement) for statement in statements}
        return [self._fit(sides[pair.premise], sides[pair.hypothesis]) for pair in pairs]

    def _shortened(self, statement: Statement) -> Statement:
        question = statement.question[-self._max_characters :]
        return Statement(statement.answer[: self._max_characters], question)

    def _side(self, statement: Statement) -> _Side:
        # The two are tokenised as one text, because the space before an answer belongs to its first token in BPE.
        short = self._shortened(statement)
        text = f"{short.question} {short.answer}" if short.question else short.answer
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        start = len(short.question) + 1 if short.question else 0
        ends = [end for _, end in encoding.offsets]
        n_question = next((i for i, end in enumerate(ends) if end > start), len(ends))
        ids = encoding.ids
        return _Side(self._as_text(ids[:n_question]), self._as_text(ids[n_question:]), is_cut=short != statement)

    def _as_text(self, ids: list[int]) -> list[int]:
        # A Unigram vocabulary holds "[SEP]" as an ordinary piece, which `encode_special_tokens` does not prevent.
        return [token for token in ids if token not in self._special_ids]

    def _fit(self, first: _Side, second: _Side) -> EncodedPair:
        answers = shares(self._n_free, len(first.answer), len(second.answer))
        questions = shares(self._n_free - sum(answers), len(first.question), len(second.question))
        fitted = [side.fitted(q, a) for side, q, a in zip((first, second), questions, answers, strict=True)]
        is_cut = first.is_cut or second.is_cut or sum(map(len, fitted)) < len(first) + len(second)
        return self._template.join(*fitted, is_truncated=is_cut)


class CrossEncoderModel:
    """The `PairClassifier` behind the batcher. Probabilities are a softmax of the model's logits, taken in float64.

    `forward` computes the logits, not always as `encoder` does; with `quick`, the same in a cheaper precision, it only
    judges again what was close.
    """

    def __init__(
        self,
        encoder: CrossEncoder,
        forward: Forward,
        *,
        name: str,
        max_length: int,
        n_threads: int | None = None,
        quick: Forward | None = None,
    ) -> None:
        tokenizer, config = _fast_tokenizer(encoder, name), encoder.config
        self.model = name
        n_positions: int = getattr(config, "max_position_embeddings", max_length)
        self.max_length = min(max_length, tokenizer.model_max_length, n_positions)
        self._labels = LabelOrder.from_config(config.id2label)
        self._device = encoder.device
        self._forward = forward
        self._quick = quick
        self._pad_id = tokenizer.pad_token_id or 0
        self._has_type_ids = "token_type_ids" in tokenizer.model_input_names
        self._n_threads = n_threads
        special_ids = frozenset(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
        self._pairs = PairEncoder(tokenizer.backend_tokenizer, max_length=self.max_length, special_ids=special_ids)

    @classmethod
    def load(
        cls,
        model: str | Path,
        revision: str | None = None,
        max_length: int = 512,
        dtype: Dtype = "auto",
        n_threads: int | None = None,
        name: str | None = None,
    ) -> CrossEncoderModel:
        """Load a folder, without touching the network, or a Hugging Face repository. Blocks for seconds.

        `dtype` "auto" is the checkpoint's own on a GPU; on a CPU float32, whatever the checkpoint holds, and where the
        CPU computes in bfloat16 that first, which is several times cheaper, with close calls judged again in float32.
        `n_threads` are torch's while it predicts; None stands for torch's default. `name` is what callers are shown; by
        default the folder's name, or the repository's.

        Raises: ValueError when the labels are not those of an NLI model.
        """
        is_local = Path(model).is_dir()
        device = "cuda" if torch.cuda.is_available() else "cpu"
        checkpoint_dtype: Any = "float32" if dtype == "auto" and device == "cpu" else dtype
        encoder = CrossEncoder(
            str(model),
            device=device,
            revision=revision,
            local_files_only=is_local,
            model_kwargs={"dtype": checkpoint_dtype},
        )
        is_quicker = dtype == "auto" and device == "cpu" and computes_in_bfloat16()
        quick = forward_of(encoder, torch.bfloat16) if is_quicker else None
        shown = name or (Path(model).resolve().name if is_local else str(model))
        return cls(encoder, forward_of(encoder), name=shown, max_length=max_length, n_threads=n_threads, quick=quick)

    def encode(self, pairs: Sequence[Pair]) -> list[EncodedPair]:
        return self._pairs.encode(pairs)

    def predict(self, batch: Sequence[EncodedPair]) -> list[Verdict]:
        """Raises: EntailmentUnavailable when the model yields anything but finite numbers."""
        use_threads(self._n_threads)
        rows = self._probabilities(self._quick or self._forward, batch)
        if self._quick:
            close = [i for i, row in enumerate(rows) if _lead(row) < _CLOSE_CALL]
            again = self._probabilities(self._forward, [batch[i] for i in close]) if close else []
            for i, row in zip(close, again, strict=True):
                rows[i] = row
        return [self._labels.verdict(p, is_truncated=e.is_truncated) for p, e in zip(rows, batch, strict=True)]

    def _probabilities(self, forward: Forward, batch: Sequence[EncodedPair]) -> list[list[float]]:
        """Of the model's relations, in its order."""
        with torch.inference_mode():
            features = {k: v.to(self._device) for k, v in self._features(batch).items()}
            logits = forward(features)[: len(batch)].double().cpu()
        if not bool(torch.isfinite(logits).all()):
            raise EntailmentUnavailable(f"the NLI model {self.model} gave logits that are not finite numbers")
        rows: list[list[float]] = torch.softmax(logits, dim=-1).tolist()
        return rows

    def _features(self, batch: Sequence[EncodedPair]) -> dict[str, torch.Tensor]:
        rows, width = list(batch), max(pair.n_tokens for pair in batch)
        if self._device.type == "cpu":
            rows += [rows[0]] * (_next_count(len(rows)) - len(rows))
            width = min(-(-width // _WIDTH_STEP) * _WIDTH_STEP, self.max_length)
        features = {
            "input_ids": _padded([pair.ids for pair in rows], width, self._pad_id),
            "attention_mask": _padded([[1] * pair.n_tokens for pair in rows], width, 0),
        }
        if self._has_type_ids:
            features["token_type_ids"] = _padded([pair.type_ids for pair in rows], width, 0)
        return features


def forward_of(encoder: CrossEncoder, dtype: torch.dtype | None = None) -> Forward:
    """What `encoder` computes, in `dtype` (by default its own); in few steps where that is known to be the same."""
    encoder.eval()
    if is_quick_bert(encoder.model):
        return QuickBert(encoder.model, dtype or encoder.model.dtype)
    whole = encoder if dtype in (None, encoder.model.dtype) else deepcopy(encoder).to(dtype)
    return lambda features: whole(dict(features))["scores"]


def computes_in_bfloat16() -> bool:
    """Whether this CPU has instructions for it: without, it is slower than float32."""
    can = torch.cpu.get_capabilities()
    return bool(can.get("amx_bf16") or can.get("avx512_bf16"))


def _next_count(n: int) -> int:
    """The next of 1, 2, 3, 4, 6, 8, 12, 16, 24, ..."""
    power = 1 << (n - 1).bit_length()
    return 3 * power // 4 if power >= 4 and n <= 3 * power // 4 else power


def _lead(row: Sequence[float]) -> float:
    """Of the most probable relation over the next."""
    second, first = sorted(row)[-2:]
    return first - second


def _padded(rows: Sequence[list[int]], width: int, fill: int) -> torch.Tensor:
    return torch.tensor([row + [fill] * (width - len(row)) for row in rows], dtype=torch.long)


def _fast_tokenizer(encoder: CrossEncoder, name: str) -> Any:
    tokenizer = encoder.tokenizer
    if not getattr(tokenizer, "is_fast", False):
        raise ValueError(f"the NLI model {name} has no tokenizer.json; convert its tokenizer to the fast format")
    return tokenizer
