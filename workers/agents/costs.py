"""Whether the cost that an agent states means anything: what it is told no price for counts as 0 there."""

from orchestrator.domain.fleet import ModelPrices
from orchestrator.domain.usage import TokenUsage


def is_priced(usage: TokenUsage, prices: ModelPrices | None) -> bool:
    """Whether every kind of token in `usage` has a price among those that the agent was given."""
    if prices is None:
        return False
    pairs = (
        (usage.input, prices.input),
        (usage.output, prices.output),
        (usage.reasoning, prices.output),
        (usage.cache_read, prices.cache_read),
        (usage.cache_write, prices.cache_write),
    )
    return all(price is not None for tokens, price in pairs if tokens)
