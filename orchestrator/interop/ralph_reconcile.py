"""What contradicts itself in ralph's runs, and the typed outcome each run is read as."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from orchestrator.domain.harness import end_outcome
from orchestrator.domain.outcome import Outcome
from orchestrator.domain.untyped import count, number, usd_micros
from orchestrator.domain.usage import TokenUsage
from orchestrator.interop.findings import Finding
from orchestrator.interop.ralph_ledger import LedgerRun, moment
from orchestrator.interop.ralph_profiles import ralph_model

# The summary rounds to a tenth of a second, and reads the clock a moment later.
_CLOCK_SECONDS = 1.0
_COST_MICROS = 100  # the ledger has four decimals


class Reading(NamedTuple):
    """How a run ended, as it is read, and why in words; the original word comes first."""

    outcome: Outcome
    detail: str


def read_end(run: LedgerRun) -> Reading:
    """The typed outcome of a run, from its own word and from what its rows show."""
    word = run.said("exit_reason")
    if run.summary is None or not isinstance(word, str) or not word:
        return Reading(Outcome.INTERRUPTED, "no end was written")
    if word == "no_work" and run.left:
        if breaker_opened(run):
            return Reading(Outcome.FAILURE_BREAKER, f"{word}: {run.left} tasks left, and its last stages all failed")
        return Reading(Outcome.TASKS_LEFT, f"{word}: but {run.left} tasks left")
    if word == "no_work" and run.completed:
        return Reading(Outcome.COMPLETE, f"{word}: nothing was left after {run.completed} tasks")
    if word == "complete" and _did_nothing(run):
        return Reading(Outcome.NO_PROGRESS, f"{word}: but no stage ran and no task was there")
    outcome = end_outcome(word)
    return Reading(outcome or Outcome.INTERRUPTED, word)


def breaker_opened(run: LedgerRun) -> bool:
    """Whether the run's last turns, as many as its breaker allows, all had a failure and none after it a success."""
    limit = count(run.config, "max_failures")
    last = [stage.told for stage in run.stages if stage.told.iteration is not None]
    turns = sorted({told.iteration for told in last if told.iteration is not None})[-(limit or 0) :]
    if not limit or len(turns) < limit:
        return False
    ends = {turn: [told.ok for told in last if told.iteration == turn][-1] for turn in turns}
    return all(ok is False for ok in ends.values())


def _did_nothing(run: LedgerRun) -> bool:
    same = run.said("git_sha_start") == run.said("git_sha_end")
    return not run.stages and not run.completed and not run.left and same


def reconcile(runs: Sequence[LedgerRun]) -> list[Finding]:
    """Every contradiction, run by run, then what concerns all of them."""
    findings = [finding for run in runs for finding in _of_run(run)]
    naive = [run.run_id for run in runs if _naive(run.said("started_at"))]
    if naive:
        found = f"{len(naive)} runs say no time zone"
        findings.append(Finding(kind="no_time_zone", where=naive[0], found=found, read_as="UTC"))
    by_spec: dict[str, set[str]] = {}
    for run in runs:
        by_spec.setdefault(run.spec, set()).add(str(run.said("git_sha_start")))
    for spec, bases in by_spec.items():
        if len(bases) > 1:
            found = f"its runs began at {len(bases)} different commits"
            read_as = "one target; each attempt keeps its own base"
            findings.append(Finding(kind="bases_differ", where=spec, found=found, read_as=read_as))
    return findings


def _naive(value: object) -> bool:
    return isinstance(value, str) and moment(value) is not None and datetime.fromisoformat(value).tzinfo is None


def _of_run(run: LedgerRun) -> Iterator[Finding]:
    for kind, found, read_as in (*_about_end(run), *_about_tasks(run), *_about_models(run), *_about_sums(run)):
        yield Finding(kind=kind, where=run.run_id, found=found, read_as=read_as)


def _about_end(run: LedgerRun) -> Iterator[tuple[str, str, str]]:
    if run.summary is None:
        yield "run_without_summary", f"{len(run.stages)} stages and no summary: it was killed", "interrupted"
        return
    word, end = str(run.said("exit_reason") or ""), read_end(run)
    if word == "no_work" and end.outcome is Outcome.FAILURE_BREAKER:
        yield "breaker_as_no_work", "ended as no_work, with tasks left and its last turns all failed", end.outcome
    elif word == "no_work" and end.outcome is Outcome.TASKS_LEFT:
        yield "no_work_with_tasks_left", f"ended as no_work with {run.left} tasks left", end.outcome
    elif word == "complete" and end.outcome is Outcome.NO_PROGRESS:
        yield "complete_without_work", "complete, but no stage ran and no task was there", end.outcome
    elif end_outcome(word) is None:
        yield "unknown_word", f"ended as {word!r}, which nobody knows", f"{end.outcome}: counts for nobody"
    limit, turns = count(run.config, "max_iterations"), count(run.said("iterations"))
    if end.outcome is Outcome.ITERATION_LIMIT and None not in (limit, turns) and limit != turns:
        yield (
            "limit_contradicts",
            f"ended by its limit after {turns} iterations, and its limit was {limit}",
            end.outcome,
        )
    if end.outcome is Outcome.ITERATION_LIMIT and breaker_opened(run):
        limit = count(run.config, "max_failures")
        found = f"its last turns all failed, and its breaker of {limit} never opened"
        yield "breaker_silent", found, f"{end.outcome}, as it says"


def _about_tasks(run: LedgerRun) -> Iterator[tuple[str, str, str]]:
    if not run.completed:
        return
    planned = run.completed + (run.left or 0)
    if run.left is not None and run.completed + run.left != run.left:
        found = f"tasks.total is {run.left} after {run.completed} were completed: it counts what is left"
        yield "total_is_left", found, f"{run.completed} of {planned} tasks"


def _about_models(run: LedgerRun) -> Iterator[tuple[str, str, str]]:
    flags = Counter(
        (str(stage.told.model), bool(stage.line.record["is_local"]))
        for stage in run.stages
        if stage.told.model and isinstance(stage.line.record.get("is_local"), bool)
    )
    for (name, flag), rows in sorted(flags.items()):
        if ralph_model(name).local != flag:
            said, is_one = ("local", "remote") if flag else ("remote", "local")
            yield f"{is_one}_as_{said}", f"{name} is {is_one}, and its {rows} stages are counted as {said}", is_one


def _about_sums(run: LedgerRun) -> Iterator[tuple[str, str, str]]:
    if run.summary is None:
        return
    rows = [stage.told for stage in run.stages]
    cost, said = sum(told.cost_usd_micros or 0 for told in rows), usd_micros(run.said("cost"))
    if said is not None and abs(cost - said) > _COST_MICROS:
        yield "cost_contradicts", f"summary {said / 1e6:.4f} USD, rows {cost / 1e6:.4f} USD", "the rows"
    usage = sum((told.usage for told in rows), TokenUsage())
    for kind, total in (("input", usage.input), ("cached", usage.cache_read), ("output", usage.output)):
        told_total = count(run.said("tokens"), kind)
        if told_total is not None and told_total != (total or 0):
            yield "tokens_contradict", f"{kind} tokens: summary {told_total}, rows {total or 0}", "the rows"
    yield from _about_counts(run)
    unknown = sum(told.ok is False and told.usage.total is None for told in rows)
    if unknown:
        yield "zero_for_unknown", f"{unknown} failed stages say 0 tokens and 0 USD", "unknown, which is not 0"
    began, ended, seconds = run.started_at, run.ended_at, run.seconds
    if began and ended and seconds is not None and abs((ended - began).total_seconds() - seconds) > _CLOCK_SECONDS:
        found = f"duration_s is {seconds:g}, its clock times are {(ended - began).total_seconds():g} s apart"
        yield "duration_contradicts", found, f"{seconds:g} s"


def _about_counts(run: LedgerRun) -> Iterator[tuple[str, str, str]]:
    stages = run.said("stages")
    told = {name: count(entry, "count") or 0 for name, entry in stages.items()} if isinstance(stages, dict) else {}
    rows = Counter(str(stage.line.record.get("stage")) for stage in run.stages)
    if isinstance(stages, dict) and told != dict(rows):
        yield "stages_contradict", f"summary {_counts(told)}, rows {_counts(rows)}", "the rows"
    kills = run.said("kills")
    said = {kind: int(number(kills, kind) or 0) for kind in kills} if isinstance(kills, dict) else {}
    found = Counter(stage.told.kill_reason for stage in run.stages if stage.told.kill_reason)
    if said and {kind: n for kind, n in said.items() if n} != dict(found):
        yield "kills_contradict", f"summary {_counts(said)} kills, rows {_counts(found)}", "the rows; both are kept"
    turns = max((stage.told.iteration or 0 for stage in run.stages), default=0)
    iterations = count(run.said("iterations"))
    if iterations is not None and iterations != turns and not (not run.stages and iterations <= 1):
        yield "iterations_contradict", f"summary {iterations} iterations, rows {turns}", "the rows"


def _counts(counts: object) -> str:
    pairs = counts.items() if isinstance(counts, dict) else ()
    return ", ".join(f"{name} {number}" for name, number in sorted(pairs) if number) or "none"
