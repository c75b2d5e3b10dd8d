"""How full a session's context is, and what follows: warn, have it compacted, end the session, end the stage."""

from orchestrator.domain.decision import CONTINUE, Action, Decision
from orchestrator.domain.limits import Limits
from orchestrator.domain.outcome import Outcome
from orchestrator.domain.usage import TokenUsage

# An agent's own compaction: the turn in which it notices, and the request that summarises.
_OWN_COMPACTION_TURNS = 2
# A session that was taken up again, or began with a hand-over, must have become smaller than this by that.
RESUMED_PERCENT = 80.0


class ContextGuard:
    """The context of one session. Occupied is what the last turn sent and got, `tokens`; None while unknown."""

    def __init__(self, window: int, *, resumed: bool, self_compacting: bool) -> None:
        """`window` is the model's, in tokens. `resumed` when an earlier session began the stage."""
        self.tokens: int | None = None
        self.peak_tokens: int | None = None
        self._window, self._self_compacting = window, self_compacting
        self._resumed = resumed  # until its first occupancy is known
        self._warned = False
        self._begun = 0  # requests, answered or not
        self._crowded_at: tuple[int, int] | None = None  # requests begun and turns ended when it became so

    @property
    def fill(self) -> float | None:
        """Occupied share of the window, 0-1 and beyond; None while unknown."""
        return None if self.tokens is None else self.tokens / self._window

    def occupy(self, usage: TokenUsage) -> None:
        """A turn of the main agent ended with this usage."""
        if usage.occupancy is not None:
            self.tokens = usage.occupancy
            self.peak_tokens = max(self.peak_tokens or 0, usage.occupancy)

    def request_began(self) -> None:
        """A request to a model was sent."""
        self._begun += 1

    def request_ended(self, usage: TokenUsage) -> None:
        """A request was answered. Small side requests (titles, summaries) do not tell how full the session is."""
        if (usage.occupancy or 0) >= 0.5 * (self.tokens or 0):
            self.occupy(usage)

    def compacted(self) -> None:
        """The agent compacted its context: how full it is the next turn will tell."""
        self.tokens = None

    def judge(self, limits: Limits, turns: int) -> Decision:
        """What follows after `turns` ended turns of the main agent. Each warning is given once."""
        if self.fill is None:
            return CONTINUE
        percent = 100 * self.fill
        first, self._resumed = self._resumed, False
        if first and percent > RESUMED_PERCENT:
            return Decision(Action.END, Outcome.COMPACTION_FAILED, f"begun again at {percent:.1f} % of the context")
        if percent >= limits.context_kill_percent:
            detail = f"{self.tokens} of {self._window} tokens ({percent:.1f} %)"
            return Decision(Action.END, Outcome.CONTEXT_KILL, detail)
        if percent >= limits.context_compact_percent:
            return self._crowded(percent, turns)
        self._crowded_at = None
        if percent >= limits.context_warn_percent and not self._warned:
            self._warned = True
            return Decision(Action.WARN, None, f"context at {percent:.1f} %")
        return CONTINUE

    def _crowded(self, percent: float, turns: int) -> Decision:
        """Once the context is crowded the session ends as it goes on, unless the agent makes room by itself."""
        if self._crowded_at is None:
            self._crowded_at = self._begun, turns
            return Decision(Action.WARN, None, f"context at {percent:.1f} %, to be compacted")
        begun, ended = self._begun - self._crowded_at[0], turns - self._crowded_at[1]
        own = _OWN_COMPACTION_TURNS if self._self_compacting else 0
        # The turn that crowded it may be told by the gateway first and by the agent's stream after that.
        if begun > own or ended > own + 1:
            return Decision(Action.COMPACT, None, f"context at {percent:.1f} %")
        return CONTINUE
