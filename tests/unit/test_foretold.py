"""Estimates against what came, and how plans and views say what is expected."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.analysis.bottleneck import Bottleneck
from orchestrator.analysis.estimate import Estimate, Source, estimate_alike, estimate_another
from orchestrator.analysis.forecast import Deadline, Forecast, Span, WindowOutlook
from orchestrator.analysis.foretold import Fit, foretold
from orchestrator.analysis.known import COST, SECONDS, TOKENS
from orchestrator.analysis.rows import EstimateRow, Evidence, StageRow
from orchestrator.analysis.study import study
from orchestrator.analysis.totals import total
from orchestrator.domain.outcome import Outcome
from orchestrator.domain.states import JobState
from orchestrator.domain.zones import Zone
from orchestrator.reports import as_json, html, markdown
from orchestrator.reports.eta import Eta, eta_of
from orchestrator.reports.gauges import Gauge, gauge_lines
from orchestrator.reports.options import ReportOptions
from orchestrator.reports.plan_estimates import outlook_lines, verdict
from orchestrator.reports.tables_estimates import estimates
from tests.unit.rows_factory import NIGHT, job, night

HOUR = 3600.0
NOW = datetime(2026, 7, 1, 22, 0, tzinfo=UTC)


def row(mean: float, low: float | None = None, high: float | None = None) -> EstimateRow:
    return EstimateRow(mean, mean, low, high, "cell", 3)


def stage(job_id: int, seconds: float, attempt: int = 1) -> StageRow:
    return StageRow(
        job_id=job_id,
        attempt=attempt,
        order=1,
        stage="build",
        role="build",
        model_asked="m",
        started_at=NIGHT,
        ended_at=NIGHT + timedelta(seconds=seconds),
    )


def test_what_came_is_held_against_what_was_expected() -> None:
    took = {SECONDS: row(80.0, 50.0, 120.0), COST: row(250_000.0), "stage:build:seconds": row(40.0, 30.0, 45.0)}
    jobs = (
        job(1),
        job(2, wall_seconds=200.0),
        job(3),
        job(4, state=JobState.FAILED, outcome=Outcome.INFRA_ERROR),
    )
    evidence = Evidence(
        experiment="e",
        generated_at=NIGHT,
        jobs=jobs,
        stages=(stage(1, 40.0), stage(2, 80.0), stage(2, 80.0, attempt=2)),
        estimates={1: took, 2: took, 4: took},
    )
    whole, build = foretold(evidence)
    # Job 3 was submitted before anything was known, job 4 is no result, and job 2 took two attempts.
    assert whole.seconds == Fit(compared=2, of=3, median_ratio=1.875, total_ratio=1.875, inside=1, ranged=2)
    assert whole.cost_usd_micros == Fit(compared=2, of=3, median_ratio=2.0, total_ratio=2.0, inside=0, ranged=0)
    assert whole.tokens == Fit(compared=0, of=3, median_ratio=None, total_ratio=None, inside=0, ranged=0)
    assert (build.stage, build.seconds) == (
        "build",
        Fit(compared=1, of=1, median_ratio=1.0, total_ratio=1.0, inside=1, ranged=1),
    )
    table = estimates(study(evidence))
    assert table.rows == (
        ("hybrid", "all", "2/3", "1.88 (1.88)", "1/2", "unknown", "–", "2.00 (2.00)", "–"),
        ("hybrid", "build", "1/1", "1.00 (1.00)", "1/1", "unknown", "–", "–", "–"),
    )
    shown = study(evidence)
    for text in (html.render(shown, ReportOptions()), markdown.render(shown, ReportOptions())):
        assert "Estimates against what came" in text
        assert "1.88" in text
    [first, second] = json.loads(as_json.render(shown, ReportOptions()))["estimates"]
    assert (first["seconds"]["inside"], second["stage"], second["cost_usd_micros"]) == (1, "build", None)


def test_a_night_that_nobody_estimated_has_no_such_table() -> None:
    assert estimates(study(night())).rows == ()


# -- sums --


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.floats(0.1, 1e6), min_size=3, max_size=5), min_size=1, max_size=8))
def test_sums_equal_their_parts(cells: list[list[float]]) -> None:
    parts = [estimate_alike(Source.CELL, values) for values in cells]
    whole = total(parts, [str(n) for n in range(len(parts))])
    assert whole.mean == pytest.approx(sum(one.mean for one in parts))
    assert whole.low is not None
    assert whole.mean is not None
    assert whole.high is not None
    assert whole.low <= whole.mean <= whole.high
    short = total([*parts, None], [str(n) for n in range(len(parts) + 1)])
    assert (short.mean, short.known, short.of, short.low) == (whole.mean, len(parts), len(parts) + 1, None)


def test_a_sum_of_nothing_known_is_unknown_and_of_nothing_too() -> None:
    assert total([None, None], ["a", "b"]).mean is None
    assert total([], []).mean is None
    unsure = estimate_another(Source.PROFILE, [1.0, 2.0, 3.0], ["t", "t", "t"])
    assert (total([unsure], ["a"]).mean, total([unsure], ["a"]).low) == (2.0, None)


# -- words --


def forecast(**values: object) -> Forecast:
    given: dict[str, object] = {
        "nights": 200,
        "of": 4,
        "known": 4,
        "sure": 4,
        "ends": Span(HOUR, 2 * HOUR, 3 * HOUR),
        "latest": None,
        "windows": (),
        "never": (),
        "bottleneck": None,
    }
    return Forecast(**{**given, **values})  # type: ignore[arg-type]


def lines(found: Forecast) -> list[str]:
    return list(outlook_lines(found, [], NOW))


def test_an_outlook_in_words() -> None:
    window = WindowOutlook(name="5h", gate="account:a", peak=Span(0.7, 0.8, 1.0), held_seconds=1200.0, known=True)
    found = forecast(
        windows=(window,),
        bottleneck=Bottleneck(kind="window", name="5h", gate="account:a", share=0.4),
        deadline=Deadline(seconds=10 * HOUR, least=0.6, most=0.6, late=(("t/p #1", 0.5),)),
    )
    assert lines(found) == [
        "begun now, this ends at 2026-07-02 00:00, in 8 of 10 simulated nights "
        "between 23:00 and 2026-07-02 01:00 UTC",
        "by 2026-07-02 08:00 UTC: perhaps, in 60 % of 200 simulated nights",
        "not done by then in most nights: 1 job: t/p #1",
        "bottleneck: window 5h of account:a, for which jobs wait 40 % of the time",
        "window 5h of account:a: 80 % full at the most [70 %–100 %], jobs wait 20m00s for it",
    ]


def test_what_is_unknown_is_said() -> None:
    part = forecast(known=3, latest=Span(HOUR, HOUR, 5 * HOUR))
    assert lines(part) == [
        "begun now, this ends at 2026-07-02 00:00 UTC or later: 1 of 4 durations are unknown; "
        "by the jobs' own limits at "
        "2026-07-02 03:00 UTC at the latest"
    ]
    blind = WindowOutlook(name="7d", gate="account:a", peak=Span(0.5, 0.5, 0.5), held_seconds=0.0, known=False)
    dark = forecast(windows=(blind,), deadline=Deadline(seconds=HOUR, least=0.0, most=1.0, late=()))
    assert lines(dark)[1:] == [
        "by 2026-07-01 23:00 UTC: cannot be told: nobody knows what jobs take of window 7d of account:a; "
        "if that suffices, in >99 % of 200 simulated nights",
        "window 7d of account:a: what jobs take of it is unknown",
    ]
    assert lines(forecast(sure=2)) == [
        "begun now, this ends at about 2026-07-02 00:00 UTC; how far that may be off is unknown"
    ]


@pytest.mark.parametrize(
    ("chance", "word"),
    [(1.0, "yes, in >99 %"), (0.96, "yes, in 96 %"), (0.5, "perhaps, in 50 %"), (0.0, "no, in <1 %")],
)
def test_the_answer_never_claims_certainty(chance: float, word: str) -> None:
    assert verdict(forecast(), Deadline(seconds=1, least=chance, most=chance, late=())).startswith(word)


def test_without_history_the_limits_alone_may_answer() -> None:
    dark = forecast(ends=None, known=0, sure=0, latest=Span(HOUR, HOUR, 2 * HOUR))
    in_time = Deadline(seconds=3 * HOUR, least=1.0, most=1.0, late=())
    assert verdict(dark, in_time) == "yes, because the jobs' own limits end them by then"


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({}, "2h00m [1h00m–3h00m]"),
        ({"known": 1}, "≥ 2h00m (1/4 known)"),
        ({"sure": 1}, "about 2h00m"),
        ({"nights": 1}, "about 2h00m"),
        ({"ends": None, "known": 0}, "unknown"),
    ],
)
def test_an_eta_in_words(values: dict[str, object], text: str) -> None:
    found = eta_of(forecast(**values))
    assert found is not None
    assert found.text() == text


def test_an_eta_counts_down_and_stops_at_nothing() -> None:
    assert eta_of(forecast(of=0)) is None
    assert eta_of(forecast(), timedelta(hours=1.5)) == Eta(middle=0.5 * HOUR, low=0.0, high=1.5 * HOUR, known=4, of=4)


def test_a_gauge_in_words() -> None:
    gauge = Gauge(
        name="max 5h",
        used=0.62,
        at_least=True,
        zone=Zone.GREEN,
        burn_per_hour=0.12,
        exhausted_at=NOW + timedelta(hours=1),
        lasts=False,
        resets_at=NOW + timedelta(hours=5),
        error_seconds=1200.0,
    )
    text = gauge_lines((gauge,), NOW)
    assert text is not None
    assert text.plain == "max 5h  ██████░░░░ ≥ 62 %  12 %/h, used up at 23:00 (±20 min), resets 07-02 03:00"


def test_tokens_of_a_run_are_compared_only_when_every_stage_told_them() -> None:
    took = {TOKENS: row(6200.0, 1.0, 9000.0)}
    evidence = Evidence(
        experiment="e",
        generated_at=NIGHT,
        jobs=(job(1), job(2)),
        stages=(stage(2, 1.0),),
        estimates={1: took, 2: took},
    )
    assert foretold(evidence)[0].tokens.compared == 1


def test_an_estimate_without_spread_has_no_interval() -> None:
    found = Estimate(source=Source.PROFILE, runs=3, mean=1.0, middle=1.0)
    assert (found.low, found.high) == (None, None)
