"""A run of another program as the rows that it becomes here: what every import of published results does alike."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from orchestrator.domain.check import CheckStatus
from orchestrator.domain.matrix import Json, content_hash
from orchestrator.domain.outcome import Outcome
from orchestrator.domain.states import JobState
from orchestrator.domain.usage import TokenUsage
from orchestrator.storage.imports import ImportedRun, ImportedStage

UNKNOWN = "unknown"
# A run of which nobody says when it was still needs a place in time.
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Arm:
    """What was compared: a profile of somebody else's. `identity` is all that tells it from others."""

    source: str
    experiment: str
    name: str
    agent: str
    agent_version: str | None
    reasoning: str
    build: str
    identity: Mapping[str, Json]


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a run ended, and what it took; None is unknown. `check` is what judged its work, with a reason.

    `total_tokens` is for those who tell the sum alone, and not of what.
    """

    outcome: Outcome
    detail: str
    started_at: datetime | None = None
    ended_at: datetime | None = None
    wall_seconds: float | None = None
    working_seconds: float | None = None
    usage: TokenUsage = field(default_factory=TokenUsage)
    total_tokens: int | None = None
    stage: str = "run"
    list_cost_usd_micros: int | None = None
    check: tuple[CheckStatus, str] | None = None


class Rows:
    """Makes the rows of the runs of one arm on one target; what all of them share is made once."""

    def __init__(self, arm: Arm, target: str) -> None:
        self._arm = arm
        profile_hash = content_hash(dict(arm.identity))
        self._target_hash = content_hash({"imported": arm.source, "task": target})
        self._target: dict[str, Any] = {"label": label(target), "sha": UNKNOWN, "spec": {"label": label(target)}}
        self._cell_hash = content_hash({"target": self._target_hash, "profile": profile_hash})
        models = {"reasoning": {"name": arm.reasoning}, "build": {"name": arm.build}}
        spec = {
            "experiment": arm.experiment,
            "target": self._target["spec"],
            "profile": label(arm.name),
            "agent": arm.agent,
            "agent_version": arm.agent_version,
            "loop": "external",
            "models": models,
            "limits": {},
            "config": dict(arm.identity),
        }
        key = f"{label(target)}/{label(arm.name)}[{profile_hash[:6]}]"
        self._cell = {
            "profile": label(arm.name),
            "key": key,
            "profile_hash": profile_hash,
            "params": {},
            "spec": spec,
        }

    def run(self, name: str, ended: Ended, record: Mapping[str, Any] | None) -> ImportedRun:
        """One run. `name` is its own among all of this source: it is stored once."""
        arm = self._arm
        began = ended.started_at or ended.ended_at or EPOCH
        return ImportedRun(
            attempt_id=hashlib.sha256(f"{arm.source}\0{arm.experiment}\0{name}".encode()).hexdigest()[:32],
            target_hash=self._target_hash,
            target=self._target,
            cell_hash=self._cell_hash,
            cell=self._cell,
            state=JobState.DONE if ended.outcome is Outcome.COMPLETE else JobState.FAILED,
            outcome=ended.outcome,
            detail=ended.detail,
            started_at=began,
            ended_at=max(ended.ended_at or began, began),
            values={"wall_seconds": ended.wall_seconds, "working_seconds": ended.working_seconds},
            record=record,
            stages=(_stage(arm, ended, began),),
            check=None
            if ended.check is None
            else {"name": "tests", "status": ended.check[0], "reason": ended.check[1]},
        )


def _stage(arm: Arm, ended: Ended, began: datetime) -> ImportedStage:
    """Nobody tells of single stages: the whole run is one."""
    model = arm.reasoning if arm.reasoning == arm.build else f"{arm.reasoning} + {arm.build}"
    values = {
        "ordinal": 1,
        "stage": ended.stage,
        "role": "reasoning",
        "agent": arm.agent[:64],
        "model_asked": model,
        "resource": f"account:{UNKNOWN}",
        "started_at": began,
        "ended_at": ended.ended_at,
        "input_tokens": ended.usage.input,
        "output_tokens": ended.usage.output,
        "cache_read_tokens": ended.usage.cache_read,
        "cache_write_tokens": ended.usage.cache_write,
        "stream_total_tokens": ended.total_tokens if ended.usage.total is None else ended.usage.total,
        "cost_usd_micros": ended.list_cost_usd_micros,
        "outcome": None if ended.outcome is Outcome.COMPLETE else ended.outcome,
        "resumed": False,
    }
    return ImportedStage(values=values, record=None)


def label(name: str) -> str:
    """A name as ours are: at most 64 letters, digits, dots, dashes and underscores."""
    return re.sub(r"[^A-Za-z0-9._-]+|\.\.+", "-", name).strip("-._")[:64] or UNKNOWN
