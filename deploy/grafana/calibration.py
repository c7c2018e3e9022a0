"""Whether confidence keeps its word, by what people and graders said about answers."""

from __future__ import annotations

from deploy.grafana.panels import Dashboard, Panel, Query, Row
from deploy.grafana.promql import HERE, MODEL, rate

_BINS = "demur_confidence_bin_total"
_FEEDBACK = "demur_feedback_total"
_AUDITED = f'{MODEL}, source="audit", calibrated="true"'


def _within_range(metric: str, labels: str, by: str) -> str:
    return f"sum by ({by}) (increase({metric}{{{labels}}}[$__range]))"


def _accuracy(metric: str, labels: str, by: str) -> str:
    """Correct among all labels that are words; right in part is not right."""
    right, judged = (f'{labels}, label=~"{words}"' for words in ("correct", "correct|incorrect|partial"))
    return f"{_within_range(metric, right, by)} / {_within_range(metric, judged, by)}"


def _worst(gauge: str) -> str:
    return f"max by (model) (demur_calibration_{gauge}{{{MODEL}}})"


def _figure(title: str, description: str, gauge: str, warn_above: float | None = None) -> Panel:
    return Panel(
        title,
        f"{description} demur_calibration_{gauge}",
        "percentunit" if gauge == "ece_ratio" else "short",
        (Query(_worst(gauge), "{{model}}"),),
        "stat",
        4,
        4,
        warn_above=warn_above,
        empty="no audits",
    )


def _reliability(title: str, description: str, labels: str) -> Panel:
    return Panel(
        title,
        f"{description} Each bar is the share of correct answers among those whose confidence was at most its number, "
        f"and above the one before; it should end near there. {_BINS}",
        "percentunit",
        (Query(_accuracy(_BINS, labels, "bin"), "{{bin}}", is_instant=True),),
        "bargauge",
        8,
        10,
        maximum=1,
        empty="no labels in this time",
    )


CALIBRATION = Dashboard(
    "demur-calibration",
    "Demur / Calibration",
    "Whether confidence keeps its word, by what people and graders said about answers.",
    (
        Row(
            "The last audits of calibrated answers",
            (
                _figure(
                    "Calibration error",
                    "Expected calibration error over ten bins, of the worst replica.",
                    "ece_ratio",
                    0.1,
                ),
                _figure(
                    "Brier score", "Mean squared error of confidence; 0.25 for always saying one half.", "brier_ratio"
                ),
                _figure("AUROC", "How well confidence tells right from wrong; 0.5 for not at all.", "auroc_ratio"),
                _figure("Labels", "Audits behind these figures; the alert wants 200.", "labels"),
                Panel(
                    "Age of the profile",
                    "Since the calibration profile was fitted. demur_calibration_fitted_timestamp_seconds",
                    "s",
                    (Query(f"time() - {_worst('fitted_timestamp_seconds').replace('max', 'min', 1)}", "{{model}}"),),
                    "stat",
                    4,
                    4,
                    warn_above=30 * 86_400,
                    empty="uncalibrated",
                ),
                Panel(
                    "Right where answered",
                    "Share of correct answers among audits with the decision answer. demur_feedback_total",
                    "percentunit",
                    (Query(_accuracy(_FEEDBACK, f'{MODEL}, source="audit", decision="answer"', "model"), "{{model}}"),),
                    "stat",
                    4,
                    4,
                    empty="no audits",
                ),
            ),
        ),
        Row(
            "Reliability",
            (
                _reliability("Audits", "Calibrated answers drawn at random: the honest picture.", _AUDITED),
                _reliability("All labels", "What people chose to label, uncalibrated answers too.", MODEL),
                Panel(
                    "Labels by confidence",
                    f"Labelled answers behind the bars, by confidence. {_BINS}",
                    "short",
                    (Query(_within_range(_BINS, MODEL, "bin"), "{{bin}}", is_instant=True),),
                    "bargauge",
                    8,
                    10,
                    empty="no labels in this time",
                ),
            ),
        ),
        Row(
            "Labels",
            (
                Panel(
                    "Labels a day",
                    "Over the day before, by what was said. demur_feedback_total",
                    "short",
                    (Query(f"sum by (label) (increase({_FEEDBACK}{{{MODEL}}}[1d]))", "{{label}}"),),
                    width=8,
                    is_stacked=True,
                    empty="no feedback yet",
                ),
                Panel(
                    "Who labels",
                    "Labels a second by source; only audits can carry a guarantee. demur_feedback_total",
                    "reqps",
                    (Query(rate(_FEEDBACK, MODEL, "source"), "{{source}}"),),
                    width=8,
                    empty="no feedback yet",
                ),
                Panel(
                    "Accuracy by decision",
                    "Share of correct answers, by what the service advised. What it abstained from should be "
                    "worse than what it answered. demur_feedback_total",
                    "percentunit",
                    (Query(_accuracy(_FEEDBACK, MODEL, "decision"), "{{decision}}"),),
                    width=8,
                    maximum=1,
                    empty="no labels in this time",
                ),
            ),
        ),
        Row(
            "Over time",
            (
                Panel(
                    "Calibration error over time",
                    "Expected calibration error and Brier score of the worst replica. demur_calibration_ece_ratio, "
                    "demur_calibration_brier_ratio",
                    "percentunit",
                    (
                        Query(_worst("ece_ratio"), "{{model}}, calibration error"),
                        Query(_worst("brier_ratio"), "{{model}}, Brier score"),
                    ),
                    width=8,
                    empty="no audits",
                ),
                Panel(
                    "Suspended promises",
                    "Certificates in force that audits have refuted: answers come without a guarantee. "
                    "demur_calibration_suspended_certificates",
                    "short",
                    (Query(_worst("suspended_certificates"), "{{model}}"),),
                    width=8,
                    warn_above=1,
                ),
                Panel(
                    "Answers without a calibrated confidence",
                    "Answers a second that no profile spoke for. demur_degraded_total",
                    "reqps",
                    (Query(rate("demur_degraded_total", f'{HERE}, reason="uncalibrated"'), "uncalibrated"),),
                    width=8,
                ),
            ),
        ),
    ),
    since="now-7d",
)
