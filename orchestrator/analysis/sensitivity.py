"""What would change who is first: jobs without a result counted one way or the other, and other prices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.analysis.frontier_odds import Offer


@dataclass(frozen=True, kw_only=True)
class Counted:
    """The jobs of one arm: solved ones, results, and those without a result by the kind of their end."""

    label: str
    solved: int
    results: int
    missing: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A way to count. `rates` leaves out arms with nothing to count, `first` has all with the best rate above 0."""

    name: str
    rates: Mapping[str, float]
    first: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class PriceTurn:
    """The cheapest arm per solved job keeps that place until its price is `factor` times what it is; then `next`.

    `factor` is None where the cheapest costs nothing: no multiple of that is more.
    """

    label: str
    next: str
    factor: float | None


def scenarios(arms: Sequence[Counted]) -> tuple[Scenario, ...]:
    """Results alone; each kind of missing job that there is counted as failed; all failed; all solved."""
    kinds = sorted({kind for arm in arms for kind, count in arm.missing.items() if count})
    made = [_scenario("results alone", arms, frozenset(), 0)]
    made += [_scenario(f"{kind} counted as failed", arms, frozenset({kind}), 0) for kind in kinds if len(kinds) > 1]
    if kinds:
        every = frozenset(kinds)
        made += [_scenario("all missing failed", arms, every, 0), _scenario("all missing solved", arms, every, 1)]
    return tuple(made)


def stable_first(found: Sequence[Scenario]) -> tuple[str, ...]:
    """The arms that are first, alone or with others, however one counts."""
    if not found:
        return ()
    return tuple(label for label in found[0].first if all(label in one.first for one in found))


def price_turn(offers: Sequence[Offer]) -> PriceTurn | None:
    """By cost per solved result among arms of known cost that solved something; None with fewer than two of them."""
    priced = sorted(
        (offer.cost / offer.rate, offer.label) for offer in offers if offer.cost is not None and offer.rate
    )
    if len(priced) < 2:
        return None
    (least, label), (then, follower) = priced[:2]
    return PriceTurn(label=label, next=follower, factor=then / least if least else None)


def _scenario(name: str, arms: Sequence[Counted], counted: frozenset[str], solved: int) -> Scenario:
    rates = {}
    for arm in arms:
        extra = sum(count for kind, count in arm.missing.items() if kind in counted)
        if arm.results + extra:
            rates[arm.label] = (arm.solved + solved * extra) / (arm.results + extra)
    best = max(rates.values(), default=0.0) or None  # nobody is first with nothing
    return Scenario(name=name, rates=rates, first=tuple(label for label, rate in rates.items() if rate == best))
