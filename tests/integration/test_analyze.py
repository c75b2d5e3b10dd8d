"""`bakeoff analyze` as a program: every form of source, every form of report, and nothing kept."""

import csv
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain.errors import ExitCode
from tests.support.lab import Lab


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with closing(Lab(tmp_path)) as one:
        one.env["TMPDIR"] = str(tmp_path)
        yield one


def trials(path: Path, solved: dict[str, int], tasks: int = 12) -> Path:
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["submission", "task", "trial", "resolved"])
        table.writerows(
            [name, f"t{at}", f"{name}-{at}", int(at < count)] for name, count in solved.items() for at in range(tasks)
        )
    return path


def test_a_table_is_analysed_like_what_was_imported_and_nothing_is_kept(lab: Lab) -> None:
    trials(lab.root / "night.csv", {"a": 12, "b": 5})
    before = sorted(lab.root.iterdir())
    done = lab.bakeoff("analyze", "night.csv", "--json")
    assert done.code == ExitCode.OK, done.err
    assert sorted(lab.root.iterdir()) == before, "no database, no folder"

    document = json.loads(done.out)
    assert document["schema"] == "bakeoff-analysis/1"
    (alone,) = document["analyses"]
    assert alone["pairs"][0]["p_value"] == 2 / 2**7
    assert alone["memo"]["winner"] == "a"
    assert alone["appendix"][0]["key"] == "reconcile"
    assert lab.bakeoff("import", "trials", "night.csv").code == ExitCode.OK
    kept = json.loads(lab.bakeoff("report", "night", "--json").out)
    assert _apart_from_ids(alone) == _apart_from_ids(kept)


def _apart_from_ids(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key not in ("generated_at", "appendix")}


def test_several_sources_and_forms(lab: Lab) -> None:
    trials(lab.root / "one.csv", {"a": 7})
    (lab.root / "board.yml").write_text("- {model: m, test_cases: 10, pass_rate_1: 50.0, total_cost: 1.0}\n")
    assert lab.bakeoff("import", "trials", "one.csv", "--name", "kept").code == ExitCode.OK
    (lab.root / "other").mkdir()
    trials(lab.root / "other" / "one.csv", {"b": 3})
    done = lab.bakeoff("analyze", "board.yml", "one.csv", "kept", "other/one.csv", "--markdown", "--html", "pages")
    assert done.code == ExitCode.OK, done.err
    assert [line for line in done.out.splitlines() if line.startswith("# ")] == [
        "# board",
        "# one",
        "# kept",
        "# one",
    ]
    pages = sorted(page.name for page in (lab.root / "pages").iterdir())
    assert pages == ["board.html", "kept.html", "one-4.html", "one.html"]
    assert "Reconcile report" in (lab.root / "pages" / "board.html").read_text()
    memo = lab.bakeoff("analyze", "one.csv", "--memo")
    assert "only one profile has enough results" in memo.out
    assert "Profiles compared" not in memo.out
    assert json.loads(lab.bakeoff("report", "kept", "--memo", "--json").out).keys() == {
        "schema",
        "experiment",
        "generated_at",
        "verdict",
        "memo",
    }


def test_what_is_no_results_is_refused_in_words(lab: Lab) -> None:
    (lab.root / "notes.txt").write_text("hello")
    for arguments, code, text in (
        (["analyze", "notes.txt"], ExitCode.INVALID_INPUT, "--format names their form: ralph-ledger, trials"),
        (["analyze", "notes.txt", "--format", "leaderboard"], ExitCode.INVALID_INPUT, "is no leaderboard"),
        (["analyze", "gone.csv", "--format", "trials"], ExitCode.NOT_FOUND, "No such file"),
        (["analyze", "nobody"], ExitCode.NOT_FOUND, "no experiment 'nobody'"),
    ):
        done = lab.bakeoff(*arguments)
        assert (done.code, done.out) == (code, ""), (arguments, done)
        assert text in done.err, done.err
    assert not list(lab.root.glob("bakeoff-analyze-*"))


def test_a_failure_with_a_cause_is_the_environments_and_one_without_is_not(lab: Lab) -> None:
    cells = [
        {"repo": "r", "task": "a", "outcome": "partial", "true_cause": "no compiler"},
        {"repo": "r", "task": "b", "outcome": "failed", "true_cause": None},
        {"repo": "r", "task": "c", "outcome": "success", "true_cause": "no compiler"},
        {"repo": "r", "task": "c", "outcome": "Success"},
        {"repo": "r", "outcome": "success"},
    ]
    (lab.root / "cells.json").write_text(json.dumps({"cells": cells}))
    (document,) = json.loads(lab.bakeoff("analyze", "cells.json", "--json").out)["analyses"]
    (profile,) = document["profiles"]
    assert (profile["solved"], profile["results"], profile["jobs"]) == (2, 3, 4)
    rows = {row[0]: row[2] for row in document["appendix"][0]["rows"]}
    assert rows.keys() == {"no cell", "environment", "success with cause"}
    assert rows["environment"] == "1 cells ended as partial, and the cause is told: no compiler"
