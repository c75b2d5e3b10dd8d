"""A real llama.cpp server is killed under two jobs: the pool closes, they go back, and run again when it is back."""

import json
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain.outcome import Outcome
from tests.support.lab import Lab
from tests.support.llama import Llama, MissingLlama
from tests.support.waiting import until
from workers.models.probe import Prober

pytestmark = pytest.mark.faults


@pytest.fixture
def llama(tmp_path: Path) -> Iterator[Llama]:
    try:
        server = Llama(tmp_path)
    except MissingLlama as missing:
        pytest.skip(str(missing))
    yield server
    server.kill()


@pytest.fixture
def lab(tmp_path: Path, llama: Llama) -> Iterator[Lab]:
    (tmp_path / "lab").mkdir()
    with closing(Lab(tmp_path / "lab", base_url=llama.url)) as one:
        yield one


def status(lab: Lab) -> dict[str, Any]:
    """`bakeoff status --json` beside the run."""
    done = lab.bakeoff("status", "--json")
    assert done.code == 0, done.err
    found: dict[str, Any] = json.loads(done.out)
    return found


def test_a_real_server_is_read_as_it_is(llama: Llama) -> None:
    prober = Prober(llama.url)
    report = until(lambda: (found := prober.look()).health == "healthy" and found, "the server to have loaded")
    assert report
    assert (report.kind, report.slots, report.busy, report.waiting) == ("llama.cpp", 2, 0, 0)
    assert report.context_of("tiny") == 65536, "each of two slots has half"
    assert report.version
    llama.kill()
    assert prober.look().detail == "cannot connect: connection refused"


def test_doctor_says_what_the_server_is_and_that_its_context_is_smaller(lab: Lab, llama: Llama) -> None:
    lab.write_fleet(slots=8, models={"tiny": {"context_window": 100_000}})
    lab.write(profiles={"local": "tiny"})
    prober = Prober(llama.url)
    until(lambda: prober.look().health == "healthy", "the server to have loaded")
    done = lab.bakeoff("doctor", str(lab.file))
    said = " ".join(done.out.split())
    assert f"ok pool box: {llama.url} is healthy, llama.cpp" in said
    assert "0 of 2 slots busy, tiny (65536 tokens)" in said
    assert "note pool box: the fleet file says 8 slots, its server has 2" in said
    assert "note context: model tiny has context_window = 100000, but its server gives a request 65536 tokens" in said
    assert "MISS pool nobody: http://127.0.0.1:9 is down: cannot connect: connection refused" in said


def test_jobs_of_a_server_that_dies_go_back_and_run_again(lab: Lab, llama: Llama) -> None:
    # Its random text goes on until the answer is full, which takes it minutes.
    lab.write_fleet(slots=8, models={"tiny": {"context_window": 100_000, "max_output": 60_000}})
    lab.write(
        agent="reference", profiles={"local": "tiny"}, repeats=2, limits={"grace": "300ms", "stage_timeout": "2m"}
    )
    run = lab.start("run", str(lab.file))
    prober = Prober(llama.url)
    until(lambda: prober.look().busy == 2, f"both slots to be busy\n{lab.logs()}")
    (pool,) = [one for one in status(lab)["resources"] if one["name"] == "pool:box"]
    assert pool == {"name": "pool:box", "in_use": 2, "capacity": 2, "note": ""}, "as the server tells, of at most 8"
    (server,) = status(lab)["pool_servers"]
    assert (server["pool"], server["kind"], server["slots"], server["health"]) == ("box", "llama.cpp", 2, "healthy")
    llama.kill()

    # The pool closes, and both attempts end without counting against the profile.
    broken = until(
        lambda: len(found := [row for row in lab.results.attempts() if row["outcome"]]) >= 2 and found,
        f"both attempts to end\n{lab.logs()}",
    )
    assert broken
    assert {row["outcome"] for row in broken} == {Outcome.MODEL_UNAVAILABLE}, [row["detail"] for row in broken]
    reasons = until(
        lambda: [
            job["waiting_reason"] for job in status(lab)["jobs"] if "does not answer since" in job["waiting_reason"]
        ],
        "the jobs to say what they wait for",
    )
    assert f"pool box: its server {llama.url} does not answer since" in reasons[0]
    assert [row["number"] for row in lab.results.attempts()] == [1, 1], "no job broke on the dead server twice"

    shown = lab.bakeoff("status").out
    assert f"{llama.url} is down" in " ".join(shown.split())
    llama.start()
    again = until(
        lambda: [row for row in lab.results.attempts() if row["number"] > 1 and row["started_at"]],
        f"a job to run again\n{lab.logs()}",
    )
    assert again
    until(lambda: (prober.look().busy or 0) > 0, f"the server to work again\n{lab.logs()}")
    os.kill(run.pid, 2)
    lab.end_of(run)
    lab.assert_clean()
