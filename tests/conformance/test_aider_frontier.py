"""The frontier of a published leaderboard comes out of its rows, with unknown costs kept apart."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from orchestrator.analysis.draws import drawn_by_count
from orchestrator.analysis.frontier_odds import Offer, frontier_odds
from orchestrator.analysis.tally import Tally

BOARD = (
    Path(__file__).resolve().parents[3] / "shared" / "fixtures" / "leaderboards" / "aider_polyglot_leaderboard.yml"
)

pytestmark = pytest.mark.skipif(not BOARD.is_file(), reason="the leaderboard is not beside this checkout")


def test_the_frontier_has_its_eight_members_and_each_says_how_sure_it_is() -> None:
    rows = YAML(typ="safe").load(BOARD.read_text("utf-8"))
    offers = [
        Offer(label=row["model"], cost=row.get("total_cost") or None, rate=row["pass_rate_2"] / 100) for row in rows
    ]
    counts = [Tally(round(row["pass_rate_2"] * row["test_cases"] / 100), row["test_cases"]) for row in rows]
    found = frontier_odds(offers, drawn_by_count(counts))
    members = [one for one in found if one.on_frontier]

    assert len(rows) == 69
    assert len(found) == 51
    assert len(members) == 8
    assert (members[0].label, members[-1].label) == ("gpt-4o-mini-2024-07-18", "gpt-5 (high)")
    assert all(one.share is not None and one.share > 0.2 for one in members)
