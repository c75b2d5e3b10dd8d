"""The second part of a campaign: which targets it gets, and what the report does not compare."""

from collections.abc import Mapping
from typing import Any

import pytest

from orchestrator.analysis.campaign import RankedTarget, rank_targets
from orchestrator.analysis.memo import LeftOut, Limit
from orchestrator.analysis.rows import CheckRow, Evidence, JobRow
from orchestrator.analysis.study import study
from orchestrator.domain.campaign import End, RankBy, Then
from orchestrator.domain.check import CheckStatus
from orchestrator.domain.outcome import Outcome
from orchestrator.domain.states import JobState
from orchestrator.domain.usage import TokenUsage
from orchestrator.reports.memo import parts
from tests.unit.rows_factory import NIGHT, job

DONE = {"state": JobState.DONE, "outcome": Outcome.COMPLETE}
CANCELLED = {"state": JobState.CANCELLED, "outcome": Outcome.CANCELLED}
LOST = {"state": JobState.FAILED, "outcome": Outcome.NO_PROGRESS}
BROKE = {"state": JobState.FAILED, "outcome": Outcome.INFRA_ERROR}


def row(number: int, target: str, profile: str, end: Mapping[str, Any], tokens: int | None = None) -> JobRow:
    usage = TokenUsage() if tokens is None else TokenUsage(input=tokens, output=0, cache_read=0, cache_write=0)
    return job(number, target=target, profile=profile, profile_hash=profile, tokens=usage, **end)


JOBS = [
    row(1, "easy", "a", DONE, 10),
    row(2, "easy", "b", DONE, 30),
    row(3, "split", "a", DONE, 50),
    row(4, "split", "b", LOST, None),
    row(5, "hard", "a", LOST, 40),
    row(6, "hard", "b", BROKE, 9999),
    row(7, "never", "a", BROKE, 9999),
    row(8, "easy", "big", {"state": JobState.BLOCKED, "outcome": None}, None),
]


def ranked(rank_by: RankBy, first: End = End.HIGHEST, top: int = 1) -> list[RankedTarget]:
    rules = Then(profiles=("big",), rank_by=rank_by, first=first, top=top)
    return list(rank_targets(JOBS, {}, rules))


@pytest.mark.parametrize(
    ("rank_by", "first", "expected"),
    [
        (RankBy.SOLVED, End.LOWEST, [("hard", 0.0), ("split", 0.5), ("easy", 1.0), ("never", None)]),
        (RankBy.SOLVED, End.HIGHEST, [("easy", 1.0), ("split", 0.5), ("hard", 0.0), ("never", None)]),
        (RankBy.DISAGREEMENT, End.HIGHEST, [("split", 1.0), ("easy", 0.0), ("hard", None), ("never", None)]),
        (RankBy.TOKENS, End.HIGHEST, [("hard", 40.0), ("easy", 20.0), ("never", None), ("split", None)]),
    ],
)
def test_targets_come_by_what_the_results_of_the_first_part_say(
    rank_by: RankBy, first: End, expected: list[tuple[str, float | None]]
) -> None:
    found = ranked(rank_by, first, top=3)

    assert [(one.target, one.value) for one in found] == expected
    assert [one.chosen for one in found] == [place < 3 and one.value is not None for place, one in enumerate(found)]


def test_a_result_that_no_check_judged_measures_nothing() -> None:
    unsure = {1: [CheckRow(job_id=1, name="test", status=CheckStatus.ERROR)]}

    found = rank_targets(JOBS[:1], unsure, Then(profiles=("big",), rank_by=RankBy.SOLVED, top=1))

    assert found == (RankedTarget("easy", None, False),)


def test_the_report_compares_nothing_with_the_second_part() -> None:
    first = [row(at, f"t{at}", "a", LOST) for at in range(8)]
    second = [row(20 + at, f"t{at}", "big", DONE) for at in range(6)]
    passed = [row(30 + at, f"t{at}", "big", CANCELLED) for at in (6, 7)]
    then = Then(profiles=("big",), rank_by=RankBy.SOLVED, first=End.LOWEST, top=6)

    found = study(Evidence(experiment="night", generated_at=NIGHT, jobs=(*first, *second, *passed), then=then))

    assert found.verdict[1] == (
        "The second part, big, had the 6 of 8 targets with the lowest solved in the first. They were chosen by its "
        "results, so no profile of the first part is compared with the second."
    )
    assert (found.pairs, found.labels) == ((), ("a", "big"))
    assert [place.summary.label for place in found.ranking.places] == ["a"]
    assert found.memo.left_out == (LeftOut(label="big", reason="second_part", count=6, of=8),)
    assert Limit.SECOND_PART in found.memo.cannot
    assert Limit.ONE_PROFILE not in found.memo.cannot
    [why] = [part.sentences for part in parts(found) if part.title == "Left out, and why"]
    assert why == ("In the second part, so compared with nobody; with results: big (6 of 8).",)
