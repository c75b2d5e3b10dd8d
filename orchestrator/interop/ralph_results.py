"""Ralph's runs as results of ours: an experiment marked as imported, with every original record kept."""

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from orchestrator.domain.harness import stage_outcome
from orchestrator.domain.matrix import Json, content_hash
from orchestrator.domain.outcome import Outcome
from orchestrator.domain.states import JobState
from orchestrator.domain.untyped import count, text
from orchestrator.interop.ralph_ledger import LedgerRun, LedgerStage, Line
from orchestrator.interop.ralph_models import UNKNOWN
from orchestrator.interop.ralph_profiles import ralph_model
from orchestrator.interop.ralph_reconcile import Reading, read_end
from orchestrator.storage.imports import ImportedRun, ImportedStage

SOURCE = "ralph"
# A run of which nobody says when it was still needs a place in time.
_SHA_CHARS = 64
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_result(experiment: str, run: LedgerRun) -> ImportedRun:
    """One run as the rows that it becomes."""
    end = read_end(run)
    target: dict[str, Any] = {"label": _label(run.spec), "sha": UNKNOWN, "spec": {"label": _label(run.spec)}}
    identity: dict[str, Json] = {"imported": SOURCE, "profile": run.profile, "config": dict(run.config)}
    profile_hash, target_hash = content_hash(identity), content_hash({"imported": SOURCE, "spec": run.spec})
    key = f"{target['label']}/{_label(run.profile)}[{profile_hash[:6]}]"
    cell = {
        "profile": _label(run.profile),
        "key": key,
        "profile_hash": profile_hash,
        "params": {},
        "spec": _spec(experiment, run, target),
    }
    began = run.started_at or run.ended_at or _EPOCH
    stages = _stages(run, began)
    ended = run.ended_at or _later(began, run.seconds or sum(s.told.seconds or 0.0 for s in run.stages))
    return ImportedRun(
        attempt_id=hashlib.sha256(f"{SOURCE} {experiment} {run.run_id}".encode()).hexdigest()[:32],
        target_hash=target_hash,
        target=target,
        cell_hash=content_hash({"target": target_hash, "profile": profile_hash}),
        cell=cell,
        state=JobState.DONE if end.outcome is Outcome.COMPLETE else JobState.FAILED,
        outcome=end.outcome,
        detail=_detail(run, end),
        started_at=began,
        ended_at=max(ended, began),
        values={
            "wall_seconds": run.seconds,
            "base_sha": _word(run, "git_sha_start", _SHA_CHARS),
            "final_sha": _word(run, "git_sha_end", _SHA_CHARS),
            "branch": _word(run, "branch"),
            "run_dir": _word(run, "worktree"),
        },
        record=_record(run.summary) if run.summary else None,
        stages=stages,
    )


def _detail(run: LedgerRun, end: Reading) -> str:
    """The original word first; then the tasks, of which the original's total is read as what is left."""
    if run.completed is None:
        return end.detail
    return f"{end.detail}; {run.completed} of {run.completed + (run.left or 0)} tasks completed"


def _word(run: LedgerRun, key: str, most_chars: int | None = None) -> str | None:
    return text(run.summary.record, key)[:most_chars] or None if run.summary else None


def _record(line: Line) -> dict[str, Any]:
    return {"line": line.number, "record": dict(line.record)}


def _later(at: datetime, seconds: float) -> datetime:
    try:
        return at + timedelta(seconds=seconds)
    except OverflowError:
        return at  # behind the end of all calendars


def _spec(experiment: str, run: LedgerRun, target: Mapping[str, Any]) -> dict[str, Any]:
    reasoning = text(run.config, "model") or UNKNOWN
    build = text(run.config, "model_build") or reasoning
    return {
        "experiment": experiment,
        "target": target["spec"],
        "profile": _label(run.profile),
        "agent": SOURCE,
        "agent_version": None,
        "loop": "external",
        "models": {"reasoning": {"name": reasoning}, "build": {"name": build}},
        "limits": {},
        "config": dict(run.config),
    }


def _stages(run: LedgerRun, began: datetime) -> tuple[ImportedStage, ...]:
    """The ledger says how long each stage took and not when it was: they are laid end to end from the run's begin."""
    found, at = [], began
    for stage in run.stages:
        found.append(_stage(run, stage, at))
        at = _later(at, stage.told.seconds or 0.0)
    return tuple(found)


def _stage(run: LedgerRun, stage: LedgerStage, at: datetime) -> ImportedStage:
    told = stage.told
    model = ralph_model(told.model or UNKNOWN)
    outcome = stage_outcome(told)
    words = " ".join(word for word in (told.word, told.kill_reason) if word)
    values = {
        "ordinal": told.number,
        "stage": told.stage,
        "role": "build" if told.stage == "build" else "reasoning",
        "task": told.task,
        "agent": SOURCE,
        "session_id": told.session_id,
        "resumed": False,
        "model_asked": told.model or UNKNOWN,
        "resource": f"{'pool' if model.local else 'account'}:{model.provider or UNKNOWN}"[:80],
        "started_at": at,
        "ended_at": None if told.seconds is None else _later(at, told.seconds),
        "input_tokens": told.usage.input,
        "output_tokens": told.usage.output,
        "cache_read_tokens": told.usage.cache_read,
        "reasoning_tokens": told.usage.reasoning,
        "stream_total_tokens": told.usage.total,
        "stated_cost_usd_micros": told.cost_usd_micros,
        "context_peak_tokens": told.context_tokens,
        "context_window": count(run.config, "context_window"),
        "outcome": outcome,
        "detail": words or None,
        "kill_reason": f"{outcome}: {told.kill_reason}" if told.kill_reason else None,
    }
    return ImportedStage(values=values, record=_record(stage.line))


def _label(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]|\.\.+", "-", name.removesuffix(".md")).strip("-._")[:64] or UNKNOWN
