"""A rename in a project from PyPI that we did not write, judged by the project's own tests."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.results import Results

pytestmark = pytest.mark.agents

_RUN = Path(__file__).parents[2] / "examples" / "foreign-project" / "run.py"
_NO_DOWNLOAD = 75
_CHECKS = """
    SELECT cells.profile, checks.kind, checks.name, checks.status
    FROM checks JOIN attempts ON attempts.id = checks.attempt_id JOIN jobs ON jobs.id = attempts.job_id
    JOIN cells ON cells.id = jobs.cell_id
"""


def test_the_projects_own_tests_tell_a_whole_rename_from_a_partial_one(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(_RUN), "--agent", "reference", "--repeats", "1", "--directory", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode == _NO_DOWNLOAD:
        if os.environ.get("CI") == "true":
            pytest.fail(done.stderr)
        pytest.skip(f"PyPI does not answer: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr

    results = Results(tmp_path / "home")
    checks = results.rows(_CHECKS)
    # Which of the two jobs measured the base is chance.
    base = {row["name"]: row["status"] for row in checks if row["kind"] == "baseline"}
    assert base == {"test": "pass", "old-name-gone": "fail", "new-name-works": "fail"}
    final = {f"{row['profile']} {row['name']}": row["status"] for row in checks if row["kind"] == "final"}
    assert final == {
        "careful test": "pass",
        "careful old-name-gone": "pass",
        "careful new-name-works": "pass",
        "forgetful test": "fail",
        "forgetful old-name-gone": "fail",
        "forgetful new-name-works": "pass",
    }
    assert results.outcomes() == ["complete", "complete"]
    assert (tmp_path / "report.html").exists()
