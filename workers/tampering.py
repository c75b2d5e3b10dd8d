"""What the agent changed of that which judges it: git says what, the domain says what it means."""

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from orchestrator.domain.jobspec import TargetSpec
from orchestrator.domain.tampering import (
    Change,
    ChangeKind,
    ChangeStatus,
    Weakening,
    counts,
    kind_of,
    named_in,
    weakening,
)
from workers.worktrees.collect import changed_files, line_counts, zero_context_diffs
from workers.worktrees.git import OutputLimit
from workers.worktrees.worktree import JobTree

# Rows per attempt. The numbers count all of them.
MAX_CHANGES = 200
# Files whose content is looked into, and bytes of their names on one command line.
_MAX_LOOKED_INTO = 200
_MAX_NAMES_BYTES = 64 * 1024


class Tampering(NamedTuple):
    """Every change to what judges the work, counting ones first, then by path. `written` is all that was changed."""

    changes: tuple[Change, ...]
    written: frozenset[str]

    @property
    def counting(self) -> tuple[Change, ...]:
        """The changes that policies go by."""
        return tuple(change for change in self.changes if change.counts)


def find_tampering(job: JobTree, target: TargetSpec) -> Tampering:
    """Compare the last commit with what setup left. Raises GitError."""
    changed = changed_files(job)
    commands = named_in([*(check.run for check in target.checks.values()), target.setup or ""])
    kinds: dict[str, ChangeKind] = {}
    for path, _ in changed:
        if (kind := kind_of(path, target.protected, commands)) is not None:
            kinds[path] = kind
    lines = line_counts(job) if kinds else {}
    looked = _weakenings(job, [path for path, _ in changed if path in kinds])
    found = [
        Change(
            path=path,
            kind=kinds[path],
            status=ChangeStatus(status),
            counts=counts(path, kinds[path], ChangeStatus(status)),
            lines_added=lines[path].added,
            lines_removed=lines[path].removed,
            weakening=looked.get(path),
        )
        for path, status in changed
        if path in kinds
    ]
    found.sort(key=lambda change: (not change.counts, os.fsencode(change.path)))
    return Tampering(tuple(found), frozenset(path for path, _ in changed))


def _weakenings(job: JobTree, paths: Sequence[str]) -> Mapping[str, Weakening]:
    """The signs in each file, for as many files as fit; nothing where the change is too large to be looked into."""
    fitting: list[str] = []
    room = _MAX_NAMES_BYTES
    for path in paths[:_MAX_LOOKED_INTO]:
        room -= len(os.fsencode(path)) + 1
        if room > 0:
            fitting.append(path)
    try:
        return {path: weakening(lines) for path, lines in zero_context_diffs(job, fitting).items()}
    except OutputLimit:
        return {}
