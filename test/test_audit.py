"""`make audit` says what was audited, and never that all is well where nothing was."""

import json
import subprocess
import sys

import pytest
from builders.paths import REPOSITORY

SAFE = {"name": "numpy", "version": "2.4.0", "vulns": []}
UNKNOWN = {"name": "rclpy", "skip_reason": "Dependency not found on PyPI: rclpy (9.1.3)"}
BROKEN = {
    "name": "pillow",
    "version": "9.0",
    "vulns": [{"id": "PYSEC-2022-9", "fix_versions": ["9.0.1"], "aliases": []}],
}


@pytest.fixture
def audit(tmp_path):
    """audit(what pip-audit prints, its exit code) -> the finished process of the script."""

    def run(printed, code=0):
        (tmp_path / "printed").write_text(printed)
        stand_in = tmp_path / "pip-audit"
        stand_in.write_text(f"#!/bin/sh\ncat '{tmp_path}/printed'\nexit {code}\n")
        stand_in.chmod(0o755)
        return subprocess.run(
            [sys.executable, REPOSITORY / ".ci" / "audit.py", stand_in, tmp_path],
            capture_output=True,
            text=True,
        )

    return run


def dependencies(*packages):
    return json.dumps({"dependencies": packages, "fixes": []})


def test_packages_without_known_vulnerabilities_end_with_0_and_their_number(audit):
    ended = audit(dependencies(SAFE, SAFE))
    assert ended.returncode == 0
    assert "2 of 2 packages were audited, 0 vulnerabilities known" in ended.stdout


def test_a_known_vulnerability_ends_with_1_and_its_name(audit):
    ended = audit(dependencies(SAFE, BROKEN, UNKNOWN), code=1)
    assert ended.returncode == 1
    assert "pillow 9.0: PYSEC-2022-9, mended in 9.0.1" in ended.stdout
    assert "2 of 3 packages were audited, 1 vulnerabilities known" in ended.stdout


def test_packages_that_the_index_does_not_know_are_named(audit):
    ended = audit(dependencies(SAFE, UNKNOWN))
    assert ended.returncode == 0
    assert "not audited: rclpy" in ended.stdout and "1 of 2 packages" in ended.stdout


@pytest.mark.parametrize("packages", [(), (UNKNOWN, UNKNOWN)])
def test_where_none_was_audited_it_ends_with_2(audit, packages):
    ended = audit(dependencies(*packages))
    assert ended.returncode == 2 and "nothing was audited" in ended.stderr


@pytest.mark.parametrize("printed", ["", "no network", "[]", "{}"])
def test_where_pip_audit_fails_it_ends_with_2(audit, printed):
    ended = audit(printed, code=1)
    assert ended.returncode == 2 and "nothing was audited" in ended.stderr
