"""What `benchmarks.peers` measured, in tables: counts, agreement, and times as ratios of pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.results import save

Row = dict[str, Any]

COUNTED = ("uqlm", "lm-polygraph", "paper")  # what our counts must lie below
BOUNDS = {  # times of each peer over ours, one at a time and 32 at once
    "demur float32": {"uqlm": (1.3, 1.7), "lm-polygraph": (1.8, 2.4), "paper": (2.2, 2.5)},
    "demur": {"uqlm": (3.0, 4.0), "lm-polygraph": (4.0, 5.0), "paper": (5.0, 6.0)},
}
TITLES = {"demur float32": "equal precision: float32", "demur": "as shipped"}
AGREEMENT = 0.995
N_DRAWS = 4000
CLOSE = 0.1  # verdicts that may have made the difference: the two likeliest relations this near


def report(rows: Sequence[Row], blocks: Sequence[Row], threads: int) -> bool:
    """Print and keep; whether every bound holds. What was not measured holds nothing up."""
    figures: Row = {"threads": threads, "counts": _by_set(rows, count_figures), "agreement": agreement(rows)}
    held = _show_counts(figures["counts"]) & _show_agreement(figures["agreement"])
    _show_disagreements(rows)
    alone = [{"set": row["set"], "seconds": _seconds(row)} for row in rows if row["timed"]]
    together = [block for block in blocks if block["timed"]]
    for place, (mine, name) in enumerate(((alone, "one_at_a_time"), (together, "32_at_once"))):
        if mine:
            figures[name] = {ours: _by_set(mine, partial(ratios, ours=ours)) for ours in BOUNDS}
            for ours in BOUNDS:
                held &= _show_times(figures[name][ours], ours, place)
    Console().print(save("peers", figures))
    return held


def _seconds(row: Row) -> dict[str, float]:
    return {name: told["seconds"] for name, told in row.items() if isinstance(told, dict) and "seconds" in told}


def _by_set(rows: Sequence[Row], figure: Callable[[Sequence[Row]], Row]) -> dict[str, Row]:
    sets = {name: [row for row in rows if row["set"] == name] for name in sorted({row["set"] for row in rows})}
    return {name: figure(mine) for name, mine in sets.items()} | {"all": figure(rows)}


def count_figures(rows: Sequence[Row]) -> Row:
    """Means for each question. Rows are more than pairs where batches are filled up, or pairs judged again."""
    names = [name for name in (*BOUNDS, *COUNTED, "lm-polygraph bare") if name in rows[0]]
    means = {
        name: {key: round(float(np.mean([row[name][key] for row in rows])), 3) for key in ("pairs", "passes", "rows")}
        for name in names
    }
    return {"questions": len(rows), **means}


def agreement(rows: Sequence[Row]) -> Row:
    """Of ours with the exact partitions, and of each peer's with ours as shipped."""
    exact = [row for row in rows if "exact" in row]
    found = {name: _likeness(exact, name, "exact") for name in BOUNDS if exact}
    found |= {name: _likeness(rows, name, "demur") for name in (*COUNTED, "lm-polygraph bare")}
    twice = np.mean([sum(map(len, row["uqlm"]["partition"])) > len(_members(row["uqlm"])) for row in rows])
    found["uqlm"]["answers_in_two_meanings"] = float(twice)
    return found | {"disagreements": [_disagreement(row) for row in _disagreeing(rows)]}


def _likeness(rows: Sequence[Row], name: str, other: str) -> Row:
    differences = np.array([row[name]["entropy"] - row[other]["entropy"] for row in rows])
    return {
        "with": other,
        "questions": len(rows),
        "same_partition": float(np.mean([_blocks(row[name]) == _blocks(row[other]) for row in rows])),
        "mean_entropy_difference": float(differences.mean()),
        "mean_absolute_difference": float(abs(differences).mean()),
    }


def _disagreeing(rows: Sequence[Row]) -> list[Row]:
    names = ("exact", *BOUNDS)
    return [row for row in rows if "exact" in row and len({_blocks(row[name]) for name in names}) > 1]


def _disagreement(row: Row) -> Row:
    """Probabilities alone: the texts of some sets may not be kept with the project."""
    return {"id": row["id"], "pairs": [[*exact, *ours] for *_, exact, ours in _differing(row)]}


def _differing(row: Row) -> Iterator[tuple[str, str, list[float], list[float]]]:
    """Pairs that we judge otherwise than the exact verdicts do; where there are none, the closest."""
    exact = {(a, b): p for a, b, *p in row["exact"]["verdicts"]}
    ours = {(a, b): p for a, b, *p in row["demur"]["verdicts"]}
    both = [(a, b, exact[a, b], ours[a, b]) for a, b in exact.keys() & ours.keys()]
    other = [one for one in both if np.argmax(one[2]) != np.argmax(one[3])]
    yield from other or sorted(both, key=lambda one: _lead(one[2]))[:1]


def _lead(probabilities: Sequence[float]) -> float:
    second, first = sorted(probabilities)[-2:]
    return first - second


def _blocks(told: Row) -> frozenset[frozenset[int]]:
    return frozenset(map(frozenset, told["partition"]))


def _members(told: Row) -> set[int]:
    return {index for members in told["partition"] for index in members}


def ratios(rows: Sequence[Row], ours: str) -> Row:
    """Medians of the others' seconds over ours, and how often we took longer."""
    names = [name for name in dict.fromkeys(name for row in rows for name in row["seconds"]) if name not in BOUNDS]
    found: Row = {"rows": len(rows), "seconds_p50": _p50(rows, ours)}
    for name in names:
        mine = [row["seconds"] for row in rows if name in row["seconds"]]
        values = np.array([seconds[name] / seconds[ours] for seconds in mine])
        draws = np.random.default_rng(0).choice(values, (N_DRAWS, len(values)))
        low, high = np.quantile(np.median(draws, axis=1), [0.025, 0.975])
        whole = sum(seconds[name] for seconds in mine) / sum(seconds[ours] for seconds in mine)
        found[name] = {
            "rows": len(mine),
            "seconds_p50": float(np.median([seconds[name] for seconds in mine])),
            "ratio": [round(float(x), 3) for x in (np.median(values), low, high)],
            "ratio_of_totals": round(whole, 3),
            "slower_share": round(float(np.mean(values < 1)), 3),
        }
    return found


def _p50(rows: Sequence[Row], name: str) -> float:
    return float(np.median([row["seconds"][name] for row in rows]))


def _show_counts(found: dict[str, Row]) -> bool:
    names = [name for name in found["all"] if name != "questions"]
    table = Table("set", "questions", *names, title="directed pairs / forward passes a question", title_justify="left")
    held = True
    for name, of in found.items():
        fewer = all(of[ours][key] < of[peer][key] for ours in BOUNDS for peer in COUNTED for key in ("pairs", "passes"))
        held &= fewer
        cells = [f"{of[each]['pairs']:.2f} / {of[each]['passes']:.2f}" for each in names]
        table.add_row(f"{name} {_mark(fewer)}", str(of["questions"]), *cells)
    Console(width=160).print(table)
    return held


def _show_agreement(found: Row) -> bool:
    table = Table("system", "against", "same partition", "entropy: mean difference", "mean absolute", "")
    for name, of in found.items():
        if isinstance(of, dict):
            cells = [f"{of['mean_entropy_difference']:+.4f}", f"{of['mean_absolute_difference']:.4f}"]
            mark = _mark(of["same_partition"] >= AGREEMENT) if of["with"] == "exact" else ""
            table.add_row(name, of["with"], f"{100 * of['same_partition']:.2f} %", *cells, mark)
    Console(width=160).print(table)
    return all(
        of["same_partition"] >= AGREEMENT for of in found.values() if isinstance(of, dict) and "exact" in of["with"]
    )


def _show_disagreements(rows: Sequence[Row]) -> None:
    table = Table("question", "premise", "hypothesis", "exact: entailment, neutral, contradiction", "as shipped")
    for row in _disagreeing(rows):
        for premise, hypothesis, exact, ours in _differing(row):
            table.add_row(row["question"][-60:], premise[:40], hypothesis[:40], str(exact), str(ours))
    Console(width=200).print(table)


def _show_times(found: dict[str, Row], ours: str, place: int) -> bool:
    """Bounds are those of all sets together."""
    way = ("one at a time", "32 at once")[place]
    names = [name for name in found["all"] if isinstance(found["all"][name], dict)]
    table = Table("set", "rows", "ours, ms", *names, title=f"{TITLES[ours]}, {way}: their time over ours")
    for name, of in found.items():
        cells = [_ratio(of[each], BOUNDS[ours].get(each), place, name) if each in of else "" for each in names]
        table.add_row(name, str(of["rows"]), f"{1000 * of['seconds_p50']:.1f}", *cells)
    Console(width=200).print(table)
    return all(found["all"][peer]["ratio"][0] >= bounds[place] for peer, bounds in BOUNDS[ours].items())


def _ratio(of: Row, bounds: tuple[float, float] | None, place: int, name: str) -> str:
    value, low, high = of["ratio"]
    text = f"{value:.2f} [{low:.2f}, {high:.2f}]"
    if bounds is None or name != "all":
        return text
    return f"{text} {_mark(value >= bounds[place])} >= {bounds[place]:g}"


def _mark(ok: bool) -> str:
    return "[green]✔[/]" if ok else "[red]✘[/]"
