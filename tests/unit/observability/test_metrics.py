"""Every metric: documented, bounded, in base units, and there from the beginning."""

from __future__ import annotations

import itertools

import pytest

from demur.observability.metrics import Definition, Metrics
from deploy.prometheus.table import PAGE, table

METRICS = Metrics()
FORBIDDEN = {"prompt", "user", "key", "tenant", "answer", "answer_id", "id", "request_id", "trace_id", "metadata"}
MOST_SERIES = 2000  # of one metric, for one model, and one server behind


def test_the_page_is_what_the_code_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == table(METRICS.definitions), "run `python -m deploy.prometheus.table`"


def test_everything_registered_is_defined() -> None:
    registered = {family.name for family in METRICS.registry.collect()}
    assert registered == {each.name.removesuffix("_total") for each in METRICS.definitions}


@pytest.mark.parametrize("each", METRICS.definitions, ids=lambda each: each.name)
def test_a_metric_is_named_and_bounded_as_the_rules_say(each: Definition) -> None:
    """Counters end in _total, and nothing else does; times are in seconds; no label is anybody's words or name."""
    assert each.name.startswith("demur_")
    assert each.name.endswith("_total") == (each.kind == "counter")
    assert each.text.endswith(".")
    assert not FORBIDDEN & each.labels.keys()
    assert "_ms" not in each.name
    assert ("duration" in each.name) <= each.name.endswith("_seconds")
    listed = [values for values in each.labels.values() if isinstance(values, tuple)]
    n_series = len(list(itertools.product(*listed))) * max(1, len(each.buckets))
    assert n_series <= MOST_SERIES


@pytest.mark.parametrize("each", [d for d in METRICS.definitions if d.buckets], ids=lambda each: each.name)
def test_buckets_rise_and_ratios_stay_within_one(each: Definition) -> None:
    assert list(each.buckets) == sorted(set(each.buckets))
    assert not each.name.endswith("_ratio") or each.buckets[-1] < 1


def test_what_is_known_starts_at_zero() -> None:
    """A series that were born with its first increase would hide it from `rate`."""
    fresh = Metrics().registry
    assert fresh.get_sample_value("demur_degraded_total", {"reason": "nli_unavailable"}) == 0
    assert fresh.get_sample_value("demur_store_writes_total", {"record": "feedback", "outcome": "store-full"}) == 0
    assert fresh.get_sample_value("demur_rejected_total", {"reason": "overloaded"}) == 0
    assert not any(f.samples for f in fresh.collect() if f.name == "demur_answers"), "no model is known yet"


def test_what_is_counted_of_a_model_starts_at_zero_once_it_is_known() -> None:
    """So that the first label ever given, and the first abstention, show."""
    metrics = Metrics()
    metrics.introduce("m")
    abstained = {"model": "m", "quality": "fast", "decision": "abstain", "reason": "retrieval_exhausted"}
    labelled = {"model": "m", "bin": "0.9", "label": "incorrect", "source": "audit", "calibrated": "true"}
    assert metrics.registry.get_sample_value("demur_answers_total", abstained) == 0
    assert metrics.registry.get_sample_value("demur_confidence_bin_total", labelled) == 0
