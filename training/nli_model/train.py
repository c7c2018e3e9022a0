"""Train the bundled NLI model: `python -m training.nli_model.train` (about an hour on a core with bfloat16 units).

Stops at `--minutes`; `--resume` goes on from the newest checkpoint, to the same weights as without the stop. After the
last chunk, or with `--export`, it chooses the offset of entailment and writes the model folder.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from random import Random

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from transformers import BertForSequenceClassification, PreTrainedTokenizerBase

from training.nli_model.calibration import choose_offset
from training.nli_model.encoder import load_base
from training.nli_model.export import MODEL_FOLDER, export
from training.nli_model.mix import Sources
from training.nli_model.monitor import Monitor
from training.nli_model.pairs import DEFAULT_DATA, REPOSITORY, Label, Pair

CHECKPOINT = REPOSITORY / "training" / "nli_model" / "runs" / "checkpoint.pt"
MAX_TOKENS = 128
LENGTH_STEP = 8  # few shapes: each costs the CPU kernels memory, and odd lengths cost time
CHUNK_PAIRS = 8192
DEFAULT_CHUNKS = 25
DEFAULT_BATCH_PAIRS = 64
MONITORED_CHUNKS = 6
PEAK_LEARNING_RATE = 1.2e-4
WARM_UP_CHUNKS = 1.8
DECAY_SHARE = 0.5  # of the chunks; before it, a run may be resumed with another number of chunks
WEIGHT_DECAY = 0.01
MAX_GRADIENT_NORM = 1.0
# which of the three classes each label allows; the loss is minus the log of their summed probability
ALLOWED = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1]], dtype=torch.bool)


@dataclass(frozen=True, slots=True)
class Plan:
    """What decides the weights besides the data; kept in the checkpoint."""

    n_chunks: int
    batch_pairs: int
    seed: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Pairs of about one length, padded to the longest of them."""

    inputs: dict[str, torch.Tensor]
    labels: torch.Tensor


class Optimizer:
    """AdamW on float32 copies of the bfloat16 weights: half precision alone would lose small steps."""

    def __init__(self, model: BertForSequenceClassification) -> None:
        self.weights = [p for p in model.parameters() if p.requires_grad]
        self.masters = [p.detach().float().clone() for p in self.weights]
        decayed = [m for m in self.masters if m.dim() > 1]
        others = [m for m in self.masters if m.dim() <= 1]
        groups = [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
        self.adam = torch.optim.AdamW(groups, lr=PEAK_LEARNING_RATE, fused=True)

    def step(self, learning_rate: float) -> None:
        for master, weight in zip(self.masters, self.weights, strict=True):
            master.grad = None if weight.grad is None else weight.grad.float()
            weight.grad = None
        torch.nn.utils.clip_grad_norm_(self.masters, MAX_GRADIENT_NORM)
        for group in self.adam.param_groups:
            group["lr"] = learning_rate
        self.adam.step()
        self.write_back()

    @torch.no_grad()
    def write_back(self) -> None:
        for master, weight in zip(self.masters, self.weights, strict=True):
            weight.copy_(master)


def learning_rate(chunks_seen: float, n_chunks: int) -> float:
    """Linear warm-up, the peak, and a linear decay to zero over the last half of the chunks."""
    warm, left = chunks_seen / WARM_UP_CHUNKS, (n_chunks - chunks_seen) / (DECAY_SHARE * n_chunks)
    return PEAK_LEARNING_RATE * min(warm, left, 1.0)


def loss_of(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the allowed classes together: for "not entailment", of contradiction and neutral."""
    log_probabilities = logits.float().log_softmax(dim=-1)
    allowed = log_probabilities.masked_fill(~ALLOWED[labels], float("-inf"))
    return -allowed.logsumexp(dim=-1).mean()


def batches_of(pairs: Sequence[Pair], tokenizer: PreTrainedTokenizerBase, batch_pairs: int, rng: Random) -> list[Batch]:
    """Pairs sorted by length and cut into batches, in random order. As many pairs in each: with as many tokens in each,
    a short pair would weigh a third of a long one."""
    encoded = tokenizer(
        [p.premise for p in pairs], [p.hypothesis for p in pairs], truncation=True, max_length=MAX_TOKENS
    )
    order = sorted(range(len(pairs)), key=lambda i: len(encoded["input_ids"][i]))
    groups = [order[start : start + batch_pairs] for start in range(0, len(order), batch_pairs)]
    rng.shuffle(groups)
    return [_padded(tokenizer, encoded, group, [pairs[i].label for i in group]) for group in groups]


def _padded(
    tokenizer: PreTrainedTokenizerBase, encoded: dict[str, list[list[int]]], rows: list[int], labels: list[Label]
) -> Batch:
    inputs = tokenizer.pad(
        {name: [values[i] for i in rows] for name, values in encoded.items()},
        pad_to_multiple_of=LENGTH_STEP,
        return_tensors="pt",
    )
    return Batch(dict(inputs), torch.tensor(labels))


def schedule(
    data: Path, tokenizer: PreTrainedTokenizerBase, plan: Plan, first: int
) -> Iterator[tuple[int, list[Batch]]]:
    """The plan's chunks from `first` on, each with its number; the pairs of a chunk are those of its pass."""
    sources = Sources.read(data)
    every_chunk = (pairs for number in count(100 * plan.seed) for pairs in _chunks(sources.training_pass(number)))
    for chunk, pairs in islice(enumerate(every_chunk), first, plan.n_chunks):
        yield chunk, batches_of(pairs, tokenizer, plan.batch_pairs, Random(f"{plan.seed} {chunk}"))


def _chunks(pairs: Sequence[Pair]) -> Iterator[Sequence[Pair]]:
    return (pairs[start : start + CHUNK_PAIRS] for start in range(0, len(pairs), CHUNK_PAIRS))


def train(data: Path, plan: Plan, minutes: float, resume: bool) -> bool:
    """Train to the end of the plan (true) or of the time; a checkpoint after every chunk."""
    torch.manual_seed(plan.seed)
    model, tokenizer = load_base()
    model = model.to(torch.bfloat16)
    optimizer, first = Optimizer(model), 0
    if resume:
        first = _restore(model, optimizer, plan)
    monitor, started = Monitor(data, tokenizer), time.monotonic()
    with _progress() as bar:
        task = bar.add_task("training", dev="", loss="")
        for chunk, batches in schedule(data, tokenizer, plan, first):
            loss = _train_chunk(model, optimizer, batches, chunk, plan.n_chunks)
            _save(optimizer, plan, chunk + 1)
            bar.update(task, total=plan.n_chunks, completed=chunk + 1, loss=f"loss {loss:.3f}")
            dev = monitor.figures(model) if (chunk + 1) % MONITORED_CHUNKS == 0 else ""
            passed = f"{(time.monotonic() - started) / 60:.1f} min, {time.process_time() / 60:.1f} of the processor"
            bar.update(task, dev=dev)
            bar.console.print(f"chunk {chunk + 1}  loss {loss:.3f}  {dev}  {passed}")
            if chunk + 1 < plan.n_chunks and time.monotonic() - started > 60 * minutes:
                bar.console.print("out of time: go on with --resume")
                return False
    return True


def _train_chunk(
    model: BertForSequenceClassification, optimizer: Optimizer, batches: list[Batch], chunk: int, total: int
) -> float:
    model.train()
    torch.manual_seed(chunk)
    losses = 0.0
    for i, batch in enumerate(batches):
        loss = loss_of(model(**batch.inputs).logits, batch.labels)
        loss.backward()
        optimizer.step(learning_rate(chunk + i / len(batches), total))
        losses += loss.item()
    return losses / len(batches)


def _save(optimizer: Optimizer, plan: Plan, next_chunk: int) -> None:
    CHECKPOINT.parent.mkdir(parents=True, exist_ok=True)
    state = {
        "masters": optimizer.masters,
        "adam": optimizer.adam.state_dict(),
        "plan": [plan.n_chunks, plan.batch_pairs, plan.seed],
        "next_chunk": next_chunk,
    }
    partial = CHECKPOINT.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(CHECKPOINT)


def _restore(model: BertForSequenceClassification, optimizer: Optimizer, plan: Plan) -> int:
    state = torch.load(CHECKPOINT, weights_only=True)
    made = Plan(*state["plan"])
    decay = (1 - DECAY_SHARE) * min(made.n_chunks, plan.n_chunks)
    if made != plan and ((made.batch_pairs, made.seed) != (plan.batch_pairs, plan.seed) or state["next_chunk"] > decay):
        raise SystemExit(f"the checkpoint was made with {made}, not {plan}")
    for master, saved in zip(optimizer.masters, state["masters"], strict=True):
        master.copy_(saved)
    optimizer.adam.load_state_dict(state["adam"])
    optimizer.write_back()
    return int(state["next_chunk"])


def trained_model() -> BertForSequenceClassification:
    """The network with the newest checkpoint's float32 weights."""
    model, _ = load_base()
    state = torch.load(CHECKPOINT, weights_only=True)
    trained = [p for p in model.parameters() if p.requires_grad]
    with torch.no_grad():
        for weight, saved in zip(trained, state["masters"], strict=True):
            weight.copy_(saved)
    return model


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
        TextColumn("{task.fields[loss]} {task.fields[dev]}"),
    )  # fmt: skip


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="training.nli_model.train", description=__doc__)
    parser.add_argument(
        "--data", type=Path, default=DEFAULT_DATA, help="folder with nli/, equivalence/ and generations/"
    )
    parser.add_argument(
        "--chunks", type=int, default=DEFAULT_CHUNKS, help=f"chunks of {CHUNK_PAIRS} pairs (default {DEFAULT_CHUNKS})"
    )
    parser.add_argument(
        "--batch-pairs", type=int, default=DEFAULT_BATCH_PAIRS, help=f"pairs of a batch (default {DEFAULT_BATCH_PAIRS})"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--minutes", type=float, default=60.0, help="stop with a checkpoint after this time (default 60)"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint")
    parser.add_argument(
        "--export", action="store_true", help="write the model folder from the newest checkpoint; no training"
    )
    parser.add_argument("--out", type=Path, default=MODEL_FOLDER)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    plan = Plan(options.chunks, options.batch_pairs, options.seed)
    if options.export or train(options.data, plan, options.minutes, options.resume):
        model = trained_model()
        offset = choose_offset(model, load_base()[1], options.data)
        print(f"entailment offset {offset:+.2f}")
        export(model, load_base()[1], offset, options.out)  # a tokenizer that was used keeps its padding when saved


if __name__ == "__main__":
    main()
