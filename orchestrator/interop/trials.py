"""Trials as Terminal-Bench's submissions tell them: how each ended, what it took, and what does not fit."""

import hashlib
import re
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from orchestrator.domain.check import CheckStatus
from orchestrator.domain.outcome import Outcome, OutcomeClass, outcome_class
from orchestrator.domain.untyped import usd_micros
from orchestrator.domain.usage import TokenUsage
from orchestrator.interop.foreign import UNKNOWN, Arm, Ended, Rows
from orchestrator.interop.moments import read_moment
from orchestrator.interop.tally import Tally
from orchestrator.interop.trials_file import Line, Row
from orchestrator.storage.imports import ImportedRun

SOURCE = "trials"
# `DATE_AGENT_MODEL`, as submissions call themselves.
_SUBMISSION = re.compile(r"(?:\d{8}_)?(?P<agent>[^_]+)_(?P<model>.+)")
_LONG_DIGITS = 15
_KEPT_CELLS = 10_000
# How Terminal-Bench's words for a trial that failed are read, where the tests did not pass.
_MODES = {
    "": Outcome.COMPLETE,
    "unset": Outcome.COMPLETE,
    "none": Outcome.COMPLETE,
    "agent_timeout": Outcome.WALL_TIMEOUT,
    "unknown_agent_error": Outcome.AGENT_ERROR,
    "fatal_llm_parse_error": Outcome.UNUSABLE_ANSWERS,
    "context_length_exceeded": Outcome.CONTEXT_KILL,
    "output_length_exceeded": Outcome.TOKEN_LIMIT,
    # The tests gave no answer: the work counts as not solved, and as not judged.
    "test_timeout": Outcome.COMPLETE,
    "parse_error": Outcome.COMPLETE,
    # Nobody's work: these stay out of quality.
    "agent_installation_failed": Outcome.SETUP_FAILED,
    "invalid_environment": Outcome.SETUP_FAILED,
    "environment_error": Outcome.SETUP_FAILED,
    "infra_error": Outcome.INFRA_ERROR,
}
_RESOLVED = {"1": True, "true": True, "0": False, "false": False, "": None, "none": None, "null": None}


@dataclass
class Counts:
    """What was read, for the summary after an import. `cells` counts the trials of each submission and task."""

    rows: int = 0
    infra: int = 0
    unjudged: int = 0
    cells: Counter[tuple[str, str]] = field(default_factory=Counter)


def to_results(
    experiment: str, file: str, lines: Iterable[Line], tally: Tally, counts: Counts
) -> Iterator[ImportedRun]:
    """The trials as they stream by, each once."""
    # What was read, 24 bytes of each trial.
    seen: dict[bytes, bytes] = {}
    # Of the cells met last: a table has its trials of one together, and a large one has too many cells to keep.
    arms: OrderedDict[tuple[str, ...], Rows] = OrderedDict()
    for line in lines:
        row, where = line.row, f"{file}:{line.number}"
        name = "\0".join((row["submission"], row.get("run", ""), row["task"], row.get("trial") or where))
        if not _first(name, row, where, tally, seen):
            continue
        key = tuple(row.get(part, "") for part in ("submission", "agent", "model", "agent_version", "task"))
        if key not in arms:
            arms[key] = Rows(_arm(experiment, row), row["task"])
            if len(arms) > _KEPT_CELLS:
                arms.popitem(last=False)
        ended = read_trial(row, where, tally)
        counts.rows += 1
        counts.cells[row["submission"], row["task"]] += 1
        counts.infra += outcome_class(ended.outcome) is not OutcomeClass.RESULT
        counts.unjudged += ended.check is not None and ended.check[0] is CheckStatus.ERROR
        yield arms[key].run(name, ended, {"line": line.number, "record": dict(row)})


def note_missing(counts: Counts, tally: Tally) -> None:
    """Note tasks that a submission tried less often than is usual in the table, or not at all."""
    usual = Counter(counts.cells.values()).most_common(1)[0][0] if counts.cells else 0
    tasks = sorted({task for _, task in counts.cells})
    for submission in sorted({submission for submission, _ in counts.cells}):
        tried = [counts.cells[submission, task] for task in tasks]
        fewer = sum(0 < number < usual for number in tried)
        if fewer:
            found = f"{fewer} tasks have fewer than the usual {usual} trials"
            tally.note("trials_missing", submission, found, "those that are there: a task counts by its trials")
        if 0 in tried:
            found = f"{tried.count(0)} of {len(tasks)} tasks have no trial"
            tally.note("tasks_missing", submission, found, "without a result")


def _first(name: str, row: Row, where: str, tally: Tally, seen: dict[bytes, bytes]) -> bool:
    """Whether a trial is met for the first time; another of its name is noted."""
    key = hashlib.blake2b(name.encode(), digest_size=16).digest()
    content = hashlib.blake2b("\0".join(row.values()).encode(), digest_size=8).digest()
    first = seen.setdefault(key, content)
    if first is content:
        return True
    if first == content:
        tally.note("duplicate_row", where, "{rows} rows are there again, word for word", "once")
    else:
        tally.note("duplicate_contradicts", where, "{rows} trials are there again, with other content", "the first")
    return False


def _arm(experiment: str, row: Row) -> Arm:
    said = _SUBMISSION.fullmatch(row["submission"])
    agent = row.get("agent") or (said["agent"] if said else UNKNOWN)
    model = row.get("model") or (said["model"] if said else UNKNOWN)
    version = row.get("agent_version") or None
    identity = {"imported": SOURCE, "submission": row["submission"], "agent": agent, "model": model}
    return Arm(
        source=SOURCE,
        experiment=experiment,
        name=row["submission"],
        agent=agent,
        agent_version=version,
        reasoning=model,
        build=model,
        identity={**identity, "agent_version": version},
    )


def read_trial(row: Row, where: str, tally: Tally) -> Ended:
    """How a trial ended and what it took."""
    outcome, check, detail = _end(row, where, tally)
    names = ("started", "ended", "agent_started", "agent_ended")
    started, ended, began, done = (read_moment(row.get(name, ""), name, where, tally) for name in names)
    return Ended(
        outcome=outcome,
        detail=detail,
        started_at=started,
        ended_at=ended,
        wall_seconds=_seconds(started, ended, where, tally),
        working_seconds=_seconds(began, done, where, tally),
        usage=_usage(row, where, tally),
        list_cost_usd_micros=_cost(row, where, tally),
        check=check,
    )


class _End(NamedTuple):
    outcome: Outcome
    check: tuple[CheckStatus, str] | None
    detail: str


def _end(row: Row, where: str, tally: Tally) -> _End:
    mode = row.get("failure_mode", "").strip().lower()
    said = row["resolved"].strip().lower()
    resolved, outcome = _RESOLVED.get(said), _MODES.get(mode)
    if said not in _RESOLVED:
        tally.note("unknown_result", where, f"{{rows}} rows have resolved={said[:40]!r}", "no answer of the tests")
    if outcome is None:
        found = f"{{rows}} rows have failure_mode={mode[:40]!r}, which nobody knows"
        tally.note("unknown_word", where, found, "interrupted: counts for nobody")
        return _End(Outcome.INTERRUPTED, None, mode)
    if outcome_class(outcome) is not OutcomeClass.RESULT:
        found = f"{{rows}} trials ended as {mode}" + (" and yet are resolved" if resolved else "")
        tally.note("resolved_without_work" if resolved else "infra", where, found, f"{outcome}: not in quality")
        return _End(outcome, None, mode)
    if resolved is None and outcome is Outcome.COMPLETE:
        found = f"the tests of {{rows}} trials gave no answer ({mode or 'no reason told'})"
        tally.note("not_judged", where, found, "not solved, and counted as not judged")
        return _End(outcome, (CheckStatus.ERROR, mode), mode)
    if resolved and outcome is not Outcome.COMPLETE:
        found = f"{{rows}} trials ended as {mode}, and their tests passed"
        tally.note("resolved_all_the_same", where, found, "solved, as the tests say")
        return _End(Outcome.COMPLETE, (CheckStatus.PASS, ""), f"{mode}: but the tests passed")
    check = None if resolved is None else (CheckStatus.PASS if resolved else CheckStatus.FAIL, "")
    return _End(outcome, check, mode if mode != "unset" else "")


def _seconds(start: datetime | None, end: datetime | None, where: str, tally: Tally) -> float | None:
    if start is None or end is None:
        tally.note("time_unknown", where, "{rows} durations (of the trial, or of its agent) are not told", "unknown")
        return None
    if end < start:
        tally.note("ends_before_start", where, "{rows} durations end before they begin", "unknown")
        return None
    return (end - start).total_seconds()


def _usage(row: Row, where: str, tally: Tally) -> TokenUsage:
    given, made = _count(row, "in_tok", where, tally), _count(row, "out_tok", where, tally)
    if given == 0 and made == 0:
        tally.note("tokens_zero", where, "{rows} rows say 0 tokens in and out", "unknown: no model answers so")
        return TokenUsage()
    if given is None and made is None:
        tally.note("tokens_unknown", where, "{rows} rows tell no tokens", "unknown")
    elif given is not None:
        text = "{rows} rows do not say how many of their input tokens were cached"
        tally.note("tokens_undivided", where, text, "input, of which the cached share is unknown")
    return TokenUsage(input=given, output=made)


def _count(row: Row, key: str, where: str, tally: Tally) -> int | None:
    text = row.get(key, "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit() and len(text) <= _LONG_DIGITS:
        return int(text)
    tally.note("no_number", where, f"{{rows}} rows have no number in '{key}'", "unknown")
    return None


def _cost(row: Row, where: str, tally: Tally) -> int | None:
    text = row.get("cost_usd", "").strip()
    if not text:
        tally.note("cost_unknown", where, "{rows} rows say no cost", "unknown")
        return None
    try:
        # Python alone reads 1_000 as a number.
        cost = None if "_" in text else usd_micros(float(text))
    except ValueError:
        cost = None
    if cost is None:
        tally.note("no_number", where, "{rows} rows have no number in 'cost_usd'", "unknown")
    elif cost == 0:
        tally.note("cost_zero", where, "{rows} rows say a cost of 0", "unknown: a price was missing")
    return cost or None
