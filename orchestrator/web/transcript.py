"""The end of what an agent printed, where it lies on this machine; else where it lies."""

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from orchestrator.domain.errors import NotFound, StorageError
from orchestrator.storage.artifacts import ArtifactStore
from orchestrator.storage.job_page import Row

TAIL_BYTES = 12_000
_ORDINAL = re.compile(r"(\d+)-")


class Transcript(NamedTuple):
    """`tail` is written by the agent; None when it is not shown, and `note` says why or what it is.

    `withheld`: it is here and would be shown if it were asked for.
    """

    note: str
    tail: str | None = None
    withheld: bool = False


def transcript_of(
    store: ArtifactStore, attempts: Sequence[Row], artifacts: Sequence[Row], here: str, *, show: bool
) -> Transcript:
    """The end of the newest stage's transcript of a job. `attempts` and `artifacts` newest first."""
    if not attempts:
        return Transcript("No attempt has begun yet.")
    newest = attempts[0]
    mine = [row for row in artifacts if row["attempt"] == newest["number"] and row["kind"].startswith("transcript")]
    if not mine:
        return Transcript(_absent(newest))
    found = max(mine, key=lambda row: _ordinal(row["name"]))
    size = f"{found['size_bytes']:,} bytes" + (", cut" if found["kind"].endswith("_cut") else "")
    name = f"{found['name']} of attempt {newest['number']}, {size}"
    try:
        if not store.has(found["sha256"]):
            place = "is missing here" if newest["machine"] == here else f"lies on {newest['machine']}"
            return Transcript(f"{name}, {place}: artifact {found['sha256'][:12]} is not in {store.root}.")
        if not show:
            return Transcript(f"{name}.", withheld=True)
        return Transcript(f"The end of {name}.", _tail(store.root, found["sha256"]))
    except (NotFound, StorageError) as error:
        return Transcript(f"{name}, cannot be read: {error}")


def _absent(newest: Row) -> str:
    if newest["ended_at"] is not None:
        return f"Attempt {newest['number']} left none."
    folder = f" below {newest['run_dir']}" if newest["run_dir"] else ""
    return f"It is stored when attempt {newest['number']} ends. Until then it lies on {newest['machine']}{folder}."


def _ordinal(name: str) -> tuple[int, str]:
    found = _ORDINAL.match(name)
    return (int(found[1]) if found else -1, name)


@lru_cache(maxsize=64)
def _tail(root: Path, sha256: str) -> str:
    """Kept, since the whole file is verified before any of it is shown, and it can never change."""
    with ArtifactStore(root).open(sha256) as stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - TAIL_BYTES))
        return stream.read().decode("utf-8", "replace")
