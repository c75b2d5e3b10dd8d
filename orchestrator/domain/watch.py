"""The guard of one stage: sees every event and the clock, answers continue, warn, compact or end.

Pure: `now` is an argument (seconds on the boot-time clock) and never goes back. The caller feeds events in the order
in which it saw them, calls `tick` no later than `next_deadline`, and carries out an `end` by killing the process
tree. The first `end` is final: later calls repeat it.

A harness that runs stages by itself is guarded by what its own files tell of them, as `inner_guard` says.

Three clocks. Wall time runs from the attempt's start and stops for nothing. Stage time and silence stand still while
a provider's rate limit makes the agent wait: from the refusal until the wait it named is over or a model answers.
Stage time begins anew with each stage of a harness.
Silence is the time since the last progress: output, a finished turn or tool, an answered request. A request that is
begun or refused is none, so an agent ends by silence whether its model or its tool is the silent one. Silence behind
an error of the provider that nothing overcame has that error's outcome: many agents retry without a word.

The turn limit is met by `max_turns` finished turns of the main agent. The stage ends when it goes on after them: when
the gateway sees it begin a further request, or its stream tells of a further turn. An agent that is done by then
ends by itself.

A context that is to be compacted ends the session in the same way, by `COMPACT`: the stage goes on in a fresh session
with a hand-over. An agent that compacts its context itself gets two more turns in which to do so. One that compacts
again and again, with hardly an answer in between, is ended.
"""

import math
from collections import deque
from dataclasses import dataclass, replace

from orchestrator.domain.compactions import Compactions
from orchestrator.domain.context_guard import ContextGuard
from orchestrator.domain.cycles import SameErrors, repeated_period
from orchestrator.domain.decision import CONTINUE, Action, Decision
from orchestrator.domain.events import (
    SUM,
    AgentEnded,
    Compacted,
    ErrorKind,
    ErrorSeen,
    Event,
    InnerStageEnded,
    InnerStateSeen,
    LimitsChanged,
    OutputSeen,
    QuotaSeen,
    RequestEnded,
    RequestStarted,
    TelemetryFault,
    ToolCalled,
    TurnEnded,
)
from orchestrator.domain.inner_guard import InnerGuard
from orchestrator.domain.limit_waits import LimitWaits
from orchestrator.domain.limits import Limits
from orchestrator.domain.outcome import Outcome, outcome_of_error
from orchestrator.domain.served import is_asked
from orchestrator.domain.usage import Prices, TokenUsage, add_known, cost_usd_micros

_RATE_LIMITS = frozenset({ErrorKind.RATE_LIMIT, ErrorKind.USAGE_LIMIT, ErrorKind.OVERLOADED})
# Nobody waits these out in place: the first is over in hours, the second when somebody pays.
_PARKING = frozenset({ErrorKind.USAGE_LIMIT, ErrorKind.QUOTA_EXHAUSTED})
# What may be any refusal, told by who does not know which.
_VAGUE = frozenset({ErrorKind.BAD_REQUEST, ErrorKind.AGENT, ErrorKind.UNKNOWN})
# What the request itself is refused for: sending the same again cannot help.
_OWN_FAULT = frozenset({ErrorKind.BAD_REQUEST, ErrorKind.CONTEXT_OVERFLOW})


@dataclass(frozen=True, kw_only=True)
class StageFrame:
    """What a stage starts with: its limits, its model's window and prices, and what the attempt already used."""

    limits: Limits
    context_window: int
    prices: Prices | None
    started_at: float
    attempt_started_at: float
    tokens_before: int = 0
    cost_before_usd_micros: int = 0
    resumed_session: bool = False  # an earlier session, or one that began with a hand-over
    self_compacting: bool = False  # the agent compacts its context itself, at the limit's share
    model_names: tuple[str, ...] = ()  # names under which the right model may answer; empty = not compared


class Watch:
    """The state of one stage's guard.

    Token truth is whichever of agent stream and gateway has told more: agents hide retries and sub-agents, the
    gateway misses nothing that went through it. The sums are kept apart and the larger one is judged.
    """

    def __init__(self, frame: StageFrame) -> None:
        self.frame = frame
        self.turns = 0
        self.requests = 0
        self.stream_usage = TokenUsage()
        self.gateway_usage = TokenUsage()
        self.requests_without_usage = 0
        self.stated_cost_usd_micros: int | None = None
        self.models_served: set[str] = set()
        self.tool_calls = 0
        self.reset_epoch: float | None = None
        self.last_error: ErrorSeen | None = None  # after which no model has answered
        self.decision = CONTINUE
        self.inner = InnerGuard(frame.limits)
        # When the stage's clock began, and what had been waited by then: it begins anew with each inner stage.
        self._stage_began = frame.started_at, 0.0
        self._last_sign = frame.started_at
        self._waits = LimitWaits()
        self._refusals = SameErrors()
        self._latest_turn = 0  # number of the last turn that ended or began
        self._calls: deque[str] = deque(maxlen=4 * frame.limits.max_repeated_calls)
        self._compactions = Compactions()
        self._context = ContextGuard(
            frame.context_window, resumed=frame.resumed_session, self_compacting=frame.self_compacting
        )

    # -- what is known --

    @property
    def usage(self) -> TokenUsage:
        """The fuller of the two token accounts."""
        stream, gateway = self.stream_usage.total or 0, self.gateway_usage.total or 0
        return self.gateway_usage if gateway >= stream and gateway else self.stream_usage

    @property
    def cost_usd_micros(self) -> int | None:
        """List-price cost of the stage so far; None while unknown."""
        return cost_usd_micros(self.usage, self.frame.prices)

    @property
    def spent_usd_micros(self) -> int | None:
        """What counts against the cost limit: the list price, or what the agent states where none is known."""
        listed = self.cost_usd_micros
        return self.stated_cost_usd_micros if listed is None else listed

    @property
    def rate_limit_wait_seconds(self) -> float:
        """How long the agent has waited for limits of the provider."""
        return self._waits.seconds

    @property
    def compactions(self) -> int:
        """How often the agent compacted its context, as it says or its requests show."""
        return self._compactions.count

    @property
    def context_tokens(self) -> int | None:
        """Occupied tokens of the model's window as the last turn told them; None while unknown."""
        return self._context.tokens

    @property
    def context_peak_tokens(self) -> int | None:
        """The most that was ever occupied; None while unknown."""
        return self._context.peak_tokens

    @property
    def context_fill(self) -> float | None:
        """Occupied share of the model's window, 0-1 and beyond; None while unknown."""
        return self._context.fill

    # -- what happens --

    def see(self, event: Event, now: float) -> Decision:
        """Take one event into account."""
        self._settle_wait(now)
        if _is_progress(event):
            self._last_sign = now
        match event:
            case TurnEnded():
                self._turn(event, now)
            case RequestStarted():
                self._context.request_began()
                self._latest_turn = max(self._latest_turn, self.turns + 1)
            case RequestEnded():
                self._request(event, now)
            case ErrorSeen():
                self._error(event, now)
            case InnerStageEnded():
                self._inner_stage(event, now)
            case InnerStateSeen() if event.context_tokens is not None:
                self._context.occupy(TokenUsage(input=event.context_tokens))
            case ToolCalled():
                self.tool_calls += 1
                self._calls.append(f"{event.tool}\0{event.signature}")
            case LimitsChanged():
                self.retune(self.frame.limits.changed(event.changes))
            case Compacted():
                self._compactions.told(self.turns)
                self._context.compacted()
            case OutputSeen() | _:
                pass
        return self._judge(now)

    def retune(self, limits: Limits) -> None:
        """Guard by other limits from now on. An end that was decided stays."""
        self.frame = replace(self.frame, limits=limits)
        self._calls = deque(self._calls, maxlen=4 * limits.max_repeated_calls)
        self.inner.retune(limits)

    def tick(self, now: float) -> Decision:
        """Take the clock into account."""
        self._settle_wait(now)
        return self._judge(now)

    def next_deadline(self, now: float) -> float:
        """The earliest moment at which `tick` could answer differently if nothing else happens.

        Never later than the first `tick` that ends the stage; infinity once it has ended.
        """
        if self._over:
            return math.inf
        if self._waits.until is not None:
            # Whatever stands still goes on from here, and is asked for again.
            return min(self._wall_deadline, self._waits.until)
        return min(self._wall_deadline, self._stage_deadline, self._idle_deadline)

    # -- inside --

    # Each clock is judged against the very number that `next_deadline` names. Comparing differences instead rounds
    # otherwise, and a caller that ticks at the deadline would be told to come back at the same deadline.

    @property
    def _wall_deadline(self) -> float:
        return self.frame.attempt_started_at + self.frame.limits.wall_timeout

    @property
    def _stage_deadline(self) -> float:
        """Stands only while nothing waits."""
        began, waited = self._stage_began
        return began + self.frame.limits.stage_timeout + self.rate_limit_wait_seconds - waited

    @property
    def _idle_deadline(self) -> float:
        """Stands only while nothing waits."""
        return self._last_sign + self.frame.limits.idle_timeout

    def _turn(self, event: TurnEnded, now: float) -> None:
        if event.reason != SUM:
            self._answered(now)
        self.turns += 0 if event.subagent else 1
        self.stream_usage += event.usage
        self.stated_cost_usd_micros = add_known(self.stated_cost_usd_micros, event.cost_usd_micros)
        if event.model:
            self.models_served.add(event.model)
        if not event.subagent:
            self._context.occupy(event.usage)
            self._latest_turn = max(self._latest_turn, self.turns)

    def _inner_stage(self, event: InnerStageEnded, now: float) -> None:
        self.inner.saw(event)
        self.stream_usage += event.usage
        self.stated_cost_usd_micros = add_known(self.stated_cost_usd_micros, event.cost_usd_micros)
        self._stage_began = now, self.rate_limit_wait_seconds
        if event.context_tokens is not None:
            self._context.occupy(TokenUsage(input=event.context_tokens))

    def _request(self, event: RequestEnded, now: float) -> None:
        self.requests += 1
        if event.model_served:
            self.models_served.add(event.model_served)
        if self._compactions.request(event, self.turns):
            self._context.compacted()
        if event.usage is not None:
            self.gateway_usage += event.usage
            self._context.request_ended(event.usage)
        elif event.error is None:
            self.requests_without_usage += 1
        if event.error is not None:
            if event.error.kind in _OWN_FAULT:
                self._refusals.saw(event.error.text)
            self._error(event.error, now)
        elif event.status is not None and event.status < 300:
            self._answered(now)

    def _error(self, error: ErrorSeen, now: float) -> None:
        self.last_error = _fuller(self.last_error, error)
        if error.kind not in _RATE_LIMITS | _PARKING:
            return
        self.reset_epoch = error.resets_at_epoch or self.reset_epoch
        wait, limit = error.retry_after_seconds, self.frame.limits.rate_limit_wait
        if wait is None and error.kind in _PARKING:
            self._end(Outcome.QUOTA_PARKED, f"{error.kind}: the provider names no time")
            return
        waited = self._waits.refused(now, wait)
        if waited > limit:
            self._end(Outcome.QUOTA_PARKED, f"{error.kind}: {waited:.0f} s to wait (limit {limit:g} s)")

    def _answered(self, now: float) -> None:
        # A refusal that was overcome says nothing about an end that comes later.
        self.last_error = None
        self._refusals.forget()
        self._resume(self._waits.answered(now))

    def _settle_wait(self, now: float) -> None:
        self._resume(self._waits.settle(now))

    def _resume(self, moment: float | None) -> None:
        if moment is not None:
            self._last_sign = max(self._last_sign, moment)

    @property
    def _over(self) -> bool:
        return self.decision.action is not Action.CONTINUE

    def _end(self, outcome: Outcome, detail: str) -> Decision:
        if not self._over:
            self.decision = Decision(Action.END, outcome, detail)
        return self.decision

    def _judge(self, now: float) -> Decision:
        if self._over:
            return self.decision
        return self._judge_model() or self._judge_clocks(now) or self._judge_counts() or self._judge_context()

    def _judge_context(self) -> Decision:
        decision = self._context.judge(self.frame.limits, self.turns)
        if decision.action in (Action.END, Action.COMPACT):
            self.decision = decision
        return decision

    def _judge_model(self) -> Decision | None:
        names = self.frame.model_names
        wrong = sorted(served for served in self.models_served if names and not is_asked(served, names))
        if wrong:
            return self._end(Outcome.MODEL_MISMATCH, f"asked for {names[0]}, answered by {', '.join(wrong)}")
        return None

    def _judge_clocks(self, now: float) -> Decision | None:
        limits, frame = self.frame.limits, self.frame
        if now >= self._wall_deadline:
            wall = now - frame.attempt_started_at
            return self._end(Outcome.WALL_TIMEOUT, f"{wall:.1f} s of {limits.wall_timeout:g} s wall time")
        if self._waits.until is not None:
            return None
        if now >= self._stage_deadline:
            began, waited = self._stage_began
            working = now - began - (self.rate_limit_wait_seconds - waited)
            return self._end(Outcome.STAGE_TIMEOUT, f"{working:.1f} s of {limits.stage_timeout:g} s working time")
        if now >= self._idle_deadline:
            return self._silence(now)
        return None

    def _silence(self, now: float) -> Decision:
        """The agent's own silence, or that of a provider which left it without an answer."""
        error, idle = self.last_error, now - self._last_sign
        detail = f"silent for {idle:.1f} s (limit {self.frame.limits.idle_timeout:g} s)"
        if error is not None and (outcome := outcome_of_error(error.kind)):
            return self._end(outcome, f"{detail} after {error.kind}: {error.text[:300]}".rstrip(": "))
        return self._end(Outcome.IDLE_TIMEOUT, detail)

    def _judge_counts(self) -> Decision | None:
        limits, frame = self.frame.limits, self.frame
        if limits.max_turns is not None and self._latest_turn > limits.max_turns:
            return self._end(Outcome.TURN_LIMIT, f"turn {self._latest_turn} of {limits.max_turns}")
        tokens = frame.tokens_before + (self.usage.total or 0)
        if limits.max_tokens is not None and tokens >= limits.max_tokens:
            return self._end(Outcome.TOKEN_LIMIT, f"{tokens} of {limits.max_tokens} tokens")
        cost = frame.cost_before_usd_micros + (self.spent_usd_micros or 0)
        if limits.max_cost_usd is not None and cost >= limits.max_cost_usd * 1e6:
            return self._end(Outcome.COST_LIMIT, f"{cost / 1e6:.4f} of {limits.max_cost_usd:g} USD")
        inner = self.inner.judge(limits)
        if inner is not None and inner.outcome is not None:
            return self._end(inner.outcome, inner.detail)
        if self._compactions.loop is not None:
            return self._end(Outcome.COMPACTION_FAILED, self._compactions.loop)
        period = repeated_period(tuple(self._calls), limits.max_repeated_calls)
        if period:
            tools = ", ".join(call.partition("\0")[0] for call in list(self._calls)[-period:])
            detail = f"the same {period} tool call(s) ({tools}) {limits.max_repeated_calls} times in a row"
            return self._end(Outcome.LOOP_DETECTED, detail)
        if self._refusals.count >= limits.max_same_errors:
            detail = (
                f"{self._refusals.count} requests in a row refused for the same reason: {self._refusals.text[:200]}"
            )
            return self._end(Outcome.LOOP_DETECTED, detail)
        return None


_NO_PROGRESS = (RequestStarted, AgentEnded, ErrorSeen, QuotaSeen, LimitsChanged, TelemetryFault)


def _is_progress(event: Event) -> bool:
    """Whether an event breaks the silence: a refusal does not, however often an agent tries again."""
    if isinstance(event, RequestEnded):
        return event.error is None
    return not isinstance(event, _NO_PROGRESS)


def _fuller(known: ErrorSeen | None, told: ErrorSeen) -> ErrorSeen:
    """The more telling of two errors without an answer between them: agents repeat the provider's with less."""
    vague = known is not None and told.kind in (known.kind, *_VAGUE) and told.status in (None, known.status)
    timeless = told.retry_after_seconds is None and told.resets_at_epoch is None
    return known if known is not None and vague and timeless else told
