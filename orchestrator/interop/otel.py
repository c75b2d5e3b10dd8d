"""An attempt as OpenTelemetry spans with the attributes of the GenAI conventions, one OTLP JSON document a line.

The conventions: https://github.com/open-telemetry/semantic-conventions-genai (in development, so names may change).
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from orchestrator.domain.outcome import Outcome
from orchestrator.domain.usage import add_known
from orchestrator.interop.atif import usage_of
from orchestrator.storage.export import AttemptParts

Json = dict[str, Any]
_INTERNAL, _OK, _ERROR = 1, 1, 2


def spans(parts: AttemptParts) -> Json:
    """A trace: a span for the attempt, and under it one for each stage. A span that has not ended has no end."""
    attempt, spec = parts.attempt, parts.cell["spec"]
    trace, root = _id(attempt["id"], 32), _id(f"{attempt['id']} root", 16)
    head = {
        "bakeoff.experiment": spec["experiment"],
        "bakeoff.target": parts.target,
        "bakeoff.profile": parts.cell["profile"],
        "bakeoff.job": attempt["job_id"],
        "bakeoff.attempt": attempt["number"],
        "bakeoff.outcome": attempt["outcome"],
    }
    found = [_span(f"attempt {parts.target}/{parts.cell['profile']}", trace, root, None, attempt, head)]
    for stage in parts.stages:
        name = f"invoke_agent {stage['agent']}"
        own = _id(f"{attempt['id']} {stage['ordinal']}", 16)
        found.append(_span(name, trace, own, root, stage, _attributes(stage)))
    resource = {"attributes": _pairs({"service.name": "bakeoff", "host.name": attempt["machine"]})}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {"name": "bakeoff"}, "spans": found}]}]}


def _attributes(stage: Mapping[str, Any]) -> Json:
    """Input counts cached tokens and output counts reasoning, as the conventions have it; unknown is left out."""
    usage = usage_of(stage)
    return {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.provider.name": stage["resource"].partition(":")[2] or "unknown",
        "gen_ai.agent.name": stage["agent"],
        "gen_ai.conversation.id": stage["session_id"],
        "gen_ai.request.model": stage["model_asked"],
        "gen_ai.response.model": stage["model_served"],
        "gen_ai.usage.input_tokens": usage.occupancy,
        "gen_ai.usage.output_tokens": add_known(usage.output, usage.reasoning),
        "gen_ai.usage.cache_read.input_tokens": usage.cache_read,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_write,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning,
        "bakeoff.stage": stage["stage"],
        "bakeoff.resource": stage["resource"],
        "bakeoff.cost_usd_micros": stage["cost_usd_micros"],
        "bakeoff.requests": stage["requests"],
    }


def _span(name: str, trace: str, own: str, parent: str | None, row: Mapping[str, Any], values: Json) -> Json:
    failed = row["outcome"] not in (None, Outcome.COMPLETE)
    span: Json = {"traceId": trace, "spanId": own, "name": name, "kind": _INTERNAL}
    if parent:
        span["parentSpanId"] = parent
    span["startTimeUnixNano"] = _nanos(row["started_at"])
    if row["ended_at"] is not None:
        span["endTimeUnixNano"] = _nanos(row["ended_at"])
    span["attributes"] = _pairs(values | ({"error.type": row["outcome"]} if failed else {}))
    span["status"] = {"code": _ERROR if failed else _OK} if row["ended_at"] is not None else {}
    return span


def _nanos(moment: datetime) -> str:
    return str(round(moment.timestamp() * 1e6) * 1000)


def _id(name: str, digits: int) -> str:
    """Always the same for the same attempt, so that an export that is loaded again adds nothing."""
    return hashlib.sha256(name.encode()).hexdigest()[:digits]


def _pairs(values: Mapping[str, Any]) -> list[Json]:
    return [{"key": key, "value": _value(value)} for key, value in values.items() if value is not None]


def _value(value: Any) -> Json:
    if isinstance(value, bool):
        return {"boolValue": value}
    return {"intValue": str(value)} if isinstance(value, int) else {"stringValue": str(value)}
