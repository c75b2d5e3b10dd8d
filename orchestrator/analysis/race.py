"""Which profiles of a race cannot win: rows in, stops out.

Each target is a draw: on a target that two profiles both have results on, the difference of their solved shares
(-1 to 1) is a bet against "the second is no better than the first". A bettor who stakes a fixed part of what he has
neither gains nor loses on average while that is true, so his fortune ever exceeds x with a chance of at most 1/x,
however often one looks and whenever one stops (Ville's inequality). The evidence is the mean fortune of bettors with
stakes between 0 and 1. On single results it is a sequential sign test. Sources: I. Waudby-Smith and A. Ramdas,
"Estimating means of bounded random variables by betting", J. R. Stat. Soc. B 86 (2024) 1-27; H. Robbins, "Statistical
methods related to the law of the iterated logarithm", Ann. Math. Stat. 41 (1970) 1397-1409; racing: O. Maron and
A. W. Moore, "Hoeffding races", NIPS 6 (1994).
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from orchestrator.analysis.tally import Floats
from orchestrator.domain.race import Race

Flags = NDArray[np.bool_]

_STAKES = (np.arange(20) + 0.5) / 20
# The first round's part of the error rate; each later one gets half of what is left, so any number may follow.
_FIRST_ROUND = 0.75
# Evidence beyond this is written as this.
_MOST = 700.0


@dataclass(frozen=True, kw_only=True)
class RaceRow:
    """One job of a race. `order` says which target came first, and must not depend on any result.

    `solved` is None for a job that says nothing about its arm; `ended` is False while it still may.
    """

    arm: str
    target: str
    repeat: int
    order: int
    ended: bool
    solved: bool | None


@dataclass(frozen=True, kw_only=True)
class Stop:
    """`arm` is out: on `targets` that both had results on, `against` was better on `better` and worse on `worse`.

    Had `arm` been as good (with a margin: better by it), evidence as large as `evidence` would have had a chance of
    1/`evidence`; with `arms` in the race and all looks taken into account `needed` was demanded. `repeat` is the
    round: results up to that repeat were used.
    """

    arm: str
    against: str
    targets: int
    better: int
    worse: int
    repeat: int
    evidence: float
    needed: float
    arms: int


@dataclass(frozen=True, kw_only=True)
class RecordedStop:
    """A stop on record, under the rules of its moment; profiles by their hashes."""

    stop: Stop
    rules: Race
    at: datetime


@dataclass(frozen=True, kw_only=True)
class RaceRecord:
    """The race of an experiment; `rules` are None when its file no longer asks for one."""

    rules: Race | None
    stops: tuple[RecordedStop, ...] = ()


def stop_words(stop: Stop, against: str) -> str:
    """`against` is the other one by its name."""
    return (
        f"on {stop.targets} common targets {against} was better on {stop.better} and worse on {stop.worse} "
        f"(evidence {stop.evidence:,.0f}, needed {stop.needed:,.0f})"
    )


class Round(NamedTuple):
    """Results of one round: arms by targets in race order. `share` is NaN without any, `waits` where one may come,
    `jobs` tells where there is a job of this repeat."""

    repeat: int
    targets: tuple[str, ...]
    share: Floats
    waits: Flags
    jobs: Flags


class Running(NamedTuple):
    """After each target (last axis), for first arm against second: log evidence that the second is better, and the
    common targets so far, those on which the second was better, and those on which it was worse."""

    evidence: Floats
    targets: Floats
    better: Floats
    worse: Floats


def running(share: Floats, margin: float = 0.0) -> Running:
    """Evidence as it grows target by target. `share` has a row per arm and a column per target, NaN for no result."""
    lead = share[None, :, :] - share[:, None, :]
    common = ~np.isnan(lead)
    known = np.where(common, lead, 0.0)
    gain = np.where(common, known + margin, 0.0)
    total = np.full(gain.shape, -np.inf)
    for stake in _STAKES:
        total = np.logaddexp(total, np.cumsum(np.log1p(stake * gain), axis=2))
    return Running(
        total - np.log(len(_STAKES)),
        np.cumsum(common, axis=2, dtype=np.float64),
        np.cumsum(known > 0, axis=2, dtype=np.float64),
        np.cumsum(known < 0, axis=2, dtype=np.float64),
    )


def needed(arms: int, left: int, rules: Race, repeat: int) -> float:
    """What the evidence of one against another must reach, with `left` of `arms` still in the race.

    Any of the others may be the one that an arm is compared with (arms - 1), and any arm may be the best one, which
    is corrected for step by step as by Holm: who is out needs no protection. Only one can be best by a margin above
    0, so there nothing is corrected for that. Rounds share the error rate.
    """
    part = _FIRST_ROUND if repeat == 1 else (1 - _FIRST_ROUND) * 0.5 ** (repeat - 1)
    best = 1 if rules.margin > 0 else left
    return (arms - 1) * best / (rules.error_rate * part)


def fewest_targets(arms: int, rules: Race) -> int:
    """The common targets after which the first arm could be stopped, were another better on every one of them."""
    demand, growth = np.log(needed(arms, arms, rules, 1)), np.log1p(_STAKES * (1 + rules.margin))
    targets = rules.min_targets
    while np.logaddexp.reduce(targets * growth) - np.log(len(_STAKES)) < demand:
        targets += 1
    return targets


def decide(rows: Sequence[RaceRow], rules: Race, out: Collection[str] = ()) -> tuple[Stop, ...]:
    """Who is stopped now, beside those that are `out` already; one arm always stays.

    A target counts for two arms once both have nothing to wait for on it and on every target before it: those that
    end first are not a fair draw. One that ended without a result of either is passed over.
    """
    arms = sorted({row.arm for row in rows})
    found = [_standing(one, rules) for one in rounds(rows, arms)]
    return tuple(stops(arms, [arm for arm in arms if arm not in out], found, rules))


class Standing(NamedTuple):
    """Where every pair stands in one round: each array has a row for the first arm and a column for the second."""

    repeat: int
    at: Running


def after(run: Running, place: int, repeat: int) -> Standing:
    """Where every pair stood after the target at this place."""
    return Standing(repeat, Running(*(values[:, :, place] for values in run)))


def _standing(one: Round, rules: Race) -> Standing:
    blocked = one.waits[:, None, :] | one.waits[None, :, :]
    through = np.where(blocked.any(axis=2), blocked.argmax(axis=2), blocked.shape[2])
    at = np.maximum(through - 1, 0)[:, :, None]
    run = running(one.share, rules.margin)
    return Standing(
        one.repeat, Running(*(np.where(through > 0, np.take_along_axis(v, at, axis=2)[:, :, 0], 0) for v in run))
    )


def stops(arms: Sequence[str], inside: Collection[str], found: Sequence[Standing], rules: Race) -> Iterator[Stop]:
    """Who of those that are `inside` is stopped by where they stand in the rounds so far, the clearest case first."""
    left = [place for place, arm in enumerate(arms) if arm in inside]
    while len(left) > 1:
        demands = [needed(len(arms), len(left), rules, one.repeat) for one in found]
        cases = [_clearest(one, left, demand, rules) for one, demand in zip(found, demands, strict=True)]
        surplus, round_, (first, second) = max(((case[0], -at, case[1]) for at, case in enumerate(cases)))
        if surplus < 0:
            return
        yield _stop(arms, first, second, found[-round_], demands[-round_])
        left.remove(first)


def _clearest(one: Standing, left: Sequence[int], demand: float, rules: Race) -> tuple[float, tuple[int, int]]:
    """The pair with the most evidence beyond what is demanded, and how much that is (in natural logarithms)."""
    surplus = np.where(one.at.targets >= rules.min_targets, one.at.evidence - np.log(demand), -np.inf)
    np.fill_diagonal(surplus, -np.inf)
    among = surplus[np.ix_(left, left)]
    row, column = divmod(int(among.argmax()), len(left))
    return float(among[row, column]), (left[row], left[column])


def _stop(arms: Sequence[str], first: int, second: int, one: Standing, demand: float) -> Stop:
    at = one.at
    return Stop(
        arm=arms[first],
        against=arms[second],
        targets=int(at.targets[first, second]),
        better=int(at.better[first, second]),
        worse=int(at.worse[first, second]),
        repeat=one.repeat,
        evidence=float(np.exp(min(at.evidence[first, second], _MOST))),
        needed=demand,
        arms=len(arms),
    )


def rounds(rows: Sequence[RaceRow], arms: Sequence[str]) -> Iterator[Round]:
    """A round for each repeat: shares of the results up to it, on the targets in the order of that repeat's jobs."""
    of_cell: dict[tuple[str, str], list[RaceRow]] = {}
    for row in rows:
        of_cell.setdefault((row.arm, row.target), []).append(row)
    for repeat in sorted({row.repeat for row in rows}):
        targets = _in_order(rows, repeat)
        found = [[_cell(of_cell.get((arm, target), ()), repeat) for target in targets] for arm in arms]
        columns = np.array(found, dtype=np.float64).reshape(len(arms), len(targets), 3)
        yield Round(repeat, targets, columns[:, :, 0], columns[:, :, 1] > 0, columns[:, :, 2] > 0)


def _in_order(rows: Iterable[RaceRow], repeat: int) -> tuple[str, ...]:
    place: dict[str, int] = {}
    for row in rows:
        if row.repeat == repeat:
            place[row.target] = min(row.order, place.get(row.target, row.order))
    return tuple(sorted(place, key=lambda target: (place[target], target)))


def _cell(rows: Iterable[RaceRow], repeat: int) -> tuple[float, bool, bool]:
    """Share, whether a result may still come, and whether there is a job of this repeat. No job: no share."""
    mine = [row for row in rows if row.repeat <= repeat]
    if not any(row.repeat == repeat for row in mine):
        return np.nan, False, False
    told = [row.solved for row in mine if row.solved is not None]
    share = sum(told) / len(told) if told else np.nan
    return share, not all(row.ended for row in mine), True
