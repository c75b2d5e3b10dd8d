"""A board that is kept up to date by what moved shows the same as one that reads everything anew."""

from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.clock import utc_now
from orchestrator.domain.check import CheckStatus
from orchestrator.domain.errors import NotFound
from orchestrator.domain.outcome import Outcome
from orchestrator.storage import attempts
from orchestrator.storage.attempts import AttemptResult
from orchestrator.storage.control import Selection, cancel, requeue
from orchestrator.storage.engine import Database
from orchestrator.web.board import Board, View
from orchestrator.web.fleet import read_fleet
from tests.support.databases import SqliteDatabases
from tests.support.live_page import POOL, finish, make_matrix, start_now, work
from tests.support.world import add

ACTIONS = ("start", "work", "pass", "fail", "cancel", "requeue", "more", "look")
MINE = Selection(experiment="greetings")


def look(board: Board, database: Database) -> View:
    fleet = read_fleet(database, utc_now())
    return board.look(database, fleet.slots, fleet.closed, utc_now())


class Evening:
    """Jobs of one experiment, moved at random, but only as the product would."""

    def __init__(self, database: Database) -> None:
        self.database, self.live, self.added = database, list[attempts.Claim](), 0

    def act(self, action: str) -> None:
        if action == "start" and not self.live:
            self.live = start_now(self.database, 1)
        elif action == "work" and self.live:
            work(self.database, self.live[0], 1)
        elif action in ("pass", "fail") and self.live:
            finish(self.database, self.live.pop(), CheckStatus(action))
        elif action == "cancel" and not self.live:
            cancel(self.database, Selection(experiment="greetings", profile="opus"), "enough", utc_now())
        elif action == "requeue" and not self.live:
            requeue(self.database, MINE)
        elif action == "more":
            self.added += 1
            add(self.database, [POOL], experiment="greetings", after=100 + self.added)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(ACTIONS), max_size=14))
def test_what_moved_is_all_that_changed(sqlite_databases: SqliteDatabases, actions: Sequence[str]) -> None:
    with sqlite_databases.fresh() as database:
        make_matrix(database)
        evening, kept = Evening(database), Board("greetings")
        before = look(kept, database)
        for action in actions:
            evening.act(action)
            if action != "look":
                continue
            after, anew = look(kept, database), look(Board("greetings"), database)
            assert dict(after.jobs) == dict(anew.jobs)
            assert list(after.jobs) == list(anew.jobs)
            assert dict(after.waits) == dict(anew.waits)
            assert (after.layout, after.counts, after.final) == (anew.layout, anew.counts, anew.final)
            news = {job.job_id: job for job in after.moved_since(before.version)}
            assert {**before.jobs, **news} == dict(after.jobs), "who takes over the news has everything"
            assert after.version >= before.version
            before = after


def test_a_job_that_is_tried_again_loses_its_old_end(database: Database) -> None:
    make_matrix(database)
    board = Board("greetings")
    broken = AttemptResult(outcome=Outcome.INFRA_ERROR, detail="the disk went away", wall_seconds=5.0)
    [first] = start_now(database, 1)
    attempts.finish(database, first.attempt_id, broken, utc_now())
    ended = look(board, database).jobs[first.job_id]
    assert (ended.word, ended.outcome, ended.wall_seconds) == ("infra_error", "infra_error", 5.0)

    requeue(database, Selection(job_ids=[first.job_id]))
    again = look(board, database).jobs[first.job_id]

    assert (again.word, again.outcome, again.wall_seconds) == ("ready", None, None)


def test_an_experiment_that_is_not_there_is_not_found(database: Database) -> None:
    with pytest.raises(NotFound, match="nobody"):
        look(Board("nobody"), database)
