"""One round: an experiment, some faults at random moments, its end, and what the oracle says."""

import random
import subprocess
import time
from collections import Counter
from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.harness.arena import Arena
from tests.faults.harness.faults import DATABASE_FAULTS, FAULTS, Lasting, NoTarget
from tests.faults.harness.oracle import violations
from tests.support.postgres import PostgresServer
from tests.support.waiting import until

# Between two faults; faults that last overlap with the next ones.
_PAUSE_SECONDS = (0.1, 2.0)
# From the last fault to the end: leases run out, hints are sent again, every job is tried once more.
_END_SECONDS = 150.0
# So long after a database's outage a command may still say that it is away.
_AFTERMATH_SECONDS = 20.0
_REFUSALS = 5


@dataclass
class Report:
    """What happened in a round."""

    seed: str
    steps: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    refusals: int = 0
    seconds: float = 0.0
    after_seconds: float = 0.0  # from the end of the last fault to the end of the run
    logs: str = ""

    @property
    def counts(self) -> Counter[str]:
        """How often which fault was done."""
        return Counter(self.steps)


class Round:
    """Plays one; everything random in it comes from its seed."""

    def __init__(
        self,
        root: Path,
        seed: str,
        server: PostgresServer | None,
        faults: int,
        *,
        repeats: int = 3,
        only: Collection[str] | None = None,
    ) -> None:
        self._rng = random.Random(seed)
        kinds = FAULTS["sqlite" if server is None else "postgres"]
        self._kinds = {name: fault for name, fault in kinds.items() if only is None or name in only}
        self._faults = faults
        self._arena = Arena(root, server, repeats)
        self._arena.meanwhile = self._undo
        self._lasting: list[tuple[float, Lasting]] = []
        self._outage_at = -_AFTERMATH_SECONDS
        self.report = Report(seed)

    def play(self) -> Report:
        """To the end."""
        began = time.monotonic()
        with closing(self._arena):
            try:
                self._hurt()
                self._finish()
            except (AssertionError, subprocess.TimeoutExpired) as error:
                self.report.violations.append(f"stuck: {error}")
            finally:
                self._undo(everything=True)
                self.report.seconds = time.monotonic() - began
                self.report.logs = self._arena.logs()
        return self.report

    def _hurt(self) -> None:
        until(lambda: self._arena.log.exists() or self._ended(), "the first agent")
        while len(self.report.steps) < self._faults and not self._ended():
            self._wait(self._rng.uniform(*_PAUSE_SECONDS))
            self._revive()
            self._strike()
        while self._lasting:
            self._wait(0.05)

    def _strike(self) -> None:
        name = self._rng.choice(sorted(self._kinds))
        if name in DATABASE_FAULTS and self._lasting:
            # Two outages of a database at a time would be one; a frozen server cannot be killed and started.
            return
        try:
            lasting = self._kinds[name](self._arena, self._rng)
        except NoTarget:
            return
        self.report.steps.append(name)
        if name in DATABASE_FAULTS:
            self._outage_at = time.monotonic()
        if lasting is not None:
            self._lasting.append((time.monotonic() + lasting.seconds, lasting))
            if name in DATABASE_FAULTS or name == "freeze_run":
                self._undo_after(lasting.seconds)

    def _undo_after(self, seconds: float) -> None:
        # A run that is frozen, or has no database, is no target for more of the same.
        self._wait(seconds)
        self._undo(everything=True)

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (now := time.monotonic()) < deadline:
            self._undo()
            self._arena.tend_others()
            time.sleep(min(0.05, deadline - now))

    def _undo(self, everything: bool = False) -> None:
        due = [entry for entry in self._lasting if everything or time.monotonic() >= entry[0]]
        self._lasting = [entry for entry in self._lasting if entry not in due]
        for _, lasting in due:
            lasting.undo()

    def _ended(self) -> bool:
        return self._arena.process.poll() == 0

    def _revive(self) -> None:
        """Start the run again when it refused for want of a database; when it gave up without a reason, say so."""
        code = self._arena.process.poll()
        if code in (None, 0):
            return
        _, err = self._arena.process.communicate()
        excused = time.monotonic() - self._outage_at < _AFTERMATH_SECONDS and "Traceback" not in err
        self.report.refusals += 1
        if not excused or self.report.refusals > _REFUSALS:
            self.report.violations.append(f"gave up: bakeoff run ended with {code}: {err[-1500:]}")
        if self.report.refusals <= _REFUSALS:
            self._arena.again()

    def _finish(self) -> None:
        began = time.monotonic()
        deadline = began + _END_SECONDS
        while not self._ended() and time.monotonic() < deadline and self.report.refusals <= _REFUSALS:
            self._revive()
            self._wait(0.1)
        try:
            _, err = self._arena.process.communicate(timeout=1)
            if "Traceback" in err:
                self.report.violations.append(f"gave up: {err[-1500:]}")
        except subprocess.TimeoutExpired:
            self.report.violations.append(f"lost job: the run has not ended after {_END_SECONDS:g} s")
        self.report.after_seconds = time.monotonic() - began
        self._arena.stop_others()
        self._arena.recorder.stop()
        found = self._arena.evidence()
        self.report.outcomes = Counter(one.outcome or "none" for one in found.attempts)
        self.report.violations += violations(found)
