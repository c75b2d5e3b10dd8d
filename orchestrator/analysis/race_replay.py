"""A race over recorded results: what it would have stopped, and how many runs that would have taken."""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.analysis.race import RaceRow, Standing, Stop, after, rounds, running, stops
from orchestrator.domain.race import Race


@dataclass(frozen=True, kw_only=True)
class Replay:
    """How the race went. `inside` are the arms that were never stopped, the best rate first, each with its rate.

    `runs` of `of_runs` jobs were made; `spent` says whether `most_runs` ended it.
    """

    stops: tuple[Stop, ...]
    inside: tuple[tuple[str, float | None], ...]
    runs: int
    of_runs: int
    spent: bool

    @property
    def winner(self) -> str:
        """The best of those that were never stopped."""
        return self.inside[0][0]


def replay(rows: Sequence[RaceRow], rules: Race) -> Replay:
    """Make the runs target by target, each repeat on all targets before the next, looking after every target."""
    arms = sorted({row.arm for row in rows})
    went = _Race(arms, rules, len(rows))
    for one in rounds(rows, arms):
        run = running(one.share, rules.margin)
        for place, target in enumerate(one.targets):
            went.made(one.repeat, target, one.jobs[:, place].tolist())
            went.look(after(run, place, one.repeat))
            if went.spent:
                return went.over(rows)
        if one.targets:
            went.past.append(after(run, len(one.targets) - 1, one.repeat))
    return went.over(rows)


class _Race:
    """A race under way."""

    def __init__(self, arms: Sequence[str], rules: Race, of_runs: int) -> None:
        self._arms, self._rules, self._of_runs = arms, rules, of_runs
        self._inside, self._stops, self._runs = set(arms), list[Stop](), 0
        self._seen: set[tuple[int, str]] = set()
        self.past: list[Standing] = []

    @property
    def spent(self) -> bool:
        most = self._rules.most_runs
        return most is not None and self._runs >= most * self._of_runs

    def made(self, repeat: int, target: str, jobs: Sequence[bool]) -> None:
        self._runs += sum(job for arm, job in zip(self._arms, jobs, strict=True) if arm in self._inside)
        self._seen.add((repeat, target))

    def look(self, now: Standing) -> None:
        for stop in stops(self._arms, self._inside, [*self.past, now], self._rules):
            self._stops.append(stop)
            self._inside = self._inside - {stop.arm}

    def over(self, rows: Sequence[RaceRow]) -> Replay:
        seen = [row for row in rows if (row.repeat, row.target) in self._seen]
        rates = {arm: _rate(seen, arm) for arm in self._inside}
        inside = sorted(rates.items(), key=lambda one: (-(one[1] or 0.0), one[0]))
        return Replay(
            stops=tuple(self._stops),
            inside=tuple(inside),
            runs=self._runs,
            of_runs=self._of_runs,
            spent=self.spent,
        )


def _rate(rows: Sequence[RaceRow], arm: str) -> float | None:
    told = [row.solved for row in rows if row.arm == arm and row.solved is not None]
    return sum(told) / len(told) if told else None
