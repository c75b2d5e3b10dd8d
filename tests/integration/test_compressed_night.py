"""The compressed night: a window runs dry in the middle, nothing fails, and what was parked goes on by itself."""

import subprocess
import sys
from pathlib import Path

from tests.support.results import Results

_RUN = Path(__file__).parents[2] / "examples" / "compressed-night" / "run.py"


def test_a_subscription_that_runs_dry_costs_time_and_nothing_else(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(_RUN), "--repeats", "4", "--directory", str(tmp_path / "night")],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results = Results(tmp_path / "night" / "home")
    assert [row["outcome"] for row in results.jobs()] == ["complete"] * 4
    parked = [row for row in results.attempts() if row["outcome"] == "quota_parked"]
    assert parked
    assert all(row["parked_until"] for row in parked)
    reasons = [row["reason"] for row in results.rows("SELECT reason FROM quota_events ORDER BY id")]
    assert any("5h window at 100 % (red), deferred until" in reason for reason in reasons)
    assert reasons[-1] == "all sessions are open again"
    # Every answered request is in the ledger once: three steps and a closing word for each job, and the refusals.
    (used,) = results.rows("SELECT sum(requests) AS requests, count(input_tokens) AS told FROM ledger")
    (asked,) = results.rows("SELECT sum(requests) AS requests FROM stages")
    assert used["requests"] == asked["requests"] >= 16
    assert used["told"]
    assert "account:max quota: 5h window at 100 % (red)" in done.stdout
    assert "quota_parked, until" in done.stdout
