"""Stages grouped by variant and by what else is asked, as places in a table of columns."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from orchestrator.analysis.rows import JobRow
from orchestrator.analysis.stage_table import Integers, StageTable
from orchestrator.analysis.variants import Variant, variant_of


class Owned(NamedTuple):
    """The variants in order, and for each stage the number of its job's; -1 where the job is not among them."""

    variants: tuple[Variant, ...]
    codes: Integers


class Group(NamedTuple):
    """The values that the stages of a group share, and their places in order."""

    key: tuple[int, ...]
    places: Integers


def owned(table: StageTable, jobs: Sequence[JobRow]) -> Owned:
    """Whose the stages are."""
    of_job = {job.job_id: variant_of(job) for job in jobs}
    variants = tuple(sorted(set(of_job.values())))
    numbers = {variant: at for at, variant in enumerate(variants)}
    ids, first = table.bounds()
    per_job = np.array([numbers[of_job[job]] if job in of_job else -1 for job in ids.tolist()], dtype=np.int64)
    return Owned(variants, np.repeat(per_job, np.diff(first)))


def groups(*columns: Integers) -> Iterator[Group]:
    """Stages with equal values in all columns, by these values; a negative one leaves its stage out."""
    wanted = np.flatnonzero(np.all([column >= 0 for column in columns], axis=0))
    combined = np.zeros(len(wanted), dtype=np.int64)
    for column in columns:
        combined = combined * (int(column.max(initial=0)) + 1) + column[wanted]
    places = wanted[np.argsort(combined, kind="stable")]
    keys, first = np.unique(np.sort(combined), return_index=True)
    for at, last in zip(first, [*first[1:], len(places)], strict=True) if len(keys) else ():
        mine = places[at:last]
        yield Group(tuple(int(column[mine[0]]) for column in columns), mine)
