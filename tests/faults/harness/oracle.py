"""What the evidence of a run says against the product: pure, so that it can be shown to fail."""

from collections.abc import Iterable, Iterator, Mapping

from orchestrator.domain.outcome import Outcome, OutcomeClass, outcome_class
from tests.faults.harness.evidence import Evidence, Life, Tried, Work

# The agent's clock and the database's rows are of one machine; this is for the rounding of both.
_SLACK_SECONDS = 0.02


def violations(evidence: Evidence) -> list[str]:
    """Every broken promise, in words; empty when all were kept."""
    parts = (_jobs, _attempts, _resumed, _overlaps, _outliving, _stale_results, _checks, _remains)
    return [text for part in parts for text in part(evidence)]


def _jobs(evidence: Evidence) -> Iterator[str]:
    if len(evidence.jobs) != evidence.expected_jobs:
        yield f"lost job: {len(evidence.jobs)} of {evidence.expected_jobs} are in the database"
    for job in evidence.jobs:
        tries = [one for one in evidence.attempts if one.job_id == job.id]
        yield from _counted(job, tries)


def _counted(job: Work, tries: list[Tried]) -> Iterator[str]:
    if job.state not in ("done", "failed"):
        yield f"lost job: job {job.id} is {job.state}"
        return
    counting = [one for one in tries if one.outcome and outcome_class(Outcome(one.outcome)) is OutcomeClass.RESULT]
    if len(counting) != 1:
        yield f"lost job: job {job.id} has {len(counting)} counting attempts of {[one.outcome for one in tries]}"
        return
    if counting[0] != tries[-1] or counting[0].fence != job.fence or counting[0].outcome != job.outcome:
        yield f"stale result: job {job.id} {job.outcome} does not count its newest attempt {tries[-1]}"


def _attempts(evidence: Evidence) -> Iterator[str]:
    for one in evidence.attempts:
        if one.state != "ended" or one.ended is None or one.outcome not in set(Outcome):
            yield f"no outcome: attempt {one.id} of job {one.job_id} is {one.state} {one.outcome}"
    for job in evidence.jobs:
        tries = [one for one in evidence.attempts if one.job_id == job.id]
        if [one.number for one in tries] != list(range(1, len(tries) + 1)):
            yield f"no outcome: attempts of job {job.id} are numbered {[one.number for one in tries]}"
        if sorted({one.fence for one in tries}) != [one.fence for one in tries]:
            yield f"stale result: fences of job {job.id} are {[one.fence for one in tries]}"
    ended = {one.id: one for one in evidence.attempts}
    for seen in evidence.seen:
        now = ended.get(seen.attempt)
        if now is None or seen[1:] != (now.outcome, now.wall_seconds, now.final_sha):
            yield f"stale result: {seen} became {now}"


def _resumed(evidence: Evidence) -> Iterator[str]:
    by_id = {one.id: one for one in evidence.attempts}
    for one in evidence.attempts:
        first = 1 + (one.resumed_stages or 0)
        ordinals = list(evidence.staged.get(one.id, ()))
        if ordinals != list(range(first, first + len(ordinals))):
            yield f"bad resume: {one.id} builds on {first - 1} stages and has the stages {ordinals}"
        if one.resumed_from is None:
            continue
        before = by_id.get(one.resumed_from)
        if before is None or before.job_id != one.job_id or before.number >= one.number:
            yield f"bad resume: {one} goes on from {before}"
        elif before.run_dir != one.run_dir:
            yield f"bad resume: {one.id} goes on from {before.id} in another tree ({one.run_dir}, {before.run_dir})"


def _chain(attempt: Tried, by_id: Mapping[str, Tried]) -> Iterator[str]:
    """The attempt and those whose work its tree holds."""
    at: Tried | None = attempt
    while at is not None:
        yield at.id
        at = by_id.get(at.resumed_from or "")


def _overlaps(evidence: Evidence) -> Iterator[str]:
    job_of = {one.id: one.job_id for one in evidence.attempts}
    needs_of = {job.id: job.needs.split(",") for job in evidence.jobs}
    by_job: dict[int, list[Life]] = {}
    by_resource: dict[str, list[Life]] = {}
    by_tree: dict[str, list[Life]] = {}
    for life in evidence.lives:
        if life.attempt not in job_of:
            yield f"double run: an agent of the unknown attempt {life.attempt} lived"
            continue
        job = job_of[life.attempt]
        by_job.setdefault(job, []).append(life)
        by_tree.setdefault(life.tree, []).append(life)
        for need in needs_of[job]:
            by_resource.setdefault(need, []).append(life)
    for job, found in by_job.items():
        if _most(found) > 1:
            yield f"double run: job {job} had {_most(found)} live agents: {sorted(found, key=lambda one: one.start)}"
    for tree, found in by_tree.items():
        if tree and _most(found) > 1:
            yield f"double run: {_most(found)} agents lived in one tree: {tree}"
    for need, found in by_resource.items():
        if _most(found) > evidence.capacities[need]:
            yield f"overbooked: {need} had {_most(found)} sessions, {evidence.capacities[need]} allowed"


def _most(found: Iterable[Life]) -> int:
    changes = sorted(change for life in found for change in ((life.start, 1), (life.last, -1)))
    alive = most = 0
    for _, change in changes:
        alive += change
        most = max(most, alive)
    return most


def _outliving(evidence: Evidence) -> Iterator[str]:
    ended = {one.id: one.ended for one in evidence.attempts}
    for life in evidence.lives:
        end = ended.get(life.attempt)
        if end is not None and life.last > end + _SLACK_SECONDS:
            yield f"orphan: an agent of {life.attempt} lived {life.last - end:.3f} s longer than its attempt"


def _stale_results(evidence: Evidence) -> Iterator[str]:
    by_id = {one.id: one for one in evidence.attempts}
    for one in evidence.attempts:
        # A scheduler that expires an attempt knows nothing but that; its holder would have known the time it took.
        expired = one.outcome == Outcome.LEASE_LOST and one.wall_seconds is None
        if expired and (one.final_sha is not None or one.id in evidence.results):
            yield f"stale result: {one.id} has expired and left results"
        line = {*_chain(one, by_id)}
        worked = {name for name in line if evidence.staged.get(name)}
        if one.outcome == Outcome.COMPLETE and not worked:
            yield f"lost job: {one.id} is complete without a stage on record"
        patch = evidence.patches.get(one.id)
        # An attempt that had stages of its own has put its name there; one that found all of them done has not.
        named = {one.id} if one.id in worked else worked
        if one.outcome == Outcome.COMPLETE and (patch is None or not any(name in patch for name in named)):
            yield f"stale result: the patch of {one.id} does not hold its work"
        if patch is not None and any(name in patch for name in by_id if name not in worked | {one.id}):
            yield f"stale result: the patch of {one.id} holds another attempt's work"


def _checks(evidence: Evidence) -> Iterator[str]:
    baselines = [one for one in evidence.checked if one.kind == "baseline"]
    if len(baselines) != 1:
        yield f"lost check: the base was checked {len(baselines)} times: {baselines}"
    passed = {one.attempt for one in evidence.checked if one.kind == "final" and one.status == "pass"}
    for one in evidence.attempts:
        if one.outcome == Outcome.COMPLETE and one.id not in passed:
            mine = [check for check in evidence.checked if check.attempt == one.id]
            yield f"lost check: {one.id} is complete and its check has not passed: {mine}"


def _remains(evidence: Evidence) -> Iterator[str]:
    yield from (f"held lease: {text}" for text in evidence.held)
    yield from (f"orphan: process {pid} still runs: {line}" for pid, line in evidence.survivors.items())
