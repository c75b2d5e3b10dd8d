"""What the agent changed of that which judges it: git says what, the domain says what it means."""

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from orchestrator.domain.jobspec import TargetSpec
from orchestrator.domain.judge_settings import is_manifest
from orchestrator.domain.tampering import (
    Change,
    ChangeKind,
    ChangeStatus,
    counts,
    kind_of,
    named_in,
    weakening,
)
from workers.worktrees.collect import changed_files, is_regular, line_counts, zero_context_diffs
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
    # Manifests first: of those that nobody looks into the worst is believed.
    looked = _looked_into(job, sorted(kinds, key=lambda path: not is_manifest(path)))
    found = [
        Change(
            path=path,
            kind=kinds[path],
            status=ChangeStatus(status),
            counts=counts(path, kinds[path], ChangeStatus(status), _content(job, path, looked)),
            lines_added=lines[path].added,
            lines_removed=lines[path].removed,
            weakening=weakening(looked[path]) if path in looked else None,
        )
        for path, status in changed
        if path in kinds
    ]
    found.sort(key=lambda change: (not change.counts, os.fsencode(change.path)))
    return Tampering(tuple(found), frozenset(path for path, _ in changed))


def _looked_into(job: JobTree, paths: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """The changed lines of each file, for as many files as fit; nothing where the change is too large for that."""
    fitting: list[str] = []
    room = _MAX_NAMES_BYTES
    for path in paths[:_MAX_LOOKED_INTO]:
        room -= len(os.fsencode(path)) + 1
        if room > 0:
            fitting.append(path)
    try:
        return zero_context_diffs(job, fitting)
    except OutputLimit:
        return {}


def _content(job: JobTree, path: str, looked: Mapping[str, Sequence[str]]) -> list[str] | None:
    """All lines of a new manifest; None when it was not looked into, and where a link leads to them."""
    if not is_manifest(path) or path not in looked or not is_regular(job, path):
        return None
    return [line[1:] for line in looked[path] if line.startswith("+")]
