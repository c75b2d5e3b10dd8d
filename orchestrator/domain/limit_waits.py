"""The time that a provider's limits make an agent wait in place: from a refusal to its end, or to the next answer."""

# Without any hint an agent's own back-off is taken to wait this long, so that idle time is not counted twice.
_UNKNOWN_WAIT_SECONDS = 10.0


class LimitWaits:
    """The waits of one stage, one after the other. Moments are seconds on the caller's clock, which never goes back.

    `seconds` is how long the agent has waited in all; `until` is when the present wait ends, None between waits.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.until: float | None = None
        self._began = 0.0
        self._unanswered = 0.0  # of the waits since a model last answered

    def refused(self, now: float, wait_seconds: float | None) -> float:
        """A refusal that names its wait, or None. Returns how long it will have been since a model last answered."""
        until = now + (_UNKNOWN_WAIT_SECONDS if wait_seconds is None else max(0.0, wait_seconds))
        if self.until is None:
            self._began = now
        elif wait_seconds is None:  # the same refusal told again, by a source that knows less
            until = max(until, self.until)
        self.until = until
        return self._unanswered + until - self._began

    def answered(self, now: float) -> float | None:
        """A model has answered. Returns the moment at which a wait ended by that, if there was one."""
        ended = self._end(now)
        self._unanswered = 0.0
        return ended

    def settle(self, now: float) -> float | None:
        """Returns the moment at which the present wait ended by itself, if it has."""
        return self._end(self.until) if self.until is not None and now >= self.until else None

    def _end(self, moment: float) -> float | None:
        if self.until is None:
            return None
        waited = max(0.0, moment - self._began)
        self.seconds += waited
        self._unanswered += waited
        self.until = None
        return moment
