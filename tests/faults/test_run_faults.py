"""A whole `bakeoff run` under real kills: nothing outlives its owner or runs twice, and the same command goes on."""

import signal
import socket
import subprocess
import time
from contextlib import closing

import pytest

from orchestrator.domain.errors import ExitCode
from tests.support.lab import SHORT_LEASE, Lab, interrupt
from tests.support.processes import alive, children, descendants, kill, send
from tests.support.waiting import until

pytestmark = pytest.mark.faults


def finishes(lab: Lab, process: subprocess.Popen[str] | None = None) -> None:
    """The run (or the next run of the same file) goes on where it stopped and completes every job."""
    lab.gate.touch()
    done = lab.end_of(process) if process else lab.run()
    assert done.code == ExitCode.OK, done.err + lab.logs()
    assert {row["state"] for row in lab.results.jobs()} == {"done"}, lab.results.jobs()
    lab.assert_clean()
    lab.assert_no_overlap()


# -- a person stops it --


@pytest.mark.parametrize("moment", ["setup", "stage", "checks"])
def test_ctrl_c_ends_everything_and_the_next_run_goes_on(lab: Lab, moment: str) -> None:
    at = lab.root / "reached"
    blocks = f"touch {at}; until [ -e {lab.gate} ]; do sleep 0.05; done"
    target: dict[str, object] = {"repo": "target", "base": "main", "task": "TASK.md"}
    if moment == "setup":
        target["setup"] = blocks
    if moment == "checks":
        # The first attempt's checks of the base come before any agent; they are to pass that point.
        target["checks"] = {"works": f"[ ! -e work-quick.txt ] || {{ {blocks}; }}"}
    lab.write(targets=[target], agent="daemon" if moment == "stage" else "quick")
    process = lab.start("run", str(lab.file))
    if moment == "stage":
        until(lambda: lab.notes("daemon"), "the agent's grandchild")
    else:
        until(at.exists, moment)
    interrupt(process)
    assert lab.end_of(process).code == ExitCode.INTERRUPTED
    assert lab.results.outcomes() == ["interrupted"], lab.logs()
    assert [row["state"] for row in lab.results.jobs()] == ["ready"]
    lab.assert_clean()
    finishes(lab)
    assert lab.results.outcomes() == ["interrupted", "complete"]
    assert [row["infra_attempts"] for row in lab.results.jobs()] == [0]


def test_ctrl_c_while_the_repositories_are_looked_at(lab: Lab) -> None:
    at = lab.root / "reached"
    slow = {**lab.agent("quick"), "version": ["sh", "-c", f"touch {at}; exec sleep 25"]}
    lab.write(agents={"quick": slow})
    process = lab.start("run", str(lab.file))
    until(at.exists, "preflight")
    interrupt(process)
    done = lab.end_of(process, seconds=10)
    assert done.code == ExitCode.INTERRUPTED
    assert not lab.results.jobs()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_term_and_hup_are_heeded_like_ctrl_c(lab: Lab, number: signal.Signals) -> None:
    lab.write(agent="deaf")
    process = lab.start("run", str(lab.file))
    until(lambda: lab.notes("daemon"), "the agent's grandchild")
    process.send_signal(number)
    assert lab.end_of(process).code == ExitCode.INTERRUPTED
    assert lab.results.outcomes() == ["interrupted"]
    lab.assert_clean()


def test_an_impatient_second_ctrl_c_leaves_nothing_behind(lab: Lab) -> None:
    lab.write(agent="deaf", limits={"grace": "3s"})
    process = lab.start("run", str(lab.file))
    until(lambda: lab.notes("daemon"), "the agent's grandchild")
    interrupt(process)
    until(lambda: "worker_stopping" in lab.logs(), "the first one to be heeded")
    interrupt(process)
    assert lab.end_of(process).code == ExitCode.INTERRUPTED
    until(lambda: not lab.leftovers(), "the agent to die", 10)
    finishes(lab)


# -- something is killed --


def test_kill_of_the_run_takes_everything_down_and_the_next_recovers_at_once(lab: Lab) -> None:
    lab.write(agent="daemon")
    process = lab.start("run", str(lab.file))
    until(lambda: lab.notes("daemon"), "the agent's grandchild")
    family = descendants(process.pid)
    process.kill()
    process.wait()
    until(lambda: not any(map(alive, family)), "every child to die", 10)
    assert not lab.leftovers()
    assert lab.results.outcomes() == ["live"]
    began = time.monotonic()
    finishes(lab)
    assert lab.results.outcomes() == ["lease_lost", "complete"]
    assert time.monotonic() - began < 60, "it must not wait for the lease of 120 s"


def test_a_killed_worker_is_started_again_and_its_job_runs_again(lab: Lab) -> None:
    lab.write(agent="daemon", repeats=2)
    process = lab.start("run", str(lab.file))
    until(lambda: lab.notes("daemon"), "the agent's grandchild")
    kill(lab.workers(process)["cloud"])
    lab.await_start(2)
    finishes(lab, process)
    assert lab.results.outcomes() == ["lease_lost", "complete", "complete"]


def test_a_log_that_cannot_be_written_is_no_reason_for_tracebacks(lab: Lab) -> None:
    (lab.home / "logs").mkdir(parents=True)
    (lab.home / "logs" / "scheduler.log").symlink_to("/dev/full")
    lab.write(agent="daemon")
    process = lab.start("run", str(lab.file))
    until(lambda: lab.notes("daemon"), "the agent's grandchild")
    kill(lab.workers(process)["cloud"])  # which is logged
    lab.await_start(2)
    finishes(lab, process)


def test_a_killed_shim_is_the_machines_fault(lab: Lab) -> None:
    lab.write(agent="daemon")
    process = lab.start("run", str(lab.file))
    until(lambda: lab.notes("daemon"), "the agent's grandchild")
    for pid in lab.shims(process):
        kill(pid)
    lab.await_start(2)
    finishes(lab, process)
    assert lab.results.outcomes() == ["infra_error", "complete"]


def test_a_killed_agent_is_tried_again_in_the_same_attempt(lab: Lab) -> None:
    lab.write(agent="wait")
    process = lab.start("run", str(lab.file))
    lab.await_start()
    for pid, line in lab.leftovers().items():
        if "agent.py" in line and "shim.py" not in line:
            kill(pid)
    lab.await_start(2)
    finishes(lab, process)
    assert lab.results.outcomes() == ["complete"]
    assert [row["outcome"] for row in lab.results.stages()] == ["agent_error", None]


def test_a_killed_broker_is_replaced_and_nothing_is_lost(lab: Lab) -> None:
    lab.write(agent="wait", repeats=3)
    process = lab.start("run", str(lab.file), env={"BAKEOFF_REHINT_SECONDS": "1"})
    lab.await_start()
    broker = lab.broker(process)
    assert broker is not None
    kill(broker)
    until(lambda: lab.broker(process) not in (None, broker), "another broker")
    finishes(lab, process)
    assert lab.results.outcomes() == ["complete"] * 3


def test_a_frozen_worker_loses_its_tree_in_time_and_its_job(lab: Lab) -> None:
    lab.write(agent="daemon")
    process = lab.start("run", str(lab.file), env=SHORT_LEASE)
    until(lambda: lab.notes("daemon"), "the agent's grandchild")
    worker = lab.workers(process)["cloud"]
    frozen_at = time.clock_gettime(time.CLOCK_BOOTTIME)
    send(worker, signal.SIGSTOP)
    until(lambda: "lease_lost" in lab.results.outcomes(), "the lease to be taken away")
    last = max(note.moment for note in lab.notes())
    assert not lab.leftovers() or set(lab.leftovers()) <= {worker}
    # ttl - margin after a renewal that was sent before the freeze, and the kill itself.
    assert last - frozen_at < 3 - 0.7 + 0.5
    send(worker, signal.SIGCONT)
    lab.await_start(2)
    finishes(lab, process)
    assert lab.results.outcomes() == ["lease_lost", "complete"]
    assert "result_refused" in lab.logs()


# -- the queue and the lease --


def test_a_running_job_is_cancelled_within_seconds(lab: Lab) -> None:
    lab.write(agent="deaf", repeats=2)
    process = lab.start("run", str(lab.file))
    until(lambda: lab.notes("daemon"), "the agent's grandchild")
    asked_at = time.clock_gettime(time.CLOCK_BOOTTIME)
    done = lab.bakeoff("cancel", "--json")
    assert done.code == ExitCode.OK, done.err
    assert lab.end_of(process).code == ExitCode.OK
    assert max(note.moment for note in lab.notes()) - asked_at < 5
    assert [row["state"] for row in lab.results.jobs()] == ["cancelled"] * 2
    assert lab.results.outcomes() == ["cancelled"]
    lab.assert_clean()


def test_a_job_longer_than_the_brokers_timeout_runs_once_also_beside_flower(lab: Lab) -> None:
    lab.write(agent="wait")
    env = {"BAKEOFF_VISIBILITY_TIMEOUT_SECONDS": "2", "BAKEOFF_REHINT_SECONDS": "1"}
    process = lab.start("run", str(lab.file), env=env)
    first = lab.await_start()
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port = probe.getsockname()[1]
    flower = lab.start("flower", "--port", str(port), env=env)
    until(lambda: lab.notes()[-1].moment - first.moment > 8, "8 s of work")
    assert flower.poll() is None
    flower.terminate()
    flower.communicate()
    finishes(lab, process)
    assert lab.results.outcomes() == ["complete"]
    assert len(lab.notes("start")) == 1


def test_a_pool_never_runs_more_than_its_slots(lab: Lab) -> None:
    lab.write_fleet(slots=2, models={"local": {}})
    lab.write(agent="wait", profiles={"one": "local"}, repeats=4)
    # Hints that the killed worker had taken are sent again after this long.
    process = lab.start("run", str(lab.file), env={"BAKEOFF_REHINT_SECONDS": "1"})
    lab.await_start(2)
    kill(lab.workers(process)["box"])
    lab.await_start(4)
    lab.gate.touch()
    assert lab.end_of(process).code == ExitCode.OK
    assert lab.results.outcomes() == ["lease_lost"] * 2 + ["complete"] * 4
    lab.assert_no_overlap(2)
    lab.assert_clean()
    assert not children(process.pid)


# -- a disk that takes nothing --


def test_an_attempt_of_which_nothing_can_be_written_down_is_given_back(lab: Lab) -> None:
    lab.write(limits={"max_infra_attempts": 2})
    lab.home.mkdir()
    in_the_way = lab.home / "spool"
    in_the_way.touch()  # no folder can be made there
    done = lab.run()
    assert "Traceback" not in done.err
    assert lab.results.outcomes() == ["infra_error", "infra_error"], lab.logs()
    assert {row["state"] for row in lab.results.jobs()} == {"failed"}
    assert "telemetry" in str(lab.results.attempts()[0]["detail"])
    lab.assert_clean()
