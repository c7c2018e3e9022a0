"""The API reference, as Markdown, out of the OpenAPI document."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

_HEAD = """# API reference

Generated from [openapi.json](../clients/openapi/openapi.json) by `make reference`; do not edit. A running service shows
the same, with examples, at `/docs`. Every problem has a page of its own at `/problems/<slug>`.
"""
_BOUNDS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "minLength": "≥ {} characters",
    "maxLength": "≤ {} characters",
    "minItems": "≥ {} items",
    "maxItems": "≤ {} items",
    "maxProperties": "≤ {} pairs",
}


def reference(document: dict[str, Any]) -> str:
    """Every operation, then every schema that they name."""
    parts = [_HEAD, *_operations(document), "## Schemas\n", *_schemas(document["components"]["schemas"])]
    return "\n".join(parts).rstrip() + "\n"


def _operations(document: dict[str, Any]) -> Iterator[str]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"## `{method.upper()} {path}`\n"
            yield f"{operation.get('description') or operation['summary']}\n"
            if parameters := operation.get("parameters"):
                yield _table(("Parameter", "In", "Type", "Meaning"), map(_parameter, parameters))
            for kind, body in operation.get("requestBody", {}).get("content", {}).items():
                yield f"Body (`{kind}`): {_type(body['schema'])}\n"
            yield from _replies(operation["responses"])


def _replies(responses: dict[str, Any]) -> Iterator[str]:
    for status, response in responses.items():
        for kind, body in response.get("content", {}).items():
            if status.startswith("2"):
                yield f"{status} (`{kind}`): {_reply(body)}\n"
    problems = [status for status in responses if not status.startswith("2")]
    if problems:
        yield f"Problems: {', '.join(problems)}\n"


def _reply(body: dict[str, Any]) -> str:
    schema = body.get("schema", {})
    events = {name: _type(each) for name, each in body.get("x-demur-events", {}).items()}
    told = "; ".join(f"`{name}` {kind}" for name, kind in events.items())
    return f"{schema.get('description') or _type(schema)} {told}".strip()


def _parameter(parameter: dict[str, Any]) -> tuple[str, ...]:
    schema = parameter.get("schema", {})
    meaning = parameter.get("description") or schema.get("description", "")
    return f"`{parameter['name']}`", parameter["in"], _type(schema), meaning


def _schemas(schemas: dict[str, Any]) -> Iterator[str]:
    for name, schema in sorted(schemas.items()):
        yield f"### {name}\n"
        if description := schema.get("description"):
            yield f"{' '.join(description.split())}\n"
        if properties := schema.get("properties"):
            required = set(schema.get("required", ()))
            rows = (_field(key, each, is_required=key in required) for key, each in properties.items())
            yield _table(("Field", "Type", "Default", "Meaning"), rows)
        else:
            yield f"{_type(schema)}\n"


def _field(name: str, schema: dict[str, Any], *, is_required: bool) -> tuple[str, ...]:
    default = f"`{json.dumps(schema['default'])}`" if "default" in schema else "required" if is_required else ""
    return f"`{name}`", _type(schema), default, schema.get("description", "")


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        return " or ".join(_type(each) for each in choices)
    if "const" in schema or "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema.get("enum", [schema.get("const")]))
    bounds = [text.format(schema[key]) for key, text in _BOUNDS.items() if key in schema]
    kind = schema.get("type", "any")
    if kind == "array":
        kind = f"list of {_type(schema.get('items', {}))}"
    elif kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        kind = f"map to {_type(schema['additionalProperties'])}"
    return f"{kind} ({', '.join(bounds)})" if bounds else kind


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"
