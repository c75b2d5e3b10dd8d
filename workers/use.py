"""One stage's use of its account, minute by minute, and what the provider states meanwhile, into the spool."""

import time
from datetime import UTC, datetime

from orchestrator.domain.events import ErrorKind, Event, QuotaSeen, RequestEnded
from orchestrator.domain.jobspec import ModelSpec
from orchestrator.domain.usage import TokenUsage
from workers.quota_signals import from_headers
from workers.spool import Recorder


class AccountUse:
    """What the requests of one stage used. A stage on a pool of local servers uses no account and records nothing."""

    def __init__(self, recorder: Recorder, ordinal: int, model: ModelSpec) -> None:
        kind, _, name = model.resource.partition(":")
        self._account = name if kind == "account" else None
        self._recorder, self._ordinal, self._model = recorder, ordinal, model.alias
        self._start(-1)

    def saw(self, event: Event) -> None:
        """Count a request that has ended, and pass on what was stated about windows."""
        if self._account is None:
            return
        now = time.time()
        if isinstance(event, RequestEnded):
            self._count(event, now)
            for seen in from_headers(event.limit_headers, now):
                self._state(self._account, seen, now)
        elif isinstance(event, QuotaSeen):
            self._state(self._account, event, now)

    def _start(self, minute: int) -> None:
        self._minute = minute
        self._requests = self._without = 0
        self._seconds = 0.0
        self._usage = TokenUsage()
        self._refused_at: datetime | None = None

    def _count(self, event: RequestEnded, now: float) -> None:
        if int(now // 60) != self._minute:
            self._start(int(now // 60))
        self._requests += 1
        self._seconds += event.duration_seconds
        if event.usage is not None:
            self._usage += event.usage
        elif event.error is None:
            self._without += 1
        error = event.error
        if error is not None and error.kind is ErrorKind.RATE_LIMIT and error.retry_after_seconds is None:
            self._refused_at = datetime.fromtimestamp(now, UTC)
        self._recorder.used(
            self._ordinal,
            self._minute,
            {
                "account": self._account,
                "model": self._model,
                "requests": self._requests,
                "requests_without_usage": self._without,
                "seconds": self._seconds,
                "input_tokens": self._usage.input,
                "output_tokens": self._usage.output,
                "cache_read_tokens": self._usage.cache_read,
                "cache_write_tokens": self._usage.cache_write,
                "reasoning_tokens": self._usage.reasoning,
                "refused_at": self._refused_at,
            },
        )

    def _state(self, account: str, seen: QuotaSeen, now: float) -> None:
        resets = seen.resets_at_epoch
        self._recorder.stated(
            {
                "account": account,
                "name": seen.window,
                "used_ppm": seen.used_ppm,
                "resets_at": None if resets is None else datetime.fromtimestamp(resets, UTC),
                "length_seconds": seen.length_seconds,
                "stated_at": datetime.fromtimestamp(now, UTC),
                "source": seen.source,
            }
        )
