"""The scripted model server's limits: a quota window with its reset, and how many requests it bears at a time."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.domain.durations import parse_duration_seconds
from workers.gateway.script import ErrorFault, Quota
from workers.gateway.scripted_errors import ErrorAnswer, error_answer


class Doors:
    """How many requests are answered at a time; None for any number."""

    def __init__(self, at_once: int | None) -> None:
        self._at_once = at_once
        self._inside = 0

    @contextmanager
    def open(self) -> Iterator[bool]:
        """Whether this request is admitted; it counts until the block ends."""
        if self._at_once is not None and self._inside >= self._at_once:
            yield False
            return
        self._inside += 1
        try:
            yield True
        finally:
            self._inside -= 1


class QuotaWindow:
    """A window that begins with its first request. Its end is a whole second, as headers can say it."""

    def __init__(self, quota: Quota) -> None:
        self._quota = quota
        self._used = 0
        self._ends_at = 0.0

    def enter(self, protocol: str, now: float) -> ErrorAnswer | dict[str, str]:
        """Count a request at `now` (seconds since 1970): the headers of its answer, or the refusal."""
        if now >= self._ends_at:
            self._used, self._ends_at = 0, float(math.ceil(now + self._quota.length))
        if self._used >= self._quota.requests:
            # A hundredth more, lest the sum be rounded to the second before.
            fault = ErrorFault(kind="usage_limit", retry_after=self._ends_at - now + 0.01)
            return error_answer(protocol, fault, now)
        self._used += 1
        return self._headers(protocol)

    def _headers(self, protocol: str) -> dict[str, str]:
        if protocol == "gemini":
            return {}  # it says nothing until the quota is used up
        share, reset = self._used / self._quota.requests, str(int(self._ends_at))
        if protocol == "messages":
            prefix = f"anthropic-ratelimit-unified-{self._quota.window}"
            return {
                "anthropic-ratelimit-unified-status": "allowed",
                f"{prefix}-status": "allowed",
                f"{prefix}-utilization": f"{share:.4f}",
                f"{prefix}-reset": reset,
            }
        return {
            "x-codex-primary-used-percent": f"{100 * share:.2f}",
            "x-codex-primary-window-minutes": f"{parse_duration_seconds(self._quota.window) / 60:g}",
            "x-codex-primary-reset-at": reset,
        }
