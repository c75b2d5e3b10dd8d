"""What reports say of a race: the stop with its evidence, and no comparison with what was stopped."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from rich.console import Console

from orchestrator.analysis.memo import LeftOut, Limit
from orchestrator.analysis.next_jobs import Step
from orchestrator.analysis.race import RaceRecord, RecordedStop, Stop
from orchestrator.analysis.rows import Evidence, JobRow
from orchestrator.analysis.study import Study, study
from orchestrator.domain.outcome import Outcome
from orchestrator.domain.race import Race
from orchestrator.domain.states import JobState
from orchestrator.reports import as_json, html, markdown, memo, terminal
from orchestrator.reports.options import ReportOptions
from tests.unit.rows_factory import job

AT = datetime(2026, 7, 1, 3, 0, tzinfo=UTC)
STOP = Stop(
    arm="hash-slow", against="hash-good", targets=8, better=8, worse=0, repeat=1, evidence=57, needed=53, arms=3
)


def rows(profile: str, targets: int, of: int, solved: bool) -> list[JobRow]:
    """So many targets with results, the others ended by the race."""
    ended = {"state": JobState.CANCELLED, "outcome": Outcome.RACED_OUT, "attempts": 0, "detail": "out of the race"}
    done = {"state": JobState.DONE} if solved else {"state": JobState.FAILED, "outcome": Outcome.NO_PROGRESS}
    return [
        job(
            100 * len(profile) + 1000 * ord(profile[0]) + at,
            profile=profile,
            profile_hash=f"hash-{profile}",
            target=f"t{at}",
            **(done if at < targets else ended),
        )
        for at in range(of)
    ]


def raced(*, spent: bool = False) -> Study:
    jobs = [*rows("good", 12, 12, True), *rows("slow", 8, 12, False), *rows("fair", 6 if spent else 12, 12, True)]
    stop = RecordedStop(stop=STOP, rules=Race(min_targets=5), at=AT)
    race = RaceRecord(rules=Race(min_targets=5), stops=(stop,))
    return study(Evidence(experiment="night", generated_at=AT, jobs=tuple(jobs), race=race))


def printed(whole: Study) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(terminal.render(whole, 200))
    return capture.get()


def test_the_verdict_tells_the_stop_its_error_rate_and_what_it_saved() -> None:
    assert raced().verdict[1:5] == (
        "The race stopped slow: on 8 common targets good was better on 8 and worse on 0.",
        "Of such races at most 5 % ever stop a profile that is as good as the best.",
        "slow ran on fewer targets, and how many depends on the results: no rate is compared with theirs.",
        "The race saved 4 of 36 runs.",
    )


def test_what_was_stopped_is_shown_last_and_compared_with_nothing() -> None:
    found = raced()

    assert found.labels[-1] == "slow"
    assert {label for pair in found.pairs for label in (pair.first, pair.second)} == {"good", "fair"}
    assert {place.summary.label for place in found.ranking.places} == {"good", "fair"}
    assert found.ranking.unranked == ()
    assert "slow" not in {entry.label for entry in found.certainty} | {point.label for point in found.frontier.points}
    assert found.race is not None
    assert (found.race.out, found.race.saved, found.race.spent) == (("slow",), 4, False)


def test_the_memo_says_what_the_race_decided_and_asks_for_no_job_that_it_ended() -> None:
    found = study(
        Evidence(
            experiment="night",
            generated_at=AT,
            jobs=(*rows("good", 12, 12, True), *rows("slow", 8, 12, False)),
            race=RaceRecord(rules=Race(), stops=(RecordedStop(stop=STOP, rules=Race(), at=AT),)),
        )
    )

    assert (found.memo.winner, found.memo.next, found.memo.ladder) == ("good", (), ())
    assert found.memo.left_out == (LeftOut(label="slow", reason="stopped", count=8, of=12),)
    assert found.memo.cannot == (Limit.STOPPED,)
    said = [sentence for part in memo.parts(found) for sentence in part.sentences]
    assert "None: the race has stopped all others." in said
    assert "Stopped by the race, so compared with nobody; with results: slow (8 of 12)." in said
    assert "slow" not in found.verdict[0]
    assert found.verdict[0].endswith("; it is compared with no other profile.")
    assert "Left out for want of a known cost" not in printed(found)


def test_what_a_spent_race_did_not_run_is_neither_asked_for_nor_counted_as_failed() -> None:
    jobs = (*rows("good", 10, 12, True), *rows("fair", 9, 12, True), *rows("late", 3, 12, True))
    record = RaceRecord(rules=Race(min_targets=5, most_runs=0.6))
    found = study(Evidence(experiment="night", generated_at=AT, jobs=jobs, race=record))

    assert {one.step for one in found.memo.next} == {Step.TARGETS}
    assert {one.label: one.span for one in found.robustness.scores} == dict.fromkeys(
        ("good", "fair", "late"), found.robustness.scores[0].span
    )
    assert [one.name for one in found.robustness.scenarios] == ["results alone"]
    assert "14 jobs of fair, good and late: not run, since the race was over." in [
        sentence for part in memo.parts(found) for sentence in part.sentences
    ]


def test_the_bad_end_of_what_was_stopped_is_no_drift_and_its_missing_runs_leave_the_lead_open() -> None:
    late = [replace(one, started_at=AT + timedelta(hours=one.job_id % 100)) for one in rows("slow", 8, 12, False)]
    early = [
        replace(job(9000 + at, profile="slow", profile_hash="hash-slow", target=f"t{at}", repeat=2), started_at=AT)
        for at in range(8)
    ]
    others = [replace(one, started_at=AT) for one in (*rows("good", 12, 12, True), *rows("fair", 12, 12, True))]
    record = RaceRecord(rules=Race(), stops=(RecordedStop(stop=STOP, rules=Race(), at=AT),))
    jobs = (*others, *early, *late)
    found = study(Evidence(experiment="night", generated_at=AT, jobs=jobs, race=record))
    without = study(Evidence(experiment="night", generated_at=AT, jobs=tuple(others)))

    assert found.robustness.drift == without.robustness.drift
    assert not any("However they had ended" in sentence for sentence in found.verdict)


def test_a_race_that_ended_with_its_runs_says_that_it_decided_nothing() -> None:
    assert "The race ended because its runs were made (most_runs): who is left was not told apart by it." in (
        raced(spent=True).verdict
    )


def test_a_stop_that_took_no_run_away_leaves_the_profile_in_the_comparison() -> None:
    jobs = (*rows("good", 12, 12, True), *rows("slow", 12, 12, False))
    record = RaceRecord(rules=None, stops=(RecordedStop(stop=STOP, rules=Race(min_targets=5), at=AT),))

    found = study(Evidence(experiment="night", generated_at=AT, jobs=jobs, race=record))

    assert {place.summary.label for place in found.ranking.places} == {"good", "slow"}
    assert found.verdict[1].startswith("The race stopped slow")


def test_a_race_without_a_stop_says_so_and_no_race_says_nothing() -> None:
    jobs = tuple(rows("good", 6, 6, True))
    still = study(Evidence(experiment="night", generated_at=AT, jobs=jobs, race=RaceRecord(rules=Race())))
    none = study(Evidence(experiment="night", generated_at=AT, jobs=jobs))

    assert still.verdict[1] == "The race has stopped nobody."
    assert not any("race" in sentence for sentence in none.verdict)
    assert "out of the race" not in printed(none)


def test_every_form_of_the_report_has_it() -> None:
    whole, options = raced(), ReportOptions()

    told = json.loads(as_json.render(whole, options))
    assert told["race"]["stops"] == [
        {
            "label": "slow",
            "against": "good",
            "stop": {
                "arm": "hash-slow",
                "against": "hash-good",
                "targets": 8,
                "better": 8,
                "worse": 0,
                "repeat": 1,
                "evidence": 57,
                "needed": 53,
                "arms": 3,
            },
            "rules": {"error_rate": 0.05, "min_targets": 5, "margin": 0.0, "most_runs": None},
            "at": "2026-07-01T03:00:00+00:00",
        }
    ]
    assert {one["counts_as"] for one in told["jobs"] if one["end"] == "raced_out"} == {"raced_out"}
    page = html.render(whole, options)
    assert "out of the race: not compared" in page
    assert "Stopped by the race" in page
    assert "Stopped by the race" in markdown.render(whole, options)
    assert "Stopped by the race" in printed(whole)
