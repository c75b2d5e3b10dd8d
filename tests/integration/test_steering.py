"""Commands that explain and steer, against a run that goes on: retune."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.domain.errors import ExitCode
from tests.support.lab import Lab


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with closing(Lab(tmp_path)) as one:
        yield one


def test_a_running_job_is_guarded_by_the_limits_it_is_given(lab: Lab) -> None:
    lab.write(agent="wait")
    process = lab.start("run", str(lab.file))
    lab.await_start()
    told = lab.bakeoff("retune", "--set", "wall_timeout=1ms", "--json")
    assert (told.code, json.loads(told.out)) == (ExitCode.OK, {"waiting": 0, "running": 1})
    done = lab.end_of(process)
    assert done.code == ExitCode.OK, done.err
    assert lab.results.outcomes() == ["wall_timeout"]
    (profile,) = json.loads(lab.bakeoff("report", "--json").out)["profiles"]
    assert profile["label"] == "one [retuned wall_timeout=1ms]"
    (event,) = lab.results.rows("SELECT data FROM events WHERE kind = 'LimitsChanged'")
    assert json.loads(event["data"]) == {"changes": {"wall_timeout": 0.001}}
    lab.assert_clean()


def test_limits_hold_for_what_has_not_started(lab: Lab) -> None:
    lab.write(agent="wait")
    assert lab.bakeoff("submit", str(lab.file)).code == ExitCode.OK
    assert lab.bakeoff("retune", "lab", "--set", "stage_timeout=200ms").code == ExitCode.OK
    assert lab.run().code == ExitCode.OK
    assert lab.results.outcomes() == ["stage_timeout"]


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        ("wall_timeout", ("LIMIT=VALUE",)),
        ("wal_timeout=3h", ("wal_timeout", "wall_timeout")),
        ("wall_timeout=soon", ("90s, 15m or 1h30m", "soon")),
        ("wall_timeout=-3", ("greater than 0", "-3")),
        ("wall_timeout=unlimited", ("wall_timeout", "unlimited")),
        ("max_turns=1.5", ("max_turns", "1.5")),
        ("max_turns=true", ("max_turns", "a number")),
        ("max_infra_attempts=9", ("limits are",)),
    ],
)
def test_limits_that_are_none(lab: Lab, pair: str, words: tuple[str, ...]) -> None:
    lab.write()
    assert lab.bakeoff("submit", str(lab.file)).code == ExitCode.OK
    done = lab.bakeoff("retune", "--set", pair)
    assert (done.code, done.out) == (ExitCode.USAGE, "")
    for word in words:
        assert word in done.err
