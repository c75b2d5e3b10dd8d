"""Interstat's own expectations, published sums of its users, and what a real router wrote in shadow mode."""

import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrator.analysis.reprice import reprice
from orchestrator.domain.usage import Prices
from orchestrator.interop import interstat, shadow
from orchestrator.interop.interstat_file import open_database
from orchestrator.interop.reading import Reading
from orchestrator.storage.engine import Database
from orchestrator.storage.evidence import load_evidence
from orchestrator.storage.imports import store_imported
from tests.support.interstat import make_interstat

ROUTING = Path(__file__).resolve().parents[3] / "shared" / "fixtures" / "routing"
NOW = datetime(2026, 11, 28, tzinfo=UTC)

pytestmark = pytest.mark.skipif(not ROUTING.is_dir(), reason="the recorded files are not beside this checkout")


def recorded(name: str) -> Any:
    return json.loads((ROUTING / name).read_text())


def imported(database: Database, path: Path) -> tuple[Reading, int]:
    with open_database(path) as opened:
        log = interstat.read_log(path, "x", opened)
        stored = store_imported(database, name="x", source=log.source, runs=log.runs, now=NOW)
    return log.reading, stored.added


def priced_usd(database: Database, prices: dict[str, Prices]) -> dict[str, float]:
    evidence = load_evidence(database, "x", NOW)
    return {row.label: (row.after.total or 0) / 1e6 for row in reprice(evidence.jobs, evidence.stages, prices)}


def test_interstats_own_expectations_hold(database: Database, tmp_path: Path) -> None:
    told = recorded("interstat_expected.json")["expected"]
    quality = told["fd_quality"]
    rows: list[dict[str, object]] = [
        {
            "agent_name": "fd-quality",
            "model": told["fd_arch_model"],
            "input_tokens": quality["input"],
            "output_tokens": quality["total"] - quality["input"],
            "cache_read_tokens": quality["cache_read"],
            "total_tokens": quality["total"],
        },
        {"input_tokens": 10_000, "output_tokens": 6_000, "total_tokens": told["main_session_total"]},
    ]
    path = make_interstat(tmp_path / "m.db", rows)
    reading, added = imported(database, path)
    assert (added, imported(database, path)[1]) == (2, 0)
    assert reading.stated == {"total_tokens": quality["total"] + told["main_session_total"]}
    assert reading.sums["total_tokens"] == reading.stated["total_tokens"], "their total leaves the cache out"
    assert reading.sums["cache_read_tokens"] == quality["cache_read"]


def test_cost_counts_what_came_from_the_cache(database: Database, tmp_path: Path) -> None:
    """A sum over input and output alone leaves out 85 % of what these sessions cost."""
    told = recorded("cost_breakdown_2026-04-21.json")
    row: dict[str, object] = {"model": "opus", "agent_name": "all", "total_tokens": told["input"] + told["output"]}
    names = {"input": "input", "output": "output", "cache_creation": "cache_creation", "cache_read": "cache_read"}
    row |= {f"{name}_tokens": told[key] for key, name in names.items()}
    reading, _ = imported(database, make_interstat(tmp_path / "m.db", [row]))
    kinds = ("input_tokens", "output_tokens", "cache_creation_tokens", "cache_read_tokens")
    assert sum(reading.sums[kind] for kind in kinds) == told["expected"]["total_tokens"]
    assert reading.sums["total_tokens"] == told["expected"]["billing_tokens_in_plus_out"]
    for key, prices in {
        "opus_15_75_18.75_1.5": Prices(input=15, output=75, cache_write=18.75, cache_read=1.5),
        "opus_5_25_6.25_0.5": Prices(input=5, output=25, cache_write=6.25, cache_read=0.5),
    }.items():
        (usd,) = priced_usd(database, {"opus": prices}).values()
        assert usd == pytest.approx(told["expected"][key]["usd"], abs=0.005)


def test_the_north_star_is_found_again_from_its_runs(database: Database, tmp_path: Path) -> None:
    told = recorded("north_star_2026-02-28.json")
    rows: list[dict[str, object]] = []
    for row in told["rows"]:
        # Sums over runs are published: each run has its share, and the first what is left over.
        for index in range(row["runs"]):
            shares = {key: row[key] // row["runs"] + (row[key] % row["runs"] if not index else 0) for key in _TOLD}
            tokens = {f"{key}_tokens": shares[key] for key in _TOLD}
            rows.append({"model": row["model"], **tokens, "total_tokens": sum(shares.values()), "wall_clock_ms": 0})
    reading, added = imported(database, make_interstat(tmp_path / "m.db", rows))
    assert (added, reading.sums["total_tokens"]) == (len(rows), told["expected"]["tokens"])
    found = {finding.kind: finding.found for finding in reading.tally.findings()}
    assert found["time_unknown"] == f"{len(rows)} rows tell no duration, or 0 ms", "0 ms in all rows is no duration"
    prices = {row["model"]: Prices(input=row["price_in"], output=row["price_out"]) for row in told["rows"]}
    usd = priced_usd(database, prices)
    assert usd == {
        f"main-session-{row['model']}": pytest.approx(row["recomputed_usd"], abs=0.0001) for row in told["rows"]
    }
    assert sum(usd.values()) == pytest.approx(told["expected"]["total_usd"], abs=0.0005)


_TOLD = ("input", "output")


def test_what_a_router_would_have_changed_is_counted_as_it_was_logged(database: Database, tmp_path: Path) -> None:
    cases = recorded("routing_oracle.json")["cases"]
    shadowed = [case for case in cases if case["mode"] == "shadow" and case["complexity"]]
    would = [case for case in shadowed if "would change" in case["stderr"]]
    paths = [ROUTING / name for name in ("routing_oracle.json", "dispatch_tier.tsv")]
    log = shadow.read_log(paths, "x")
    oracle, tiers = log.reading.extra["routing"]
    assert (oracle["changed"], oracle["agreed"]) == (len(would), len(shadowed) - len(would))
    text = (ROUTING / "dispatch_tier.tsv").read_text()
    assert tiers["changed"] == text.count("would change dispatch")
    assert (log.reading.extra["unparsed"], log.reading.rows) == (0, 160 + 90)
    stored = [store_imported(database, name="x", source=log.source, runs=log.runs, now=NOW) for _ in "12"]
    assert stored[1] == (0, stored[0].added)
    # The same as a log, with a line each: agreement leaves no trace in it.
    lines = [part for case in cases for part in case["stderr"].split(";") if part]
    (tmp_path / "shadow.log").write_text("\n".join(lines) + "\n")
    (again,) = shadow.read_log([tmp_path / "shadow.log"], "y").reading.extra["routing"]
    assert (again["changed"], again["agreed"]) == (len(would), None)
    assert _by_change(again) == _by_change(oracle)


def _by_change(target: Any) -> Counter[str]:
    return Counter({one["change"]: one["times"] for one in target["changes"] if "→" in one["change"]})
