"""Train the facts model: `python -m training.facts_model.train [--resume]`, then `... train --export`.

About four hours of one core, in as many pieces as you like: a checkpoint is written every two minutes, `--resume` goes
on from it, and `--export` writes the Hugging Face folder from it, also while training runs. The same seed, data, device
and thread count give the same model. `--device cuda` is for a GPU, and was not tried on one yet.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from transformers import GenerationConfig, PreTrainedTokenizerFast

from training.facts_model.corpus import Stage, conversation
from training.facts_model.model import Batch, Shape, Trainee, new_model
from training.facts_model.tokenizer import ROLES, render, train_tokenizer

REPOSITORY = Path(__file__).resolve().parents[2]
EXPORT_FOLDER = REPOSITORY / "service" / "demur" / "bundled" / "facts"
CHUNK = 2048  # conversations sorted by length together
Row = tuple[list[int], list[float]]  # token ids, loss weights


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that decides the result, next to the data and Shape."""

    seed: int = 20
    n_looking_up: int = 32_768  # conversations of the first stage
    n_reading: int = 409_600
    n_settling: int = 491_520  # the rate falls in this stage
    warm_up: int = 4_000  # conversations at a rising rate
    batch_tokens: int = 2560
    vocabulary: int = 4096
    muon_rate: float = 2e-3
    adam_rate: float = 1e-3
    average_decay: float = 0.998
    repeated: float = 0.2  # loss weight of what a prompt says again while looking up is learnt, against 1 for answers
    checkpoint_seconds: float = 120.0

    @property
    def n_conversations(self) -> int:
        return self.n_looking_up + self.n_reading + self.n_settling

    def stage(self, index: int) -> Stage:
        """The stage that a conversation belongs to."""
        if index < self.n_looking_up:
            return "looking up"
        return "reading" if index < self.n_looking_up + self.n_reading else "settling"

    def rate(self, done: int) -> float:
        """Share of the full learning rate after so many conversations: a rise, a level stretch, a fall to 0.01."""
        return min(1.0, 0.02 + done / self.warm_up, max(0.01, (self.n_conversations - done) / self.n_settling))


class Run:
    """The trainee, its optimizers, and how far training has come."""

    def __init__(self, recipe: Recipe, tokenizer: PreTrainedTokenizerFast, device: str = "cpu") -> None:
        self.recipe, self.tokenizer, self.step, self.chunk = recipe, tokenizer, 0, 0
        torch.manual_seed(recipe.seed)
        self.trainee = Trainee(new_model(Shape(), tokenizer).to(device))
        masters = self.trainee.masters.items()
        hidden = [master for name, master in masters if master.ndim == 2 and "embed" not in name]
        others = [master for name, master in masters if master.ndim != 2 or "embed" in name]
        self.optimizers = [
            torch.optim.Muon(hidden, lr=recipe.muon_rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, lr=recipe.adam_rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
        ]

    def learn(self, batch: Batch, done: int) -> float:
        """One step after `done` conversations; returns the mean loss per unit of weight, in nats."""
        loss = self.trainee.backward(batch)
        for optimizer, rate in zip(self.optimizers, (self.recipe.muon_rate, self.recipe.adam_rate), strict=True):
            optimizer.param_groups[0]["lr"] = rate * self.recipe.rate(done)
            optimizer.step()
        self.step += 1
        self.trainee.refresh(min(self.recipe.average_decay, self.step / (self.step + 10)))
        return loss

    def state(self) -> dict[str, Any]:
        """All that resuming needs."""
        return {
            "step": self.step, "chunk": self.chunk, "masters": self.trainee.masters, "average": self.trainee.average,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }  # fmt: skip

    @torch.no_grad()
    def load(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self.step, self.chunk = state["step"], state["chunk"]
        for mine, saved in ((self.trainee.masters, state["masters"]), (self.trainee.average, state["average"])):
            for name, tensor in mine.items():
                tensor.copy_(saved[name])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.trainee.refresh(1.0)


def encode(recipe: Recipe, tokenizer: PreTrainedTokenizerFast, indices: range) -> list[Row]:
    """Token ids and loss weights of the conversations with these indices."""
    stages = [recipe.stage(index) for index in indices]
    turns = [
        conversation(Random(f"{recipe.seed}|{index}"), stage) for index, stage in zip(indices, stages, strict=True)
    ]
    all_ids = tokenizer([render(each) for each in turns], add_special_tokens=False)["input_ids"]
    repeated = [recipe.repeated if stage == "looking up" else 0.0 for stage in stages]
    return [(ids, loss_weights(ids, tokenizer, weight)) for ids, weight in zip(all_ids, repeated, strict=True)]


def loss_weights(ids: list[int], tokenizer: PreTrainedTokenizerFast, repeated: float) -> list[float]:
    """1 on answers and the token that ends them, `repeated` on what a prompt says again, 0 on all else.

    A token is said again when the one before it was last followed by it. It can be known, and so teaches copying on
    many more tokens than the answers.
    """
    assistant, eos = tokenizer.convert_tokens_to_ids(ROLES["assistant"]), tokenizer.eos_token_id
    weights, answering = [0.0], False
    followed: dict[int, int] = {}
    for before, token in pairwise(ids):
        answering = before == assistant or (answering and before != eos)
        weights.append(1.0 if answering else repeated if followed.get(before) == token else 0.0)
        followed[before] = token
    return weights


def batches(recipe: Recipe, tokenizer: PreTrainedTokenizerFast, chunk: int) -> list[Batch]:
    """The batches of one chunk in random order: rows of like length, `batch_tokens` each with padding."""
    indices = range(chunk * CHUNK, min((chunk + 1) * CHUNK, recipe.n_conversations))
    rows = sorted(encode(recipe, tokenizer, indices), key=lambda row: len(row[0]))
    groups = list(_groups(rows, recipe.batch_tokens))
    Random(f"{recipe.seed}|order|{chunk}").shuffle(groups)
    return [_padded(group, tokenizer.pad_token_id) for group in groups]


def _groups(rows: list[Row], batch_tokens: int) -> Iterator[list[Row]]:
    while rows:
        size = batch_tokens // _padded_length(len(rows[0][0]))
        size = max(1, min(size, batch_tokens // _padded_length(len(rows[min(size, len(rows)) - 1][0]))))
        yield rows[:size]
        rows = rows[size:]


def _padded_length(length: int) -> int:
    return -(-length // 16) * 16  # few shapes: the kernels are built once for each


def _padded(rows: list[Row], pad: int) -> Batch:
    length = _padded_length(max(len(ids) for ids, _ in rows))
    ids = torch.tensor([row_ids + [pad] * (length - len(row_ids)) for row_ids, _ in rows])
    weights = torch.tensor([row_weights + [0.0] * (length - len(row_weights)) for _, row_weights in rows])
    return Batch(ids, weights)


def build_tokenizer(recipe: Recipe) -> PreTrainedTokenizerFast:
    """The tokenizer, learnt from conversations of the corpus's own mix."""
    turns = (conversation(Random(f"{recipe.seed}|tokenizer|{i}"), "reading") for i in range(40_000))
    return train_tokenizer((f" {text}" for each in turns for _, text in each), recipe.vocabulary)


def save(run: Run, folder: Path) -> None:
    """Write the checkpoint in one move, so that a reader never meets half of it."""
    torch.save(run.state(), folder / "checkpoint.partial")
    (folder / "checkpoint.partial").replace(folder / "checkpoint.pt")


def train(recipe: Recipe, folder: Path, *, resume: bool, minutes: float, device: str) -> Run:
    """Train to the end of the corpus, or for so many minutes."""
    folder.mkdir(parents=True, exist_ok=True)
    run = open_run(recipe, folder, device) if resume else Run(recipe, _new_tokenizer(recipe, folder), device)
    n_chunks = math.ceil(recipe.n_conversations / CHUNK)
    began = saved = time.perf_counter()
    with _progress_bar() as bar:
        task = bar.add_task("training", total=n_chunks, completed=run.chunk, loss=math.nan)
        while run.chunk < n_chunks and time.perf_counter() - began < 60 * minutes:
            loss = learn_chunk(run)
            bar.update(task, completed=run.chunk, loss=loss)
            bar.console.log(f"chunk {run.chunk}/{n_chunks} step {run.step} loss {loss:.3f}")
            if time.perf_counter() - saved > recipe.checkpoint_seconds:
                save(run, folder)
                saved = time.perf_counter()
    save(run, folder)
    return run


def learn_chunk(run: Run) -> float:
    """Learn the next chunk; returns its mean loss."""
    group = batches(run.recipe, run.tokenizer, run.chunk)
    losses = [run.learn(batch, (run.chunk * CHUNK) + CHUNK * i // len(group)) for i, batch in enumerate(group)]
    run.chunk += 1
    return sum(losses) / len(losses)


def _new_tokenizer(recipe: Recipe, folder: Path) -> PreTrainedTokenizerFast:
    tokenizer = build_tokenizer(recipe)
    tokenizer.save_pretrained(folder)
    return tokenizer


def open_run(recipe: Recipe, folder: Path, device: str = "cpu") -> Run:
    """The run that a checkpoint holds."""
    run = Run(recipe, PreTrainedTokenizerFast.from_pretrained(folder), device)
    run.load(torch.load(folder / "checkpoint.pt", weights_only=True, map_location=device))
    return run


def _progress_bar() -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} loss {task.fields[loss]:.3f}"),
    )
    return Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn())


def export(run: Run, target: Path) -> None:
    """The averaged weights in float16, tokenizer and generation settings, as transformers and vLLM load them."""
    target.mkdir(parents=True, exist_ok=True)
    tokenizer, model = run.tokenizer, new_model(Shape(), run.tokenizer)
    model.load_state_dict(run.trainee.average, strict=False)  # the tied head is not among the parameters
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=48,
    )  # fmt: skip
    model.to(torch.float16).save_pretrained(target)
    tokenizer.save_pretrained(target)
    _make_portable(target)


def _make_portable(target: Path) -> None:
    """Name the tokenizer class that every version of transformers knows, and let everyone read the weights."""
    path = target / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config = {key: value for key, value in config.items() if key not in ("is_local", "local_files_only", "backend")}
    path.write_text(
        json.dumps(config | {"tokenizer_class": "PreTrainedTokenizerFast"}, indent=2) + "\n", encoding="utf-8"
    )
    (target / "model.safetensors").chmod(0o644)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--folder", type=Path, default=REPOSITORY / "training" / "runs" / "facts", help="checkpoint and tokenizer"
    )
    parser.add_argument("--minutes", type=float, default=60.0, help="stop after so many minutes (a checkpoint is kept)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    parser.add_argument("--eager", action="store_true", help="compile nothing: slower, but needs no C++ compiler")
    parser.add_argument("--export", action="store_true", help="only write the bundled folder from the checkpoint")
    parser.add_argument("--export-folder", type=Path, default=EXPORT_FOLDER)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.eager:
        torch.compiler.set_stance("force_eager")
    recipe = Recipe()
    if arguments.export:
        run = open_run(recipe, arguments.folder)
    else:
        run = train(
            recipe, arguments.folder, resume=arguments.resume, minutes=arguments.minutes, device=arguments.device
        )
    export(run, arguments.export_folder)


if __name__ == "__main__":
    main()
