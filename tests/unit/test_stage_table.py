"""Stages as columns: every row comes back as it went in, and sums are those of the rows."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.analysis.measure import measure, measure_column
from orchestrator.analysis.rows import StageRow
from orchestrator.analysis.stage_groups import groups, owned
from orchestrator.analysis.stage_table import StageTable
from orchestrator.analysis.stages import summarize_stages
from orchestrator.domain.outcome import Outcome
from orchestrator.domain.usage import TokenUsage
from orchestrator.storage.job_sums import JobSums, job_sums
from tests.unit.rows_factory import NIGHT, job, night

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_counts = st.none() | st.integers(0, 10**12)
_moments = st.none() | st.integers(0, 4 * 10**15).map(lambda micros: EPOCH + timedelta(microseconds=micros))
_stages = st.builds(
    StageRow,
    job_id=st.integers(1, 3),
    attempt=st.integers(1, 2),
    order=st.integers(1, 4),
    stage=st.sampled_from(["plan", "build"]),
    role=st.just("build"),
    model_asked=st.sampled_from(["opus", "devstral"]),
    model_served=st.none() | st.just("opus"),
    resource=st.sampled_from(["", "account:max", "pool:gpu"]),
    started_at=_moments,
    ended_at=_moments,
    turns=_counts,
    requests=_counts,
    rate_limit_wait_seconds=st.none() | st.floats(0, 1e6),
    usage=st.builds(TokenUsage, input=_counts, output=_counts, cache_read=_counts),
    stream_tokens=_counts,
    gateway_tokens=_counts,
    cost_usd_micros=_counts,
    context_peak_tokens=_counts,
    context_window=st.none() | st.integers(1, 10**6),
    exit_code=st.none() | st.integers(-15, 255),
    outcome=st.none() | st.sampled_from(Outcome),
    kill_reason=st.sampled_from(["", "idle"]),
    error_text=st.text(max_size=5),
)


@settings(max_examples=30)
@given(st.lists(_stages, max_size=5))
def test_a_table_gives_back_its_rows_and_says_of_them_what_they_say(rows: list[StageRow]) -> None:
    table = StageTable.of(rows)
    assert list(table) == rows
    assert [*table[:2], *table[2:]] == rows
    assert StageTable.of(table) is table
    assert [None if value != value else value for value in table.total_tokens] == [row.usage.total for row in rows]
    assert [None if value != value else value for value in table.hidden_tokens] == [row.hidden_tokens for row in rows]
    assert [None if value != value else value for value in table.seconds] == [row.seconds for row in rows]
    assert table.failed.tolist() == [row.failed for row in rows]


@given(st.lists(st.none() | st.integers(0, 10**9), max_size=9))
def test_a_column_is_measured_as_its_values_are(values: list[int | None]) -> None:
    rows = [replace(_ROW, turns=value) for value in values]
    assert measure_column(StageTable.of(rows).numbers["turns"], counts=True) == measure(values)


_ROW = StageRow(job_id=1, attempt=1, order=1, stage="build", role="build", model_asked="m")


def test_stages_of_unknown_jobs_belong_to_nobody() -> None:
    table = StageTable.of([replace(_ROW, job_id=7), replace(_ROW, job_id=1), replace(_ROW, job_id=2)])
    found = owned(table, [job(1, profile="b"), job(2, profile="a")])
    assert [variant.profile for variant in found.variants] == ["a", "b"]
    assert found.codes.tolist() == [-1, 1, 0]
    assert [(key, places.tolist()) for key, places in groups(found.codes)] == [((0,), [2]), ((1,), [1])]
    assert list(groups(StageTable.of([]).whole["order"])) == []


def test_summaries_are_those_of_the_rows_one_by_one() -> None:
    evidence = night()
    for entry in summarize_stages(evidence.jobs, evidence.stages):
        jobs = {row.job_id for row in evidence.jobs if row.profile == entry.label}
        rows = [
            row
            for row in evidence.stages
            if row.job_id in jobs and (row.stage, row.model_asked) == (entry.stage, entry.model)
        ]
        assert (entry.count, entry.failures) == (len(rows), sum(row.failed for row in rows))
        assert entry.tokens == measure(row.usage.total for row in rows)
        assert entry.cost_usd_micros == measure(row.cost_usd_micros for row in rows)


def test_a_job_sums_what_its_result_was_built_on_and_half_a_cost_is_no_cost() -> None:
    started = replace(_ROW, started_at=NIGHT, resource="account:max", requests=2, usage=TokenUsage(input=5))
    rows = [
        replace(started, ended_at=NIGHT + timedelta(seconds=3), cost_usd_micros=4),
        replace(started, order=2, ended_at=NIGHT + timedelta(seconds=9), cost_usd_micros=7),
        # Of a harness's own: stage 2 ran it.
        replace(started, order=200_001, ended_at=NIGHT + timedelta(seconds=1), cost_usd_micros=None),
        replace(started, attempt=2, resource="pool:gpu", requests=None, context_peak_tokens=5, context_window=10),
        replace(started, job_id=2, usage=TokenUsage(output=1)),
    ]
    table = StageTable.of(rows)
    assert job_sums(table, {1: {1: 1}}) == {
        1: JobSums(tokens=TokenUsage(input=5), cost_usd_micros=4, remote_calls=2, local_calls=0, seconds={1: 3.0})
    }
    everything = job_sums(table, {1: {1: None, 2: None}})[1]
    assert everything == JobSums(
        tokens=TokenUsage(input=20),
        remote_calls=6,
        context_peak_fill=0.5,
        seconds={1: 13.0, 2: None},
    )
    assert job_sums(StageTable.of([]), {}) == {}
