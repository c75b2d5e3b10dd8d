"""How sure the cost-quality frontier is, and the cheapest arm that is hardly worse than the best."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.analysis.draws import Draws
from orchestrator.analysis.tally import Floats

# Between these shares of resamples, whether an arm is on the frontier is not settled.
_SETTLED = 0.9


@dataclass(frozen=True, kw_only=True)
class Offer:
    """An arm with its mean cost (any unit, the same for all; None is unknown) and its solved rate, 0-1.

    A cost of 0 says that it truly costs nothing. Where 0 only means that nobody wrote it down, pass None.
    """

    label: str
    cost: float | None
    rate: float | None


@dataclass(frozen=True, kw_only=True)
class Membership:
    """An arm of known cost, and the share of resamples in which it is on the frontier; None without resamples."""

    label: str
    cost: float
    rate: float
    on_frontier: bool
    share: float | None

    @property
    def settled(self) -> bool:
        """Whether resampling agrees with what was observed."""
        agrees = self.share if self.on_frontier or self.share is None else 1 - self.share
        return agrees is not None and agrees >= _SETTLED


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The cheapest arm whose rate is at most `delta` below the best one's.

    `wrong` is the share of resamples in which some arm, of whatever cost, is better by more than `delta`.
    """

    label: str
    best: str
    delta: float
    wrong: float


def on_frontier(costs: Floats, rates: Floats) -> Floats:
    """1 where no other arm is at most as expensive and at least as good and better in one; costs broadcast to rates.

    The last axis is the arms. An arm that solves nothing, or whose rate is not a number, is on no frontier.
    """
    costs = np.broadcast_to(costs, rates.shape)
    known = np.nan_to_num(rates, nan=-1.0)
    cheaper, better = costs[..., None, :] < costs[..., :, None], known[..., None, :] > known[..., :, None]
    as_cheap, as_good = costs[..., None, :] <= costs[..., :, None], known[..., None, :] >= known[..., :, None]
    beaten = (as_cheap & as_good & (cheaper | better)).any(axis=-1)
    found: Floats = np.where(beaten | (known <= 0), 0.0, 1.0)
    return found


def frontier_odds(offers: Sequence[Offer], drawn: Draws | None) -> tuple[Membership, ...]:
    """Arms of known cost and rate in order of cost. `drawn` has a column per offer; None where nothing can be drawn.

    Costs are held: their spread matters less than prices do, which no resampling shows.
    """
    placed = [at for at, offer in enumerate(offers) if offer.cost is not None and offer.rate is not None]
    if not placed:
        return ()
    costs = np.array([offers[at].cost for at in placed], dtype=np.float64)
    rates = np.array([offers[at].rate for at in placed], dtype=np.float64)
    observed = on_frontier(costs, rates)
    shares = None if drawn is None else on_frontier(costs, drawn.rates[:, placed]).mean(axis=0)
    found = [
        Membership(
            label=offers[at].label,
            cost=float(costs[place]),
            rate=float(rates[place]),
            on_frontier=bool(observed[place]),
            share=None if shares is None or drawn is None else drawn.claim(float(shares[place])),
        )
        for place, at in enumerate(placed)
    ]
    return tuple(sorted(found, key=lambda one: (one.cost, -one.rate, one.label)))


def cheapest_not_worse(offers: Sequence[Offer], drawn: Draws, delta: float) -> Choice | None:
    """None when no arm solved anything or none that is good enough has a known cost. `delta` is in shares.

    Source of the question: non-inferiority with a margin set beforehand, J. Schumi and J. T. Wittes, "Through the
    looking glass: understanding non-inferiority", Trials 12 (2011) 106. Raises ValueError for a negative `delta`.
    """
    if delta < 0:
        raise ValueError(f"delta must not be negative, found {delta}")
    rated = [(offer.rate, at) for at, offer in enumerate(offers) if offer.rate]
    if not rated:
        return None
    top, best = max(rated, key=lambda pair: (pair[0], -pair[1]))
    able = [(offers[at].cost, -rate, at) for rate, at in rated if rate >= top - delta - 1e-12]
    priced = [(cost, worse, at) for cost, worse, at in able if cost is not None]
    if not priced:
        return None
    chosen = min(priced)[2]
    known = np.nan_to_num(drawn.rates, nan=0.0)
    wrong = (known.max(axis=1) > known[:, chosen] + delta + 1e-12).mean()
    return Choice(label=offers[chosen].label, best=offers[best].label, delta=delta, wrong=drawn.claim(float(wrong)))


def near_ties(found: Sequence[Membership]) -> tuple[str, ...]:
    """A sentence for what is not settled about the frontier; none where everything is."""
    members = [_odds(one) for one in found if one.share is not None and not one.settled and one.on_frontier]
    others = [_odds(one) for one in found if one.share is not None and not one.settled and not one.on_frontier]
    said = []
    if members:
        said.append(f"On the frontier, but not surely: {', '.join(members)}.")
    if others:
        said.append(f"Not on the frontier, but near it: {', '.join(others)}.")
    return tuple(said)


def _odds(one: Membership) -> str:
    return f"{one.label} (in {100 * (one.share or 0.0):.0f} % of resamples)"
