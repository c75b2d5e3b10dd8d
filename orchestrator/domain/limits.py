"""The limits of a run. Every one can be a swept axis; absent means unlimited only where the field says so."""

from collections.abc import Mapping
from itertools import pairwise

from pydantic import BaseModel, ConfigDict, Field

from orchestrator.domain.durations import Seconds


class Limits(BaseModel):
    """Limits of one attempt. Each is enforced by a clock or count outside the agent.

    `stage_timeout` and `idle_timeout` count working time: waits that a provider's rate limit imposes are left
    out. `wall_timeout` counts everything from the claim on, such waits included.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    stage_timeout: Seconds = 900.0
    wall_timeout: Seconds = 7200.0
    idle_timeout: Seconds = 300.0
    setup_timeout: Seconds = 600.0
    grace: Seconds = 5.0
    max_iterations: int = Field(25, ge=1, description="Stages of one attempt.")
    max_turns: int | None = Field(None, ge=1, description="Model turns of one stage; absent = unlimited.")
    max_tokens: int | None = Field(None, ge=1, description="All tokens of one attempt; absent = unlimited.")
    max_cost_usd: float | None = Field(None, gt=0, description="List price of one attempt; absent = unlimited.")
    max_failures: int = Field(3, ge=1, description="Consecutive failed stages before the breaker opens.")
    max_repeated_calls: int = Field(
        8, ge=2, description="Times a cycle of 1-4 identical tool calls may follow itself."
    )
    max_repeated_stages: int = Field(
        5, ge=2, description="Times a cycle of 1-4 stages that lead nowhere may follow itself."
    )
    max_unchanged_stages: int = Field(
        3, ge=1, description="Stages in a row that were to edit and changed no file, for one task."
    )
    max_same_errors: int = Field(
        5, ge=2, description="Stages that fail, or requests in a row that are refused, for the same reason."
    )
    max_output_bytes: int = Field(64 * 1024 * 1024, ge=4096, description="Kept output of one stage.")
    max_memory_bytes: int | None = Field(
        None, ge=1, description="Memory of all processes of one attempt; absent = unlimited."
    )
    max_processes: int | None = Field(
        2000, ge=1, description="Processes of one attempt, tools and tests included; absent = unlimited."
    )
    max_disk_bytes: int | None = Field(
        None, ge=1, description="Worktree, HOME and temporary files of one attempt; absent = unlimited."
    )
    context_warn_percent: float = Field(70.0, gt=0, le=100)
    context_compact_percent: float = Field(85.0, gt=0, le=100)
    context_kill_percent: float = Field(95.0, gt=0, le=100)
    rate_limit_wait: Seconds = Field(
        120.0, description="A rate-limit reset further away than this parks the job instead of waiting in place."
    )
    max_infra_attempts: int = Field(3, ge=1, description="Attempts that may end by infrastructure.")

    def changed(self, changes: Mapping[str, float | int | None]) -> "Limits":
        """These limits with others by name. Raises pydantic's ValidationError for what no limit accepts."""
        return Limits.model_validate(self.model_dump() | dict(changes))


def context_disorder(limits: Limits) -> str | None:
    """What breaks the order warn < compact < kill, in words; None when it holds."""
    names = ("context_warn_percent", "context_compact_percent", "context_kill_percent")
    for low, high in pairwise(names):
        if getattr(limits, low) >= getattr(limits, high):
            return f"{low} ({getattr(limits, low):g}) is not less than {high} ({getattr(limits, high):g})"
    return None
