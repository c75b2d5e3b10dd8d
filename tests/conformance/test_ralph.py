"""The experiment files and the ledger that people have today: imported, reconciled, reported, and given back."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.domain.errors import ExitCode
from orchestrator.domain.matrix import combinations
from orchestrator.files import load_experiment
from orchestrator.interop.ralph_import import import_conf, write_files
from tests.support.lab import Lab

RALPH = Path(__file__).resolve().parents[3] / "shared" / "fixtures" / "ralph"

pytestmark = pytest.mark.skipif(not RALPH.is_dir(), reason="the recorded files are not beside this checkout")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with closing(Lab(tmp_path)) as one:
        yield one


@pytest.mark.parametrize(("name", "jobs"), [("001-profile-showdown", 6), ("002-local-models", 1), ("900-fake", 3)])
def test_every_conf_is_imported_and_valid(tmp_path: Path, name: str, jobs: int) -> None:
    (conf,) = RALPH.rglob(f"experiment_{name}.conf")
    made = import_conf(conf, name=name, profiles=None, overrides={}, harness=False)
    experiment = load_experiment(write_files(made, tmp_path, force=False)).experiment
    assert len(list(combinations(experiment))) == jobs
    assert [check for target in experiment.targets for check in target.checks] == [
        "build",
        "test",
        "Phase0-OldSymbols",
    ]


def test_the_ledger_is_imported_once_and_its_faults_are_found(lab: Lab) -> None:
    told = [json.loads(lab.bakeoff("import", "ralph-ledger", str(RALPH / "ledger"), "--json").out) for _ in "12"]
    assert [(one["added"], one["known"]) for one in told] == [(12, 0), (0, 12)]
    found = {(finding["kind"], finding["where"]) for finding in told[0]["findings"]}
    assert found >= {
        ("total_is_left", "20261120_170448_813e50"),
        ("local_as_remote", "20261120_170448_813e50"),
        ("breaker_as_no_work", "20261120_170820_5fb61d"),
        ("kills_contradict", "20261120_170822_4b9818"),
    }
    assert [f"{one['run'].split()[0]} {one['score']:.2f}" for one in told[0]["legacy_scores"][:4]] == [
        "devstral 118.54",
        "hybrid 80.71",
        "opus 5.12",
        "opus 0.00",
    ], "as in the original's own report"
    assert Counter(row["outcome"] for row in lab.results.jobs()) == {
        "complete": 3,
        "iteration_limit": 6,
        "failure_breaker": 1,
        "no_progress": 2,
    }
    report = json.loads(lab.bakeoff("report", "--json").out)
    assert report["experiment"] == "ledger"
    assert report["machine_notes"][0]["machine"] == "imported"
    assert lab.bakeoff("requeue").code == ExitCode.OK
    assert {row["state"] for row in lab.results.jobs()} == {"done", "failed"}, "nothing of it is ever run"


def test_an_export_is_what_was_imported(lab: Lab) -> None:
    lab.bakeoff("import", "ralph-ledger", str(RALPH / "ledger"), "--name", "back")
    done = lab.bakeoff("export", "ralph", "back", "-o", "out")
    assert done.code == ExitCode.OK, done.err
    for name in ("runs.jsonl", "iterations.jsonl"):
        assert (lab.root / "out" / name).read_bytes() == (RALPH / "ledger" / name).read_bytes()
