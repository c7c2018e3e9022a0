"""What a person sees in the terminal: the verdict first, then the meanings, then the numbers."""

from __future__ import annotations

import math

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from demur.api.responses import AnswerResponse, ClusterOut, GuaranteeOut, TimingsOut
from demur.look import FACES, WHY
from demur.types import Scope

_BAR_WIDTH = 24
_STAGES: dict[Scope, str] = {
    "closed_book": "first answers",
    "two_stage": "with one retrieval",
    "cascade": "first answers, with samples or without",
}


def verdict(response: AnswerResponse) -> RenderableType:
    """The whole answer as panels and tables."""
    meanings = [_clusters(response.clusters)] if response.clusters else []
    return Group(_headline(response), *meanings, _signals(response))


def _headline(response: AnswerResponse) -> Panel:
    face = FACES[response.decision]
    kind = "calibrated" if response.calibrated else "uncalibrated: this is agreement, not a probability"
    body = Text.assemble(
        (response.answer or "(no answer)", "bold"),
        "\n\n",
        (f"{face.icon} {face.word}", f"bold {face.colour}"),
        f"  {WHY[response.reason]} ",
        (f"({response.reason.value})", "dim"),
        f"\nconfidence {response.confidence:.2f}, answer from {response.policy.answer_min:.2f} ",
        (f"({kind})", "dim"),
    )
    return Panel(body, title=escape(response.model), title_align="left", border_style=face.colour)


def _clusters(clusters: list[ClusterOut]) -> Table:
    table = Table(title="Meanings", title_justify="left", expand=False)
    table.add_column("samples", justify="right")
    table.add_column("share", width=_BAR_WIDTH)
    table.add_column("mass", justify="right")
    table.add_column("meaning", overflow="fold")
    total = sum(c.size for c in clusters)
    for cluster in sorted(clusters, key=lambda c: -c.size):
        bar = "█" * max(1, round(_BAR_WIDTH * cluster.size / total))
        style = "dim" if cluster.non_answer else ""
        table.add_row(str(cluster.size), bar, _number(cluster.mass), escape(cluster.text or "(empty)"), style=style)
    return table


def _signals(response: AnswerResponse) -> Table:
    table = Table(title="Signals", title_justify="left", show_header=False)
    u, n = response.uncertainty, response.sampling.completed
    if u.semantic_entropy is not None and u.agreement is not None:
        table.add_row("semantic entropy", f"{u.semantic_entropy:.3f} nats of at most {math.log(n):.3f}")
        table.add_row("agreement", f"{u.agreement:.2f} of {n} samples")
        table.add_row("predictive entropy", _number(u.predictive_entropy, " nats (wording and meaning together)"))
    else:
        table.add_row("samples", f"none of {response.sampling.requested}: the answer at temperature 0 was sure enough")
    t = response.token_confidence
    table.add_row(
        "token confidence",
        f"mean {t.mean:.2f}, least {t.min:.2f} ({t.kind} answer, {t.source})" if t else "not available",
    )
    if response.groundedness is not None:
        table.add_row("groundedness", f"{response.groundedness:.2f}")
    if response.nli and response.timings:
        asked = f"{response.nli.pairs} pairs by {escape(response.nli.model or 'exact match')}"
        table.add_row("entailment", asked)
        table.add_row("time", _time(response.timings))
    if response.guarantee:
        table.add_row("guarantee", _promise(response.guarantee))
    table.add_row("degraded", ", ".join(d.value for d in response.degraded) or "nothing")
    return table


def _promise(guarantee: GuaranteeOut) -> str:
    stages = _STAGES[guarantee.scope]
    bound = f"at most {guarantee.alpha:.1%} of answers wrong, with confidence {1 - guarantee.delta:.1%}"
    return f"{bound} ({stages}, questions like {escape(guarantee.population)})"


def _time(timings: TimingsOut) -> str:
    nli = f"NLI {timings.nli_s:.2f}" + (f", {timings.nli_hidden_s:.2f} of it meanwhile" if timings.nli_hidden_s else "")
    return f"{timings.total_s:.2f} s (generate {timings.generate_s:.2f}, {nli})"


def _number(value: float | None, unit: str = "") -> str:
    return "not available" if value is None else f"{value:.2f}{unit}"
