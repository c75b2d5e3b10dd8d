"""Intervals, measures, the judging of jobs, and the sums built on them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.analysis.intervals import Interval, difference, wilson
from orchestrator.analysis.judge import (
    Standing,
    end_word,
    group_checks,
    is_judged,
    is_solved,
    standing,
    word_standing,
)
from orchestrator.analysis.legacy import LegacyRun, legacy_scores
from orchestrator.analysis.measure import measure
from orchestrator.analysis.rows import CheckRow, JobRow, StageRow
from orchestrator.analysis.summary import summarize
from orchestrator.domain.check import CheckStatus
from orchestrator.domain.outcome import Outcome, job_event
from orchestrator.domain.states import FINAL_JOB_STATES, JOB_MOVES, JobState, move
from tests.unit.rows_factory import job, many, night

counts = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


def test_wilson_equals_published_values() -> None:
    # Newcombe 1998 (Statistics in Medicine 17, 857-872), table I, method 3.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=1e-4)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=1e-4)


def test_newcombe_difference_equals_published_values() -> None:
    # Newcombe 1998 (Statistics in Medicine 17, 873-890), table II, method 10.
    assert difference((56, 70), (48, 80)) == pytest.approx((0.0524, 0.3339), abs=1e-4)
    assert difference((9, 10), (3, 10)) == pytest.approx((0.1705, 0.8090), abs=1e-4)
    assert difference((0, 0), (3, 10)) == Interval(-1.0, 1.0)


@given(counts)
def test_wilson_holds_its_own_share_and_stays_in_range(pair: tuple[int, int]) -> None:
    interval = wilson(*pair)
    assert 0 <= interval.low <= interval.high <= 1
    assert interval.holds(pair[0] / pair[1])


@given(counts, counts)
def test_a_difference_turned_round_is_the_same_interval_mirrored(a: tuple[int, int], b: tuple[int, int]) -> None:
    there, back = difference(a, b), difference(b, a)
    assert there == pytest.approx((-back.high, -back.low))
    assert there.holds(a[0] / a[1] - b[0] / b[1])


@pytest.mark.parametrize("pair", [(-1, 3), (4, 3)])
def test_impossible_counts_are_refused(pair: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="must hold"):
        wilson(*pair)


@given(st.lists(st.none() | st.floats(0, 1e9)))
def test_a_measure_never_takes_unknown_as_zero(values: list[float | None]) -> None:
    found = measure(values)
    known = [value for value in values if value is not None]
    assert (found.known, found.of) == (len(known), len(values))
    assert found.complete == (bool(values) and len(known) == len(values))
    if not known:
        assert (found.total, found.mean, found.median) == (None, None, None)
    else:
        assert found.total == pytest.approx(sum(known))


def test_only_results_count_for_quality() -> None:
    assert standing(job()) is Standing.RESULT
    assert standing(job(state=JobState.FAILED, outcome=Outcome.CONTEXT_KILL)) is Standing.RESULT
    assert standing(job(state=JobState.FAILED, outcome=Outcome.SETUP_FAILED)) is Standing.INFRA
    assert standing(job(state=JobState.FAILED, outcome=None)) is Standing.INFRA
    assert standing(job(state=JobState.PARKED, outcome=Outcome.QUOTA_PARKED)) is Standing.QUOTA
    assert standing(job(state=JobState.CANCELLED, outcome=Outcome.NO_PROGRESS)) is Standing.CANCELLED
    assert standing(job(state=JobState.INVALID, outcome=Outcome.MODEL_MISMATCH)) is Standing.INVALID
    # An earlier attempt died of infrastructure; the job itself waits for its next one.
    assert standing(job(state=JobState.READY, outcome=Outcome.INFRA_ERROR)) is Standing.OPEN


@given(st.sampled_from(JobState), st.none() | st.sampled_from(Outcome))
def test_every_job_goes_under_one_word_whose_standing_is_its_own(state: JobState, outcome: Outcome | None) -> None:
    row = job(state=state, outcome=outcome)
    kind = standing(row)
    assert (kind is Standing.OPEN) == (state not in FINAL_JOB_STATES and state is not JobState.PARKED)
    agrees = state not in FINAL_JOB_STATES or (outcome is not None and job_state(outcome) is state)
    if agrees:
        assert word_standing(end_word(row, ())) is kind


def job_state(outcome: Outcome) -> JobState:
    """The final state to which an outcome leads when nothing is tried again."""
    event = job_event(outcome, infra_attempts=1, max_infra_attempts=1)
    return move(JOB_MOVES, JobState.RUNNING, event)


@pytest.mark.parametrize(
    ("statuses", "solved", "judged"),
    [
        ([], True, True),
        (["pass", "pass"], True, True),
        (["pass", "fail"], False, True),
        (["pass", "error"], False, False),
        (["not_run", "fail"], False, True),
    ],
)
def test_solved_needs_every_check(statuses: list[str], solved: bool, judged: bool) -> None:
    checks = [CheckRow(job_id=1, name=f"c{i}", status=CheckStatus(text)) for i, text in enumerate(statuses)]
    assert (is_solved(job(), checks), is_judged(job(), checks)) == (solved, judged)
    assert not is_solved(job(outcome=Outcome.NO_PROGRESS, state=JobState.FAILED), checks)


def test_infra_quota_and_cancelled_stay_out_of_the_denominator_and_in_sight() -> None:
    dead = [
        job(91, state=JobState.FAILED, outcome=Outcome.INFRA_ERROR, cost_usd_micros=9_000_000),
        job(92, state=JobState.PARKED, outcome=Outcome.QUOTA_PARKED),
        job(93, state=JobState.CANCELLED, outcome=Outcome.CANCELLED),
    ]
    stages = [
        StageRow(job_id=n, attempt=1, order=1, stage="build", role="build", model_asked="m", cost_usd_micros=7)
        for n in (1, 91, 91, 1000)
    ]
    (summary,) = summarize([*many(3, 1), *dead], {}, stages)

    assert (summary.solved, summary.results, summary.jobs, summary.finished) == (3, 4, 7, 6)
    assert summary.rate == 0.75
    assert summary.sensitivity == pytest.approx((3 / 7, 6 / 7))
    assert summary.cost_usd_micros.mean == 500_000
    assert summary.spent_usd_micros.total == 3 * 7


def test_unknown_cost_has_coverage_and_no_cost_per_solved_job() -> None:
    rows = [*many(2, 0), *many(1, 0, start=10, cost_usd_micros=None)]
    (summary,) = summarize(rows, {})
    assert summary.cost_usd_micros.coverage == "2 of 3 known"
    assert summary.cost_per_solved_usd_micros is None
    assert summary.cost_usd_micros.mean == 500_000


@pytest.mark.parametrize(
    ("told", "counted", "hidden"), [(90, 100, 10), (None, 100, 100), (100, 90, 0), (100, None, None)]
)
def test_tokens_that_no_agent_tells_of(told: int | None, counted: int | None, hidden: int | None) -> None:
    stage = StageRow(
        job_id=1,
        attempt=1,
        order=1,
        stage="run",
        role="build",
        model_asked="m",
        stream_tokens=told,
        gateway_tokens=counted,
    )
    assert stage.hidden_tokens == hidden
    (summary,) = summarize([job(1, hidden_tokens=hidden)], {})
    assert (summary.hidden_tokens.total, summary.hidden_tokens.known) == (hidden, 0 if hidden is None else 1)


def test_different_hashes_and_swept_values_are_never_pooled() -> None:
    rows = [
        job(1),
        job(2, profile_hash="b" * 64),
        job(3, profile="sonnet", params={"stage_timeout": 300}),
        job(4, profile="sonnet", params={"stage_timeout": 900}),
    ]
    assert [entry.label for entry in summarize(rows, {})] == [
        "hybrid @aaaaaaaa",
        "hybrid @bbbbbbbb",
        "sonnet [stage_timeout=300]",
        "sonnet [stage_timeout=900]",
    ]


def test_the_night_adds_up() -> None:
    evidence = night()
    summaries = summarize(evidence.jobs, group_checks(evidence.checks))
    assert sum(entry.jobs for entry in summaries) == len(evidence.jobs)
    for entry in summaries:
        assert sum(entry.standings.values()) == entry.jobs == sum(entry.ends.values())
        assert entry.standings[Standing.RESULT] == entry.results >= entry.solved


def test_the_legacy_score_by_hand() -> None:
    runs = [
        LegacyRun(label="a", completed=8, total=10, cost_usd=2.0, duration_seconds=3600),
        LegacyRun(label="c", completed=2, total=10, cost_usd=0.0, duration_seconds=1800, kills=9),
    ]
    scores = legacy_scores(runs)
    assert [item.run.label for item in scores] == ["a", "c"]
    assert scores[0].score == pytest.approx(0.8 / (0.3 + 0.3 + 0.01))
    assert scores[1].score == pytest.approx(0.2 / (0.15 + 0.01) * 0.5)
    assert legacy_scores([]) == ()


def _shuffled(rows: list[JobRow]) -> list[JobRow]:
    return rows[::-1]


def test_order_of_rows_does_not_matter() -> None:
    rows = list(night().jobs)
    by_label = {entry.label: entry.solved for entry in summarize(rows, {})}
    assert {entry.label: entry.solved for entry in summarize(_shuffled(rows), {})} == by_label
