"""Synthetic evidence: a realistic night with every outcome, unknown costs, infra deaths and hostile text."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from orchestrator.analysis.course import AttemptSpan, ContextCurve, Course, WindowCourse, WindowPoint
from orchestrator.analysis.rows import (
    CaseRow,
    ChangeRow,
    CheckRow,
    Evidence,
    JobRow,
    MachineNote,
    ProfileRow,
    StageRow,
)
from orchestrator.domain.cases import CaseChange, CaseStatus
from orchestrator.domain.check import CheckStatus
from orchestrator.domain.outcome import Outcome
from orchestrator.domain.states import JobState
from orchestrator.domain.tampering import ChangeKind, ChangeStatus
from orchestrator.domain.usage import TokenUsage

NIGHT = datetime(2026, 3, 4, 22, 0, tzinfo=UTC)
HOSTILE = (
    "<script>alert('x')</script> \u202egnp.exe\u202c \x1b[31mred\x1b[0m \u2066iso\u2069 `tick` | pipe | </details>"
    " <img src=http://example.invalid/x.png onerror=alert(1)> {{ 7 * 7 }} " + "W" * 10_000
)

# Names of cases and files are shown where texts are withheld, so they have to be harmless as they are.
NASTY_NAME = "</td><script>x</script> \u202egnp\u202c \x1b[31m|`*_{{ 7 * 7 }}" + "W" * 400

_PROFILES = {
    # solved rate, $ per job (None = unknown), seconds, reasoning, build
    "opus": (0.86, 1.92, 1500, "opus-4.6", "opus-4.6"),
    "hybrid": (0.80, 0.61, 1750, "opus-4.6", "devstral-small-2"),
    "sonnet": (0.62, 0.74, 1100, "sonnet-4.5", "sonnet-4.5"),
    "opus-sonnet": (0.78, 1.10, 1300, "opus-4.6", "sonnet-4.5"),
    "sonnet-hybrid": (0.55, 0.33, 1600, "sonnet-4.5", "devstral-small-2"),
    "devstral": (0.30, 0.0, 2100, "devstral-small-2", "devstral-small-2"),
    "gemini-preview": (0.58, None, 980, "gemini-3-preview", "gemini-3-preview"),
}
_TARGETS = ("shapes-c", "ledger-py", "http-router-go", "parser-rs", "billing-ts", "gc-barriers-c", "calendar-kt")
_NOT_AN_END = (Outcome.COMPLETE, Outcome.PAUSED, Outcome.INTERRUPTED, Outcome.RACED_OUT)
_UNSOLVED = [outcome for outcome in Outcome if outcome not in _NOT_AN_END]
_STAGES = ("plan", "build", "verify", "build", "judge")


def job(job_id: int = 1, **changes: Any) -> JobRow:
    """A solved job unless told otherwise."""
    values: dict[str, Any] = {
        "job_id": job_id,
        "experiment": "showdown",
        "target": "shapes-c",
        "profile": "hybrid",
        "profile_hash": "a" * 64,
        "state": JobState.DONE,
        "attempts": 1,
        "outcome": Outcome.COMPLETE,
        "started_at": NIGHT,
        "ended_at": NIGHT + timedelta(seconds=100),
        "wall_seconds": 100.0,
        "working_seconds": 90.0,
        "rate_limit_wait_seconds": 10.0,
        "tokens": TokenUsage(input=1000, output=200, cache_read=5000, cache_write=None, reasoning=None),
        "cost_usd_micros": 500_000,
        "remote_calls": 4,
        "local_calls": 6,
    }
    return JobRow(**(values | changes))


def many(solved: int, unsolved: int, *, start: int = 1, **changes: Any) -> list[JobRow]:
    """Jobs of one variant: so many solved, so many that made no progress, one target each."""
    made = []
    for index in range(solved + unsolved):
        end: dict[str, Any] = {"target": f"t{index}"}
        if index >= solved:
            end |= {"outcome": Outcome.NO_PROGRESS, "state": JobState.FAILED}
        made.append(job(start + index, **(end | changes)))
    return made


def night(repeats: int = 3, seed: int = 7) -> Evidence:
    """The whole showdown: seven targets, seven profiles."""
    draw = random.Random(seed)
    ends = count()
    jobs: list[JobRow] = []
    stages: list[StageRow] = []
    checks: list[CheckRow] = []
    cases: list[CaseRow] = []
    changes: list[ChangeRow] = []
    for target_index, target in enumerate(_TARGETS):
        for profile, facts in _PROFILES.items():
            for repeat in range(1, repeats + 1):
                row = _night_job(len(jobs) + 1, target, target_index, profile, facts, repeat, draw, ends)
                jobs.append(row)
                stages.extend(_night_stages(row, facts, draw))
                checks.extend(_night_checks(row, draw))
                cases.extend(_night_cases(row))
                changes.extend(_night_changes(row))
    return Evidence(
        experiment="001-profile-showdown",
        generated_at=NIGHT + timedelta(hours=10),
        jobs=tuple(jobs),
        stages=tuple(stages),
        checks=tuple(checks),
        cases=tuple(cases),
        changes=tuple(changes),
        profiles=tuple(
            ProfileRow(
                profile=name,
                profile_hash=_hash(name),
                agent="opencode",
                agent_version="1.18.33",
                reasoning_model=facts[3],
                build_model=facts[4],
                loop="staged",
            )
            for name, facts in _PROFILES.items()
        ),
        notes=(MachineNote(machine="redbox", text="quarantined after 3 set-up failures in a row", at=NIGHT),),
        course=night_course(jobs, random.Random(seed)),
    )


def night_course(jobs: list[JobRow], draw: random.Random) -> Course:
    """Attempts on two machines, one of them with a hostile name, two windows with a gap and a reset, and contexts."""
    return Course(
        attempts=tuple(_night_attempt(row) for row in jobs if row.started_at),
        windows=(_night_window("5h", 18_000, 0.9), _night_window(NASTY_NAME, 100_000, 0.2)),
        contexts=tuple(_night_context(row, draw) for row in jobs if row.job_id % 6 == 0),
        contexts_left_out=400,
    )


def _night_attempt(row: JobRow) -> AttemptSpan:
    assert row.started_at is not None
    return AttemptSpan(
        job_id=row.job_id,
        number=1,
        machine="redbox" if row.job_id % 3 else NASTY_NAME,
        queued_at=NIGHT,
        started_at=row.started_at,
        ended_at=row.started_at + timedelta(seconds=row.wall_seconds or 0),
        parked_until=NIGHT + timedelta(hours=9) if row.state is JobState.PARKED else None,
        limit_wait_seconds=row.rate_limit_wait_seconds,
    )


def _night_window(name: str, length_seconds: int, most: float) -> WindowCourse:
    points = []
    for step in range(161):
        at = step * 200
        used = None if 40 <= step < 55 else round(1e6 * most * (at % length_seconds) / length_seconds)
        points.append(WindowPoint(at=NIGHT + timedelta(seconds=at), used_ppm=used))
    resets = tuple(NIGHT + timedelta(seconds=at) for at in range(length_seconds, 32_000, length_seconds))
    return WindowCourse(account="max", window=name, ceiling_ppm=850_000, points=tuple(points), resets=resets)


def _night_context(row: JobRow, draw: random.Random) -> ContextCurve:
    turns, filled, compactions = [], 15_000, []
    for turn in range(1, draw.randint(12, 60)):
        filled += draw.randint(1500, 9000)
        if filled > 170_000:
            compactions.append(turn)
            filled = 40_000
        turns.append((turn, filled))
    return ContextCurve(
        job_id=row.job_id,
        attempt=1,
        order=2,
        window_tokens=200_000,
        turns=tuple(turns),
        compactions=tuple(compactions),
    )


def _hash(profile: str) -> str:
    return (profile.encode().hex() + "0" * 64)[:64]


def _night_job(
    job_id: int,
    target: str,
    target_index: int,
    profile: str,
    facts: tuple[float, float | None, int, str, str],
    repeat: int,
    draw: random.Random,
    ends: Iterator[int],
) -> JobRow:
    rate, cost, seconds, *_ = facts
    difficulty = 0.12 * (target_index - 3)
    good = draw.random() < rate - difficulty
    outcome = Outcome.COMPLETE if good or draw.random() < 0.3 else _UNSOLVED[next(ends) % len(_UNSOLVED)]
    state = _state(outcome)
    wall = seconds * draw.uniform(0.5, 1.8)
    unknown_cost = cost is None or (profile == "sonnet-hybrid" and draw.random() < 0.3)
    scale = draw.uniform(0.6, 1.6)
    local = int(40 * scale) if "devstral" in facts[4] else 0
    started = NIGHT + timedelta(seconds=draw.uniform(0, 30_000))
    final = outcome is not Outcome.QUOTA_PARKED
    return JobRow(
        job_id=job_id,
        experiment="001-profile-showdown",
        target=target,
        profile=profile,
        profile_hash=_hash(profile),
        repeat=repeat,
        state=state,
        waiting_reason="" if final else "account max: the weekly limit resets at 06:00",
        attempts=1 + (outcome is Outcome.INFRA_ERROR),
        outcome=outcome,
        detail="" if outcome is Outcome.COMPLETE else f"ended as {outcome.value} <b>by</b> the guard",
        started_at=started,
        ended_at=started + timedelta(seconds=wall) if final else None,
        wall_seconds=wall,
        working_seconds=wall * 0.93,
        rate_limit_wait_seconds=wall * 0.07 if "opus" in profile else 0.0,
        tokens=TokenUsage(
            input=int(60_000 * scale),
            output=int(21_000 * scale),
            cache_read=int(900_000 * scale) if profile != "gemini-preview" else None,
            reasoning=int(7_000 * scale) if "opus" in profile else None,
        ),
        cost_usd_micros=None if unknown_cost or cost is None else round(cost * scale * 1e6),
        stated_cost_usd_micros=None if cost is None else round(cost * scale * 1.04e6),
        remote_calls=int(30 * scale) if profile != "devstral" else 0,
        local_calls=local,
        context_peak_fill=min(0.97, 0.5 * scale),
        lines_added=int(180 * scale),
        lines_removed=int(60 * scale),
        files_changed=int(6 * scale),
        commits=3 if good else 1,  # also how the checks below know whether the work is right
        protected_changes=2 if job_id % 7 == 0 else 0,
        protected_counted=1 if job_id % 7 == 0 else 0,
        infra_attempts=1 if outcome in (Outcome.INFRA_ERROR, Outcome.SETUP_FAILED) else 0,
        final_text=HOSTILE if job_id % 5 == 0 else f"I implemented the change in {target} and all tests pass.",
    )


def _state(outcome: Outcome) -> JobState:
    special = {
        Outcome.COMPLETE: JobState.DONE,
        Outcome.QUOTA_PARKED: JobState.PARKED,
        Outcome.CANCELLED: JobState.CANCELLED,
        Outcome.MODEL_MISMATCH: JobState.INVALID,
    }
    return special.get(outcome, JobState.FAILED)


def _night_stages(
    row: JobRow, facts: tuple[float, float | None, int, str, str], draw: random.Random
) -> list[StageRow]:
    made: list[StageRow] = []
    shares = [0.1, 0.4, 0.12, 0.3, 0.08]
    at = row.started_at or NIGHT
    for order, (stage, share) in enumerate(zip(_STAGES, shares, strict=True), start=1):
        model = facts[4] if stage == "build" else facts[3]
        ended = at + timedelta(seconds=(row.wall_seconds or 0) * share)
        last = order == len(_STAGES)
        bad = last and row.outcome is not Outcome.COMPLETE
        made.append(
            StageRow(
                job_id=row.job_id,
                attempt=1,
                order=order,
                stage=stage,
                role="build" if stage == "build" else "reasoning",
                model_asked=model,
                model_served=model,
                resource="pool:redbox" if "devstral" in model else "account:max",
                started_at=at,
                ended_at=ended,
                turns=draw.randint(2, 18),
                requests=draw.randint(3, 25),
                rate_limit_wait_seconds=(row.rate_limit_wait_seconds or 0.0) * share,
                usage=TokenUsage(
                    input=int((row.tokens.input or 0) * share),
                    output=int((row.tokens.output or 0) * share),
                    cache_read=None if row.tokens.cache_read is None else int(row.tokens.cache_read * share),
                ),
                cost_usd_micros=None if row.cost_usd_micros is None else int(row.cost_usd_micros * share),
                context_peak_tokens=draw.randint(30_000, 180_000),
                context_window=200_000,
                exit_code=143 if bad else 0,
                outcome=row.outcome if bad else None,
                kill_reason=row.detail if bad else "",
                error_kind="server" if bad else "",
                error_text=HOSTILE if bad else "",
                prompt_bytes=5_120,
            )
        )
        at = ended
    return made


def _night_checks(row: JobRow, draw: random.Random) -> list[CheckRow]:
    if row.outcome is not Outcome.COMPLETE:
        return []
    good = row.commits == 3
    unclear = draw.random() < 0.03
    tests = CheckStatus.ERROR if unclear else CheckStatus.PASS if good else CheckStatus.FAIL
    return [
        CheckRow(job_id=row.job_id, name="build", status=CheckStatus.PASS, seconds=12.0, baseline=CheckStatus.PASS),
        CheckRow(
            job_id=row.job_id,
            name="tests",
            status=tests,
            seconds=48.0,
            reason="" if tests is CheckStatus.PASS else "exit 1: 2 of 31 tests fail <b>test_x</b>",
            baseline=CheckStatus.FAIL,
        ),
        CheckRow(
            job_id=row.job_id,
            name="hidden-tests",
            status=tests,
            seconds=31.0,
            baseline=CheckStatus.FAIL,
            baseline_flaky=True,
            hidden=True,
            runs=2,
            passed_runs=int(row.job_id % 4 == 0),
            replaced=("tests/<b>x</b>.py",),
            cases={CaseStatus.PASS: 28, CaseStatus.FAIL: 2, CaseStatus.ERROR: 0, CaseStatus.SKIPPED: 1},
            cases_complete=row.job_id % 2 == 0,
            report_fault="report.xml: <i>no</i> well-formed XML" if row.job_id % 9 == 0 else "",
        ),
    ]


def _night_cases(row: JobRow) -> list[CaseRow]:
    if row.outcome is not Outcome.COMPLETE:
        return []
    failed, passed = CaseStatus.FAIL, CaseStatus.PASS
    after = passed if row.commits == 3 else failed
    ends = [
        ("test_area", failed, after, CaseChange.FIXED if after is passed else CaseChange.STILL_FAILING),
        ("test_old", passed, failed, CaseChange.BROKEN),
        (f"test_{row.job_id}[{NASTY_NAME}]", None, failed, CaseChange.NEW_FAILING),
    ]
    return [
        CaseRow(job_id=row.job_id, check="tests", case=name, before=before, after=end, change=change)
        for name, before, end, change in ends[: 1 + row.job_id % 3]
    ]


def _night_changes(row: JobRow) -> list[ChangeRow]:
    if row.job_id % 7:
        return []
    return [
        ChangeRow(
            job_id=row.job_id,
            path=f"tests/{NASTY_NAME}.py" if row.job_id % 2 else "tests/test_area.py",
            kind=ChangeKind.TEST,
            status=ChangeStatus.DELETED,
            counts=True,
            lines_added=0,
            lines_removed=31,
            tests_removed=3,
            skips_added=1,
            asserts_removed=9,
        ),
        ChangeRow(job_id=row.job_id, path="Makefile", kind=ChangeKind.BUILD, status=ChangeStatus.ADDED, counts=False),
    ]
