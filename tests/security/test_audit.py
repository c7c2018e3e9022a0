"""What `make audit` says of a report of pip-audit."""

from __future__ import annotations

from tests.security.audit import findings, installed


def test_a_package_that_could_not_be_audited_fails_the_audit() -> None:
    """Skipped, left out, or vulnerable: each is named; a package that is well is not."""
    report = {
        "dependencies": [
            {"name": "Good.Name", "version": "1", "vulns": []},
            {"name": "bad", "version": "2", "vulns": [{"id": "X-1", "fix_versions": ["3"], "aliases": []}]},
            {"name": "worse", "version": "2", "vulns": [{"id": "X-2", "fix_versions": [], "aliases": []}]},
            {"name": "unknown", "skip_reason": "not found"},
        ]
    }
    wanted = {"good-name": "1", "bad": "2", "worse": "2", "unknown": "4", "forgotten": "5"}
    assert findings(wanted, report) == [
        "unknown 4: not audited (not found)",
        "forgotten 5: not audited (pip-audit left it out)",
        "bad 2: X-1, mended in 3",
        "worse 2: X-2, mended in no version",
    ]


def test_every_package_of_the_environment_is_looked_up() -> None:
    """By its public version, and not ourselves."""
    packages = installed()
    assert {"fastapi", "pydantic", "redis", "limits"} <= packages.keys()
    assert "demur" not in packages
    assert not any("+" in version for version in packages.values())
