"""When a running experiment will have ended, as views show it: foretold now and then, counted down in between."""

import threading
from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestrator.analysis.forecast import Forecast
from orchestrator.clock import boot_seconds
from orchestrator.domain.durations import format_duration
from orchestrator.domain.errors import BakeoffError
from orchestrator.scheduling.outlook import live_outlook
from orchestrator.storage.engine import Database

# A view that looks twice a second foretells so rarely, and rests so many times as long as that took.
_EVERY_SECONDS, _REST = 10.0, 20.0


@dataclass(frozen=True, kw_only=True)
class Eta:
    """Seconds until the last job of an experiment ends; eight of ten simulated nights lie between `low` and `high`.

    All are None when no duration is known. `known` of `of` open jobs have a known duration: with fewer, `middle` is a
    lower bound. `low` and `high` are None where there is no range.
    """

    middle: float | None
    low: float | None
    high: float | None
    known: int
    of: int

    def text(self) -> str:
        """`2h10m [1h40m–3h05m]`, `≥ 2h10m (8/12 known)` or `unknown`."""
        if self.middle is None:
            return "unknown"
        if self.known < self.of:
            return f"≥ {format_duration(self.middle)} ({self.known}/{self.of} known)"
        if self.low is None or self.high is None:
            return f"about {format_duration(self.middle)}"
        return f"{format_duration(self.middle)} [{format_duration(self.low)}–{format_duration(self.high)}]"


def eta_text(eta: Eta | None, blocked: int) -> str:
    """The ETA of a view in words. It does not reach into a second part, of which `blocked` jobs wait: how many of
    them will run, the results of the first part decide."""
    text = eta.text() if eta else "unknown"
    return f"{text} for the first part" if blocked else text


def eta_of(found: Forecast, since: timedelta = timedelta()) -> Eta | None:
    """From a forecast that was made so long ago; None when no job of the experiment was open."""
    if not found.of:
        return None
    gone = since.total_seconds()
    ends = None if found.ends is None else [max(0.0, end - gone) for end in found.ends]
    ranged = ends is not None and found.complete and found.ranged
    return Eta(
        middle=ends[1] if ends else None,
        low=ends[0] if ends and ranged else None,
        high=ends[2] if ends and ranged else None,
        known=found.known,
        of=found.of,
    )


class Foreteller:
    """The ETA of one experiment for a view that looks again and again."""

    def __init__(self, database: Database, experiment: str) -> None:
        self._database, self._experiment = database, experiment
        self._made: tuple[Forecast, datetime] | None = None
        self._not_before = 0.0
        self._beside: threading.Thread | None = None

    def at(self, now: datetime) -> Eta | None:
        """Raises StorageError when the database does not answer."""
        if boot_seconds() >= self._not_before:
            self._foretell(now)
        return self._latest(now)

    def soon(self, now: datetime) -> Eta | None:
        """The newest that there is, while another is made beside: nobody waits for it. None before the first."""
        if boot_seconds() >= self._not_before and not (self._beside and self._beside.is_alive()):
            self._beside = threading.Thread(target=self._foretell_or_not, args=(now,), daemon=True)
            self._beside.start()
        return self._latest(now)

    def _latest(self, now: datetime) -> Eta | None:
        if self._made is None:
            return None
        found, moment = self._made
        return eta_of(found, now - moment)

    def _foretell(self, now: datetime) -> None:
        began = boot_seconds()
        self._made = live_outlook(self._database, self._experiment, now), now
        took = boot_seconds() - began
        self._not_before = began + max(_EVERY_SECONDS, _REST * took)

    def _foretell_or_not(self, now: datetime) -> None:
        try:
            self._foretell(now)
        except BakeoffError:  # whoever looks reads the same database, and says what is wrong with it
            self._not_before = boot_seconds() + _EVERY_SECONDS
