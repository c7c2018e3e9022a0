"""The dashboards as TypeScript, for `tsc` to hold against Grafana's schema: `python -m deploy.grafana.typed`.

As literals, because only in those does TypeScript refuse a key that it does not know.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from deploy.grafana.build import DASHBOARDS

FILE = Path(__file__).parent / "schema" / "dashboards.ts"


def lines() -> Iterator[str]:
    yield "import type { Whole } from './plain.js';"
    for number, dashboard in enumerate(DASHBOARDS):
        literal = json.dumps(dashboard.to_json(), indent=1, ensure_ascii=False)
        yield f"export const dashboard{number}: Whole = {literal};"


def main() -> None:
    FILE.write_text("\n".join(lines()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
