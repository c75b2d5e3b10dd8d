"""What an attempt leaves in the artifact store: patch, bundle, transcripts and logs, by SHA-256.

The folder of logs is open to the agent, so what is taken from it is bounded: number, names and bytes of its files.
"""

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from orchestrator.storage.artifacts import ArtifactStore
from orchestrator.storage.attempts import ArtifactRecord
from workers.worktrees.collect import write_bundle, write_patch
from workers.worktrees.git import OutputLimit
from workers.worktrees.staging import MIB, Skipped
from workers.worktrees.worktree import JobTree

_KINDS = {".transcript": "transcript", ".md": "prompt", ".stderr": "log", ".log": "log", ".jsonl": "trajectory"}
# As long as the column.
_NAME_CHARS = 128
# Notes become rows.
_MOST_NOTES = 100


@dataclass(frozen=True, kw_only=True)
class ArchiveLimits:
    """What is kept of the logs of one attempt. A stage writes three files: ten thousand stages have their place."""

    max_files: int = 50_000
    max_file_bytes: int = 128 * MIB
    max_total_bytes: int = 4096 * MIB


class Kept(NamedTuple):
    """What was kept, and what was not, with the reason."""

    records: list[ArtifactRecord]
    left_out: tuple[Skipped, ...]


def archive(store: ArtifactStore, tree: JobTree, limits: ArchiveLimits | None = None) -> Kept:
    """Keep everything within the limits; what was cut says so in its kind, and `full_bytes` how much there was.

    Raises OSError or StorageError when it cannot be kept, GitError for a broken tree.
    """
    tree.paths.restore()
    records, left_out = _work(store, tree)
    bounds = limits or ArchiveLimits()
    total, names = 0, {record.name for record in records}
    found = _files(tree.paths.logs)
    for relative, size in islice(found, bounds.max_files):
        room = min(bounds.max_file_bytes, bounds.max_total_bytes - total)
        if room <= 0:
            left_out.append(Skipped(relative, f"more than {bounds.max_total_bytes} bytes of logs"))
            continue
        name = _name(relative, names)
        names.add(name)
        kind = _KINDS.get(Path(relative).suffix, "file")
        record = _record(store, name, kind, tree.paths.logs / relative, size, room)
        total += record.size_bytes
        records.append(record)
    left_out += [Skipped(relative, f"more than {bounds.max_files} files of logs") for relative, _ in found]
    if len(left_out) > _MOST_NOTES:
        left_out[_MOST_NOTES:] = [Skipped("", f"{len(left_out) - _MOST_NOTES} more files were left out")]
    return Kept(records, tuple(left_out))


def _work(store: ArtifactStore, tree: JobTree) -> tuple[list[ArtifactRecord], list[Skipped]]:
    """The patch and the bundle of the agent's work."""
    patch, bundle = tree.paths.run / "changes.patch", tree.paths.run / "commits.bundle"
    written = write_patch(tree, patch)
    records = [
        ArtifactRecord(
            name=patch.name,
            kind="patch" if written.whole else "patch_cut",
            sha256=store.put(patch),
            size_bytes=patch.stat().st_size,
            full_bytes=None if written.whole else written.full_bytes,
        )
    ]
    try:
        if write_bundle(tree, bundle):
            records.append(_record(store, bundle.name, "bundle", bundle, size := bundle.stat().st_size, size))
    except OutputLimit as error:
        return records, [Skipped(bundle.name, f"{error}: the work stays in its tree, which is not removed")]
    return records, []


def _record(store: ArtifactStore, name: str, kind: str, path: Path, size: int, room: int) -> ArtifactRecord:
    cut = size > room
    return ArtifactRecord(
        name=name,
        kind=f"{kind}_cut" if cut else kind,
        sha256=store.put(path, max_bytes=room),
        size_bytes=min(size, room),
        full_bytes=size if cut else None,
    )


def _files(folder: Path) -> Iterator[tuple[str, int]]:
    """Regular files below a folder and their sizes, in order, through no link, and as deep as paths reach."""
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        try:
            there = {entry.name: entry.stat(follow_symlinks=False) for entry in os.scandir(folder / prefix)}
        except OSError:
            continue
        below = []
        for name, found in sorted(there.items()):
            relative = f"{prefix}{name}"
            if stat.S_ISDIR(found.st_mode):
                below.append(f"{relative}/")
            elif stat.S_ISREG(found.st_mode) and os.access(folder / relative, os.R_OK):
                yield relative, found.st_size
        waiting += reversed(below)


def _name(relative: str, taken: set[str]) -> str:
    """A name that the database can store and that no other file of the attempt has."""
    name = relative.encode("utf-8", "replace").decode()
    if len(name) > _NAME_CHARS or name in taken or name != relative:
        digest = hashlib.sha256(os.fsencode(relative)).hexdigest()[:12]
        name = f"{digest}-{name[-(_NAME_CHARS - 13) :]}"
    return name
