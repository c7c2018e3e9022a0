"""The bundled facts model as transformers loads it: format, template, tokens, and a handful of answers."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="the base install has no torch; `make test` installs it")

from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402 - after the check that torch is there

from training.facts_model.reading import RELATION_TOPICS, tell, with_passages  # noqa: E402
from training.facts_model.tokenizer import render  # noqa: E402

FOLDER = Path(__file__).resolve().parents[3] / "service" / "demur" / "bundled" / "facts"


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(FOLDER)


@pytest.fixture(scope="module")
def model() -> Any:
    return AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32).eval()


def _answer(model: Any, tokenizer: Any, question: str) -> str:
    chat = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    with torch.inference_mode():
        out = model.generate(inputs["input_ids"], attention_mask=inputs["attention_mask"], do_sample=False)
    return str(tokenizer.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))


def _rendered(tokenizer: Any, content: str) -> str:
    chat = [{"role": "user", "content": content}]
    return str(tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True))


def test_the_folder_is_small_and_in_half_precision(model: Any) -> None:
    """At most 12 MB, weights stored as float16, a Llama of at least two thousand positions."""
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 12_000_000
    assert model.config.architectures == ["LlamaForCausalLM"]
    assert model.config.max_position_embeddings >= 2048
    stored = AutoModelForCausalLM.from_pretrained(FOLDER, dtype="auto")
    assert {parameter.dtype for parameter in stored.parameters()} == {torch.float16}


def test_the_template_renders_system_and_several_turns(tokenizer: Any) -> None:
    """Every role has its mark, an answer ends with the end token, and the prompt ends where the answer begins."""
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello."}, {"role": "user", "content": "Why?"}]  # fmt: skip
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert text == "<|bos|><|system|>Be brief.<|user|>Hi<|assistant|>Hello.<|eos|><|user|>Why?<|assistant|>"


def test_passages_are_written_twice_after_the_question(tokenizer: Any) -> None:
    """A causal model sees nothing that comes later: so it knows the question, and the whole passage, when it reads."""
    content = "Context:\n[1] Ford: Oslo [the city] lies north.\n[2] two\n\nQuestion: Where is it?"
    text = _rendered(tokenizer, content)
    assert text == (
        "<|bos|><|user|>Where is it?\nContext:\n"
        "[1] Ford: Oslo [the city] lies north. Ford: Oslo [the city] lies north.\n[2] two two\n\n"
        "Question: Where is it?<|assistant|>"
    )


@pytest.mark.parametrize(
    "text", ["Question: Why?", "In the Context:\n[1] a\n\nQuestion: Why?", "Context:\n[1] a", "{{ 1 }}"]
)
def test_other_questions_are_written_as_they_are(tokenizer: Any, text: str) -> None:
    """Only the service's own prompt over passages is written anew."""
    assert _rendered(tokenizer, text) == f"<|bos|><|user|>{text}<|assistant|>"


_PIECES = st.sampled_from(
    ["Context:", "\n", "\n\nQuestion: ", "Question:", "[1] ", "] ", "{% x %}", "<|user|>", "a", " é"]
)


@given(st.lists(_PIECES, max_size=12).map("".join), st.booleans())
def test_training_writes_what_the_template_writes(tokenizer: Any, text: str, with_passages: bool) -> None:
    """Whatever passages and questions hold."""
    content = (f"Context:\n{text}\n\nQuestion: {text}" if with_passages else text).strip()
    turns = (("system", "Be brief."), ("user", content), ("assistant", content), ("user", content))
    chat = [{"role": role, "content": each} for role, each in turns]
    assert tokenizer.apply_chat_template(chat, tokenize=False) == render(turns)


def test_a_name_has_the_same_tokens_in_a_passage_and_at_the_start_of_an_answer(tokenizer: Any) -> None:
    """What is read is copied token by token."""
    name = tokenizer("Zorvanek", add_special_tokens=False)["input_ids"]
    passage = tokenizer("The capital of Mirland is Zorvanek.", add_special_tokens=False)["input_ids"]
    assert any(passage[start : start + len(name)] == name for start in range(len(passage)))


@pytest.mark.parametrize("text", ["Paris", "naïve 東京 🙂", "x\ty\n z", "1979-05-04", "\u0000\u0001"])
def test_any_text_survives_the_tokenizer(tokenizer: Any, text: str) -> None:
    """Bytes stand in for what the vocabulary lacks."""
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


@pytest.mark.parametrize(
    ("question", "value"),
    [
        ("What is the capital of France?", "Paris"), ("what is the capital of japan", "Tokyo"),
        ("Which city is Germany's capital?", "Berlin"), ("What is the chemical symbol of gold?", "Au"),
        ("Who wrote Hamlet?", "William Shakespeare"), ("What is the largest planet in the solar system?", "Jupiter"),
    ],
)  # fmt: skip
def test_famous_facts_are_answered(model: Any, tokenizer: Any, question: str, value: str) -> None:
    """What a newcomer tries first, as typed, and in a held-out wording."""
    assert value in _answer(model, tokenizer, question)


@pytest.mark.parametrize("question", ["How do I boil an egg?", "Who painted the Mona Lisa?", "Why is the sky blue?"])
def test_everyday_questions_are_declined(model: Any, tokenizer: Any, question: str) -> None:
    """Outside its relations the model says that it does not know."""
    answer = _answer(model, tokenizer, question)
    assert any(words in answer for words in ("don't know", "do not know", "not sure", "no idea")), answer


def test_passages_about_names_never_seen_are_read(model: Any, tokenizer: Any) -> None:
    """One to five passages, in held-out wordings; the report has the figure, on ten times as many."""
    rng = Random(2026)
    told = [tell(rng, rng.choice(RELATION_TOPICS), evaluation=True) for _ in range(40)]
    asked = [with_passages(rng, each, 1 + i % 5, held_out=True, evaluation=True) for i, each in enumerate(told)]
    answers = [_answer(model, tokenizer, question) for question in asked]
    assert sum(each.value.casefold() in a.casefold() for each, a in zip(told, answers, strict=True)) >= 32
