"""On recorded trials: from the first runs of each task and submission, the others are foretold."""

import csv
import gzip
from collections import defaultdict
from datetime import datetime
from math import log2
from pathlib import Path
from statistics import fmean, median

import pytest

from orchestrator.analysis.estimate import Estimate, Source
from orchestrator.analysis.forecast import OpenJob, forecast
from orchestrator.analysis.known import SECONDS, Run, Subject, known_from
from orchestrator.analysis.simulate import SimulatedJob, simulate

_TRIALS = Path(__file__).resolve().parents[3] / "shared" / "fixtures" / "leaderboards" / "tb1_trials.csv.gz"

pytestmark = pytest.mark.skipif(not _TRIALS.is_file(), reason="the recorded trials are not beside this checkout")


@pytest.fixture(scope="module")
def trials() -> list[tuple[Subject, int, float]]:
    """What was run, the how manyth of its cell it was, and its seconds; in the order in which they began."""
    with gzip.open(_TRIALS, "rt", encoding="utf-8") as lines:
        rows = sorted(
            (row for row in csv.DictReader(lines) if row["started"] and row["ended"]), key=lambda r: r["started"]
        )
    seen: defaultdict[str, int] = defaultdict(int)
    found = []
    for row in rows:
        subject = Subject(f"{row['task']}/{row['submission']}", row["task"], row["submission"], row["submission"])
        seen[subject.cell] += 1
        took = datetime.fromisoformat(row["ended"]) - datetime.fromisoformat(row["started"])
        found.append((subject, seen[subject.cell], took.total_seconds()))
    return found


def judged(pairs: list[tuple[Estimate, float]]) -> tuple[float, float, float]:
    """Share inside the interval, median factor by which the middle is off, and the ratio of the sums."""
    ranged = [(one.low, came, one.high) for one, came in pairs if one.low is not None and one.high is not None]
    inside = fmean(low <= came <= high for low, came, high in ranged)
    off = 2 ** median(abs(log2(came / one.middle)) for one, came in pairs)
    return inside, off, sum(came for _, came in pairs) / sum(one.mean for one, _ in pairs)


def test_the_last_runs_of_each_cell_from_the_first_three(trials: list[tuple[Subject, int, float]]) -> None:
    known = known_from(Run(subject, {SECONDS: took}) for subject, number, took in trials if number <= 3)
    pairs = [
        (found, took)
        for subject, number, took in trials
        if number > 3 and (found := known.expect(subject, SECONDS)) is not None
    ]
    inside, off, sums = judged(pairs)
    print(f"{len(pairs)} foretold: {100 * inside:.0f} % inside (made for 80), off by {off:.2f}x, sums {sums:.2f}")
    assert {one.source for one, _ in pairs} == {Source.CELL}
    assert len(pairs) == 933
    assert 0.75 < inside < 0.88
    assert off < 1.25
    assert sums == pytest.approx(1.0, abs=0.1)


def test_tasks_that_a_submission_never_ran_from_the_others(trials: list[tuple[Subject, int, float]]) -> None:
    """Every other task is unseen by every other submission; what it takes is learned from the rest."""
    tasks = {task: place for place, task in enumerate(sorted({one.target for one, _, _ in trials}))}
    agents = {agent: place for place, agent in enumerate(sorted({one.agent for one, _, _ in trials}))}
    unseen = {(a, t) for a in agents for t in tasks if (agents[a] + tasks[t]) % 3 == 0}
    known = known_from(Run(s, {SECONDS: took}) for s, _, took in trials if (s.agent, s.target) not in unseen)
    by_source: defaultdict[Source, list[tuple[Estimate, float]]] = defaultdict(list)
    for subject, _, took in trials:
        if (subject.agent, subject.target) in unseen and (found := known.expect(subject, SECONDS)) is not None:
            by_source[found.source].append((found, took))
    for source, pairs in by_source.items():
        inside, off, sums = judged(pairs)
        print(
            f"{source.name}: {len(pairs)} foretold, {100 * inside:.0f} % inside, off by {off:.2f}x, sums {sums:.2f}"
        )
    inside, off, sums = judged(by_source[Source.SIZED])
    assert len(by_source[Source.SIZED]) > 500
    assert 0.72 < inside < 0.92
    assert off < 1.6
    assert sums == pytest.approx(1.0, abs=0.15)


def test_the_end_of_a_night_of_the_last_runs(trials: list[tuple[Subject, int, float]]) -> None:
    """64 slots, in the order in which they began; the range holds what a simulation with the recorded times says."""
    known = known_from(Run(subject, {SECONDS: took}) for subject, number, took in trials if number <= 3)
    rest = [
        (subject, took, found)
        for subject, number, took in trials
        if number > 3 and (found := known.expect(subject, SECONDS)) is not None
    ]
    pool = ("pool:x",)
    jobs = [OpenJob(s.cell, s.target, pool, found, 86_400.0) for s, _, found in rest]
    told = forecast(jobs, {"pool:x": 64}, nights=40).ends
    came = simulate([SimulatedJob(pool, place, took) for place, (_, took, _) in enumerate(rest)], {"pool:x": 64})
    assert told is not None
    print(f"foretold {told.low:.0f} - {told.middle:.0f} - {told.high:.0f} s, came {came.makespan_seconds:.0f} s")
    assert told.low * 0.8 < came.makespan_seconds < told.high * 1.2
