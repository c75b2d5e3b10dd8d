"""Which trees of ended attempts may go: a pure decision from what is on record. Whatever is in doubt stays."""

from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from orchestrator.domain.base import Model
from orchestrator.domain.durations import format_duration
from orchestrator.domain.states import FINAL_JOB_STATES, JobState

DEFAULT_RETENTION = timedelta(days=7)


class Verdict(NamedTuple):
    """Whether it goes, and why it does or does not."""

    goes: bool
    reason: str


class GarbageQuestion(Model):
    """What to collect on a machine. With `remove` False nothing is touched; `mirrors` lets unused mirrors go too."""

    remove: bool
    retention_seconds: float
    mirrors: bool = False


class GarbageItem(Model):
    """One tree, mirror, or what an interrupted removal left.

    `disk_bytes` is what it takes on disk, HOME (`home_bytes`) and logs included. `age_seconds` counts from its end or
    last use; None when nobody knows. `goes`: it was removed, or would have been.
    """

    kind: Literal["tree", "mirror", "remains"]
    path: str
    job_id: int | None = None
    label: str | None = None
    experiment: str | None = None
    disk_bytes: int
    home_bytes: int | None = None
    age_seconds: float | None
    goes: bool
    reason: str


def judge_tree(
    *, live: bool, job_state: JobState, ended_at: datetime | None, now: datetime, retention: timedelta
) -> Verdict:
    """The verdict on a tree: `live` while any attempt at its job is, `ended_at` when the last one in it ended.

    Whether its work is archived, and whether somebody holds it, is asked only after this.
    """
    if live:
        return Verdict(False, "an attempt at its job is running")
    if job_state not in FINAL_JOB_STATES:
        return Verdict(False, f"its job is {job_state} and may go on in it")
    if ended_at is None:
        return Verdict(False, "its attempt has no recorded end")
    age = now - ended_at
    if age < retention:
        ended, kept = (format_duration(one.total_seconds()) for one in (age, retention))
        return Verdict(False, f"it ended {ended} ago; trees are kept for {kept}")
    return Verdict(True, f"its job is {job_state} and its work is archived")


def judge_mirror(*, needed: bool, borrowed: bool, age: timedelta, retention: timedelta, asked_for: bool) -> Verdict:
    """The verdict on a mirror: `needed` by an open job, `borrowed` from by a tree that is there."""
    if needed:
        return Verdict(False, "an open job needs it")
    if borrowed:
        return Verdict(False, "trees borrow their objects from it")
    if age < retention:
        return Verdict(False, "it was used lately")
    if not asked_for:
        return Verdict(False, "mirrors go only with --mirrors: what a bundle builds on may be nowhere else")
    return Verdict(True, "no tree borrows from it and no open job needs it")
