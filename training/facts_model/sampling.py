"""Draw many answers to many questions at once, with their token logprobs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

MAX_NEW_TOKENS = 32


@dataclass(frozen=True, slots=True)
class Drawn:
    """The greedy answer, `n` sampled ones, and the mean token logprob of each sampled one (nats, the end included)."""

    greedy: str
    samples: tuple[str, ...]
    mean_logprobs: tuple[float, ...]


class Model:
    """A facts model loaded from its folder, for evaluation on one CPU core."""

    def __init__(self, folder: str) -> None:
        self.tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, padding_side="left")
        self.model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def draw(self, questions: Sequence[str], n: int, batch_size: int = 32) -> list[Drawn]:
        """Greedy and `n` samples at temperature 1 for each question, in the order given."""
        order = sorted(range(len(questions)), key=lambda index: len(questions[index]))
        drawn: dict[int, Drawn] = {}
        for start in range(0, len(order), batch_size):
            indices = order[start : start + batch_size]
            drawn.update(zip(indices, self._draw_batch([questions[index] for index in indices], n), strict=True))
        return [drawn[index] for index in range(len(questions))]

    def _draw_batch(self, questions: list[str], n: int) -> Iterator[Drawn]:
        chats = [[{"role": "user", "content": question}] for question in questions]
        inputs = self.tokenizer.apply_chat_template(
            chats, add_generation_prompt=True, return_tensors="pt", padding=True, return_dict=True
        )
        answers = self._decode(inputs["input_ids"], inputs["attention_mask"], n + 1)
        for start in range(0, len(answers), n + 1):
            greedy, *sampled = answers[start : start + n + 1]
            yield Drawn(greedy[0], tuple(text for text, _ in sampled), tuple(logprob for _, logprob in sampled))

    @torch.inference_mode()
    def _decode(self, ids: torch.Tensor, mask: torch.Tensor, copies: int) -> list[tuple[str, float]]:
        """`copies` answers a row, the first one greedy, each with its mean token logprob; a prompt is read once."""
        position = mask.cumsum(1) - 1
        out = self.model(input_ids=ids, attention_mask=mask, position_ids=position.clamp(min=0), logits_to_keep=1)
        out.past_key_values.batch_repeat_interleave(copies)
        mask, place = mask.repeat_interleave(copies, 0), position[:, -1:].repeat_interleave(copies, 0)
        logprobs = out.logits[:, -1].repeat_interleave(copies, 0).log_softmax(-1)
        rows, pad = torch.arange(len(mask)), self.tokenizer.pad_token_id
        tokens, sums = torch.full((len(mask), MAX_NEW_TOKENS), pad), torch.zeros(len(mask))
        for step in range(MAX_NEW_TOKENS):
            token = _choose(logprobs, rows % copies == 0)
            tokens[rows, step] = token
            sums[rows] += logprobs.gather(1, token[:, None]).squeeze(1)
            going = (token != self.tokenizer.eos_token_id).nonzero().squeeze(1)
            if not len(going):
                break
            out.past_key_values.batch_select_indices(going)  # the answers that have ended cost no more
            rows, token, place = rows[going], token[going], place[going] + 1
            mask = torch.cat([mask[going], torch.ones_like(place)], 1)
            out = self.model(
                input_ids=token[:, None], attention_mask=mask, position_ids=place, past_key_values=out.past_key_values
            )
            logprobs = out.logits[:, -1].log_softmax(-1)
        texts = self.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        return list(zip(texts, (sums / (tokens != pad).sum(1)).tolist(), strict=True))


def _choose(logprobs: torch.Tensor, greedy: torch.Tensor) -> torch.Tensor:
    """The likeliest token where `greedy`, a drawn one elsewhere."""
    return torch.where(greedy, logprobs.argmax(1), torch.multinomial(logprobs.exp(), 1).squeeze(1))
