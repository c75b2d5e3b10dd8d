"""What the stages of a job's result add up to, for all jobs of an experiment at once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from orchestrator.analysis.stage_table import Flags, Integers, StageTable
from orchestrator.analysis.tally import Floats
from orchestrator.domain.harness import INNER_STAGES
from orchestrator.domain.usage import TokenUsage

_KINDS = ("input", "output", "cache_read", "cache_write", "reasoning")
# The attempts whose work is in the job's result, each with the last of its stages that is (None: all of them).
BuiltOn = Mapping[int, int | None]


@dataclass(frozen=True, kw_only=True)
class JobSums:
    """Sums over the stages that are in a job's result; None is unknown, also where one part of it is.

    `seconds` is by attempt, over its stages in the result; attempts without any are not there.
    """

    tokens: TokenUsage = field(default_factory=TokenUsage)
    hidden_tokens: int | None = None
    cost_usd_micros: int | None = None
    stated_cost_usd_micros: int | None = None
    remote_calls: int | None = None
    local_calls: int | None = None
    context_peak_fill: float | None = None
    seconds: Mapping[int, float | None] = field(default_factory=dict)


def job_sums(table: StageTable, built_on: Mapping[int, BuiltOn]) -> dict[int, JobSums]:
    """By job; those without stages in their result are not there."""
    if not len(table):
        return {}
    kept = _kept(table, built_on)
    ids, bounds = table.bounds()
    first = bounds[:-1]
    counts = np.add.reduceat(kept.astype(np.int64), first)
    numbers, resources = table.numbers, table.words["resource"]
    tokens = {kind: _Summed.of(numbers[kind], kept, first) for kind in _KINDS}
    whole = {
        "hidden_tokens": _Summed.of(table.hidden_tokens, kept, first),
        "cost_usd_micros": _Summed.of(numbers["cost_usd_micros"], kept, first),
        "stated_cost_usd_micros": _Summed.of(numbers["stated_cost_usd_micros"], kept, first),
        "remote_calls": _Summed.of(numbers["requests"], kept & resources.where(_of_kind("account:")), first),
        "local_calls": _Summed.of(numbers["requests"], kept & resources.where(_of_kind("pool:")), first),
    }
    fills = np.maximum.reduceat(np.where(kept & (table.fill > 0), table.fill, -1.0), first)
    seconds = _seconds(table, kept)
    return {
        job: JobSums(
            tokens=TokenUsage(**{kind: tokens[kind].known(at) for kind in _KINDS}),
            **{name: summed.complete(at) for name, summed in whole.items()},
            context_peak_fill=float(fills[at]) if fills[at] > 0 else None,
            seconds=seconds.get(job, {}),
        )
        for at, job in enumerate(ids.tolist())
        if counts[at]
    }


@dataclass(frozen=True, kw_only=True)
class _Summed:
    """By job, the sum of the known values, and how many are known and unknown."""

    sums: Floats
    knowns: Integers
    unknowns: Integers

    @classmethod
    def of(cls, values: Floats, which: Flags, first: Integers) -> "_Summed":
        unknown = np.isnan(values)
        return cls(
            sums=np.add.reduceat(np.where(which & ~unknown, values, 0.0), first),
            knowns=np.add.reduceat((which & ~unknown).astype(np.int64), first),
            unknowns=np.add.reduceat((which & unknown).astype(np.int64), first),
        )

    def known(self, at: int) -> int | None:
        """The sum of what is known; None where nothing is."""
        return int(self.sums[at]) if self.knowns[at] else None

    def complete(self, at: int) -> int | None:
        """The sum, 0 of nothing; None when a part of it is unknown: half a cost is not a cost."""
        return None if self.unknowns[at] else int(self.sums[at])


def _of_kind(prefix: str) -> Callable[[str | None], bool]:
    return lambda word: word is not None and word.startswith(prefix)


def _spans(table: StageTable) -> tuple[Integers, Integers]:
    """Where each attempt's stages begin, and how many there are."""
    jobs, numbers = table.whole["job_id"], table.whole["attempt"]
    changes = np.flatnonzero((np.diff(jobs) != 0) | (np.diff(numbers) != 0)) + 1
    first = np.concatenate([[0], changes]).astype(np.int64)
    return first, np.diff(np.append(first, len(table)))


def _kept(table: StageTable, built_on: Mapping[int, BuiltOn]) -> Flags:
    """The stages that are in their job's result."""
    first, sizes = _spans(table)
    last = np.iinfo(np.int64).max
    limits = []
    for job, number in zip(
        table.whole["job_id"][first].tolist(), table.whole["attempt"][first].tolist(), strict=True
    ):
        upto = built_on.get(job, {}).get(number, -1)
        limits.append(last if upto is None else upto)
    order = table.whole["order"]
    # The supervised stage that a row belongs to: itself, or the harness that ran it (`parent_ordinal`).
    parents = np.where(order >= INNER_STAGES, order // INNER_STAGES, order)
    kept: Flags = parents <= np.repeat(np.array(limits, dtype=np.int64), sizes)
    return kept


def _seconds(table: StageTable, kept: Flags) -> dict[int, dict[int, float | None]]:
    first, _ = _spans(table)
    counts = np.add.reduceat(kept.astype(np.int64), first)
    sums = np.add.reduceat(np.where(kept, table.seconds, 0.0), first)
    found: dict[int, dict[int, float | None]] = {}
    jobs, numbers = table.whole["job_id"][first].tolist(), table.whole["attempt"][first].tolist()
    for job, number, count, total in zip(jobs, numbers, counts.tolist(), sums.tolist(), strict=True):
        if count:
            found.setdefault(job, {})[number] = None if np.isnan(total) else total
    return found
