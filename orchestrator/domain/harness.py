"""What a harness that runs stages by itself writes about them: ralph's ledger, read as values.

Its `iterations.jsonl` has a line for each stage, its `runs.jsonl` one for each run. Fields that are missing or are
nonsense are unknown. The original words are kept beside what they are read as.
"""

from collections.abc import Mapping

from orchestrator.domain.events import InnerRunEnded, InnerStageEnded
from orchestrator.domain.outcome import Outcome
from orchestrator.domain.untyped import count, number, text, usd_micros
from orchestrator.domain.usage import TokenUsage

# More of them in one supervised command are counted, and get no row.
INNER_STAGES = 100_000
_LONGEST_SECONDS = 31 * 86400.0
_GOOD = frozenset({"success", "ok", "pass", "passed", "done", "complete", "completed", "accepted"})
_BAD = frozenset({"failure", "failed", "fail", "error", "killed", "timeout", "rejected"})
_KILLS = {
    "timeout": Outcome.STAGE_TIMEOUT,
    "context": Outcome.CONTEXT_KILL,
    "context_limit": Outcome.CONTEXT_KILL,
    "compaction_failed": Outcome.COMPACTION_FAILED,
    "loop": Outcome.LOOP_DETECTED,
    "loop_detected": Outcome.LOOP_DETECTED,
}
_ENDS = {
    "complete": Outcome.COMPLETE,
    "completed": Outcome.COMPLETE,
    "success": Outcome.COMPLETE,
    "no_work": Outcome.NO_PROGRESS,
    "no_progress": Outcome.NO_PROGRESS,
    "progress_stall": Outcome.NO_PROGRESS,
    "stalled": Outcome.NO_PROGRESS,
    "max_iterations": Outcome.ITERATION_LIMIT,
    "max_wall_time": Outcome.WALL_TIMEOUT,
    "wall_time": Outcome.WALL_TIMEOUT,
    "wall_timeout": Outcome.WALL_TIMEOUT,
    "timeout": Outcome.WALL_TIMEOUT,
    "max_tokens": Outcome.TOKEN_LIMIT,
    "max_cost": Outcome.COST_LIMIT,
    "cost_limit": Outcome.COST_LIMIT,
    "max_api_calls": Outcome.TURN_LIMIT,
    "max_failures": Outcome.FAILURE_BREAKER,
    "circuit_breaker": Outcome.FAILURE_BREAKER,
    "consecutive_failures": Outcome.FAILURE_BREAKER,
    "loop": Outcome.LOOP_DETECTED,
    "loop_detected": Outcome.LOOP_DETECTED,
    "context": Outcome.CONTEXT_KILL,
    "rate_limit": Outcome.QUOTA_PARKED,
    "quota": Outcome.QUOTA_PARKED,
    "interrupted": Outcome.INTERRUPTED,
    "cancelled": Outcome.CANCELLED,
    "error": Outcome.AGENT_ERROR,
    "failed": Outcome.AGENT_ERROR,
}


def inner_stage(record: Mapping[str, object], number_in_run: int) -> InnerStageEnded | None:
    """One line of `iterations.jsonl`; None when it does not even name a stage."""
    stage = text(record, "stage").strip()
    if not stage:
        return None
    word = text(record, "outcome").strip()
    ok = True if word.lower() in _GOOD else False if word.lower() in _BAD else None
    usage, cost = _usage(record), usd_micros(record, "cost")
    if ok is False and not usage.total and not cost:
        # A stage that failed before anybody counted says 0 of everything.
        usage, cost = TokenUsage(), None
    return InnerStageEnded(
        number=number_in_run,
        run=text(record, "run_id") or None,
        stage=stage.lower()[:32],
        iteration=count(record, "iteration"),
        task=text(record, "task_id") or None,
        model=text(record, "model") or None,
        word=word,
        ok=ok,
        kill_reason=text(record, "kill_reason") or None,
        usage=usage,
        cost_usd_micros=cost,
        seconds=duration(record),
        session_id=text(record, "session_id") or None,
        context_tokens=count(record, "context_tokens"),
    )


def _usage(record: Mapping[str, object]) -> TokenUsage:
    """Ralph's input leaves cached tokens out."""
    return TokenUsage(
        input=count(record, "tokens", "input"),
        output=count(record, "tokens", "output"),
        cache_read=count(record, "tokens", "cached"),
        reasoning=count(record, "tokens", "reasoning"),
    )


def duration(record: object) -> float | None:
    """Its `duration_s`; None for what no run ever took."""
    found = number(record, "duration_s")
    return found if found is not None and 0 <= found <= _LONGEST_SECONDS else None


def inner_run(record: Mapping[str, object]) -> InnerRunEnded:
    """One line of `runs.jsonl`: how a run ended, and of how many tasks it says what."""
    return InnerRunEnded(
        run=text(record, "run_id") or None,
        word=text(record, "exit_reason").strip(),
        completed=count(record, "tasks", "completed"),
        left=count(record, "tasks", "total"),
    )


def stage_outcome(told: InnerStageEnded) -> Outcome | None:
    """The typed outcome of a stage; None for a good end, and for a word that nobody knows."""
    if told.kill_reason:
        return _KILLS.get(told.kill_reason.lower(), Outcome.AGENT_ERROR)
    return Outcome.AGENT_ERROR if told.ok is False else None


def run_outcome(told: InnerRunEnded) -> Outcome | None:
    """What a run's own word says about the supervised command; None for a good end, and for a word nobody knows.

    That somebody interrupted it is no reason to run it again for nothing: the harness itself was not asked to end.
    """
    outcome = end_outcome(told.word)
    if outcome is Outcome.NO_PROGRESS and told.left:
        return Outcome.TASKS_LEFT
    if outcome in (Outcome.COMPLETE, Outcome.NO_PROGRESS):
        return None
    return Outcome.AGENT_ERROR if outcome in (Outcome.INTERRUPTED, Outcome.CANCELLED) else outcome


def inner_ordinal(parent: int, number_in_run: int) -> int:
    """The ordinal of the row of an inner stage: it sorts behind every supervised stage, by its parent."""
    return parent * INNER_STAGES + number_in_run


def parent_ordinal(ordinal: int) -> int:
    """The supervised stage that a row belongs to: itself, or the harness that ran it."""
    return ordinal // INNER_STAGES or ordinal


def end_outcome(word: str) -> Outcome | None:
    """The typed outcome that a run's own word stands for; None for one that nobody knows."""
    return _ENDS.get(word.lower())
