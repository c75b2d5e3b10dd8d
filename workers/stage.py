"""One stage of an attempt: launch the agent on its gateway route, guard it, record it, judge its end."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from orchestrator.clock import boot_seconds, utc_now
from orchestrator.domain.events import (
    Event,
    MessageSaid,
    OutputSeen,
    RequestEnded,
    RequestStarted,
    SessionStarted,
    TurnEnded,
)
from orchestrator.domain.jobspec import JobSpec, ModelSpec
from orchestrator.domain.outcome import RESUMABLE, Outcome
from orchestrator.domain.watch import StageFrame, Watch
from orchestrator.settings import read_secret
from workers.agents.base import StageContext
from workers.agents.registry import adapter
from workers.context import WorkerContext
from workers.gateway.cassette import SUFFIX
from workers.gateway.recording import StageRecorder
from workers.gateway.routes import Route
from workers.judge import judge_agent_end
from workers.loops.steps import StageDone, StageOrder
from workers.spool import Recorder
from workers.supervision.inbox import StageInbox
from workers.supervision.lease import LeaseView
from workers.supervision.supervisor import StageEnd, run_stage
from workers.trail import Trail
from workers.use import AccountUse
from workers.worktrees.folders import JobPaths

# Otherwise live figures go to the database at most this often per stage.
_PROGRESS_SECONDS = 1.0
_TEXT_LIMIT = 4000
# What is too frequent, or already in the transcript, is not an event in the database.
_UNRECORDED = (OutputSeen, RequestStarted)
# Never held back: behind the last of them a tool may run for minutes without any event.
_FIGURES_CHANGE = (RequestEnded, TurnEnded)


@dataclass(frozen=True, kw_only=True)
class AttemptFrame:
    """What every stage of one attempt shares."""

    context: WorkerContext
    attempt_id: str
    spec: JobSpec
    paths: JobPaths
    recorder: Recorder
    inbox: StageInbox
    lease: LeaseView
    started_at: float
    progress: Callable[[str], None]
    answered: Callable[[str], None]  # told the resource of each model request that was answered


@dataclass(frozen=True, kw_only=True)
class StageRun:
    """A finished stage: what the loop needs, and what the attempt sums up."""

    done: StageDone
    end: StageEnd
    watch: Watch
    session_id: str | None
    ordinal: int
    resource: str


def perform_stage(frame: AttemptFrame, order: StageOrder, ordinal: int, tokens: int, cost: int) -> StageRun:
    """Run one stage. `tokens` and `cost` (micro-dollars) are what the attempt has used before.

    Raises OSError and Unavailable for what is the machine's fault.
    """
    model = frame.spec.models[order.role]
    agent = adapter(frame.spec.agent, frame.spec.command)
    watch = Watch(
        StageFrame(
            limits=frame.spec.limits,
            context_window=model.context_window,
            prices=model.prices.to_prices() if model.prices else None,
            started_at=boot_seconds(),
            attempt_started_at=frame.started_at,
            tokens_before=tokens,
            cost_before_usd_micros=cost,
            resumed_session=order.resumed,
            self_compacting=agent.compacts,
            model_names=(model.name, *model.served_names),
        )
    )
    prompt_file = frame.paths.logs / f"{ordinal:02d}-{order.stage}.prompt.md"
    prompt_file.write_text(order.prompt, encoding="utf-8")
    log = _StageLog(frame, ordinal, order, model)
    secret = read_secret(model.key) if model.key else None
    recorder = _recorder(frame, f"{ordinal:02d}-{order.stage}", model, secret)
    route = Route(
        attempt_id=frame.attempt_id,
        stage=f"{ordinal}-{order.stage}",
        upstream=model.base_url,
        protocol=model.protocol,
        on_event=frame.inbox.put,
        secret=secret,
        recorder=recorder,
    )
    registration = frame.context.gateway.register(route)
    try:
        context = StageContext(
            worktree=frame.paths.tree,
            home=frame.paths.home,
            tmp=frame.paths.tmp,
            logs=frame.paths.logs,
            prompt_file=prompt_file,
            base_url=registration.base_url,
            api_key=registration.api_key,
            model=model,
            stage=order.stage,
            session_id=order.session_id,
            compact_percent=frame.spec.limits.context_compact_percent,
            command=frame.spec.command,
            extra_env=frame.spec.env,
            host_env=frame.context.host_env,
        )
        log.begin()
        end = run_stage(
            launch=agent.launch(context),
            reader=(reader := agent.reader(context)),
            watch=watch,
            inbox=frame.inbox,
            lease=frame.lease,
            transcript=frame.paths.logs / f"{ordinal:02d}-{order.stage}.transcript",
            stderr_file=frame.paths.logs / f"{ordinal:02d}-{order.stage}.stderr",
            attempt_id=frame.attempt_id,
            now=boot_seconds,
            on_event=log.saw,
        )
    finally:
        frame.context.gateway.unregister(registration)
        if recorder is not None:
            recorder.close()
    for event in frame.inbox.drain():
        watch.see(event, end.ended_at)
        log.saw(event, watch)
    return log.finish(end, watch, reader.unparsed)


def _recorder(frame: AttemptFrame, name: str, model: ModelSpec, secret: str | None) -> StageRecorder | None:
    """The stage's cassette, in a folder of the attempt; None when nothing is to be recorded."""
    settings = frame.context.settings
    if settings.cassettes is None:
        return None
    folder = settings.cassettes / frame.paths.run.relative_to(settings.runs)
    about = {"stage": name, "model": model.name, "protocol": model.protocol, "attempt": frame.attempt_id}
    return StageRecorder(folder / f"{name}{SUFFIX}", about, secret)


class _StageLog:
    """Writes the stage's row and events as they happen."""

    def __init__(self, frame: AttemptFrame, ordinal: int, order: StageOrder, model: ModelSpec) -> None:
        self._frame, self._ordinal, self._order, self._model = frame, ordinal, order, model
        self._started_at: datetime = utc_now()
        self._session_id: str | None = None
        self._said = ""
        self._trail = Trail()
        self._use = AccountUse(frame.recorder, ordinal, model)
        self._next_progress = 0.0

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
        self._trail.saw(event)
        self._use.saw(event)
        if not isinstance(event, _UNRECORDED):
            self._frame.recorder.event(type(event).__name__, _bounded(asdict(event)), self._ordinal)
        now = boot_seconds()
        if now >= self._next_progress or isinstance(event, _FIGURES_CHANGE):
            self._next_progress = now + _PROGRESS_SECONDS
            self._frame.recorder.stage(self._ordinal, _figures(watch, self._session_id))
            self._frame.progress(_progress_text(self._order.stage, self._model.alias, watch))

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
                **_figures(watch, self._session_id),
                "ended_at": utc_now(),
                "working_seconds": max(0.0, end.ended_at - end.started_at - wait),
                "exit_code": end.agent_ended.exit_code,
                "kill_reason": _kill_reason(end),
                "outcome": outcome,
                "detail": detail[:_TEXT_LIMIT],
                "answer": answer,
                "handover": handover,
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
