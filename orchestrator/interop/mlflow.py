"""An attempt as a run of MLflow's: parameters, metrics and tags as its file layout has them. Unknown is left out."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrator.domain.check import CheckStatus
from orchestrator.domain.outcome import Outcome, OutcomeClass, outcome_class
from orchestrator.storage.export import AttemptParts

# Statuses by number, as MLflow's protocol counts them.
_RUNNING, _FINISHED, _FAILED, _KILLED = 1, 3, 4, 5
_SOURCE_LOCAL = 4
_OF_ATTEMPT = (
    *("wall_seconds", "working_seconds", "rate_limit_wait_seconds", "lease_wait_seconds"),
    *("files_changed", "lines_added", "lines_removed", "commits"),
)
_OF_STAGES = (
    *("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens"),
    *("cost_usd_micros", "turns", "tool_calls"),
)
# What MLflow takes in a name, and how much of a value.
_NO_NAME = re.compile(r"[^A-Za-z0-9_.\- ]+")
_MAX_VALUE_CHARS = 500

Point = tuple[int, float, int]


@dataclass(frozen=True, kw_only=True)
class Run:
    """`meta` is what meta.yaml says but for places; `metrics` are points of (ms since 1970, value, step)."""

    run_id: str
    meta: Mapping[str, Any]
    params: Mapping[str, str]
    metrics: Mapping[str, Sequence[Point]]
    tags: Mapping[str, str]


def experiment_id(name: str) -> str:
    """Digits, the same whenever an experiment is exported, so that loading it again is seen to be the same."""
    return str(int(hashlib.sha256(name.encode()).hexdigest()[:15], 16))


def run_of(parts: AttemptParts) -> Run:
    """One attempt. Sums over stages are there where every stage tells its part; each stage is a step of its own."""
    attempt, spec = parts.attempt, parts.cell["spec"]
    name = f"{parts.target}/{parts.cell['profile']}#{parts.repeat}"
    at = _millis(attempt["ended_at"] or attempt["started_at"])
    values = {one: attempt[one] for one in _OF_ATTEMPT} | _sums(parts.stages) | _checks(parts.checks)
    metrics = {key: [(at, float(value), 0)] for key, value in values.items() if value is not None}
    own = attempt["id"]
    return Run(
        run_id=own if re.fullmatch(r"[0-9a-f]{32}", own) else hashlib.sha256(own.encode()).hexdigest()[:32],
        meta={
            "run_name": name,
            "status": _status(attempt["outcome"]),
            "start_time": _millis(attempt["started_at"]),
            "end_time": None if attempt["ended_at"] is None else at,
            "source_type": _SOURCE_LOCAL,
            "lifecycle_stage": "active",
        },
        params=_texts(_params(parts, spec)),
        metrics=metrics | _series(parts.stages),
        tags=_texts(
            {
                "mlflow.runName": name,
                "mlflow.source.name": "bakeoff",
                "mlflow.source.type": "LOCAL",
                "bakeoff.job": attempt["job_id"],
                "bakeoff.outcome": attempt["outcome"],
                "bakeoff.detail": attempt["detail"],
                "bakeoff.machine": attempt["machine"],
            }
        ),
    )


def _params(parts: AttemptParts, spec: Mapping[str, Any]) -> dict[str, Any]:
    models = {f"model.{role}": model["name"] for role, model in spec["models"].items()}
    swept = {f"param.{name}": value for name, value in parts.cell["params"].items()}
    return {
        "target": parts.target,
        "profile": parts.cell["profile"],
        "repeat": parts.repeat,
        "attempt": parts.attempt["number"],
        "agent": spec["agent"],
        "agent_version": spec["agent_version"],
        "loop": spec["loop"] if isinstance(spec["loop"], str) else None,
        **models,
        **swept,
    }


def _status(outcome: str | None) -> int:
    """A run that came to its own end is finished, whether it solved anything or not: metrics and tags tell that."""
    if outcome is None:
        return _RUNNING
    kind = outcome_class(Outcome(outcome))
    if kind is OutcomeClass.USER:
        return _KILLED
    return _FINISHED if Outcome(outcome) in (Outcome.COMPLETE, Outcome.CHECKS_FAILED) else _FAILED


def _sums(stages: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    def total(name: str) -> int | None:
        told = [stage[name] for stage in stages]
        return sum(told) if told and None not in told else None

    sums = {name: total(name) for name in _OF_STAGES}
    return {"stages": len(stages), **_in_usd(sums)}


def _in_usd(values: Mapping[str, Any]) -> dict[str, float | None]:
    micros = values.get("cost_usd_micros")
    rest = {name: value for name, value in values.items() if name != "cost_usd_micros"}
    return rest | {"cost_usd": None if micros is None else micros / 1e6}


def _series(stages: Sequence[Mapping[str, Any]]) -> dict[str, list[Point]]:
    """Step by step, for curves: one step is one stage."""
    found: dict[str, list[Point]] = {}
    for stage in stages:
        at = _millis(stage["ended_at"] or stage["started_at"])
        told = _in_usd({name: stage[name] for name in _OF_STAGES}) | {"context_tokens": stage["context_peak_tokens"]}
        for name, value in told.items():
            if value is not None:
                found.setdefault(f"stage.{name}", []).append((at, float(value), stage["ordinal"]))
    return found


def _checks(checks: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Of the checks on the finished work; one without an answer neither passed nor failed."""
    final = [check["status"] for check in checks if check["kind"] == "final"]
    if not final:
        return {}
    return {"checks_passed": final.count(CheckStatus.PASS), "checks_failed": final.count(CheckStatus.FAIL)}


def _millis(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    """Known values as one line each, under names that MLflow takes."""
    return {
        _NO_NAME.sub("-", name): " ".join(str(value).split())[:_MAX_VALUE_CHARS]
        for name, value in values.items()
        if value is not None and value != ""
    }
