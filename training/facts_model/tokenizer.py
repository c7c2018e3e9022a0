"""A byte-level BPE tokenizer trained on the corpus; any text can be encoded.

Every segment gets a leading space, so that a name has the same tokens at the start of an answer as inside a passage,
and digits stand alone, so that numbers can be copied.
"""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from training.facts_model.corpus import Turns

PAD, BOS, EOS = "<|pad|>", "<|bos|>", "<|eos|>"
ROLES = {"system": "<|system|>", "user": "<|user|>", "assistant": "<|assistant|>"}
SPECIAL_TOKENS = [PAD, BOS, EOS, *ROLES.values()]

_PASSAGES, _ASKED = "Context:\n", "\n\nQuestion: "  # the service's prompt: where passages begin, and where they end
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% set text = message['content'] | trim %}"
    "{{ '<|' + message['role'] + '|>' }}"
    "{% if message['role'] == 'user' and text.startswith('Context:\\n') and '\\n\\nQuestion: ' in text %}"
    "{% set parts = text.rsplit('\\n\\nQuestion: ', 1) %}{{ parts[1] }}"
    "{% for line in parts[0].split('\\n') %}"
    "{{ '\\n' + line }}{% if not loop.first %}{{ ' ' + line.split('] ', 1)[-1] }}{% endif %}"
    "{% endfor %}{{ '\\n\\nQuestion: ' + parts[1] }}"
    "{% else %}{{ text }}{% endif %}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_WORDS = Regex(r" ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """A tokenizer of `vocabulary` tokens, learnt from `texts`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Prepend(" ")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(_WORDS, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, pad_token=PAD, chat_template=CHAT_TEMPLATE,
        additional_special_tokens=list(ROLES.values()), model_max_length=2048, padding_side="left",
        clean_up_tokenization_spaces=False,
    )  # fmt: skip


def render(turns: Turns) -> str:
    """The conversation as the chat template writes it."""
    return BOS + "".join(f"{ROLES[role]}{_turn(role, text)}" for role, text in turns)


def _turn(role: str, text: str) -> str:
    """A question over passages also stands before them, and every passage is written twice.

    What a causal model reads cannot see what comes later. So it knows what to look for while it reads, and has seen
    the subject when it meets the value, also in "Paris is the capital of France".
    """
    if role == "assistant":
        return text + EOS
    if role != "user" or not text.startswith(_PASSAGES) or _ASKED not in text:
        return text
    passages, _, question = text.rpartition(_ASKED)
    first, *lines = passages.split("\n")
    twice = (f"{line} {line.split('] ', 1)[-1]}" for line in lines)
    return f"{question}\n" + "\n".join([first, *twice]) + f"{_ASKED}{question}"
