"""Pricing past runs again: the kinds of tokens count, unknown stays unknown, and nothing is free by omission."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.analysis.reprice import Repriced, reprice, unpriced
from orchestrator.analysis.rows import JobRow, StageRow
from orchestrator.domain.errors import InvalidInput
from orchestrator.domain.states import JobState
from orchestrator.domain.usage import Prices, TokenUsage
from orchestrator.files import load_prices

NOW = datetime(2026, 1, 1, tzinfo=UTC)
# What sessions of a month used of one model, and what it came to at two lists of prices.
MONTH = TokenUsage(input=134_204, output=8_071_535, cache_write=62_725_241, cache_read=1_500_091_488)
OLD = Prices(input=15, output=75, cache_write=18.75, cache_read=1.5)
NEW = Prices(input=5, output=25, cache_write=6.25, cache_read=0.5)


def stage(usage: TokenUsage, cost: int | None = None, model: str = "opus") -> StageRow:
    return StageRow(
        job_id=1, attempt=1, order=1, stage="s", role="r", model_asked=model, usage=usage, cost_usd_micros=cost
    )


def priced(*stages: StageRow, **table: Prices) -> Repriced:
    job = JobRow(job_id=1, experiment="e", target="t", profile="p", profile_hash="h", state=JobState.DONE)
    (row,) = reprice([job], stages, table)
    return row


def test_a_month_of_sessions_at_two_lists_of_prices() -> None:
    before = priced(stage(MONTH), opus=OLD).after.total
    row = priced(stage(MONTH, cost=int(before or 0)), opus=NEW)
    assert (round((before or 0) / 1e6, 2), round((row.after.total or 0) / 1e6, 2)) == (4033.61, 1344.54)
    assert row.difference_usd_micros == round((row.after.total or 0) - (before or 0))


def test_unknown_stays_unknown_and_only_what_is_known_twice_is_compared() -> None:
    known, silent = TokenUsage(input=10, output=1, cache_read=0), TokenUsage()
    row = priced(stage(known, cost=5), stage(known), stage(silent, cost=7), opus=NEW)
    assert (row.before.total, row.before.known, row.after.total, row.after.known) == (12, 2, 150, 2)
    assert (row.compared, row.difference_usd_micros, row.undivided) == (1, 70, 0)
    lacking = priced(stage(TokenUsage(input=10, cache_read=5), cost=5), opus=Prices(input=5.0))
    assert (lacking.after.total, lacking.difference_usd_micros) == (None, None)


def test_a_model_without_a_price_is_named_and_one_that_used_nothing_is_not() -> None:
    used = TokenUsage(input=1, output=0)
    stages = [stage(used, model="a"), stage(used, model="a"), stage(TokenUsage(), model="b"), stage(used)]
    assert unpriced(stages, {"opus": NEW}) == {"a": 2}


def test_input_that_may_hold_cached_tokens_is_pointed_at() -> None:
    assert priced(stage(TokenUsage(input=10, output=1)), opus=NEW).undivided == 1


def test_a_table_of_prices_with_every_fault_at_once(tmp_path: Path) -> None:
    file = tmp_path / "p.toml"
    file.write_text(
        '[models."big-1"]\ndated = 2026-02-05\ninput = 5.0\n[models.free]\ndated = "2026-01-01"\ninput = 0.0'
    )
    assert {name: model.to_prices() for name, model in load_prices(file).models.items()} == {
        "big-1": Prices(dated="2026-02-05", input=5.0),
        "free": Prices(dated="2026-01-01", input=0.0),
    }
    file.write_text("[models.a]\ninput = -1.0\ncached = 3\n")
    with pytest.raises(InvalidInput) as refused:
        load_prices(file)
    assert {fault.field for fault in refused.value.faults} == {
        "models.a.dated",
        "models.a.input",
        "models.a.cached",
    }
