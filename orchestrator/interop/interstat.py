"""Runs that interstat counted, an agent's share of a session each: tokens by kind and model, and no outcomes."""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from orchestrator.domain.outcome import Outcome
from orchestrator.domain.untyped import count, text, usd_micros
from orchestrator.domain.usage import TokenUsage
from orchestrator.interop.foreign import UNKNOWN, Arm, Ended, Rows
from orchestrator.interop.interstat_file import Database, Row
from orchestrator.interop.moments import read_moment
from orchestrator.interop.reading import Log, Reading
from orchestrator.storage.imports import ImportedRun

SOURCE = "interstat"
_USE = (
    "Nobody told how these runs ended: they count for no profile's quality. Tokens, cost and time can be compared:"
    " 'bakeoff reprice' by a price table, 'bakeoff export' by table."
)
_TOKENS = {
    "input": "input_tokens",
    "output": "output_tokens",
    "cache_read": "cache_read_tokens",
    "cache_write": "cache_creation_tokens",
}


def read_log(path: Path, experiment: str, database: Database) -> Log:
    """The runs of an open database, as they are read."""
    reading = Reading()
    return Log(source=SOURCE, runs=_runs(path, experiment, database, reading), reading=reading, use=_USE)


def _runs(path: Path, experiment: str, database: Database, reading: Reading) -> Iterator[ImportedRun]:
    @lru_cache(maxsize=4096)
    def place(agent: str, model: str, target: str) -> Rows:
        return Rows(_arm(experiment, agent, model), target)

    for table, rows in database.others.items():
        if rows:
            found = f"{rows:,} rows in {table}"
            reading.tally.note("table_not_read", path.name, found, "not stored: they tell of no runs")
    for row in database.rows:
        reading.rows += 1
        where = f"{path.name} row {row['id']}"
        ended = _ended(row, where, reading)
        if ended is None:
            continue
        agent = text(row, "subagent_type") or text(row, "agent_name") or UNKNOWN
        session = text(row, "session_id")
        target = text(row, "bead_id") or f"session-{session or UNKNOWN}"
        rows_of = place(agent, text(row, "model") or UNKNOWN, target)
        # Times and tokens of a row are written again later; these are not.
        yield rows_of.run(f"{session}\0{text(row, 'agent_name')}\0{row['id']}", ended, {"record": _kept(row)})
    reading.compare(path.name)


def _kept(row: Row) -> dict[str, object]:
    """What JSON can hold of it."""
    return {
        name: text(row, name) if isinstance(value, str) else value
        for name, value in row.items()
        if value is None or isinstance(value, str | int)
    }


def _arm(experiment: str, agent: str, model: str) -> Arm:
    return Arm(
        source=SOURCE,
        experiment=experiment,
        name=f"{agent}-{model}",
        agent=agent,
        agent_version=None,
        reasoning=model,
        build=model,
        identity={"imported": SOURCE, "agent": agent, "model": model},
    )


def _ended(row: Row, where: str, reading: Reading) -> Ended | None:
    """None for a run whose tokens interstat has not read yet: its row is filled in later."""
    usage = _usage(row, where, reading)
    if usage.total is None and not text(row, "parsed_at"):
        found = "{rows} rows whose tokens interstat has not read yet"
        reading.leave_out("not_parsed", where, found, "left out: import again after its next analysis")
        return None
    _check_total(row, usage, where, reading)
    at = read_moment(text(row, "timestamp"), "timestamp", where, reading.tally)
    cost = _cost(row, where, reading)
    millis = count(row, "wall_clock_ms")
    if not millis:
        reading.tally.note("time_unknown", where, "{rows} rows tell no duration, or 0 ms", "unknown")
    reading.add({name: getattr(usage, kind) for kind, name in _TOKENS.items()} | {"cost in micro-dollars": cost})
    return Ended(
        outcome=Outcome.INTERRUPTED,
        detail="interstat does not tell how a run ended",
        # The time of its last answer.
        ended_at=at,
        wall_seconds=millis / 1000 if millis else None,
        usage=usage,
        stage=text(row, "phase")[:32] or "run",
        list_cost_usd_micros=cost,
    )


def _usage(row: Row, where: str, reading: Reading) -> TokenUsage:
    counts = {kind: count(row, name) for kind, name in _TOKENS.items()}
    for kind, name in _TOKENS.items():
        if counts[kind] is None and row.get(name) is not None:
            reading.tally.note("no_number", where, f"{{rows}} rows have no count in '{name}'", "unknown")
    if counts["input"] == 0 and counts["output"] == 0:
        reading.tally.note(
            "tokens_zero", where, "{rows} rows say 0 tokens in and out", "unknown: no model answers so"
        )
        return TokenUsage()
    return TokenUsage(**counts)


def _check_total(row: Row, usage: TokenUsage, where: str, reading: Reading) -> None:
    """Interstat's total is what is billed as input and output, without what came from a cache."""
    total = count(row, "total_tokens")
    if total is None or usage.input is None or usage.output is None:
        return
    reading.stated["total_tokens"] = reading.stated.get("total_tokens", 0) + total
    reading.add({"total_tokens": usage.input + usage.output})
    if total != usage.input + usage.output:
        found = "{rows} rows have a total_tokens that is not input + output"
        reading.tally.note("total_contradicts", where, found, "input and output as they are told")


def _cost(row: Row, where: str, reading: Reading) -> int | None:
    cost = usd_micros(row, "api_equivalent_cost_usd")
    if cost is None and row.get("api_equivalent_cost_usd") is not None:
        reading.tally.note("no_number", where, "{rows} rows have no amount in 'api_equivalent_cost_usd'", "unknown")
    elif cost == 0:
        reading.tally.note("cost_zero", where, "{rows} rows say a cost of 0", "unknown: a price was missing")
    elif cost is None:
        reading.tally.note("cost_unknown", where, "{rows} rows say no cost", "unknown")
    return cost or None
