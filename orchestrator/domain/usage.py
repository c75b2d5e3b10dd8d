"""Tokens and money. Unknown is `None`, never 0; money is integer micro-dollars."""

from collections.abc import Iterable
from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True)
class TokenUsage:
    """The tokens of one model turn or a sum of turns, in disjoint kinds.

    `input` excludes cached tokens and `output` excludes reasoning, whatever the agent's own convention is:
    adapters normalise. A kind that the source does not tell is None.
    """

    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None

    @property
    def occupancy(self) -> int | None:
        """Tokens of the context window in use: input + cache read + cache write; None when input is unknown."""
        if self.input is None:
            return None
        return self.input + (self.cache_read or 0) + (self.cache_write or 0)

    @property
    def total(self) -> int | None:
        """All known tokens; None when neither input nor output is known."""
        if self.input is None and self.output is None:
            return None
        return sum(value for value in self._values() if value is not None)

    def __add__(self, other: "TokenUsage") -> "TokenUsage":
        """Sum kind by kind. Unknown + known = known: the sum covers what was told; coverage is kept apart."""
        return TokenUsage(**{f.name: add_known(getattr(self, f.name), getattr(other, f.name)) for f in fields(self)})

    def _values(self) -> Iterable[int | None]:
        return (getattr(self, f.name) for f in fields(self))


def add_known(left: int | None, right: int | None) -> int | None:
    """Sum of two counts of which either may be unknown; None only when both are."""
    if left is None:
        return right
    return left if right is None else left + right


@dataclass(frozen=True, kw_only=True)
class Prices:
    """List price of a model in US dollars per million tokens, valid from `dated` (ISO date).

    A price that is None is not known: the cost of a usage that needs it is unknown, never 0.
    A local model has prices of 0 only when the fleet file says so.
    """

    input: float | None = None
    output: float | None = None
    cache_read: float | None = None
    cache_write: float | None = None
    dated: str | None = None


def cost_usd_micros(usage: TokenUsage, prices: Prices | None) -> int | None:
    """List-price cost in micro-dollars; None when any non-zero token kind has no known price.

    Reasoning tokens cost as output tokens. USD per million tokens = micro-dollars per token.
    """
    if prices is None or usage.total is None:
        return None
    output = add_known(usage.output, usage.reasoning)
    pairs = [
        (usage.input, prices.input),
        (output, prices.output),
        (usage.cache_read, prices.cache_read),
        (usage.cache_write, prices.cache_write),
    ]
    total = 0.0
    for tokens, price in pairs:
        if not tokens:
            continue
        if price is None:
            return None
        total += tokens * price
    return round(total)
