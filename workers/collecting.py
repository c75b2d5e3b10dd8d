"""What an attempt leaves in the artifact store: patch, bundle, transcripts and logs, by SHA-256."""

from pathlib import Path

from orchestrator.storage.artifacts import ArtifactStore
from orchestrator.storage.attempts import ArtifactRecord
from workers.worktrees.collect import write_bundle, write_patch
from workers.worktrees.worktree import JobTree

_KINDS = {".transcript": "transcript", ".md": "prompt", ".stderr": "log", ".log": "log", ".jsonl": "trajectory"}


def archive(store: ArtifactStore, tree: JobTree) -> list[ArtifactRecord]:
    """Keep everything; raises OSError or StorageError when it cannot be kept, GitError for a broken tree."""
    found: list[tuple[str, str, Path]] = []
    patch = tree.paths.run / "changes.patch"
    whole = write_patch(tree, patch)
    found.append(("changes.patch", "patch" if whole else "patch_cut", patch))
    bundle = tree.paths.run / "commits.bundle"
    if write_bundle(tree, bundle):
        found.append(("commits.bundle", "bundle", bundle))
    for path in sorted(tree.paths.logs.rglob("*")):
        if path.is_file() and not path.is_symlink():
            name = str(path.relative_to(tree.paths.logs))
            found.append((name[-128:], _KINDS.get(path.suffix, "file"), path))
    return [
        ArtifactRecord(name=name, kind=kind, sha256=store.put(path), size_bytes=path.stat().st_size)
        for name, kind, path in found
    ]
