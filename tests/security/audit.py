"""`make audit`: every installed package against the advisory database; a package that could not be looked up fails it.

pip-audit alone exits with 0 when the database knows none of the packages. It does not know versions with a local part
either, such as a CPU build of torch: they are looked up by their public version, whose code they share.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

OURS = {"demur", "demur-client"}


def main() -> None:
    wanted = installed()
    complaints = findings(wanted, _audited(wanted))
    print("\n".join(complaints) or f"{len(wanted)} packages audited, no known vulnerability")
    sys.exit(bool(complaints))


def installed() -> dict[str, str]:
    """Name and public version of every package in this environment but ours."""
    found = {_normal(d.metadata["Name"]): d.version.split("+")[0] for d in distributions()}
    return {name: version for name, version in sorted(found.items()) if name not in OURS}


def findings(wanted: dict[str, str], report: dict[str, Any]) -> list[str]:
    """What is vulnerable, and what was not audited; nothing when all is well."""
    told = {_normal(each["name"]): each for each in report["dependencies"]}
    complaints = [
        f"{name} {version}: not audited ({told.get(name, {}).get('skip_reason', 'pip-audit left it out')})"
        for name, version in wanted.items()
        if "vulns" not in told.get(name, {})
    ]
    for name, each in told.items():
        for vulnerability in each.get("vulns", []):
            mended = ", ".join(vulnerability["fix_versions"]) or "no version"
            complaints.append(f"{name} {each['version']}: {vulnerability['id']}, mended in {mended}")
    return complaints


def _audited(wanted: dict[str, str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder) / "requirements.txt"
        requirements.write_text("".join(f"{name}=={version}\n" for name, version in wanted.items()))
        command = ["-m", "pip_audit", "--requirement", str(requirements), "--no-deps", "--disable-pip"]
        done = subprocess.run(
            [sys.executable, *command, "--format", "json", "--progress-spinner", "off"],
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
    if not done.stdout.strip():
        sys.exit(f"pip-audit gave no report: {done.stderr.strip()[-2000:]}")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    main()
