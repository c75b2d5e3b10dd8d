"""Tokens and money: unknown is not zero."""

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.usage import Prices, TokenUsage, add_known, cost_usd_micros

counts = st.none() | st.integers(min_value=0, max_value=10**9)
usages = st.builds(TokenUsage, input=counts, output=counts, cache_read=counts, cache_write=counts, reasoning=counts)
ALL = Prices(input=3.0, output=15.0, cache_read=0.3, cache_write=3.75)


def test_occupancy_is_what_the_window_holds() -> None:
    usage = TokenUsage(input=100, output=50, cache_read=1000, cache_write=10, reasoning=5)
    assert (usage.occupancy, usage.total) == (1110, 1165)


def test_unknown_stays_unknown() -> None:
    assert TokenUsage().total is None
    assert TokenUsage(cache_read=5).occupancy is None
    assert TokenUsage(cache_read=5).total is None
    assert cost_usd_micros(TokenUsage(), ALL) is None
    assert cost_usd_micros(TokenUsage(input=1), None) is None
    assert add_known(None, None) is None


@given(usages, usages, usages)
def test_sums_do_not_depend_on_order(a: TokenUsage, b: TokenUsage, c: TokenUsage) -> None:
    assert a + b == b + a
    assert (a + b) + c == a + (b + c)
    assert a + TokenUsage() == a


def test_dollars_per_million_are_micro_dollars_per_token() -> None:
    usage = TokenUsage(input=1_000_000, output=100_000, reasoning=100_000, cache_read=1_000_000, cache_write=0)
    assert cost_usd_micros(usage, ALL) == 3_000_000 + 3_000_000 + 300_000


def test_a_missing_price_matters_only_where_tokens_need_it() -> None:
    prices = Prices(input=3.0, output=15.0)
    assert cost_usd_micros(TokenUsage(input=10, output=1), prices) == 45
    assert cost_usd_micros(TokenUsage(input=10, output=1, cache_read=0), prices) == 45
    assert cost_usd_micros(TokenUsage(input=10, output=1, cache_read=1), prices) is None


@given(usages)
def test_a_price_of_zero_is_a_cost_of_zero(usage: TokenUsage) -> None:
    free = Prices(input=0.0, output=0.0, cache_read=0.0, cache_write=0.0)
    assert cost_usd_micros(usage, free) == (None if usage.total is None else 0)
