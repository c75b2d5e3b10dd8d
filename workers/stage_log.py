"""What is kept of one stage as it happens: its row, its events within bounds, and its figures."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from enum import StrEnum
from typing import Any

from orchestrator.clock import boot_seconds, utc_now
from orchestrator.domain.events import (
    Event,
    InnerStageEnded,
    MessageSaid,
    OutputSeen,
    RequestEnded,
    RequestStarted,
    SessionStarted,
    TurnEnded,
)
from orchestrator.domain.jobspec import ModelSpec
from orchestrator.domain.outcome import RESUMABLE, Outcome
from orchestrator.domain.watch import Watch
from workers.agents.reading import storable
from workers.event_room import EventRoom
from workers.inner_rows import InnerRows
from workers.judge import judge_agent_end
from workers.loops.steps import StageDone, StageOrder
from workers.stage_frame import AttemptFrame, StageRun
from workers.supervision.supervisor import StageEnd
from workers.trail import Trail
from workers.use import AccountUse

# Otherwise live figures go to the database at most this often per stage.
_PROGRESS_SECONDS = 1.0
_TEXT_LIMIT = 4000
# What is too frequent, or already in the transcript, is not an event in the database.
_UNRECORDED = (OutputSeen, RequestStarted)
# Never held back: behind the last of them a tool may run for minutes without any event.
_FIGURES_CHANGE = (RequestEnded, TurnEnded, InnerStageEnded)


class StageLog:
    """Writes the stage's row and events as they happen."""

    def __init__(self, frame: AttemptFrame, ordinal: int, order: StageOrder, model: ModelSpec) -> None:
        self._frame, self._ordinal, self._order, self._model = frame, ordinal, order, model
        self._started_at: datetime = utc_now()
        self._session_id: str | None = None
        self._at = order.stage
        self._said = ""
        self._trail = Trail()
        self._use = AccountUse(frame.recorder, ordinal, model)
        self._inner = InnerRows(frame.recorder, frame.spec, ordinal)
        self._next_progress = 0.0
        self._room = EventRoom()

    def begin(self) -> None:
        """The stage is about to start."""
        prompt = self._order.prompt.encode("utf-8")
        self._frame.recorder.stage(
            self._ordinal,
            {
                "stage": self._order.stage,
                "role": self._order.role,
                "task": self._order.task,
                "agent": self._frame.spec.agent,
                "model_asked": self._model.name,
                "resource": self._model.resource,
                "started_at": self._started_at,
                "context_window": self._model.context_window,
                "prompt_bytes": len(prompt),
                "prompt_sha256": hashlib.sha256(prompt).hexdigest(),
                "resumed": self._order.resumed,
            },
        )
        self._frame.progress(f"{self._order.stage} with {self._model.alias}")

    def saw(self, event: Event, watch: Watch) -> None:
        """Keep the event, and the live figures: after each answer of a model, else at most once a second."""
        if isinstance(event, SessionStarted):
            self._session_id = event.session_id
        if isinstance(event, RequestEnded) and event.error is None:
            self._frame.answered(self._model.resource)
        if isinstance(event, MessageSaid):
            self._said = event.text
        if isinstance(event, InnerStageEnded):
            self._inner.write(event, utc_now())
            self._at = f"{self._order.stage} ({event.number} stages, last {event.stage})"
        self._trail.saw(event)
        self._use.saw(event)
        if not isinstance(event, _UNRECORDED):
            self._keep(event)
        now = boot_seconds()
        if now >= self._next_progress or isinstance(event, _FIGURES_CHANGE):
            self._next_progress = now + _PROGRESS_SECONDS
            self._frame.recorder.stage(self._ordinal, self._inner.rest(_figures(watch, self._session_id)))
            self._frame.progress(_progress_text(self._at, self._model.alias, watch))

    def _keep(self, event: Event) -> None:
        """Record an event, as long as the stage has room."""
        data = _bounded(asdict(event))
        size = sum(len(value) for value in data.values() if isinstance(value, str))
        if self._room.admits(event, size):
            self._frame.recorder.event(type(event).__name__, data, self._ordinal)

    def finish(self, end: StageEnd, watch: Watch, unparsed: int) -> StageRun:
        """The stage has ended: judge it and write its row."""
        self._frame.progress(_progress_text(self._order.stage, self._model.alias, watch))
        outcome, detail = end.outcome, end.detail
        if outcome is None and not end.compact:
            outcome, detail = judge_agent_end(end.agent_ended, watch.last_error)
        answer = end.agent_ended.final_text or self._said
        handover = self._trail.notes() if end.compact or outcome in RESUMABLE else None
        if (
            self._order.session_id is not None
            and outcome is Outcome.AGENT_ERROR
            and not (watch.requests or watch.turns)
        ):
            # The agent no longer knows the session: what interrupted it is nobody's failure, and neither is this.
            handover = ""
        error = watch.last_error if outcome is not None else None
        wait = watch.rate_limit_wait_seconds
        self._frame.recorder.stage(
            self._ordinal,
            {
                **self._inner.rest(_figures(watch, self._session_id)),
                "ended_at": utc_now(),
                "working_seconds": max(0.0, end.ended_at - end.started_at - wait),
                "exit_code": end.agent_ended.exit_code,
                "kill_reason": _kill_reason(end),
                "outcome": outcome,
                "detail": detail[:_TEXT_LIMIT],
                "answer": storable(answer),
                "handover": None if handover is None else storable(handover),
                "error_kind": error.kind if error else None,
                "error_text": (error.text if error else end.stderr_tail if outcome else "")[:_TEXT_LIMIT] or None,
                "output_bytes": end.output_bytes,
                "unparsed": unparsed,
            },
        )
        for notice in end.notices:
            self._frame.recorder.event(
                "GuardNotice", {"action": notice.action, "detail": notice.detail}, self._ordinal
            )
        if note := self._room.note():
            self._frame.recorder.event("EventsLeftOut", note, self._ordinal)
        done = StageDone(
            stage=self._order.stage,
            outcome=outcome,
            detail=detail,
            answer=answer,
            changed=False,
            handover=handover if end.compact or handover == "" else None,
            task=self._order.task,
        )
        return StageRun(
            done=done,
            end=end,
            watch=watch,
            session_id=self._session_id,
            ordinal=self._ordinal,
            resource=self._model.resource,
        )


def _kill_reason(end: StageEnd) -> str | None:
    if end.outcome is None:
        return f"compact: {end.detail}" if end.compact else None
    return f"{end.outcome}: {end.detail}"


def _figures(watch: Watch, session_id: str | None) -> dict[str, Any]:
    usage = watch.usage
    return {
        "session_id": session_id,
        "model_served": ", ".join(sorted(watch.models_served)) or None,
        "turns": watch.turns,
        "requests": watch.requests,
        "requests_without_usage": watch.requests_without_usage,
        "tool_calls": watch.tool_calls,
        "input_tokens": usage.input,
        "output_tokens": usage.output,
        "cache_read_tokens": usage.cache_read,
        "cache_write_tokens": usage.cache_write,
        "reasoning_tokens": usage.reasoning,
        "stream_total_tokens": watch.stream_usage.total,
        "gateway_total_tokens": watch.gateway_usage.total,
        "cost_usd_micros": watch.cost_usd_micros,
        "stated_cost_usd_micros": watch.stated_cost_usd_micros,
        "context_tokens": watch.context_tokens,
        "context_peak_tokens": watch.context_peak_tokens,
        "rate_limit_wait_seconds": watch.rate_limit_wait_seconds,
    }


def _progress_text(stage: str, model: str, watch: Watch) -> str:
    fill = "context unknown" if watch.context_fill is None else f"context {100 * watch.context_fill:.0f} %"
    requests = f"{watch.requests} request{'' if watch.requests == 1 else 's'}"
    return f"{stage} with {model}: {requests}, {_thousands(watch.usage.total)} tokens, {fill}"


def _thousands(count: int | None) -> str:
    if count is None:
        return "unknown"
    return str(count) if count < 1000 else f"{count / 1000:.0f}k"


def _bounded(data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value[:_TEXT_LIMIT] if isinstance(value, str) and not isinstance(value, StrEnum) else value
        for name, value in data.items()
        if value is not None
    }
