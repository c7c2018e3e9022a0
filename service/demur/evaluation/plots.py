"""Reliability and risk-coverage as SVG, drawn here so that a report is one file that needs no network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

import numpy as np

from demur.evaluation.assessment import Bin, ProbabilityFigures, RiskFigures, ScoreFigures
from demur.look import FACES
from demur.types import Action

_SIZE, _LEFT, _TOP, _MARGIN = 320, 46, 14, 40
_LEGEND_LINE = 20
_N_SERIES = 9  # as many as tokens.css has colours for
_N_POINTS = 200
_BAR = 26


def reliability_plot(figures: Sequence[ProbabilityFigures]) -> str:
    """Share correct against the probability given, one line for each; the diagonal is perfect, discs are counts."""
    lines = [_diagonal()]
    for place, one in enumerate(figures[:_N_SERIES], 1):
        lines.append(_path([(b.mean, b.accuracy) for b in one.bins], place))
        lines.extend(_disc(b, one.n, place) for b in one.bins)
    return _framed("Reliability", "probability given", "share correct", lines, [f.name for f in figures])


def risk_coverage_plot(figures: Sequence[ScoreFigures]) -> str:
    """Error rate among the surest answers against how many those are; lower is better."""
    lines = []
    for place, one in enumerate(figures[:_N_SERIES], 1):
        at = np.unique(np.linspace(0, len(one.curve.risk) - 1, _N_POINTS).astype(int))
        points = zip(one.curve.coverage[at].tolist(), one.curve.risk[at].tolist(), strict=True)
        lines.append(_path(list(points), place))
    return _framed("Risk and coverage", "share answered", "error rate", lines, [f.name for f in figures])


def answered_plot(figures: Sequence[RiskFigures]) -> str:
    """Which share can be answered at each bound on the error rate, and which is left, in the verdicts' colours."""
    answer, others = FACES[Action.ANSWER], [FACES[Action.RETRIEVE], FACES[Action.ABSTAIN]]
    rest = " or ".join(f"{face.icon} {face.word}" for face in others)
    top = _TOP + _LEGEND_LINE
    key = (
        f'<text x="{_LEFT}" y="{_TOP + 8}" class="name">{answer.icon} {answer.word}</text>'
        f'<text x="{_LEFT + _SIZE}" y="{_TOP + 8}" class="name" text-anchor="end">{rest}</text>'
    )
    bars = [_answered_bar(one, top + i * (_BAR + 8)) for i, one in enumerate(figures)]
    height = top + len(figures) * (_BAR + 8) + _MARGIN
    title = _titled("What can be answered")
    label = f'<text x="{_LEFT}" y="{height - 16}">share of questions, at an error rate of at most ...</text>'
    view = f'<svg viewBox="0 0 {_LEFT + _SIZE + 14} {height}" role="img" aria-label="What can be answered">'
    return "\n".join([title, view, key, *bars, label, "</svg>"])


def _answered_bar(one: RiskFigures, y: float) -> str:
    width = round(_SIZE * (one.coverage or 0.0), 1)
    said = "none" if one.coverage is None else f"{one.coverage:.0%}"
    middle = y + _BAR / 2 + 4
    return (
        f'<text x="{_LEFT - 8}" y="{middle}" text-anchor="end">{one.risk:.2f}</text>'
        f'<rect x="{_LEFT}" y="{y}" width="{_SIZE}" height="{_BAR}" rx="6" class="rest"/>'
        f'<rect x="{_LEFT}" y="{y}" width="{width}" height="{_BAR}" rx="6" class="answer"/>'
        f'<text x="{_LEFT + 8}" y="{middle}" class="name">{said}</text>'
    )


def _titled(title: str) -> str:
    return f"<h3>{escape(title)}</h3>"


def _framed(title: str, x_label: str, y_label: str, lines: Iterable[str], names: Sequence[str]) -> str:
    shown = names[:_N_SERIES]
    foot = _TOP + _SIZE + _MARGIN
    width, height = _LEFT + _SIZE + 14, foot + 8 + _LEGEND_LINE * ((len(shown) + 1) // 2)
    return "\n".join(
        [
            _titled(title),
            f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">',
            *(_tick(i / 5) for i in range(6)),
            f'<rect x="{_LEFT}" y="{_TOP}" width="{_SIZE}" height="{_SIZE}" class="frame"/>',
            *lines,
            f'<text x="{_LEFT + _SIZE / 2}" y="{foot - 6}" text-anchor="middle">{escape(x_label)}</text>',
            f'<text transform="translate(12 {_TOP + _SIZE / 2}) rotate(-90)" text-anchor="middle">'
            f"{escape(y_label)}</text>",
            *(_legend(place, name, foot) for place, name in enumerate(shown)),
            "</svg>",
        ]
    )


def _at(x: float, y: float) -> tuple[float, float]:
    return round(_LEFT + _SIZE * x, 1), round(_TOP + _SIZE * (1 - y), 1)


def _tick(value: float) -> str:
    x, bottom = _at(value, 0)
    left, y = _at(0, value)
    return (
        f'<line x1="{x}" y1="{_TOP}" x2="{x}" y2="{bottom}" class="grid"/>'
        f'<line x1="{left}" y1="{y}" x2="{_LEFT + _SIZE}" y2="{y}" class="grid"/>'
        f'<text x="{x}" y="{bottom + 14}" text-anchor="middle">{value:.1f}</text>'
        f'<text x="{left - 6}" y="{y + 4}" text-anchor="end">{value:.1f}</text>'
    )


def _diagonal() -> str:
    (x1, y1), (x2, y2) = _at(0, 0), _at(1, 1)
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" class="diagonal"/>'


def _path(points: Sequence[tuple[float, float]], place: int) -> str:
    placed = " ".join(f"{x},{y}" for x, y in (_at(*point) for point in points))
    return f'<polyline points="{placed}" class="line s{place}"/>'


def _disc(one: Bin, n: int, place: int) -> str:
    x, y = _at(one.mean, one.accuracy)
    radius = round(2 + 10 * (one.n / n) ** 0.5, 1)
    label = f"{one.n} answers, {one.mean:.2f} given, {one.accuracy:.2f} correct"
    return f'<circle cx="{x}" cy="{y}" r="{radius}" class="disc s{place}"><title>{label}</title></circle>'


def _legend(place: int, name: str, top: float) -> str:
    """Below the frame, in two columns."""
    x, y = _LEFT + (_SIZE / 2 + 7) * (place % 2), top + 14 + _LEGEND_LINE * (place // 2)
    return (
        f'<line x1="{x}" y1="{y - 4}" x2="{x + 18}" y2="{y - 4}" class="line s{place + 1}"/>'
        f'<text x="{x + 24}" y="{y}" class="name">{escape(name.replace("_", " "))}</text>'
    )
