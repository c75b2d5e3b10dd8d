"""Runs of a leaderboard as jobs: as many as there were tasks, each with its share of cost, time and tokens."""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from orchestrator.domain.outcome import Outcome
from orchestrator.domain.usage import TokenUsage
from orchestrator.interop.foreign import EPOCH, UNKNOWN, Arm, Ended, Rows
from orchestrator.interop.leaderboard import BoardRun
from orchestrator.storage.imports import ImportedRun

SOURCE = "leaderboard"


def to_results(experiment: str, benchmark: str, runs: Iterable[BoardRun]) -> Iterator[ImportedRun]:
    """The jobs of every run, one after the other: the solved ones first, then the others, then those never tried."""
    for run in runs:
        rows = Rows(_arm(experiment, run), benchmark)
        for index in range(run.tasks):
            record = {"line": run.entry.line, "record": dict(run.entry.fields)} if index == 0 else None
            yield rows.run(f"{benchmark}\0{run.name}\0{index}", _ended(run, index), record)


def _arm(experiment: str, run: BoardRun) -> Arm:
    config = {key: run.entry.fields.get(key) for key in _CONFIG}
    return Arm(
        source=SOURCE,
        experiment=experiment,
        name=run.label,
        agent=_agent(run),
        agent_version=run.version,
        reasoning=run.model,
        build=run.editor or run.model,
        identity={"imported": SOURCE, "run": run.name, "model": run.model, **config},
    )


# What makes two runs of the same models different.
_CONFIG = ("editor_model", "edit_format", "editor_edit_format", "reasoning_effort", "thinking_tokens", "versions")


def _agent(run: BoardRun) -> str:
    command = str(run.entry.fields.get("command") or "").split()
    return Path(command[0]).name[:64] if command else UNKNOWN


def _ended(run: BoardRun, index: int) -> Ended:
    if index >= run.ran:
        return Ended(outcome=Outcome.INTERRUPTED, detail="this task was not tried", started_at=run.date)
    solved = index < run.solved
    seconds = None if run.seconds is None else run.seconds / run.ran
    began = run.date or EPOCH
    return Ended(
        outcome=Outcome.COMPLETE if solved else Outcome.CHECKS_FAILED,
        detail="",
        started_at=began,
        ended_at=None if seconds is None else began + timedelta(seconds=seconds),
        wall_seconds=seconds,
        usage=TokenUsage(input=_share(run.input_tokens, run, index), output=_share(run.output_tokens, run, index)),
        list_cost_usd_micros=_share(run.cost_usd_micros, run, index),
    )


def _share(total: int | None, run: BoardRun, index: int) -> int | None:
    """Equal parts whose sum is the total exactly: what does not divide goes to the first."""
    if total is None:
        return None
    each, rest = divmod(total, run.ran)
    return each + (index < rest)


def summary(run: BoardRun) -> dict[str, Any]:
    """What of a run is told after an import, for programs."""
    return {
        "run": run.name,
        "profile": run.label,
        "solved": run.solved,
        "ran": run.ran,
        "tasks": run.tasks,
        "cost_usd": None if run.cost_usd_micros is None else run.cost_usd_micros / 1e6,
    }
