"""Structured logs: one JSON object a line, or coloured lines for people. Prompts and answers are never logged."""

from __future__ import annotations

import logging
import sys

import structlog

from demur.observability import tracing

logger = structlog.get_logger("demur")


def configure(level: str, log_format: str) -> None:
    """Route our logs and the libraries' to standard error. `level`: debug ... error; `log_format`: json, console."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_ids,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Plain, because the default shows local variables: prompts, that is.
    console = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    last: list[structlog.typing.Processor] = [console]
    if log_format == "json":
        last = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
    )
    handler = logging.StreamHandler(sys.stderr)
    remove = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[remove, *last]))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = True
    # They tell of every call to a server behind this one, the openai client at `debug` with its prompts.
    for name in ("httpx2", "httpcore2", "openai", "sentence_transformers"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _add_ids(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Of the request that the line is about, and of its trace."""
    event.update(tracing.ids())
    return event
