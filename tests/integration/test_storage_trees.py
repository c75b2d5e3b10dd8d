"""What is on record about a tree: whose it is, whether its job may go on in it, and what of it was archived."""

from dataclasses import replace
from datetime import timedelta

from orchestrator.domain.outcome import Outcome
from orchestrator.domain.states import JobState
from orchestrator.storage import attempts
from orchestrator.storage.attempts import ArtifactRecord, open_sources, tree_record
from orchestrator.storage.engine import Database
from orchestrator.storage.tables import cells
from tests.support.world import COMPLETE, NOW, POOL, WORKER, add, start

BUNDLE = ArtifactRecord(name="commits.bundle", kind="bundle", sha256="b" * 64, size_bytes=1)
PATCH = ArtifactRecord(name="changes.patch", kind="patch_cut", sha256="a" * 64, size_bytes=1, full_bytes=2)


def test_a_tree_is_known_by_its_maker_and_judged_by_the_last_that_worked_in_it(database: Database) -> None:
    (job_id,) = add(database, [POOL], capacities={POOL: 1})
    first = start(database)[0]
    for event, run_dir in (("prepare", None), ("work", "/runs/one")):
        attempts.advance(database, first.attempt_id, event, **({"run_dir": run_dir} if run_dir else {}))
    prefix = first.attempt_id[:8]
    found = tree_record(database, WORKER.machine, 1, prefix)
    assert found is not None
    assert (found.job_id, found.live, found.ended_at, found.job_state) == (job_id, True, None, JobState.RUNNING)
    parked = replace(COMPLETE, outcome=Outcome.INTERRUPTED, final_sha="1" * 40)
    attempts.finish(database, first.attempt_id, parked, NOW)
    found = tree_record(database, WORKER.machine, 1, prefix)
    assert found is not None
    assert (found.live, found.job_state, found.patch_sha256) == (False, JobState.READY, None)
    second = start(database)[0]
    for event, run_dir in (("prepare", None), ("work", "/runs/one")):
        attempts.advance(database, second.attempt_id, event, **({"run_dir": run_dir} if run_dir else {}))
    end = NOW + timedelta(minutes=1)
    done = replace(COMPLETE, final_sha="2" * 40, artifacts=(PATCH, BUNDLE))
    attempts.finish(database, second.attempt_id, done, end)
    found = tree_record(database, WORKER.machine, 1, prefix)
    assert found is not None
    assert (found.job_state, found.ended_at, found.final_sha) == (JobState.DONE, end, "2" * 40)
    assert (found.patch_sha256, found.bundle_sha256) == (PATCH.sha256, BUNDLE.sha256)
    for other in (("elsewhere", 1, prefix), (WORKER.machine, 2, prefix), (WORKER.machine, 1, "0" * 8)):
        assert tree_record(database, *other) is None


def test_sources_of_open_jobs_are_needed_and_of_ended_ones_not(database: Database) -> None:
    add(database, [POOL], capacities={POOL: 1})
    with database.write() as connection:
        connection.execute(cells.update().values(spec={"target": {"source": "/src"}, "limits": {}}))
    assert open_sources(database) == {"/src"}
    attempts.finish(database, start(database)[0].attempt_id, COMPLETE, NOW)
    assert open_sources(database) == set()
