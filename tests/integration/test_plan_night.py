"""A night is planned: what jobs will take, when they end, whether that is in time; and afterwards, how true that was."""

import json
from datetime import UTC, datetime, timedelta

from orchestrator.domain.errors import ExitCode
from tests.support.lab import Lab


def test_a_night_is_planned_from_what_ran_before(lab: Lab) -> None:
    lab.write(repeats=3, limits={"grace": "300ms", "wall_timeout": "10m"})
    bare = lab.bakeoff("plan", str(lab.file), "--by", "2099-01-01 08:00Z")
    assert bare.code == ExitCode.OK, bare.err
    assert "no run has ended with a result yet: estimates need 3 like it" in bare.out
    assert "expected of 3 jobs: unknown of work, unknown tokens, unknown at list price" in bare.out
    assert "the end is unknown: nothing is known of how long jobs take; by the jobs' own limits at" in bare.out
    assert "by 2099-01-01 08:00 UTC: yes, in >99 %" in bare.out, "even if each took all that its limit allows"
    soon = f"{datetime.now(UTC) + timedelta(minutes=2):%Y-%m-%d %H:%M}Z"
    assert (
        "cannot be told: nothing is known of how long 3 of 3 jobs take"
        in lab.bakeoff("plan", str(lab.file), "--by", soon).out
    )

    assert lab.run().code == ExitCode.OK
    lab.write(repeats=9, limits={"grace": "300ms", "wall_timeout": "10m"})
    done = lab.bakeoff("plan", str(lab.file), "--by", "2099-01-01 08:00Z")
    print(done.out, done.err)
    document = json.loads(lab.bakeoff("plan", str(lab.file), "--by", "2099-01-01 08:00Z", "--json").out)
    print(json.dumps(document, indent=1))
    raise AssertionError
