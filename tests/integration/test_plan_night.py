"""A night is planned: what jobs will take, when they end, whether that is in time; afterwards, how true it was."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.domain.errors import ExitCode
from tests.support.lab import Lab


def test_a_night_is_planned_from_what_ran_before(lab: Lab) -> None:
    limits = {"grace": "300ms", "wall_timeout": "10m"}
    lab.write(repeats=3, limits=limits)
    soon = f"{datetime.now(UTC) + timedelta(minutes=10):%Y-%m-%d %H:%M}Z"
    bare = lab.bakeoff("plan", str(lab.file), "--by", soon)
    assert bare.code == ExitCode.OK, bare.err
    assert "expected of 3 jobs: time, tokens and list price are unknown; no run has ended" in bare.out
    assert "the end is unknown: nothing is known of how long jobs take; by the jobs' own limits at" in bare.out
    assert "cannot be told: nothing is known of how long 3 of 3 jobs take" in bare.out

    assert lab.run().code == ExitCode.OK
    lab.write(repeats=6, limits=limits)
    document = json.loads(lab.bakeoff("plan", str(lab.file), "--by", "2099-01-01 08:00Z", "--json").out)
    states = [(job["state"], job["estimate"] and job["estimate"]["seconds"]["source"]) for job in document["jobs"]]
    assert states == [("done", None)] * 3 + [("new", "cell")] * 3
    expected, outlook = document["expected"], document["outlook"]
    one = document["jobs"][-1]["estimate"]["seconds"]
    assert expected["seconds"]["mean"] == pytest.approx(3 * one["mean"])
    assert one["low"] <= one["median"] <= one["high"]
    assert (expected["tokens"]["mean"], expected["tokens"]["known"], expected["tokens"]["of"]) == (None, 0, 3)
    assert (outlook["known_durations"], outlook["jobs"], outlook["deadline"]["chance"]) == (3, 3, 1.0)
    assert outlook["ends_at"]["low"] <= outlook["ends_at"]["middle"] <= outlook["ends_at"]["high"]
    assert (outlook["bottleneck"]["kind"], outlook["bottleneck"]["name"]) == ("slots", "account:cloud")
    assert [row["state"] for row in lab.results.jobs()] == ["done"] * 3, "a plan stores nothing"

    assert lab.run().code == ExitCode.OK
    report = json.loads(lab.bakeoff("report", "--json").out)
    whole, stage = report["estimates"]
    assert (whole["label"], whole["stage"], stage["stage"]) == ("one", "", "run")
    # Three were submitted before anything was known.
    assert (whole["seconds"]["compared"], whole["seconds"]["of"], whole["seconds"]["ranged"]) == (3, 6, 3)
    assert whole["seconds"]["median_ratio"] > 0
    nothing = {"compared": 0, "of": 6, "median_ratio": None, "total_ratio": None, "inside": 0, "ranged": 0}
    assert whole["tokens"] == nothing


def test_what_is_no_deadline_is_a_usage_error(lab: Lab) -> None:
    done = lab.bakeoff("plan", str(lab.write()), "--by", "08:00 Nowhere/City")
    assert (done.code, done.out) == (ExitCode.USAGE, "")
    assert "knows no time zone 'Nowhere/City'" in done.err
