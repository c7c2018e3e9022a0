"""Reliability and risk-coverage as SVG, drawn here so that a report is one file that needs no network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

import numpy as np

from demur.evaluation.assessment import Bin, ProbabilityFigures, ScoreFigures

_SIZE, _LEFT, _TOP, _MARGIN = 320, 46, 14, 40
_COLOURS = ("#2563eb", "#d97706", "#059669", "#9333ea", "#dc2626", "#475569", "#0891b2", "#be185d", "#65a30d")
_N_POINTS = 200


def reliability_plot(figures: Sequence[ProbabilityFigures]) -> str:
    """Share correct against the probability given, one line for each; the diagonal is perfect, discs are counts."""
    lines = [_diagonal()]
    for colour, one in zip(_COLOURS, figures, strict=False):
        lines.append(_path([(b.mean, b.accuracy) for b in one.bins], colour))
        lines.extend(_disc(b, one.n, colour) for b in one.bins)
    return _framed("Reliability", "probability given", "share correct", lines, [f.name for f in figures])


def risk_coverage_plot(figures: Sequence[ScoreFigures]) -> str:
    """Error rate among the surest answers against how many those are; lower is better."""
    lines = []
    for colour, one in zip(_COLOURS, figures, strict=False):
        at = np.unique(np.linspace(0, len(one.curve.risk) - 1, _N_POINTS).astype(int))
        points = zip(one.curve.coverage[at].tolist(), one.curve.risk[at].tolist(), strict=True)
        lines.append(_path(list(points), colour))
    return _framed("Risk and coverage", "share answered", "error rate", lines, [f.name for f in figures])


def _framed(title: str, x_label: str, y_label: str, lines: Iterable[str], names: Sequence[str]) -> str:
    width, height = _LEFT + _SIZE + 190, _TOP + _SIZE + _MARGIN
    legend = [_legend(i, name) for i, name in enumerate(names[: len(_COLOURS)])]
    return "\n".join(
        [
            f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" aria-label="{escape(title)}">',
            *(_tick(i / 5) for i in range(6)),
            f'<rect x="{_LEFT}" y="{_TOP}" width="{_SIZE}" height="{_SIZE}" class="frame"/>',
            *lines,
            f'<text x="{_LEFT + _SIZE / 2}" y="{height - 6}" text-anchor="middle">{escape(x_label)}</text>',
            f'<text transform="translate(12 {_TOP + _SIZE / 2}) rotate(-90)" text-anchor="middle">'
            f"{escape(y_label)}</text>",
            *legend,
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


def _path(points: Sequence[tuple[float, float]], colour: str) -> str:
    placed = " ".join(f"{x},{y}" for x, y in (_at(*point) for point in points))
    return f'<polyline points="{placed}" fill="none" stroke="{colour}" stroke-width="2"/>'


def _disc(one: Bin, n: int, colour: str) -> str:
    x, y = _at(one.mean, one.accuracy)
    radius = round(2 + 10 * (one.n / n) ** 0.5, 1)
    label = f"{one.n} answers, {one.mean:.2f} given, {one.accuracy:.2f} correct"
    return f'<circle cx="{x}" cy="{y}" r="{radius}" fill="{colour}" fill-opacity=".35"><title>{label}</title></circle>'


def _legend(place: int, name: str) -> str:
    x, y = _LEFT + _SIZE + 14, _TOP + 12 + 18 * place
    colour = _COLOURS[place]
    return (
        f'<line x1="{x}" y1="{y - 4}" x2="{x + 18}" y2="{y - 4}" stroke="{colour}" stroke-width="3"/>'
        f'<text x="{x + 24}" y="{y}">{escape(name.replace("_", " "))}</text>'
    )
