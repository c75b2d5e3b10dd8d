"""Stages as columns of numbers: a million of them are read, summed and grouped without an object for each.

It is a sequence of `StageRow` all the same; a row is made when somebody asks for it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from functools import cached_property
from math import isnan
from typing import Any, Final, overload

import numpy as np
from numpy.typing import NDArray

from orchestrator.analysis.rows import StageRow
from orchestrator.analysis.tally import Floats
from orchestrator.domain.outcome import Outcome
from orchestrator.domain.usage import TokenUsage

Codes = NDArray[np.int32]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

_TOKENS: Final = tuple(field.name for field in fields(TokenUsage))
# Known of every stage.
WHOLE: Final = ("job_id", "attempt", "order")
# Counts are exact as floats up to 9e15; not a number is unknown.
NUMBERS: Final = (
    *("turns", "requests", "rate_limit_wait_seconds", *_TOKENS, "stream_tokens", "gateway_tokens"),
    *("cost_usd_micros", "stated_cost_usd_micros", "context_tokens", "context_peak_tokens", "context_window"),
    *("exit_code", "prompt_bytes", "precheck_accepted"),
)
# Of few different values: each stage has a number that stands for its word.
WORDS: Final = (
    *("stage", "role", "model_asked", "model_served", "resource", "outcome", "kill_reason", "error_kind"),
    "error_text",
)
# What stands in a row for a word that is unknown, where that is not the empty one.
_NOTHING: Final = {"model_served": None, "outcome": None}
# Microseconds since 1970, `UNKNOWN_TIME` where there is none.
TIMES: Final = ("started_at", "ended_at")
UNKNOWN_TIME: Final = np.iinfo(np.int64).min
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True, eq=False)
class Words:
    """A column of words: `codes` are places in `known`, in which None is unknown."""

    codes: Codes
    known: tuple[str | None, ...]

    def at(self, place: int) -> str | None:
        """The word of a stage."""
        return self.known[int(self.codes[place])]

    def where(self, test: Callable[[str | None], bool]) -> Flags:
        """The stages whose word passes the test."""
        passed = np.array([test(word) for word in self.known], dtype=np.bool_)
        return passed[self.codes] if len(passed) else np.zeros(len(self.codes), dtype=np.bool_)


class StageTable(Sequence[StageRow]):
    """Stages in the order job, attempt, order. Columns have the names of `StageRow`'s fields."""

    def __init__(
        self,
        whole: dict[str, Integers],
        numbers: dict[str, Floats],
        times: dict[str, Integers],
        words: dict[str, Words],
    ) -> None:
        """Columns of one length, all that `WHOLE`, `NUMBERS`, `TIMES` and `WORDS` name."""
        self.whole, self.numbers, self.times, self.words = whole, numbers, times, words

    @classmethod
    def of(cls, rows: Iterable[StageRow]) -> "StageTable":
        """The rows as columns; a table stays what it is."""
        if isinstance(rows, StageTable):
            return rows
        made = list(rows)
        builder = Builder()
        builder.add([_values(row) for row in made])
        return builder.table()

    def __len__(self) -> int:
        """How many stages."""
        return len(self.whole["job_id"])

    def __iter__(self) -> Iterator[StageRow]:
        """Row by row, each made when it is its turn."""
        return map(self._row, range(len(self)))

    @overload
    def __getitem__(self, place: int) -> StageRow: ...

    @overload
    def __getitem__(self, place: slice) -> list[StageRow]: ...

    def __getitem__(self, place: int | slice) -> StageRow | list[StageRow]:
        """One row, or several."""
        if isinstance(place, slice):
            return [self._row(at) for at in range(*place.indices(len(self)))]
        at = place + len(self) if place < 0 else place
        if not 0 <= at < len(self):
            raise IndexError(f"stage {place} of {len(self)}")
        return self._row(at)

    def _row(self, at: int) -> StageRow:
        made: dict[str, Any] = {name: int(self.whole[name][at]) for name in WHOLE}
        made |= {name: _count(self.numbers[name][at]) for name in NUMBERS}
        wait = float(self.numbers["rate_limit_wait_seconds"][at])
        made["rate_limit_wait_seconds"] = None if isnan(wait) else wait
        made["usage"] = TokenUsage(**{name: made.pop(name) for name in _TOKENS})
        made |= {name: _moment(int(self.times[name][at])) for name in TIMES}
        made |= {name: self.words[name].at(at) or _NOTHING.get(name, "") for name in WORDS}
        if made["precheck_accepted"] is not None:
            made["precheck_accepted"] = bool(made["precheck_accepted"])
        made["outcome"] = Outcome(made["outcome"]) if made["outcome"] else None
        return StageRow(**made)

    # -- what is worked out of columns, as the properties of `StageRow` --

    @cached_property
    def seconds(self) -> Floats:
        """Durations; not a number while a stage runs."""
        began, ended = self.times["started_at"], self.times["ended_at"]
        known = (began != UNKNOWN_TIME) & (ended != UNKNOWN_TIME)
        return np.where(known, np.where(known, ended - began, 0) / 1e6, np.nan)

    @cached_property
    def total_tokens(self) -> Floats:
        """All known tokens; not a number where neither input nor output is known."""
        parts = [self.numbers[name] for name in _TOKENS]
        total = np.sum([np.nan_to_num(part) for part in parts], axis=0)
        unknown = np.isnan(self.numbers["input"]) & np.isnan(self.numbers["output"])
        return np.where(unknown, np.nan, total)

    @cached_property
    def hidden_tokens(self) -> Floats:
        """Tokens of which the agent told nothing; not a number where the gateway could not count."""
        told = np.nan_to_num(self.numbers["stream_tokens"])
        return np.maximum(self.numbers["gateway_tokens"] - told, 0.0)

    @cached_property
    def fill(self) -> Floats:
        """The peak of the context as a share of its window."""
        peak, window = self.numbers["context_peak_tokens"], self.numbers["context_window"]
        shares: Floats = np.divide(peak, window, out=np.full(len(self), np.nan), where=window > 0)
        return shares

    @cached_property
    def failed(self) -> Flags:
        """Which ended other than normally."""
        badly = self.words["outcome"].where(lambda word: word not in (None, "", Outcome.COMPLETE))
        return badly | self.words["kill_reason"].where(bool)

    def bounds(self) -> tuple[Integers, Integers]:
        """The jobs in their order, and where the stages of each begin; the last bound is the end of the table."""
        ids, first = np.unique(self.whole["job_id"], return_index=True)
        order = np.argsort(first, kind="stable")
        return ids[order], np.append(first[order], len(self)).astype(np.int64)


class Builder:
    """Makes a table from batches of rows: values in the order of `COLUMNS`."""

    def __init__(self) -> None:
        """An empty table so far."""
        self._parts: dict[str, list[Any]] = {name: [] for name in COLUMNS}
        self._places: dict[str, dict[str | None, int]] = {name: {} for name in WORDS}

    def add(self, rows: Sequence[Sequence[Any]]) -> None:
        """More rows. Times are microseconds since 1970, datetimes, or ISO texts in UTC."""
        for name, values in zip(COLUMNS, zip(*rows, strict=True), strict=False):
            self._parts[name].append(self._column(name, values))

    def _column(self, name: str, values: tuple[Any, ...]) -> Any:
        if name in self._places:
            places = self._places[name]
            # In the order in which they come, so that the same rows make the same table.
            for word in dict.fromkeys(values):
                places.setdefault(word, len(places))
            return np.fromiter(map(places.__getitem__, values), dtype=np.int32, count=len(values))
        if name in TIMES:
            return _micros(values)
        if name in WHOLE:
            return np.array(values, dtype=np.int64)
        # Many columns say nothing of a whole batch.
        return (
            np.full(len(values), np.nan) if values.count(None) == len(values) else np.array(values, dtype=np.float64)
        )

    def table(self) -> StageTable:
        """Everything that was added."""
        joined = {name: _joined(name, parts) for name, parts in self._parts.items()}
        self._parts.clear()
        return StageTable(
            {name: joined[name] for name in WHOLE},
            {name: joined[name] for name in NUMBERS},
            {name: joined[name] for name in TIMES},
            {name: Words(codes=joined[name], known=tuple(self._places[name])) for name in WORDS},
        )


COLUMNS: Final = (*WHOLE, *NUMBERS, *TIMES, *WORDS)


def _joined(name: str, parts: list[Any]) -> Any:
    kinds = {**dict.fromkeys((*WHOLE, *TIMES), np.int64), **dict.fromkeys(WORDS, np.int32)}
    return np.concatenate(parts) if parts else np.empty(0, dtype=kinds.get(name, np.float64))


def _micros(values: Sequence[Any]) -> Integers:
    """Texts are read by NumPy, which takes a tenth of the time of datetimes."""
    first = next((value for value in values if value is not None), None)
    if isinstance(first, int):
        return np.array([UNKNOWN_TIME if value is None else value for value in values], dtype=np.int64)
    if isinstance(first, datetime):
        values = [value and value.astimezone(UTC).replace(tzinfo=None) for value in values]
    return np.array(values, dtype="datetime64[us]").astype(np.int64)


def _values(row: StageRow) -> list[Any]:
    made = []
    for name in COLUMNS:
        value = getattr(row.usage if name in _TOKENS else row, name)
        made.append(str(value) if name == "outcome" and value is not None else value)
    return made


def _count(value: float) -> int | None:
    return None if isnan(value) else int(value)


def _moment(micros: int) -> datetime | None:
    return None if micros == UNKNOWN_TIME else _EPOCH + timedelta(microseconds=micros)
