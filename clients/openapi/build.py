"""What callers may rely on: `python -m clients.openapi.build` (`make reference`) writes openapi.json and docs/api.md.

Tests compare both with what this makes, so that no change of the interface goes unnoticed, and the document with the
Python client's models.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from clients.openapi.reference import reference
from demur.app import create_app

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "clients" / "openapi" / "openapi.json"
REFERENCE = ROOT / "docs" / "api.md"


def document() -> dict[str, Any]:
    """The OpenAPI document of the service as it stands in this working tree."""
    described: dict[str, Any] = create_app().openapi()
    return described


def texts() -> dict[Path, str]:
    """What each of the files must hold."""
    described = document()
    return {
        DOCUMENT: json.dumps(described, indent=1, ensure_ascii=False, sort_keys=True) + "\n",
        REFERENCE: reference(described),
    }


def main() -> None:
    for path, text in texts().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
