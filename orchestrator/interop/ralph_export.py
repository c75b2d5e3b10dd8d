"""Results as ralph's two ledgers. What was imported is given back as it was; the rest is told in ralph's words."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.analysis.rows import Evidence, JobRow, StageRow, by_job
from orchestrator.domain.outcome import Outcome
from orchestrator.domain.usage import TokenUsage
from orchestrator.storage.imports import KeptRecord

# Ours that ralph has a word for; the others keep our own.
_WORDS = {
    Outcome.COMPLETE: "complete",
    Outcome.NO_PROGRESS: "no_work",
    Outcome.ITERATION_LIMIT: "max_iterations",
    Outcome.WALL_TIMEOUT: "max_wall_time",
    Outcome.FAILURE_BREAKER: "circuit_breaker",
    Outcome.LOOP_DETECTED: "loop_detected",
}
_KILLS = {
    Outcome.STAGE_TIMEOUT: "timeout",
    Outcome.IDLE_TIMEOUT: "timeout",
    Outcome.WALL_TIMEOUT: "timeout",
    Outcome.CONTEXT_KILL: "context",
    Outcome.COMPACTION_FAILED: "context",
    Outcome.LOOP_DETECTED: "loop",
}
Record = dict[str, Any]
_HALVES = re.compile("[\ud800-\udfff]")


def lines(records: Sequence[Mapping[str, Any]]) -> str:
    """Records as JSON lines, written as ralph writes them."""
    return "".join(f"{_line(record)}\n" for record in records)


def _line(record: Mapping[str, Any]) -> str:
    text = json.dumps(record, separators=(",", ":"), ensure_ascii=False)
    # Half of a pair, which Python's reader takes, can be escaped but not encoded.
    return json.dumps(record, separators=(",", ":")) if _HALVES.search(text) else text


def kept(records: Sequence[KeptRecord]) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """The runs and the iterations of an import, each in the order of its file."""
    ordered = sorted(records, key=lambda one: int(one.record["line"]))
    runs = [one.record["record"] for one in ordered if one.ordinal is None]
    return runs, [one.record["record"] for one in ordered if one.ordinal is not None]


def told(evidence: Evidence) -> tuple[list[Record], list[Record]]:
    """The runs and the iterations of an experiment that was run here: what ended, in the order of the jobs."""
    runs, iterations = [], []
    by_id = by_job(evidence.stages)
    for job in evidence.jobs:
        if job.outcome is None or job.started_at is None:
            continue
        stages = by_id.get(job.job_id, [])
        run_id = f"{evidence.experiment}_{job.job_id}"
        runs.append(_run(evidence, job, stages, run_id))
        iterations += [_iteration(stage, run_id, number) for number, stage in enumerate(stages, 1)]
    return runs, iterations


def _run(evidence: Evidence, job: JobRow, stages: Sequence[StageRow], run_id: str) -> Record:
    profile = next(one for one in evidence.profiles if one.profile_hash == job.profile_hash)
    snapshot = {"model": profile.reasoning_model, "model_build": profile.build_model, **job.params}
    return {
        "run_id": run_id,
        "spec": job.target,
        "branch": None,
        "profile": job.profile,
        "config_snapshot": snapshot,
        "started_at": job.started_at.isoformat() if job.started_at else None,
        "ended_at": job.ended_at.isoformat() if job.ended_at else None,
        "duration_s": job.wall_seconds,
        "exit_reason": _WORDS.get(job.outcome, str(job.outcome)) if job.outcome else None,
        "iterations": len(stages),
        "tasks": {"total": None, "completed": None, "failed": None},
        "cost": _usd(job.cost_usd_micros, job.stated_cost_usd_micros),
        "tokens": _tokens(job.tokens),
        "api_calls": {"remote": job.remote_calls, "local": job.local_calls},
        "kills": {kind: sum(_kill(stage) == kind for stage in stages) for kind in ("timeout", "context", "loop")},
        "retries": {"validation": None, "task": None},
        "stages": dict(_by_stage(stages)),
    }


def _by_stage(stages: Sequence[StageRow]) -> Iterator[tuple[str, Record]]:
    for name in dict.fromkeys(stage.stage for stage in stages):
        mine = [stage for stage in stages if stage.stage == name]
        costs = [_usd(stage.cost_usd_micros, stage.stated_cost_usd_micros) for stage in mine]
        known = [cost for cost in costs if cost is not None]
        entry = {"count": len(mine), "cost": round(sum(known), 6) if len(known) == len(costs) else None}
        for kind, prefix in (("remote", "account:"), ("local", "pool:")):
            calls = [stage.requests for stage in mine if stage.resource.startswith(prefix)]
            if calls:
                entry[f"api_calls_{kind}"] = None if None in calls else sum(call or 0 for call in calls)
        yield name.upper(), entry


def _iteration(stage: StageRow, run_id: str, number: int) -> Record:
    record: Record = {
        "run_id": run_id,
        "iteration": number,
        "stage": stage.stage.upper(),
        "model": stage.model_asked,
        "is_local": stage.resource.startswith("pool:"),
        "cost": _usd(stage.cost_usd_micros, stage.stated_cost_usd_micros),
        "tokens": _tokens(stage.usage),
        "duration_s": None if stage.seconds is None else round(stage.seconds, 3),
        "outcome": "failure" if stage.failed else "success",
    }
    kill = _kill(stage)
    return record | ({"kill_reason": kill} if kill else {})


def _kill(stage: StageRow) -> str | None:
    return _KILLS.get(stage.outcome) if stage.outcome else None


def _usd(listed: int | None, stated: int | None) -> float | None:
    micros = stated if listed is None else listed
    return None if micros is None else micros / 1e6


def _tokens(usage: TokenUsage) -> Record:
    return {"input": usage.input, "cached": usage.cache_read, "output": usage.output}
