"""Tiny random Llama checkpoints, saved as the folders that the real loader reads."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<eos>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL_TOKENS = ["<bos>", "<eos>", "<|system|>", "<|user|>", "<|assistant|>"]
CONTEXT_LENGTH = 1024


def build_checkpoint(
    folder: Path, *, chat_template: str | None = CHAT_TEMPLATE, ends: bool = True, seed: int = 0
) -> Path:
    """`ends`: answers end after some ten tokens, because a good part of the vocabulary counts as end tokens."""
    tokenizer = _tokenizer(chat_template, ends=ends)
    tokenizer.save_pretrained(folder)
    model = _model(len(tokenizer), seed)
    model.generation_config.eos_token_id = [1, *range(len(tokenizer) - 40, len(tokenizer))] if ends else None
    model.save_pretrained(folder)
    return folder


def _tokenizer(chat_template: str | None, *, ends: bool) -> PreTrainedTokenizerFast:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=SPECIAL_TOKENS, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(["What is the capital of France? Paris.", "The capital of Peru is Lima."] * 4, trainer)
    bpe.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 0)])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token="<bos>",  # noqa: S106 - a word of the vocabulary
        eos_token="<eos>" if ends else None,
        additional_special_tokens=SPECIAL_TOKENS[2:],
        chat_template=chat_template,
    )


def _model(vocab_size: int, seed: int) -> LlamaForCausalLM:
    """Weights larger than usual, so that the next token depends on the text and some are far likelier than others."""
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT_LENGTH,
        initializer_range=0.25,
        bos_token_id=0,
        eos_token_id=None,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)
