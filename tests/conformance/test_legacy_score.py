"""The legacy score equals the original program's, to 1e-9 and on the original's own report."""

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.analysis.legacy import LegacyRun, legacy_scores

LEDGER = Path(__file__).resolve().parents[3] / "shared" / "fixtures" / "ralph" / "ledger"

pytestmark = pytest.mark.skipif(not LEDGER.is_dir(), reason="the recorded ledger is not beside this checkout")


def _run(row: dict[str, Any]) -> LegacyRun:
    return LegacyRun(
        label=row["profile"],
        completed=row["tasks"]["completed"],
        total=row["tasks"]["total"],
        cost_usd=row["cost"],
        duration_seconds=row["duration_s"],
        kills=sum(row["kills"].values()),
    )


def test_the_golden_scores_are_reproduced() -> None:
    golden = json.loads((LEDGER / "compute_scores_golden.json").read_text())
    scores = legacy_scores([_run(row) for row in golden["inputs"]])

    assert [item.run.label for item in scores] == [row[1] for row in golden["scores"]]
    for item, row in zip(scores, golden["scores"], strict=True):
        assert item.score == pytest.approx(row[0], abs=1e-9)
        assert item.run.rate == pytest.approx(row[4], abs=1e-9)
        assert item.run.kills == row[8]


def test_the_originals_ranking_of_its_own_runs_is_reproduced() -> None:
    rows = [json.loads(line) for line in (LEDGER / "runs.jsonl").read_text().splitlines()]
    known = {"20261120_171335_a207e1", "20261120_171436_b9f05c"}  # written after the recorded report
    runs = [_run(row) for row in rows if row["run_id"] not in known and row["profile"] != "default"]
    scores = legacy_scores(runs)

    assert [f"{item.run.label} {item.score:.2f}" for item in scores[:4]] == [
        "devstral 118.54",
        "hybrid 80.71",
        "opus 5.12",
        "opus 0.00",
    ]
