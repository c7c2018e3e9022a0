"""`demur serve | ask | evaluate | calibrate | doctor | config show`."""

from __future__ import annotations

import ipaddress
import json
import sys
from typing import Annotated, Any

import anyio
import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from demur import __version__
from demur.access.keys import SCOPES, new_key
from demur.api.requests import AnswerRequest
from demur.api.responses import AnswerResponse
from demur.errors import DemurError
from demur.offline import commands
from demur.settings import Settings
from demur.terminal import verdict
from demur.usage import fail, read_settings

app = typer.Typer(help="A service that knows when a language model does not know.", no_args_is_help=True)
config = typer.Typer(help="Settings.", no_args_is_help=True)
keys = typer.Typer(help="API keys.", no_args_is_help=True)
app.add_typer(config, name="config")
app.command()(commands.evaluate)
app.command()(commands.calibrate)
app.command()(commands.semantic_calibration)
app.add_typer(keys, name="keys")
console = Console()
errors = Console(stderr=True)


def main() -> None:
    """Run a command; what the user can mend is one line on standard error, with exit status 1."""
    try:
        app()
    except DemurError as error:
        errors.print(f"[bold red]demur:[/] {error}", highlight=False)
        sys.exit(1)


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(__version__)
        raise typer.Exit


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on (DEMUR_SERVER__HOST).")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on (DEMUR_SERVER__PORT).")] = None,
    first_question: Annotated[str | None, typer.Option(help="Ask the service this once it is ready.")] = None,
) -> None:
    """Start the service."""
    from demur import server  # uvicorn and the web stack are slow to import; `demur --help` needs neither

    settings = read_settings(server={k: v for k, v in {"host": host, "port": port}.items() if v is not None})
    _refuse_open_door(settings)
    server.run(settings, first_question, console)


def _refuse_open_door(settings: Settings) -> None:
    server = settings.server
    if not settings.auth.needs_key and not server.allow_open and not _is_loopback(server.host):
        fail(
            f"{server.host} can be reached from other machines and there are no API keys; make one with "
            "`demur keys new ID --scopes answer,feedback` and set DEMUR_AUTH__API_KEYS to the line it prints, or set "
            "DEMUR_SERVER__ALLOW_OPEN=true if the network around it is closed"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@app.command()
def ask(
    prompt: Annotated[str, typer.Argument(help="The question.")],
    context: Annotated[list[str] | None, typer.Option("--context", "-c", help="A passage; may be repeated.")] = None,
    quality: Annotated[str, typer.Option(help="fast, balanced or thorough.")] = "balanced",
    n: Annotated[int | None, typer.Option(help="Samples to draw.")] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same samples.")] = None,
    url: Annotated[str | None, typer.Option(help="Ask a running service instead of loading the models here.")] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar="DEMUR_API_KEY", show_envvar=True, help="Key for the service at --url.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the response as JSON.")] = False,
) -> None:
    """Ask a question and show what the model knows about its answer."""
    body = {
        "prompt": prompt,
        "context": [{"text": text} for text in context or []],
        "quality": quality,
        "sampling": {"n": n, "seed": seed},
        "include": ["clusters", "samples", "nli", "timings"],
    }
    try:
        request = AnswerRequest.model_validate(body)
    except ValidationError as error:
        fail("; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()))
    response = _ask_service(url, body, api_key) if url else anyio.run(_ask_here, request, read_settings())
    console.print_json(response.model_dump_json()) if as_json else console.print(verdict(response))


async def _ask_here(request: AnswerRequest, settings: Settings) -> AnswerResponse:
    from demur.app import running_engine  # loads the web stack and, behind it, the models
    from demur.engine.answering import Answering
    from demur.observability.metrics import Metrics

    with errors.status("loading the models"):
        async with running_engine(settings, Metrics()) as engine:
            answered = await Answering(engine).answer(request.to_domain(settings.defaults, engine.model))
    return AnswerResponse.from_domain(answered, request.include, settings.defaults.abstain_text)


def _ask_service(url: str, body: dict[str, Any], api_key: str | None) -> AnswerResponse:
    import httpx2

    try:
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        reply = httpx2.post(f"{url.rstrip('/')}/v1/answer", json=body, headers=headers, timeout=120)
    except httpx2.HTTPError as error:
        fail(f"cannot reach {url}: {error}")
    if reply.status_code != 200:
        fail(f"{url} answered {reply.status_code}: {reply.text[:500]}")
    return AnswerResponse.model_validate(reply.json())


@app.command()
def doctor() -> None:
    """Try every part as configured, and say what is wrong and how to mend it. Exit status 1 if a part fails."""
    from demur.doctor import examine

    findings = anyio.run(examine, read_settings())
    table = Table(title="demur doctor", title_justify="left")
    for column in ("", "part", "finding"):
        table.add_column(column, overflow="fold")
    icons = {"ok": "[green]✔[/]", "warning": "[yellow]![/]", "failed": "[red]✘[/]"}
    for finding in findings:
        table.add_row(icons[finding.state], finding.part, finding.text)
    console.print(table)
    if any(f.state == "failed" for f in findings):
        raise typer.Exit(1)


@keys.command("new")
def keys_new(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="Names the caller, in logs and records.")],
    scopes: Annotated[str, typer.Option(help=f"What it may do: some of {','.join(SCOPES)}.")] = "answer,feedback",
) -> None:
    """Make an API key. It is shown this once; what the service needs is the line, which does not tell the key."""
    try:
        secret, key = new_key(key_id, scopes)
    except ValueError as error:
        fail(str(error))
    errors.print("The key, for the caller; it is not kept anywhere:", style="bold", highlight=False)
    print(secret)
    errors.print("The line, for DEMUR_AUTH__API_KEYS or the file DEMUR_AUTH__API_KEYS_FILE:", style="bold")
    print(key.line)


@config.command("show")
def config_show(
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Every setting: its environment variable, its value, and what it does."""
    settings = read_settings()
    if as_json:
        print(json.dumps(settings.model_dump(mode="json"), indent=2))
        return
    table = Table(title="Settings (* = changed from its default)", title_justify="left")
    for column in ("variable", "value", "meaning"):
        table.add_column(column, overflow="fold")
    for row in _setting_rows(settings):
        table.add_row(*row)
    console.print(table)


def _setting_rows(settings: Settings) -> list[tuple[str, str, str]]:
    rows = []
    for group_name in type(settings).model_fields:
        group = getattr(settings, group_name)
        for name, field in type(group).model_fields.items():
            value = getattr(group, name)
            changed = "" if value == field.default else " *"
            shown = "-" if value is None else str(value)
            rows.append((f"DEMUR_{group_name}__{name}".upper() + changed, shown, field.description or ""))
    return rows
