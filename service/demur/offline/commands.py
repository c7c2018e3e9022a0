"""`demur evaluate` and `demur calibrate`: options in, tables and files out."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, get_args

import anyio
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from demur import __version__
from demur.calibration.profile import Certificate, Figures, Profile, write_profile
from demur.calibration.risk_control import Certified, Infeasible
from demur.errors import DatasetUnreadable, NotCalibratable
from demur.evaluation.assessment import Assessment, assess
from demur.evaluation.dataset import Dataset, read_dataset
from demur.evaluation.fitting import Fitted, Target, fit_profile, needs, refusal
from demur.evaluation.judged import JudgedAnswer, Stage, read_judged, write_judged
from demur.evaluation.report import Grid, Origin, as_html, as_json, as_markdown, grids, shown
from demur.offline.asking import Asking
from demur.offline.uploading import upload
from demur.usage import fail, read_settings

console = Console()
errors = Console(stderr=True)

GRADES: dict[str, Callable[[Assessment], float | None]] = {
    "auroc": lambda a: a.scores[0].auroc.value if a.scores[0].auroc else None,
    "aurac": lambda a: a.scores[0].aurac,
    "accuracy": lambda a: a.accuracy,
}

Data = Annotated[Path, typer.Argument(help="Questions with references, one JSON object a line.", metavar="DATA.jsonl")]
Grading = Annotated[
    Literal["exact", "nli", "llm"],
    typer.Option(
        help="exact: normalised match; nli: or entails a reference; llm: or DEMUR_JUDGE__MODEL finds it does."
    ),
]
Judged = Annotated[bool, typer.Option("--judged", help="DATA was written by `demur evaluate --save`: ask nothing.")]
Model = Annotated[str | None, typer.Option(help="Name of the model that recorded samples came from.")]
N = Annotated[int, typer.Option(min=2, max=256, help="Samples to draw; recorded ones are all replayed.")]
Temperature = Annotated[float, typer.Option(min=0.01, max=2.0, help="Of the samples, drawn or recorded.")]
MaxTokens = Annotated[int, typer.Option(min=1, help="Per sample.")]
Seed = Annotated[int, typer.Option(min=0, help="Of drawing, and of the split into fitting and testing.")]


@dataclass(frozen=True, slots=True)
class Material:
    """Judged answers, and where they are from."""

    answers: Sequence[JudgedAnswer]
    origin: Origin


def evaluate(
    data: Data,
    grader: Grading = "exact",
    out: Annotated[Path | None, typer.Option(help="Folder for report.json, report.md and report.html.")] = None,
    save: Annotated[Path | None, typer.Option(help="File for the judged answers, one JSON object a line.")] = None,
    fail_under: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE with auroc, aurac or accuracy: exit status 1 if one is lower.")
    ] = None,
    both_stages: Annotated[bool, typer.Option(help="Ask each question from memory, and with its `context`.")] = False,
    stated_confidence: Annotated[
        bool, typer.Option("--stated-confidence", help="Ask the model as well how sure it is: a call more each.")
    ] = False,
    judged: Judged = False,
    model: Model = None,
    n: N = 10,
    temperature: Temperature = 1.0,
    max_tokens: MaxTokens = 256,
    seed: Seed = 0,
) -> None:
    """Measure how well scores tell right answers from wrong ones, on questions with known answers."""
    limits = [_limit(text) for text in fail_under or ()]
    _make_room(save)
    asking = Asking(model, n, temperature, max_tokens, seed, both_stages, stated_confidence)
    material = _material(data, grader, judged, asking)
    if save:
        write_judged(material.answers, save)
    stages = [stage for stage in get_args(Stage) if any(answer.stage == stage for answer in material.answers)]
    assessments = [assess(material.answers, stage, seed=seed) for stage in stages]
    for assessment in assessments:
        for grid in grids(assessment):
            _print(grid)
    if out:
        _write_report(out, material.origin, assessments)
    _fail_under(limits, assessments)


def calibrate(
    data: Data,
    out: Annotated[Path | None, typer.Option(help="Where to write the profile (*.json).")] = None,
    url: Annotated[
        str | None, typer.Option(help="Have the service at this address fit it and keep it instead.")
    ] = None,
    activate: Annotated[bool, typer.Option("--activate", help="With --url: put it into force there at once.")] = False,
    api_key: Annotated[
        str | None, typer.Option(envvar="DEMUR_API_KEY", show_envvar=True, help="Key for --url, with scope `admin`.")
    ] = None,
    max_risk: Annotated[float, typer.Option(min=0.001, max=0.999, help="Error rate allowed among answers.")] = 0.1,
    delta: Annotated[float, typer.Option(min=0.001, max=0.5, help="Doubt allowed that it is kept.")] = 0.1,
    grader: Grading = "exact",
    population: Annotated[str | None, typer.Option(help="Name of these questions; the file's by default.")] = None,
    method: Annotated[
        Literal["auto", "platt", "isotonic", "fused"], typer.Option(help="auto: the simplest that is not beaten.")
    ] = "auto",
    retrieval_id: Annotated[
        str | None,
        typer.Option(help="Certify retrieval too: the name callers give to what `context` came from."),
    ] = None,
    retrieval_cost: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Of a retrieval, in answers; with --wrong-cost, in abstentions.")
    ] = 0.0,
    wrong_cost: Annotated[
        float | None,
        typer.Option(
            min=1.0,
            max=1e6,
            help="Of a wrong answer, where abstaining costs 1: thresholds of least expected cost, and no promise.",
        ),
    ] = None,
    cascade: Annotated[
        bool,
        typer.Option("--cascade", help="Certify answering without samples, too, where the T=0 answer is sure enough."),
    ] = False,
    certificate: Annotated[bool, typer.Option(help="--no-certificate: calibrate confidence, promise nothing.")] = True,
    judged: Judged = False,
    model: Model = None,
    n: N = 10,
    temperature: Temperature = 1.0,
    max_tokens: MaxTokens = 256,
    seed: Seed = 0,
) -> None:
    """Fit a profile: confidence as a probability, and thresholds that keep an error rate."""
    place = out or url
    if place is None or (out and url):
        fail("say where the profile goes: --out FILE, or --url of a running service")
    if cascade and (wrong_cost is not None or not certificate):
        fail("--cascade is a promise: it comes with neither --wrong-cost nor --no-certificate")
    _make_room(out)
    asking = Asking(model, n, temperature, max_tokens, seed, retrieval_id is not None)
    material = _material(data, grader, judged, asking)
    target = Target(
        max_risk=max_risk,
        delta=delta,
        population=population or data.stem,
        grader=material.origin.grader,
        data_sha256=material.origin.data_sha256,
        method=method,
        retrieval_id=retrieval_id,
        retrieval_cost=retrieval_cost,
        wants_certificate=certificate,
        wrong_cost=wrong_cost,
        seed=seed,
        cascade=cascade,
    )
    if isinstance(place, str):
        kept = upload(place, api_key, material.answers, target, activate=activate)
        state = "in force" if kept["active"] else f"put it into force with POST /v1/calibrations/{kept['id']}/activate"
        console.print(f"{place} keeps it as {kept['id']}: {state}", highlight=False)
        return
    fitted = fit_profile(material.answers, target)
    if target.certifies and not fitted.profile.certificates:
        raise NotCalibratable(
            f"{refusal(fitted, target)}; give more labels, allow more risk, or calibrate without a promise "
            "(--no-certificate)"
        )
    write_profile(fitted.profile, place)
    _show(fitted, target, place)


def semantic_calibration(
    data: Data,
    style: Annotated[
        list[str] | None, typer.Option(help="as_asked, concise, sentence or reasoned; may be repeated (default: all).")
    ] = None,
    grader: Grading = "exact",
    n: Annotated[
        int, typer.Option(min=20, max=256, help="Samples; fewer than 50 make any model look overconfident.")
    ] = 50,
    out: Annotated[Path | None, typer.Option(help="File for the figures, as JSON.")] = None,
    max_tokens: MaxTokens = 256,
    seed: Seed = 0,
) -> None:
    """Measure whether raw agreement is a probability, before any fit, for each way of prompting."""
    from demur.offline.semantic_calibration import STYLES, WARNING, measure_styles  # loads the models' stack

    styles = [each for each in STYLES if each in (style or STYLES)]
    if unknown := sorted(set(style or ()) - set(STYLES)):
        fail(f"--style needs one of {', '.join(STYLES)}, got {unknown[0]!r}")
    dataset, settings = read_dataset(data), read_settings()
    _make_room(out)
    with _progress() as progress:
        task = progress.add_task("asking", total=None)

        def on_done(n_all: int) -> None:
            progress.update(task, advance=1, total=n_all)

        measure = partial(measure_styles, n=n, max_tokens=max_tokens, seed=seed, on_done=on_done)
        model, found = anyio.run(measure, dataset, settings, grader, styles)
    columns = (
        "prompt",
        "answers",
        "refused",
        "failed",
        "accuracy",
        "modal share",
        "gap",
        "smECE",
        "of a perfect model",
        "",
    )
    rows = tuple(
        (
            f.style,
            *map(str, (f.n, f.n_refused, f.n_failed)),
            *map(shown, (f.accuracy, f.confidence, f.gap, f.smooth_ece, f.perfect)),
            f.verdict,
        )
        for f in found
    )
    _print(Grid(f"Semantic calibration of {model}, {n} samples", columns, rows, WARNING))
    if out:
        body = {"model": model, "n_samples": n, "data_sha256": dataset.sha256, "styles": [asdict(f) for f in found]}
        _write(out, json.dumps(body, indent=2, allow_nan=False) + "\n")


def _make_room(path: Path | None) -> None:
    """Before anything is asked, which can take an hour."""
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fail(f"cannot make the folder {path.parent}: {error.strerror}")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DatasetUnreadable(f"cannot write {path}: {error.strerror}") from error


def _material(data: Path, grader: str, judged: bool, asking: Asking) -> Material:
    if judged:
        answers = read_judged(data)
        if not answers:
            raise DatasetUnreadable(f"{data} has no answers")
        first, sha256 = answers[0], hashlib.sha256(data.read_bytes()).hexdigest()
        key = first.key
        return Material(answers, Origin(data.stem, sha256, key.model, key.nli_model, first.grader, 0, __version__))
    from demur.offline.running import run  # loads the web stack and, behind it, the models

    dataset, settings = read_dataset(data), read_settings()
    with _progress() as progress:
        task = progress.add_task("replaying" if dataset.is_recorded else "asking", total=None)

        def on_done(n_all: int) -> None:
            progress.update(task, advance=1, total=n_all)

        done = anyio.run(run, dataset, settings, grader, asking, on_done)
    _warn_of(done.failures, dataset)
    origin = Origin(
        dataset.name, dataset.sha256, done.model, done.nli_model, done.grader, len(done.failures), __version__
    )
    return Material(done.answers, origin)


def _progress() -> Progress:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    return Progress(*columns, console=errors)


def _warn_of(failures: Sequence[tuple[str, str]], dataset: Dataset) -> None:
    if not failures:
        return
    first_id, first_reason = failures[0]
    said = f"{len(failures)} of {len(dataset.rows)} questions failed; the first is {first_id!r}: {first_reason}"
    if len(failures) >= len(dataset.rows):
        raise DatasetUnreadable(said)
    errors.print(f"[yellow]demur:[/] {said}", highlight=False)


def _limit(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    if name not in GRADES or not re.fullmatch(r"\d*\.?\d+", value):
        fail(f"--fail-under needs NAME=VALUE with one of {', '.join(GRADES)}, got {text!r}")
    return name, float(value)


def _fail_under(limits: Sequence[tuple[str, float]], assessments: Sequence[Assessment]) -> None:
    for name, limit in limits:
        for assessment in assessments:
            value = GRADES[name](assessment)
            if value is None or value < limit:
                shown = "not measurable" if value is None else f"{value:.3f}"
                errors.print(
                    f"[bold red]demur:[/] {name} ({assessment.stage}) is {shown}, under {limit}", highlight=False
                )
                raise typer.Exit(1)


def _print(grid: Grid) -> None:
    table = Table(title=grid.title, title_justify="left", show_header=any(grid.columns))
    for place, column in enumerate(grid.columns):
        table.add_column(column, overflow="fold", no_wrap=place == 0)
    for row in grid.rows:
        table.add_row(*row)
    wide = console if console.is_terminal else Console(width=max(console.width, 120))  # a file has room for all
    wide.print(table)
    wide.print(f"[dim]{grid.remark}[/]\n", highlight=False)


def _write_report(folder: Path, origin: Origin, assessments: Sequence[Assessment]) -> None:
    figures = json.dumps(as_json(origin, assessments), indent=2, allow_nan=False) + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.json").write_text(figures, encoding="utf-8")
        (folder / "report.md").write_text(as_markdown(origin, assessments), encoding="utf-8")
        (folder / "report.html").write_text(as_html(origin, assessments), encoding="utf-8")
    except OSError as error:
        raise DatasetUnreadable(f"cannot write the report to {folder}: {error.strerror}") from error
    console.print(f"report.html, report.md and report.json are in {folder}")


def _show(fitted: Fitted, target: Target, out: Path) -> None:
    profile = fitted.profile
    table = Table(title=f"{profile.id} ({profile.provenance.population})", title_justify="left", show_header=False)
    maps = {"from memory": profile.closed_book, "with passages": profile.with_context, "no samples": profile.greedy}
    for name, stage in maps.items():
        if stage:
            f = stage.figures
            table.add_row(f"{name}: map", f"{stage.calibrator.method} on {', '.join(stage.calibrator.signals)}")
            table.add_row(f"{name}: held out", _held_out(f, "least token" if stage is profile.greedy else "agreement"))
    for certificate in profile.certificates:
        table.add_row(f"{certificate.scope.replace('_', ' ')}: promise", _promise(certificate))
        table.add_row(f"{certificate.scope.replace('_', ' ')}: will do", _effect(certificate))
    if not target.certifies:
        table.add_row("will do, without a promise", _uncertified_effect(profile))
    for scope, refused in fitted.refused.items():
        table.add_row(f"{scope.replace('_', ' ')}: no promise", needs(refused))
    if fitted.tighter:
        table.add_row(f"an error rate of {target.max_risk / 2:g}", _tighter(fitted.tighter))
    console.print(table)
    console.print(f"written to {out}; serve it with DEMUR_CALIBRATION__PROFILES={out.parent}")


def _held_out(f: Figures, score: str) -> str:
    if f.brier is None or f.brier_uncalibrated is None or f.smooth_ece is None:
        return f"{f.n} answers: too few to tell how good it is"
    brier = f"Brier {f.brier:.3f} ({score} as it stands {f.brier_uncalibrated:.3f})"
    return f"{f.n} answers: AUROC {shown(f.auroc)}, {brier}, smECE {f.smooth_ece:.3f}"


def _promise(one: Certificate) -> str:
    return (
        f"at most {one.alpha:.1%} of answers wrong, with confidence {1 - one.delta:.1%}: "
        f"{one.errors} of {one.n_accepted} were, among {one.n_calibration} held-out questions"
    )


def _effect(one: Certificate) -> str:
    thresholds = _thresholds(one.answer_min, one.answer_min_after_retrieval)
    retrieved = f", look up {one.retrieval_rate:.0%}" if one.scope == "two_stage" else ""
    if one.skip_min is not None:
        retrieved, thresholds = f", {one.skip_rate:.0%} without samples", f"from {one.skip_min:.3f}, else {thresholds}"
    return f"answer {one.n_accepted / one.n_calibration:.0%} of questions{retrieved} ({thresholds})"


def _thresholds(first: float, later: float | None) -> str:
    after = "" if later is None else f", after retrieval from {later:.3f}"
    return f"answer from {first:.3f}{after}"


def _uncertified_effect(profile: Profile) -> str:
    """On held-out answers from memory, as far as the curve tells."""
    first = profile.uncertified_answer_min
    thresholds = _thresholds(first, profile.uncertified_answer_min_after_retrieval)
    reached = [point for point in profile.closed_book.figures.curve if point.confidence >= first]
    if not reached:
        return thresholds
    return (
        f"answer about {reached[-1].coverage:.0%} of questions, {reached[-1].risk:.0%} of them wrongly ({thresholds})"
    )


def _tighter(one: Certified | Infeasible) -> str:
    return f"can be promised as well, for {one.trial.coverage:.0%}" if isinstance(one, Certified) else needs(one)
