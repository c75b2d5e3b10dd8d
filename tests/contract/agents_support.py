"""A stage to launch agents in, and feeding a reader as the worker does."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from orchestrator.domain.events import (
    AgentEnded,
    ErrorSeen,
    Event,
    OutputSeen,
    SessionStarted,
    ToolCalled,
    TurnEnded,
)
from orchestrator.domain.fleet import ModelPrices
from orchestrator.domain.jobspec import ModelSpec
from orchestrator.domain.usage import TokenUsage
from workers.agents.base import StageContext, StreamReader

T = TypeVar("T")
# What the recordings were configured with.
PRICES = ModelPrices(dated="2026-01-01", input=1.0, output=5.0, cache_read=0.1, cache_write=1.25)


def model(
    *, protocol: Literal["chat", "messages", "responses"] = "chat", prices: ModelPrices | None = PRICES
) -> ModelSpec:
    """A model as fleet files describe them."""
    return ModelSpec(
        alias="scripted",
        name="scripted-model",
        resource="pool:local",
        base_url="http://127.0.0.1:1",
        protocol=protocol,
        key=None,
        context_window=32_768,
        max_output=4_096,
        prices=prices,
    )


def stage(
    folder: Path,
    *,
    spec: ModelSpec | None = None,
    prompt: str = "Fix the greeting.",
    base_url: str = "http://127.0.0.1:1/a/b",
    session_id: str | None = None,
    host_env: Mapping[str, str] | None = None,
    extra_env: Mapping[str, str] | None = None,
) -> StageContext:
    """A stage in `folder`, with an empty tree."""
    for name in ("home", "tmp", "logs"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    tree = folder / "tree"
    tree.mkdir(exist_ok=True)
    (folder / "prompt.md").write_text(prompt, encoding="utf-8")
    return StageContext(
        worktree=tree,
        home=folder / "home",
        tmp=folder / "tmp",
        logs=folder / "logs",
        prompt_file=folder / "prompt.md",
        base_url=base_url,
        api_key="gateway-token",
        model=spec or model(),
        stage="build",
        session_id=session_id,
        host_env=host_env or {},
        extra_env=extra_env or {},
    )


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What an adapter made of one recorded run."""

    events: tuple[Event, ...]
    end: AgentEnded
    unparsed: int
    output_bytes: int

    def of(self, kind: type[T]) -> list[T]:
        """The events of one type."""
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def usage(self) -> TokenUsage:
        """The sum of all turns."""
        return sum((turn.usage for turn in self.of(TurnEnded)), TokenUsage())

    def summary(self) -> dict[str, object]:
        """The figures that `expected.json` states for a recording."""
        usage, costs = self.usage, [turn.cost_usd_micros for turn in self.of(TurnEnded)]
        return {
            "end": self.end.reason.value,
            "session": next((event.session_id for event in self.of(SessionStarted)), None),
            "turns": sum(not turn.subagent for turn in self.of(TurnEnded)),
            "tokens": [usage.input, usage.output, usage.cache_read, usage.cache_write, usage.reasoning],
            "cost_usd_micros": sum(cost for cost in costs if cost is not None) if any(costs) else None,
            "tools": [call.tool for call in self.of(ToolCalled)],
            "errors": [[error.kind.value, error.status, error.retry_after_seconds] for error in self.of(ErrorSeen)],
            "final_text": self.end.final_text[:80],
            "unparsed": self.unparsed,
        }


def read(reader: StreamReader, chunks: Iterable[bytes], exit_code: int | None) -> Reading:
    """Feed, poll and finish in the worker's order. OutputSeen is kept apart: it depends on how bytes arrive."""
    events: list[Event] = []
    for chunk in chunks:
        events.extend(reader.feed(chunk))
        events.extend(reader.poll())
    events.extend(reader.poll())
    end = reader.finish(exit_code, "")
    return Reading(
        events=tuple(event for event in events if not isinstance(event, OutputSeen)),
        end=end,
        unparsed=reader.unparsed,
        output_bytes=sum(event.size_bytes for event in events if isinstance(event, OutputSeen)),
    )
