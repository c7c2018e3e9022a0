"""The cross-encoder: how pairs become tokens, and what of a checkpoint is believed."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import AutoTokenizer

from demur.entailment.cross_encoder import CrossEncoderModel, EncodedPair, PairEncoder
from demur.entailment.labels import LabelOrder
from demur.errors import EntailmentUnavailable
from demur.types import Pair, Statement, Verdict
from tests.unit.entailment.classifiers import bert_tokenizer, pair, save_tiny_bert

CLS, SEP, N_BERT_SPECIAL = 2, 3, 3


@pytest.fixture(scope="module")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_bert(tmp_path_factory.mktemp("tiny-bert"))


def _encoder(max_length: int, tokenizer: Tokenizer | None = None) -> PairEncoder:
    return PairEncoder(tokenizer or bert_tokenizer(), max_length=max_length, special_ids=frozenset({0, 2, 3, 4}))


def _text(ids: list[int]) -> str:
    vocabulary = {i: piece for piece, i in bert_tokenizer().get_vocab().items()}
    return " ".join(vocabulary[i] for i in ids).replace(" ##", "")


def roberta_tokenizer() -> Tokenizer:
    """Byte-level BPE, where the space belongs to the word that follows it."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = ["<s>", "<pad>", "</s>", *alphabet, "ĠP", "ĠPa"]
    tokenizer = Tokenizer(models.BPE({piece: i for i, piece in enumerate(pieces)}, [("Ġ", "P"), ("ĠP", "a")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>"])
    return tokenizer


def unigram_tokenizer() -> Tokenizer:
    """SentencePiece style, whose vocabulary holds "[SEP]" as a piece like any other."""
    pieces = [("<unk>", 0.0), ("[CLS]", 0.0), ("[SEP]", 0.0), ("▁", -2.0), *((chr(c), -5.0) for c in range(33, 127))]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    tokenizer.add_special_tokens(["[CLS]", "[SEP]"])
    return tokenizer


# -- pairs to tokens ---------------------------------------------------------------------------------------------------


def test_a_pair_is_question_and_answer_against_question_and_answer(tiny_bert: Path) -> None:
    """As the tokenizer itself encodes a sentence pair, type ids included."""
    model = CrossEncoderModel.load(tiny_bert)
    (encoded,) = model.encode([pair("Paris", "in Lyon", "Capital of France?")])
    expected = AutoTokenizer.from_pretrained(tiny_bert)("Capital of France? Paris", "Capital of France? in Lyon")
    assert encoded.ids == expected["input_ids"]
    assert encoded.type_ids == expected["token_type_ids"]
    assert not encoded.is_truncated


def test_without_a_question_the_answer_stands_alone() -> None:
    (encoded,) = _encoder(64).encode([pair("Paris", "Paris")])
    assert _text(encoded.ids) == "[CLS] paris [SEP] paris [SEP]"


def test_roberta_gets_its_own_separators_and_spaces() -> None:
    tokenizer = roberta_tokenizer()
    encoder = PairEncoder(tokenizer, max_length=64, special_ids=frozenset({0, 1, 2}))
    (encoded,) = encoder.encode([pair("Paris", "Pau", "Where?")])
    assert encoded.ids == tokenizer.encode("Where? Paris", "Where? Pau").ids
    assert encoded.ids.count(tokenizer.token_to_id("ĠPa")) == 2


def test_the_answer_of_a_cut_question_keeps_the_space_before_it() -> None:
    tokenizer = roberta_tokenizer()
    encoder = PairEncoder(tokenizer, max_length=20, special_ids=frozenset({0, 1, 2}))
    (encoded,) = encoder.encode([pair("Paris", "Pau", "x" * 200)])
    assert encoded.ids.count(tokenizer.token_to_id("ĠPa")) == 2
    assert len(encoded.ids) == 20


def test_a_long_question_loses_its_beginning_and_the_answers_stay_whole() -> None:
    (encoded,) = _encoder(24).encode([pair("Paris", "the capital", "x " * 50 + "of France?")])
    first, second = _text(encoded.ids).removeprefix("[CLS] ").removesuffix(" [SEP]").split(" [SEP] ")
    assert first.endswith("x x of france ? paris")
    assert second.endswith("x x of france ? the capital")
    assert encoded.n_tokens <= 24
    assert encoded.is_truncated


def test_one_long_question_does_not_take_the_place_of_a_short_one() -> None:
    long, short = Statement("Paris", "x " * 100), Statement("is", "the capital ?")
    (encoded,) = _encoder(32).encode([Pair(long, short)])
    assert "[SEP] the capital ? is [SEP]" in _text(encoded.ids)
    assert encoded.n_tokens == 32


def test_an_answer_too_long_for_the_window_loses_its_end() -> None:
    long, short = "paris " + "x " * 100, "france"
    forward, backward = _encoder(32).encode([pair(long, short, "q"), pair(short, long, "q")])
    assert _text(forward.ids) == "[CLS] paris " + "x " * 27 + "[SEP] france [SEP]"
    assert _text(backward.ids) == "[CLS] france [SEP] paris " + "x " * 27 + "[SEP]"
    assert forward.is_truncated
    assert backward.is_truncated


def test_two_long_answers_share_the_window() -> None:
    (encoded,) = _encoder(33).encode([pair("paris " + "x " * 100, "france " + "y " * 100)])
    assert _text(encoded.ids) == "[CLS] paris " + "x " * 14 + "[SEP] france " + "y " * 14 + "[SEP]"
    assert encoded.is_truncated


LENGTHS = st.integers(0, 60)


@given(st.tuples(LENGTHS, LENGTHS), st.tuples(LENGTHS, LENGTHS), st.integers(12, 80))
def test_the_window_is_kept_and_answers_are_cut_last(
    first: tuple[int, int], second: tuple[int, int], max_length: int
) -> None:
    """For all lengths of questions (q, r) and answers (a, b)."""
    sides = [Statement("a " * a, "q " * q) for q, a in (first, second)]
    (encoded,) = _encoder(max_length).encode([Pair(*sides)])
    room = max_length - N_BERT_SPECIAL
    separator = encoded.ids.index(SEP)
    kept = [_text(ids).split() for ids in (encoded.ids[1:separator], encoded.ids[separator + 1 : -1])]
    answers = [side.count("a") for side in kept]
    assert encoded.n_tokens <= max_length
    assert encoded.is_truncated == (sum(first) + sum(second) > room)
    for n_kept, n_answer in zip(answers, (first[1], second[1]), strict=True):
        assert n_kept >= min(n_answer, room // 2)
    if first[1] + second[1] <= room:
        assert answers == [first[1], second[1]]
    assert all(side == sorted(side, reverse=True) for side in kept), "a question stands before its answer"


def test_text_that_spells_a_special_token_stays_text() -> None:
    (encoded,) = _encoder(64).encode([pair("a [SEP] b", "[CLS] [PAD]", "[SEP]")])
    assert encoded.ids.count(SEP) == 2
    assert encoded.ids.count(CLS) == 1
    assert _text(encoded.ids).startswith("[CLS] [ s")


@pytest.mark.parametrize("text", ["a [SEP] b", "a ［SEP］ b"], ids=["plain", "full-width"])
def test_nor_does_a_unigram_vocabulary_let_a_separator_in(text: str) -> None:
    encoder = PairEncoder(unigram_tokenizer(), max_length=64, special_ids=frozenset({1, 2}))
    (encoded,) = encoder.encode([pair(text, "b")])
    assert encoded.ids.count(2) == 2


def test_the_callers_tokenizer_is_left_as_it_was() -> None:
    tokenizer = bert_tokenizer()
    tokenizer.enable_truncation(8)
    _encoder(64, tokenizer)
    assert tokenizer.truncation["max_length"] == 8
    assert not tokenizer.encode_special_tokens


def test_a_question_of_megabytes_is_not_tokenised_whole() -> None:
    """Only its last characters can matter: 5 MB take a moment, and the verdict says that text was left out."""
    (encoded,) = _encoder(32).encode([pair("paris", "france", "x " * 2_500_000 + "is the capital ?")])
    assert encoded.n_tokens == 31, "an odd place is left free, so that a pair and its reverse are cut alike"
    assert encoded.is_truncated
    assert "is the capital ? paris" in _text(encoded.ids)


def test_text_that_was_never_tokenised_counts_as_cut() -> None:
    """What is left of the question is blank and fits, but "paris" was in it."""
    (encoded,) = _encoder(32).encode([pair("is", "the", "paris" + " " * 10_000)])
    assert _text(encoded.ids) == "[CLS] is [SEP] the [SEP]"
    assert encoded.is_truncated


# -- what of a checkpoint is believed ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("id2label", "expected"),
    [
        ({0: "contradiction", 1: "neutral", 2: "entailment"}, LabelOrder(2, 1, 0)),
        ({0: "CONTRADICTION", 1: "ENTAILMENT", 2: "NEUTRAL"}, LabelOrder(1, 2, 0)),
        ({0: " Entailment ", 1: "Neutral", 2: "Contradiction"}, LabelOrder(0, 1, 2)),
        ({0: "entailment", 1: "not_entailment"}, LabelOrder(0, 1, None)),
        ({0: "not-entailment", 1: "entailment"}, LabelOrder(1, 0, None)),
    ],
)
def test_labels_are_read_by_name(id2label: dict[int, str], expected: LabelOrder) -> None:
    assert LabelOrder.from_config(id2label) == expected


@pytest.mark.parametrize(
    "labels",
    [
        ["LABEL_0", "LABEL_1", "LABEL_2"],
        ["entailment", "neutral", "LABEL_2"],
        ["positive", "negative"],
        ["entailment"],
        ["entailment", "neutral"],
        ["entailment", "neutral", "contradiction", "other"],
    ],
)
def test_labels_of_another_task_are_refused_by_name(labels: list[str]) -> None:
    with pytest.raises(ValueError, match=labels[-1]):
        LabelOrder.from_config(dict(enumerate(labels)))


def test_a_checkpoint_without_label_names_does_not_load(tmp_path: Path) -> None:
    folder = save_tiny_bert(tmp_path / "nameless", ["LABEL_0", "LABEL_1", "LABEL_2"])
    with pytest.raises(ValueError, match="LABEL_0"):
        CrossEncoderModel.load(folder)


def test_two_way_models_never_contradict(tmp_path: Path) -> None:
    model = CrossEncoderModel.load(save_tiny_bert(tmp_path / "two-way", ["entailment", "not_entailment"]))
    (verdict,) = model.predict(model.encode([pair("a", "b")]))
    assert verdict.contradiction == 0.0
    assert verdict.entailment + verdict.neutral == pytest.approx(1.0)


def _with_relu(model: torch.nn.Module) -> None:
    model.config.hidden_act = "relu"


@pytest.mark.parametrize("change", [None, _with_relu], ids=["computed here", "left to transformers"])
def test_probabilities_are_the_softmax_of_the_models_logits(
    tmp_path: Path, change: Callable[[torch.nn.Module], None] | None
) -> None:
    from transformers import BertForSequenceClassification

    folder = save_tiny_bert(tmp_path / "bert", change=change)
    model = CrossEncoderModel.load(folder, dtype="float32")
    (verdict,) = model.predict(model.encode([pair("Paris", "Lyon", "Where?")]))
    features = AutoTokenizer.from_pretrained(folder)("Where? Paris", "Where? Lyon", return_tensors="pt")
    with torch.inference_mode():
        logits = BertForSequenceClassification.from_pretrained(folder).eval()(**features).logits[0]
    contradiction, entailment, neutral = torch.softmax(logits, dim=-1).tolist()
    expected = Verdict(entailment, neutral, contradiction)
    assert verdict.entailment == pytest.approx(expected.entailment, abs=1e-5)
    assert verdict.contradiction == pytest.approx(expected.contradiction, abs=1e-5)


def test_a_half_precision_checkpoint_runs_in_float32_on_a_cpu(tmp_path: Path) -> None:
    folder = save_tiny_bert(tmp_path / "half", dtype=torch.float16)
    if torch.cuda.is_available():
        pytest.skip("a GPU runs the checkpoint's own precision")
    loaded = CrossEncoderModel.load(folder), CrossEncoderModel.load(folder, dtype="bfloat16")
    for model, computed in zip(loaded, (torch.float32, torch.bfloat16), strict=True):
        assert model._forward(model._features(model.encode([pair("a", "b")]))).dtype == computed


def _on_a_cpu_with_bfloat16(monkeypatch: pytest.MonkeyPatch, *, has_it: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": has_it})


def test_close_calls_are_judged_in_float32_and_clear_ones_in_bfloat16(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_tiny_bert(tmp_path / "bert")
    _on_a_cpu_with_bfloat16(monkeypatch, has_it=True)
    both = CrossEncoderModel.load(folder)
    slow, quick = (CrossEncoderModel.load(folder, dtype=dtype) for dtype in ("float32", "bfloat16"))
    words = ("paris", "france", "the capital", "of", "is", "x", "q q", "7", "paris is", "a")
    batch = both.encode([pair(a, b) for a in words for b in words])
    in_float32, in_bfloat16 = slow.predict(batch), quick.predict(batch)
    is_close = [_lead(verdict) < 0.05 for verdict in in_bfloat16]
    assert 0 < sum(is_close) < len(batch)
    for got, exact, rough, close in zip(both.predict(batch), in_float32, in_bfloat16, is_close, strict=True):
        assert got.entailment == pytest.approx((exact if close else rough).entailment, abs=1e-5)
        assert got.label == exact.label


def _lead(verdict: Verdict) -> float:
    second, first = sorted([verdict.entailment, verdict.neutral, verdict.contradiction])[1:]
    return first - second


def test_a_cpu_without_bfloat16_uses_float32_alone(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _on_a_cpu_with_bfloat16(monkeypatch, has_it=False)
    plain, exact = CrossEncoderModel.load(tiny_bert), CrossEncoderModel.load(tiny_bert, dtype="float32")
    batch = plain.encode([pair("paris", "france"), pair("a", "b")])
    assert plain.predict(batch) == exact.predict(batch)


def test_on_a_cpu_batches_have_few_shapes(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels are kept for each. What fills a batch up is not told."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    model = CrossEncoderModel.load(tiny_bert, dtype="float32")
    shapes = set()
    inner = model._forward

    def watched(features: Mapping[str, torch.Tensor]) -> torch.Tensor:
        shapes.add(tuple(features["input_ids"].shape))
        return inner(features)

    monkeypatch.setattr(model, "_forward", watched)
    for n in range(1, 25):
        batch = model.encode([pair("x " * (i % 20 + 1), "y") for i in range(n)])
        assert len(model.predict(batch)) == n
    assert {rows for rows, _ in shapes} == {1, 2, 3, 4, 6, 8, 12, 16, 24}
    assert {width % 8 for _, width in shapes} == {0}


def test_logits_that_are_no_numbers_are_no_verdict(tmp_path: Path) -> None:
    def break_it(model: torch.nn.Module) -> None:
        model.classifier.weight.data.fill_(float("nan"))

    model = CrossEncoderModel.load(save_tiny_bert(tmp_path / "broken", change=break_it))
    with pytest.raises(EntailmentUnavailable, match="not finite"):
        model.predict(model.encode([pair("a", "b")]))


def test_the_window_is_no_longer_than_the_model_allows(tmp_path: Path) -> None:
    folder = save_tiny_bert(tmp_path / "short", max_positions=40)
    model = CrossEncoderModel.load(folder, max_length=512)
    assert model.max_length == 40
    (encoded,) = model.encode([pair("x " * 100, "y " * 100)])
    assert encoded.n_tokens <= 40
    assert len(model.predict([encoded])) == 1
    assert CrossEncoderModel.load(folder, max_length=20).max_length == 20


def test_threads_are_bounded(tiny_bert: Path) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        model = CrossEncoderModel.load(tiny_bert, n_threads=1)
        model.predict(model.encode([pair("a", "b")]))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_the_name_is_the_folders_or_the_given_one(tiny_bert: Path) -> None:
    assert CrossEncoderModel.load(tiny_bert).model == tiny_bert.name
    assert CrossEncoderModel.load(tiny_bert, name="demur-nli").model == "demur-nli"


def test_an_encoded_pair_knows_its_length() -> None:
    assert EncodedPair([1, 2, 3], [0, 0, 1], is_truncated=False).n_tokens == 3


def test_without_torch_the_error_names_the_mend() -> None:
    code = "import sys; sys.modules['torch'] = None; import demur.entailment.cross_encoder"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'demur[local]'" in done.stderr
