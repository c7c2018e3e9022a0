"""An assessment as JSON, as Markdown, and as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

from demur.evaluation.assessment import CALIBRATION_SHARE, DELTA, N_BINS, Assessment
from demur.evaluation.bootstrap import Interval
from demur.evaluation.plots import answered_plot, reliability_plot, risk_coverage_plot
from demur.look import TOKENS_CSS


@dataclass(frozen=True, slots=True)
class Origin:
    """What a report is about."""

    dataset: str
    data_sha256: str
    model: str
    nli_model: str | None
    grader: str
    n_failed: int
    demur_version: str


@dataclass(frozen=True, slots=True)
class Grid:
    """A table: its title, what its columns are, its rows as text, and a remark below it."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    remark: str


def grids(assessment: Assessment) -> list[Grid]:
    """The tables of a report, the same in the terminal, in Markdown and in HTML."""
    found = [_overview(assessment), _scores(assessment), _probabilities(assessment)]
    return [*found, _risks(assessment)] if assessment.certified else found


def as_json(origin: Origin, assessments: Sequence[Assessment]) -> dict[str, Any]:
    """All figures but the curves, which the plots show."""
    stages = [asdict(assessment) for assessment in assessments]
    for stage in stages:
        for score in stage["scores"]:
            del score["curve"]
    return {"origin": asdict(origin), "calibration_share": CALIBRATION_SHARE, "delta": DELTA, "stages": stages}


def as_markdown(origin: Origin, assessments: Sequence[Assessment]) -> str:
    parts = [f"# {origin.dataset}, {origin.model}", _about(origin)]
    for assessment in assessments:
        parts.append(f"## {_heading(assessment)}")
        parts.extend(_markdown_grid(grid) for grid in grids(assessment))
    return "\n\n".join(parts) + "\n"


def as_html(origin: Origin, assessments: Sequence[Assessment]) -> str:
    title = escape(f"{origin.dataset}, {origin.model}")
    parts = [f"<h1>{title}</h1>", f'<p class="about">{escape(_about(origin))}</p>']
    for assessment in assessments:
        parts.append(f"<h2>{escape(_heading(assessment))}</h2>")
        parts.append(f'<div class="plots">{"".join(map(_panel, _plots(assessment)))}</div>')
        parts.extend(_panel(_html_grid(grid)) for grid in grids(assessment))
    return _PAGE.format(title=title, style=_STYLE, body="\n".join(parts))


def _plots(assessment: Assessment) -> list[str]:
    plots = [reliability_plot(assessment.probabilities), risk_coverage_plot(assessment.scores)]
    return [*plots, answered_plot(assessment.certified)] if assessment.certified else plots


def _panel(content: str) -> str:
    return f'<section class="panel">{content}</section>'


def _heading(assessment: Assessment) -> str:
    return "Answers from memory" if assessment.stage == "closed_book" else "Answers with passages"


def _about(origin: Origin) -> str:
    failed = f" {origin.n_failed} questions failed and are left out." if origin.n_failed else ""
    judge = origin.nli_model or "normalised exact match"
    return (
        f"Clusters by {judge}, correctness by {origin.grader}. Data sha256 {origin.data_sha256[:16]}, "
        f"Demur {origin.demur_version}.{failed}"
    )


def _overview(a: Assessment) -> Grid:
    rows = (
        ("questions", str(a.n_questions)),
        ("tested on", str(a.n_tested)),
        ("degraded, left out", str(a.n_voided)),
        ("accuracy of answers", shown(a.accuracy)),
        ("refused", shown(a.refusal_rate)),
        ("map kept", a.map_kept or f"none: {a.why_uncalibrated}"),
        ("tokens drawn per question", f"{a.cost.n_completion_tokens:.1f}"),
        ("NLI pairs per question", f"{a.cost.n_pairs:.1f}"),
        ("seconds per question", f"{a.cost.seconds:.2f}" if a.cost.seconds else "replayed"),
    )
    return Grid("Overview", ("", ""), rows, "Refusals take no part in the figures below, but in what is answered.")


def _scores(a: Assessment) -> Grid:
    columns = ("score", "n", "AUROC", "AURC", "E-AURC", "AURAC", "AURAC (reference)", "correlation")
    rows = tuple(
        (
            s.name,
            str(s.n),
            _with_interval(s.auroc),
            *(shown(value) for value in (s.aurc, s.e_aurc, s.aurac, s.aurac_reference, s.correlation)),
        )
        for s in a.scores
    )
    remark = (
        "AUROC with its 95 % bootstrap interval. AURC and E-AURC: lower is better. The reference AURAC of perfect "
        "answers is .947."
    )
    return Grid("How well scores tell right from wrong", columns, rows, remark)


def _probabilities(a: Assessment) -> Grid:
    columns = ("probability", "Brier", "log-loss", "smECE", "of a perfect model", f"ECE ({N_BINS} bins)", "gap")
    rows = tuple(
        (
            p.name,
            _with_interval(p.brier),
            *(shown(v) for v in (p.negative_log_likelihood, p.smooth_ece, p.perfect, p.ece, p.gap)),
        )
        for p in a.probabilities
    )
    remark = (
        "A perfect model's smECE stays below the number beside it in 95 of 100 such sets. ECE bins are (low, high]. "
        "A gap above 0 is overconfident."
    )
    return Grid("How right probabilities are", columns, rows, remark)


def _risks(a: Assessment) -> Grid:
    rows = tuple(
        (f"{r.risk:.2f}", shown(r.coverage), _needed(r.coverage, r.n_labels_needed), shown(r.joint_coverage))
        for r in a.certified
    )
    remark = (
        f"With confidence {1 - DELTA:.2f}, by exact binomial tests on the questions tested on. Jointly: where that "
        "share of all questions, answered or not, may be answered wrongly, on average (conformal risk control)."
    )
    columns = ("error rate at most", "share answered", "labels needed, about", "share answered, jointly")
    return Grid("What can be answered", columns, rows, remark)


def _needed(coverage: float | None, n: int | None) -> str:
    if coverage is not None:
        return "enough"
    return "out of reach here" if n is None else str(n)


def shown(value: float | None) -> str:
    """Three digits; a dash for what could not be measured."""
    return "-" if value is None else f"{value:.3f}"


def _with_interval(interval: Interval | None) -> str:
    return "-" if interval is None else f"{interval.value:.3f} ({interval.low:.3f} to {interval.high:.3f})"


def _markdown_grid(grid: Grid) -> str:
    lines = [grid.columns, tuple("---" for _ in grid.columns), *grid.rows]
    table = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    return f"### {grid.title}\n\n{table}\n\n{grid.remark}"


def _html_grid(grid: Grid) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in grid.columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in grid.rows)
    return (
        f"<h3>{escape(grid.title)}</h3><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        f'<p class="remark">{escape(grid.remark)}</p>'
    )


_STYLE = f"{TOKENS_CSS}\n{(Path(__file__).parent / 'report.css').read_text(encoding='utf-8')}"
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}
</style>
</head>
<body>
{body}
</body>
</html>
"""
