"""Do intervals cover and tests err as often as they say? Made-up profiles whose truth is known, on unequal targets.

A target's difficulty is drawn from a beta distribution with a given mean and likeness: 0 is as if repeats of a target
were independent, 1 as if each target were always or never solved. The truth is the mean over all possible targets.
Prints one table for each claim of the reports; figures are percentages of `--runs` made-up experiments.
"""

import argparse
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from orchestrator.analysis.clusters import clustered_interval
from orchestrator.analysis.draws import drawn_by_target
from orchestrator.analysis.drift import Timed, drift
from orchestrator.analysis.frontier_odds import Offer, cheapest_not_worse
from orchestrator.analysis.intervals import wilson
from orchestrator.analysis.paired import Pair, compare
from orchestrator.analysis.tally import Tally, total

Ease = NDArray[np.float64]
DELTA = 0.05


class Design(NamedTuple):
    """An experiment: so many targets and repeats, a true rate, and how alike repeats of one target are (0-1)."""

    targets: int
    repeats: int
    rate: float = 0.5
    likeness: float = 0.3

    def ease(self, random: np.random.Generator) -> Ease:
        """The chance of each target to be solved."""
        size = 1 / self.likeness - 1
        return random.beta(self.rate * size, (1 - self.rate) * size, self.targets)


class Share(NamedTuple):
    """How often something was so, of how many times it could be."""

    hits: int
    of: int

    def __str__(self) -> str:
        """A percentage."""
        return f"{100 * self.hits / self.of:5.1f}" if self.of else "    –"


def arm(ease: Ease, repeats: int, random: np.random.Generator) -> dict[str, Tally]:
    """The results of a profile on these targets."""
    return {f"t{at:03}": Tally(int(solved), repeats) for at, solved in enumerate(random.binomial(repeats, ease))}


def covered(design: Design, runs: int, seed: int = 1) -> tuple[Share, Share]:
    """How often the interval by target, and Wilson's of all results, hold the true rate."""
    random, ours, plain, able = np.random.default_rng(seed), 0, 0, 0
    for _ in range(runs):
        one = arm(design.ease(random), design.repeats, random)
        found = clustered_interval(one)
        plain += wilson(*total(one)).holds(design.rate)
        if found is not None:
            able, ours = able + 1, ours + found.holds(design.rate)
    return Share(ours, able), Share(plain, runs)


Pairing = Callable[[Design, np.random.Generator], tuple[Ease, Ease]]


def same(design: Design, random: np.random.Generator) -> tuple[Ease, Ease]:
    """Two profiles for which every target is as easy."""
    ease = design.ease(random)
    return ease, ease


def exchanged(design: Design, random: np.random.Generator) -> tuple[Ease, Ease]:
    """Two profiles that are equal on the whole, each with targets of its own that suit it."""
    return design.ease(random), design.ease(random)


def skewed(design: Design, random: np.random.Generator) -> tuple[Ease, Ease]:
    """Equal on the whole: the first is a little better on nine targets of ten, and much worse on the tenth."""
    worse = random.random(design.targets) < 0.1
    return np.where(worse, 0.05, 0.55), np.where(worse, 0.95, 0.45)


class Compared(NamedTuple):
    """Of equal profiles: told apart at 5 %, and intervals of the difference that hold 0."""

    apart: Share
    held: Share


def compared(design: Design, pairing: Pairing, runs: int, seed: int = 1) -> Compared:
    """Two equal profiles, again and again."""
    random, apart, held, judged = np.random.default_rng(seed), 0, 0, 0
    for _ in range(runs):
        first, second = pairing(design, random)
        arms = {"a": arm(first, design.repeats, random), "b": arm(second, design.repeats, random)}
        (pair,) = compare(arms, seed=int(random.integers(1 << 31)))
        if pair.interval is not None:
            judged, apart, held = judged + 1, apart + pair.apart, held + pair.interval.holds(0.0)
    return Compared(Share(apart, judged), Share(held, judged))


def family(design: Design, profiles: int, runs: int, seed: int = 1) -> Share:
    """How often any two of so many equal profiles are told apart, after correction."""
    random, wrong = np.random.default_rng(seed), 0
    for _ in range(runs):
        ease = design.ease(random)
        arms = {f"p{at}": arm(ease, design.repeats, random) for at in range(profiles)}
        pairs: tuple[Pair, ...] = compare(arms, seed=int(random.integers(1 << 31)))
        wrong += any(pair.apart for pair in pairs)
    return Share(wrong, runs)


def power(design: Design, gain: float, runs: int, seed: int = 1) -> Share:
    """How often a profile that is better by `gain` on every target is told apart."""
    random, found = np.random.default_rng(seed), 0
    for _ in range(runs):
        ease = design.ease(random) * (1 - gain)
        arms = {"a": arm(ease + gain, design.repeats, random), "b": arm(ease, design.repeats, random)}
        (pair,) = compare(arms, seed=int(random.integers(1 << 31)))
        found += pair.apart
    return Share(found, runs)


class Claim(NamedTuple):
    """What was claimed of a choice, and whether it was truly worse than the best by more than delta."""

    claimed: float
    wrong: bool


def choices(design: Design, profiles: int, runs: int, seed: int = 1) -> Iterator[Claim]:
    """The cheapest that is hardly worse than the best, of profiles whose true rates differ by a few points."""
    random = np.random.default_rng(seed)
    for _ in range(runs):
        ease = design.ease(random)
        gains = random.uniform(0, 0.3, profiles)
        truth = [design.rate * (1 - gain) + gain for gain in gains]
        arms = {f"p{at}": arm(ease * (1 - gain) + gain, design.repeats, random) for at, gain in enumerate(gains)}
        offers = [Offer(label=name, cost=float(at), rate=_rate(one)) for at, (name, one) in enumerate(arms.items())]
        drawn = drawn_by_target(arms, seed=int(random.integers(1 << 31)))
        choice = cheapest_not_worse(offers, drawn, DELTA) if drawn is not None else None
        if choice is not None:
            yield Claim(choice.wrong, truth[int(choice.label[1:])] < max(truth) - DELTA)


def _rate(one: dict[str, Tally]) -> float:
    found = total(one)
    return found.solved / found.results


def drifted(design: Design, order: str, by_cell: bool, runs: int, seed: int = 1) -> tuple[Share, int]:
    """Nights without any drift, target by target or round by round: how often one is seen, and how often none judged.

    `by_cell` compares results within profile and target, else within profiles alone.
    """
    random, seen, judged = np.random.default_rng(seed), 0, 0
    for _ in range(runs):
        ease = design.ease(random)
        jobs = [
            (at, repeat, name) for at in range(design.targets) for repeat in range(design.repeats) for name in "ab"
        ]
        if order == "rounds":
            jobs.sort(key=lambda job: (job[1], job[0], job[2]))
        results = [
            Timed(f"{name}{at if by_cell else ''}", float(began), bool(random.random() < ease[at]))
            for began, (at, _, name) in enumerate(jobs)
        ]
        found = drift(results)
        if found.p_value is not None:
            judged, seen = judged + 1, seen + (found.p_value < 0.05)
    return Share(seen, judged), runs - judged


def _drifts(runs: int) -> None:
    print("\nNights without drift: one was seen (5.0 or less wanted), and how many nights were not judged")
    for targets, repeats in ((20, 1), (20, 3), (80, 5)):
        for order in ("target by target", "rounds"):
            told = []
            for by_cell in (False, True):
                found, silent = drifted(Design(targets, repeats), order, by_cell, runs)
                told.append(f"within {'cells' if by_cell else 'profiles'} {found} ({silent} not judged)")
            print(f"{targets} targets, {repeats} repeats, {order}: {', '.join(told)}")


def _intervals(runs: int) -> None:
    print("\n95 % intervals of a rate for other targets: held the truth in % of experiments")
    print("targets repeats  rate likeness   by target   Wilson of all results")
    for targets in (5, 10, 20, 80):
        for repeats, rate, likeness in ((1, 0.5, 0.3), (5, 0.5, 0.3), (5, 0.5, 0.7), (5, 0.85, 0.3), (5, 0.15, 0.7)):
            ours, plain = covered(Design(targets, repeats, rate, likeness), runs)
            print(f"{targets:7} {repeats:7} {rate:5.2f} {likeness:8.1f} {ours!s:>11} {plain!s:>23}")


def _pairs(runs: int) -> None:
    print("\nTwo equal profiles: told apart (5.0 or less wanted), and 95 % intervals that held 0")
    print("targets repeats  the two profiles          told apart  held 0")
    for targets in (6, 10, 20, 80):
        for repeats in (1, 5):
            for pairing in (same, exchanged, skewed):
                found = compared(Design(targets, repeats), pairing, runs)
                print(f"{targets:7} {repeats:7}  {pairing.__name__:24} {found.apart!s:>11} {found.held!s:>7}")


def _families(runs: int) -> None:
    print("\nMany equal profiles: any two told apart after correction (5.0 or less wanted)")
    for profiles in (3, 8):
        for targets, repeats in ((10, 1), (20, 5), (80, 1)):
            found = family(Design(targets, repeats), profiles, runs)
            print(f"{profiles} profiles, {targets} targets, {repeats} repeats: {found}")


def _powers(runs: int) -> None:
    print("\nA profile that closes a share of the gap to 100 % on every target: told apart")
    for targets, repeats in ((10, 1), (20, 1), (20, 5), (80, 1), (80, 5)):
        told = ", ".join(f"{gain:.0%} {power(Design(targets, repeats), gain, runs)}" for gain in (0.1, 0.3, 0.5))
        print(f"{targets} targets, {repeats} repeats: {told}")


def _claims(runs: int) -> None:
    print(f"\nThe cheapest that is hardly worse, and how often it was worse than the best by more than {DELTA:.0%}")
    for targets, repeats in ((10, 1), (20, 3), (80, 3)):
        found = list(choices(Design(targets, repeats), 5, runs))
        cells = []
        for low, high in ((0.0, 0.1), (0.1, 0.3), (0.3, 0.6), (0.6, 1.01)):
            some = [claim for claim in found if low <= claim.claimed < high]
            mean = 100 * sum(claim.claimed for claim in some) / len(some) if some else 0.0
            if some:
                cells.append(f"claimed {mean:.0f}: {Share(sum(c.wrong for c in some), len(some))} ({len(some)})")
        print(f"{targets} targets, {repeats} repeats: " + "; ".join(cells))


def main() -> None:
    """Print every table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2000)
    runs = parser.parse_args().runs
    for table in (_drifts, _intervals, _pairs, _families, _powers, _claims):
        table(runs)


if __name__ == "__main__":
    main()
