"""One round: an experiment, some faults at random moments, its end, and what the oracle says."""

import random
import subprocess
import time
import traceback
from collections import Counter
from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.harness.arena import Arena
from tests.faults.harness.faults import ALONE, DATABASE_FAULTS, World, faults_of
from tests.faults.harness.machine import NAME
from tests.faults.harness.oracle import violations
from tests.faults.harness.process_faults import Lasting, NoTarget
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
    resumed: int = 0  # attempts that went on in an earlier one's tree
    stopped: Counter[str] = field(default_factory=Counter)  # openings of breakers, by what was stopped
    elsewhere: int = 0  # attempts on the second machine
    seconds: float = 0.0
    after_seconds: float = 0.0  # from the end of the last fault to the end of the run
    logs: str = ""


class Round:
    """Plays one; everything random in it comes from its seed."""

    def __init__(
        self,
        root: Path,
        seed: str,
        world: World,
        server: PostgresServer | None,
        faults: int,
        *,
        repeats: int = 3,
        only: Collection[str] | None = None,
    ) -> None:
        self._rng = random.Random(seed)
        self._kinds = {name: fault for name, fault in faults_of(world).items() if only is None or name in only}
        self._left: list[str] = []
        self._faults = faults
        self._arena = Arena(root, server if world.postgres else None, repeats, self._rng, fleet=world.fleet)
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
            except Exception:  # noqa: BLE001 - whoever is at fault, the other rounds go on, and this one has failed
                self.report.violations.append(f"broken: {traceback.format_exc()}")
            finally:
                self._undo(everything=True)
                self.report.seconds = time.monotonic() - began
                self.report.logs = self._arena.logs()
        return self.report

    def _hurt(self) -> None:
        until(self._begun, "the first agent")
        while len(self.report.steps) < self._faults and not self._ended():
            self._wait(self._rng.uniform(*_PAUSE_SECONDS))
            self._revive()
            self._strike()
        while self._lasting:
            self._wait(0.05)

    def _begun(self) -> bool:
        self._arena.tend()
        return self._arena.log.exists() or self._ended()

    def _next(self) -> str:
        """A kind that has not been chosen since all of them were."""
        if not self._left:
            self._left = self._rng.sample(sorted(self._kinds), len(self._kinds))
        return self._left.pop()

    def _strike(self) -> None:
        name = self._next()
        if name in DATABASE_FAULTS and self._lasting:
            # Two outages of a database at a time would be one; a frozen server cannot be killed and started.
            self._left.insert(0, name)
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
            if name in ALONE:
                self._wait(lasting.seconds)
                self._undo(everything=True)

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (now := time.monotonic()) < deadline:
            self._undo()
            self._arena.tend()
            time.sleep(max(0.0, min(0.05, deadline - now)))

    def _undo(self, everything: bool = False) -> None:
        due = [entry for entry in self._lasting if everything or time.monotonic() >= entry[0]]
        self._lasting = [entry for entry in self._lasting if entry not in due]
        for _, lasting in due:
            lasting.undo()

    def _ended(self) -> bool:
        return self._arena.site.ended()

    def _revive(self) -> None:
        """Start the run again when it refused for want of a database; when it gave up without a reason, say so."""
        end = self._arena.site.gave_up()
        if end is None:
            return
        excused = time.monotonic() - self._outage_at < _AFTERMATH_SECONDS and "Traceback" not in end.err
        self.report.refusals += 1
        if not excused or self.report.refusals > _REFUSALS:
            self.report.violations.append(f"gave up: bakeoff run ended with {end.code}: {end.err[-1500:]}")
        if self.report.refusals <= _REFUSALS:
            self._arena.site.begin()

    def _finish(self) -> None:
        began = time.monotonic()
        deadline = began + _END_SECONDS
        while not self._ended() and time.monotonic() < deadline and self.report.refusals <= _REFUSALS:
            self._revive()
            self._wait(0.1)
        if self._ended():
            err = self._arena.site.finish()
            if "Traceback" in err:
                self.report.violations.append(f"gave up: {err[-1500:]}")
        else:
            self.report.violations.append(f"lost job: the run has not ended after {_END_SECONDS:g} s")
        self.report.after_seconds = time.monotonic() - began
        self._arena.other.stop()
        self._arena.recorder.stop()
        found = self._arena.evidence()
        self.report.outcomes = Counter(one.outcome or "none" for one in found.attempts)
        self.report.resumed = sum(one.resumed_from is not None for one in found.attempts)
        self.report.elsewhere = sum(one.machine == NAME for one in found.attempts)
        self.report.stopped = Counter(scope for scope, _ in self._arena.recorder.breakers_opened)
        self.report.violations += violations(found)
