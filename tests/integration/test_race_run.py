"""A race as a user has it: the hopeless profile is stopped, also over the death of the run that decided it."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.domain.errors import ExitCode
from tests.support.lab import Lab
from tests.support.scripted import scripted_models
from tests.support.waiting import until

TARGETS = 8


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    (tmp_path / "models").mkdir()
    with scripted_models(tmp_path / "models") as url, closing(Lab(tmp_path, base_url=url)) as one:
        yield one


def test_a_hopeless_profile_is_stopped_and_stays_so_when_the_run_is_killed(lab: Lab) -> None:
    lab.write_fleet(models={"lazy": {"account": "cloud"}})
    target = {"repo": "target", "base": "main", "task": "TASK.md", "checks": {"greets": "grep -q world hello.txt"}}
    # The names differ in what is run too: two targets with one content would be one.
    lab.write(
        agent="reference",
        targets=[{**target, "name": f"t{at}", "setup": f"echo {at} > setup.txt"} for at in range(TARGETS)],
        profiles={"good": "model", "hopeless": "lazy"},
        race={"error_rate": 0.5, "min_targets": 5},
    )
    foretold = json.loads(lab.bakeoff("plan", "--json", str(lab.file)).out)
    assert foretold["race"] | {"margin": 0} == {
        "arms": 2,
        "targets": TARGETS,
        "earliest": 5,
        "fewest_runs": TARGETS + 5,
        "most_runs": 2 * TARGETS,
        "error_rate": 0.5,
        "margin": 0,
    }
    assert [one["target"] for one in foretold["jobs"][::2]] == [one["target"] for one in foretold["jobs"][1::2]]

    first = lab.start("run", str(lab.file))
    until(lambda: stops(lab), "the race to stop somebody")
    first.kill()
    first.wait()
    decided = stops(lab)
    done = lab.run()

    assert done.code == ExitCode.OK, done.err + lab.logs()
    assert stops(lab) == decided
    [(better, worse, targets)] = decided
    assert (better, worse) == (targets, 0)
    jobs = lab.results.jobs()
    assert [row["outcome"] for row in jobs if row["profile"] == "good"] == ["complete"] * TARGETS
    hopeless = [row for row in jobs if row["profile"] == "hopeless"]
    saved = [row for row in hopeless if row["outcome"] == "raced_out"]
    # What ran at that moment may have gone on, or been given back by the killed run and ended then.
    assert 1 <= len(saved) <= TARGETS - targets
    assert {row["outcome"] for row in hopeless} == {"no_progress", "raced_out"}
    assert {row["state"] for row in saved} == {"cancelled"}
    assert all(row["detail"].startswith(f"out of the race: on {targets} common targets good was") for row in saved)
    unbegun = sum(not row["attempts"] for row in saved)
    assert f"The race saved {unbegun} of {2 * TARGETS} runs." in " ".join(done.out.split())
    why = lab.bakeoff("why", str(saved[0]["id"])).out
    assert "ended as: raced_out: out of the race" in why
    assert "next: It stays so while its experiment's file has `race`" in why
    told = json.loads(lab.bakeoff("report", "--json").out)
    assert [one["label"] for one in told["race"]["stops"]] == ["hopeless"]
    assert told["pairs"] == []
    assert lab.bakeoff("requeue", "--profile", "hopeless").out == "0 jobs are ready again.\n"
    lab.assert_clean()


def stops(lab: Lab) -> list[tuple[int, int, int]]:
    """Better, worse and targets of every stop on record."""
    return [(row["better"], row["worse"], row["targets"]) for row in lab.results.rows("SELECT * FROM race_stops")]
