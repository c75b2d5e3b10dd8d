"""An attempt as a trajectory in the Agent Trajectory Interchange Format, from the events that were stored.

The format: https://harborframework.com/docs/trajectory-format. What nobody told is left out, never 0.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orchestrator.domain.untyped import count, pick, text
from orchestrator.domain.usage import TokenUsage, add_known
from orchestrator.storage.export import AttemptParts
from orchestrator.storage.telemetry import EventRecord

VERSION = "ATIF-v1.4"
Json = dict[str, Any]
# Steps of the system: what else was seen, by the name of its event.
_SYSTEM = {"Compacted": "the agent compacted its context", "ErrorSeen": "an error was seen"}
_WITHHELD = "Texts of the agent are withheld."
_NOTES = "Arguments and results of tool calls are not kept; each has the signature by which repeats are found."


def trajectory(parts: AttemptParts, events: Iterable[EventRecord], *, agent_text: bool) -> Json:
    """The whole attempt: a step for each stage's order, for each model turn, and for what befell the agent."""
    by_stage: dict[int | None, list[EventRecord]] = {}
    for event in events:
        by_stage.setdefault(event.stage_ordinal, []).append(event)
    steps: list[Json] = []
    for stage in parts.stages:
        steps.append(_order(stage))
        steps += _Stage(stage["model_served"], agent_text=agent_text).steps(by_stage.get(stage["ordinal"], []))
    spec, attempt = parts.cell["spec"], parts.attempt
    return {
        "schema_version": VERSION,
        "session_id": attempt["id"],
        "agent": {
            "name": spec["agent"],
            "version": spec["agent_version"] or "unknown",
            "model_name": spec["models"]["reasoning"]["name"],
        },
        "steps": [{"step_id": number, **step} for number, step in enumerate(steps, 1)],
        "notes": _NOTES if agent_text else f"{_NOTES} {_WITHHELD}",
        "final_metrics": {**_totals(parts.stages), "total_steps": len(steps)},
        "extra": {
            "target": parts.target,
            "profile": parts.cell["profile"],
            "job": attempt["job_id"],
            "attempt": attempt["number"],
            "outcome": attempt["outcome"],
        },
    }


def _order(stage: Mapping[str, Any]) -> Json:
    """The prompt is an artifact of its own: the step has its hash."""
    extra = {"stage": stage["stage"], "ordinal": stage["ordinal"], "prompt_sha256": stage["prompt_sha256"]}
    return {"timestamp": stage["started_at"].isoformat(), "source": "user", "message": "", "extra": _known(extra)}


class _Stage:
    """Gathers what was said and called until the turn ends that it belongs to."""

    def __init__(self, model: str | None, *, agent_text: bool) -> None:
        self._model, self._agent_text = model, agent_text
        self._said: list[str] = []
        self._calls: list[Json] = []
        self._steps: list[Json] = []

    def steps(self, events: Sequence[EventRecord]) -> list[Json]:
        for event in events:
            if event.kind == "MessageSaid":
                self._said.append(text(event.data, "text"))
            elif event.kind == "ToolCalled":
                self._calls.append(_call(event, agent_text=self._agent_text))
            elif event.kind == "TurnEnded":
                self._close(event, _metrics(event.data))
            elif event.kind in _SYSTEM:
                at = event.at.isoformat()
                extra = _known({"kind": text(event.data, "kind") or None, "status": count(event.data, "status")})
                self._steps.append(
                    {"timestamp": at, "source": "system", "message": _SYSTEM[event.kind], "extra": extra}
                )
        if events and (self._said or self._calls):
            self._close(events[-1], {})
        return self._steps

    def _close(self, event: EventRecord, metrics: Json) -> None:
        step: Json = {"timestamp": event.at.isoformat(), "source": "agent"}
        model = text(event.data, "model") or self._model
        if model:
            step["model_name"] = model
        step["message"] = "\n".join(self._said) if self._agent_text else ""
        if self._calls:
            step["tool_calls"] = self._calls
        if metrics:
            step["metrics"] = metrics
        self._steps.append(step)
        self._said, self._calls = [], []


def _call(event: EventRecord, *, agent_text: bool) -> Json:
    signature = text(event.data, "signature")
    arguments = {"signature": signature} if agent_text and signature else {}
    return {
        "tool_call_id": f"call-{event.seq}",
        "function_name": text(event.data, "tool") or "unknown",
        "arguments": arguments,
    }


def _metrics(data: Mapping[str, Any]) -> Json:
    kinds = ("input", "output", "cache_read", "cache_write", "reasoning")
    usage = TokenUsage(**{kind: count(pick(data, "usage"), kind) for kind in kinds})
    cost = count(data, "cost_usd_micros")
    return _known({**_tokens(usage), "cost_usd": None if cost is None else cost / 1e6})


def _tokens(usage: TokenUsage) -> Json:
    """As the format counts: prompts include what came from a cache, completions include reasoning."""
    return {
        "prompt_tokens": usage.occupancy,
        "completion_tokens": add_known(usage.output, usage.reasoning),
        "cached_tokens": usage.cache_read,
    }


def _totals(stages: Sequence[Mapping[str, Any]]) -> Json:
    """Sums over all stages; one of which a part is unknown is left out."""
    each = [_tokens(usage_of(stage)) for stage in stages]
    totals = {f"total_{name}": _sum([one[name] for one in each]) for name in each[0]} if each else {}
    cost = _sum([stage["cost_usd_micros"] for stage in stages])
    return _known({**totals, "total_cost_usd": None if cost is None else cost / 1e6})


def usage_of(stage: Mapping[str, Any]) -> TokenUsage:
    """The tokens of a stage's row."""
    return TokenUsage(
        input=stage["input_tokens"],
        output=stage["output_tokens"],
        cache_read=stage["cache_read_tokens"],
        cache_write=stage["cache_write_tokens"],
        reasoning=stage["reasoning_tokens"],
    )


def _sum(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None


def _known(values: Mapping[str, Any]) -> Json:
    return {name: value for name, value in values.items() if value is not None}
