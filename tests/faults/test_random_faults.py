"""A short, seeded piece of `make faults`, and proof that its oracle can fail."""

import signal
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.domain.errors import ExitCode
from tests.faults.harness.evidence import Checked, Evidence, Life, Seen, Tried, Work
from tests.faults.harness.faults import World
from tests.faults.harness.oracle import violations
from tests.faults.harness.rounds import Round
from tests.support.lab import Lab, interrupt
from tests.support.postgres import PostgresServer
from tests.support.processes import send

pytestmark = pytest.mark.faults


@pytest.mark.parametrize("world", [World.RUN_SQLITE, World.FLEET_POSTGRES])
def test_random_faults_break_no_promise(tmp_path: Path, world: World) -> None:
    # A server of its own, since it is to be killed.
    server = PostgresServer() if world.postgres else None
    try:
        report = Round(tmp_path, f"short:{world}", world, server, faults=4, repeats=2).play()
    finally:
        if server is not None:
            server.stop()
    assert report.violations == [], (report.steps, report.logs)
    assert report.steps, "the run was over before anything happened"


def test_ctrl_c_is_heeded_also_while_the_broker_hangs(tmp_path: Path) -> None:
    with closing(Lab(tmp_path)) as lab:
        lab.write(agent="wait")
        process = lab.start("run", str(lab.file))
        lab.await_start()
        broker = lab.broker(process)
        assert broker is not None
        send(broker, signal.SIGSTOP)
        began = time.monotonic()
        interrupt(process)
        assert lab.end_of(process).code == ExitCode.INTERRUPTED
        # 5 s for Celery's goodbye and 5 s for the broker itself; it took 35 s.
        assert time.monotonic() - began < 25
        assert lab.results.outcomes() == ["interrupted"]
        lab.assert_clean()


# -- the oracle --

LOST = Tried("a", 1, 1, 1, "ended", "lease_lost", 5.0, None, None)
DONE = Tried("b", 1, 2, 2, "ended", "complete", 9.0, "sha", 3.0)
OTHER = Tried("c", 2, 1, 1, "ended", "complete", 8.0, "sha", 3.0)
JOB, OTHER_JOB = Work(1, "done", "complete", 2, "account:cloud"), Work(2, "done", "complete", 1, "pool:box")
GOOD = Evidence(
    lives=[Life("a", "1", 1.0, 3.0), Life("b", "2", 6.0, 8.0), Life("c", "3", 2.0, 7.0)],
    jobs=[JOB, OTHER_JOB],
    attempts=[LOST, DONE, OTHER],
    expected_jobs=2,
    capacities={"account:cloud": 1, "pool:box": 2},
    results={"b", "c"},
    staged={"a": [1], "b": [1], "c": [1]},
    patches={"b": "+b", "c": "+c"},
    seen={Seen("a", "lease_lost", None, None)},
    checked=[Checked("b", "baseline", "fail"), Checked("b", "final", "pass"), Checked("c", "final", "pass")],
)


RESUMED = replace(
    GOOD,
    attempts=[
        LOST._replace(run_dir="tree"),
        DONE._replace(resumed_from="a", resumed_stages=1, run_dir="tree"),
        OTHER,
    ],
    staged={"a": [1], "b": [2], "c": [1]},
    patches={"b": "+a +b", "c": "+c"},
)
BEFORE, GONE_ON, _ = RESUMED.attempts


def test_the_oracle_accepts_a_job_that_was_lost_once_and_then_done() -> None:
    assert violations(GOOD) == []


def test_the_oracle_accepts_an_attempt_that_went_on_in_the_tree_of_a_lost_one() -> None:
    assert violations(RESUMED) == []


def test_the_oracle_accepts_an_attempt_that_found_every_stage_done() -> None:
    assert violations(replace(RESUMED, staged={"a": [1], "c": [1]}, patches={"b": "+a", "c": "+c"})) == []


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (replace(GOOD, expected_jobs=3), "lost job"),
        (replace(GOOD, jobs=[JOB._replace(state="queued"), OTHER_JOB]), "lost job"),
        (replace(GOOD, jobs=[JOB._replace(fence=3), OTHER_JOB]), "stale result"),
        (replace(GOOD, attempts=[LOST._replace(outcome="complete"), DONE, OTHER]), "lost job"),
        (replace(GOOD, attempts=[LOST, DONE._replace(outcome="lease_lost"), OTHER]), "lost job"),
        (replace(GOOD, attempts=[LOST, DONE._replace(number=3), OTHER]), "no outcome"),
        (replace(GOOD, attempts=[LOST._replace(state="working", outcome=None), DONE, OTHER]), "no outcome"),
        (replace(GOOD, attempts=[LOST._replace(fence=2), DONE, OTHER]), "stale result"),
        (replace(GOOD, attempts=[LOST._replace(final_sha="sha"), DONE, OTHER]), "stale result"),
        (replace(GOOD, results={"a", "b", "c"}), "stale result"),
        (replace(GOOD, seen={Seen("b", "lease_lost", 3.0, "sha")}), "stale result"),
        (replace(GOOD, seen={Seen("b", "complete", 2.0, "older")}), "stale result"),
        (replace(GOOD, patches={"b": "+a +b", "c": "+c"}), "stale result"),
        (replace(GOOD, patches={"c": "+c"}), "stale result"),
        (replace(GOOD, staged={"a": [1], "c": [1]}), "lost job"),
        (replace(GOOD, lives=[Life("a", "1", 1.0, 5.0), Life("b", "2", 4.0, 8.0)]), "double run"),
        (replace(GOOD, lives=[Life("b", "1", 1.0, 5.0), Life("b", "2", 4.0, 8.0)]), "double run"),
        (replace(GOOD, lives=[Life("nobody", "1", 1.0, 5.0)]), "double run"),
        (replace(GOOD, lives=[Life("b", "1", 1.0, 5.0, "t"), Life("c", "2", 4.0, 6.0, "t")]), "in one tree"),
        (replace(GOOD, staged={"a": [1], "b": [2], "c": [1]}), "bad resume"),
        (replace(RESUMED, staged={"a": [1], "b": [1], "c": [1]}), "bad resume"),
        (replace(RESUMED, staged={"a": [1], "b": [2, 4], "c": [1]}), "bad resume"),
        (replace(RESUMED, attempts=[BEFORE._replace(run_dir="else"), GONE_ON, OTHER]), "in another tree"),
        (replace(RESUMED, attempts=[BEFORE, GONE_ON._replace(resumed_from="c"), OTHER]), "bad resume"),
        (replace(RESUMED, patches={"b": "+b +c", "c": "+c"}), "stale result"),
        (replace(RESUMED, patches={"b": "+a", "c": "+c"}), "stale result"),
        (replace(RESUMED, staged={"b": [2], "c": [1]}), "stale result"),
        (replace(GOOD, capacities={"account:cloud": 1, "pool:box": 0}), "overbooked"),
        (replace(GOOD, lives=[Life("a", "1", 1.0, 5.5)]), "orphan"),
        (replace(GOOD, survivors={7: "agent.py"}), "orphan"),
        (replace(GOOD, checked=[*GOOD.checked, Checked("c", "baseline", "fail")]), "lost check"),
        (replace(GOOD, checked=[Checked("c", "baseline", "fail"), Checked("c", "final", "pass")]), "lost check"),
        (replace(GOOD, held=["pool:box/0 by c"]), "held lease"),
    ],
)
def test_the_oracle_names_what_is_wrong(bad: Evidence, said: str) -> None:
    assert said in " ".join(violations(bad))
