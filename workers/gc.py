"""Removes trees of ended attempts whose work is archived, and lists what stays and why.

Run as `python -m workers.gc`, a JSON question on standard input and a JSON answer on standard output; idle workers
call `collect` too. Nothing is removed whose lock somebody holds, and what is on record is asked again under the lock:
an attempt that is about to take the tree up either has the lock, or finds the tree gone and starts clean.
"""

import fcntl
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from orchestrator.clock import utc_now
from orchestrator.domain.errors import BakeoffError, Conflict, Unavailable
from orchestrator.domain.garbage import GarbageItem, GarbageQuestion, Verdict, judge_mirror, judge_tree
from orchestrator.domain.jobspec import JobSpec
from orchestrator.settings import Settings, child_environment, load_settings
from orchestrator.storage.artifacts import ArtifactStore
from orchestrator.storage.attempts import TreeRecord, open_sources, tree_record
from orchestrator.storage.engine import Database
from workers.disk import disk_use, remove_tree
from workers.worktrees.git import Git
from workers.worktrees.mirror import GONE, Mirror, discard
from workers.worktrees.naming import JobKey
from workers.worktrees.sources import BadSource, parse_source
from workers.worktrees.worktree import Archived, JobTree, NotArchived

# Experiment, target, profile, parameters, repeat.
_MOST_LEVELS = 5
# 3,000 years: whoever asks for more means that everything stays.
_FOR_EVER_SECONDS = 1e11
_RUN = re.compile(r"attempt-(\d+)-([0-9a-f]{8})")


@dataclass(frozen=True, kw_only=True)
class Collector:
    """One collection on this machine."""

    settings: Settings
    database: Database
    question: GarbageQuestion
    now: datetime

    def collect(self, go_on: Callable[[], bool] = lambda: True) -> list[GarbageItem]:
        """Judge everything and, if asked to, remove what may go. Ends early when `go_on` says no.

        Raises Conflict when another collection is under way here, StorageError when the database is away, Unavailable
        when the home cannot be written.
        """
        found: list[GarbageItem] = []
        with _alone(self.settings.home) if self.question.remove else nullcontext():
            for path in run_folders(self.settings.runs):
                if not go_on():
                    return found
                found.append(self._remains(path) if path.name.startswith(GONE) else self._tree(path))
            found += self._mirrors()
        return found

    def _remains(self, path: Path) -> GarbageItem:
        size = disk_use(path).disk_bytes
        verdict = Verdict(True, "its removal was interrupted")
        if self.question.remove:
            try:
                remove_tree(path)
            except OSError as error:
                verdict = Verdict(False, f"it cannot be removed: {error}")
            self._drop_empty(path.parent)
        return GarbageItem(
            kind="remains",
            path=str(path),
            disk_bytes=size,
            age_seconds=None,
            goes=verdict.goes,
            reason=verdict.reason,
        )

    def _tree(self, path: Path) -> GarbageItem:
        size, home = disk_use(path).disk_bytes, disk_use(path / "home").disk_bytes
        record = self._record(path)
        verdict = self._judge(record)
        if verdict.goes and record is not None:
            verdict = self._try(path, record, verdict)
        ended = record.ended_at if record is not None else None
        return GarbageItem(
            kind="tree",
            path=str(path),
            job_id=record.job_id if record else None,
            label=record.label if record else None,
            experiment=record.experiment if record else None,
            disk_bytes=size,
            home_bytes=home,
            age_seconds=(self.now - ended).total_seconds() if ended else None,
            goes=verdict.goes,
            reason=verdict.reason,
        )

    def _record(self, path: Path) -> TreeRecord | None:
        named = _RUN.fullmatch(path.name)
        if named is None:
            return None
        return tree_record(self.database, self.settings.machine, int(named[1]), named[2])

    @property
    def _retention(self) -> timedelta:
        return timedelta(seconds=min(self.question.retention_seconds, _FOR_EVER_SECONDS))

    def _judge(self, record: TreeRecord | None) -> Verdict:
        if record is None:
            return Verdict(False, "no attempt of this machine in this database made it")
        return judge_tree(
            live=record.live,
            job_state=record.job_state,
            ended_at=record.ended_at,
            now=self.now,
            retention=self._retention,
        )

    def _try(self, path: Path, record: TreeRecord, verdict: Verdict) -> Verdict:
        """Remove it under its lock, when everything still holds. A trial run looks and removes nothing."""
        try:
            tree = self._open(path, record)
        except (BadSource, ValidationError) as error:
            return Verdict(False, f"its record cannot be read: {error}")
        if tree is None:
            return Verdict(False, "it is not where this machine keeps such trees")
        try:
            tree.reopen()
            if (again := self._record(path)) != record:
                return self._judge(again)._replace(goes=False)
            archived = self._archived(tree, record)
            if archived is None and record.final_sha is not None:
                raise NotArchived("it does not stand at the commit that was archived, or its patch is missing")
            tree.require_archived(archived)
            if self.question.remove:
                tree.remove(archived)
                self._drop_empty(path.parent)
        except (NotArchived, Conflict) as error:
            return Verdict(False, str(error))
        except (BakeoffError, OSError) as error:
            return Verdict(False, f"it cannot be read or removed: {error}")
        finally:
            tree.release()
        return verdict

    def _open(self, path: Path, record: TreeRecord) -> JobTree | None:
        spec = JobSpec.model_validate(record.spec)
        git = Git(host_env=child_environment())
        key = JobKey(
            experiment=spec.experiment,
            target=spec.target.label,
            profile=spec.profile,
            repeat=record.repeat,
            attempt=path.name.removeprefix("attempt-"),
            params=spec.params,
        )
        mirror = Mirror(self.settings.mirrors, parse_source(spec.target.source, relative_to=Path.cwd()), git)
        tree = JobTree(self.settings.runs, key, mirror, git)
        return tree if tree.paths.run == path else None

    def _archived(self, tree: JobTree, record: TreeRecord) -> Archived | None:
        """What proves that the work is kept: read back from the store, byte by byte. None when nothing does."""
        if record.final_sha is None or record.patch_sha256 is None or record.final_sha != tree.head:
            return None
        store = ArtifactStore(self.settings.artifacts)
        for sha256 in (record.patch_sha256, record.bundle_sha256):
            if sha256 is not None:
                store.verify(sha256)
        return Archived(head=record.final_sha, patch_sha256=record.patch_sha256, bundle_sha256=record.bundle_sha256)

    def _mirrors(self) -> list[GarbageItem]:
        """Mirrors from which no tree here borrows and that no open job needs may go, when that was asked for."""
        paths = sorted(self.settings.mirrors.glob("*.git"))
        needed = _keys(open_sources(self.database))
        borrowed = _borrowed(self.settings.runs)
        left = [self._remains(path) for path in self.settings.mirrors.glob(f"{GONE}*")]
        return [*left, *(self._mirror(path, needed, borrowed) for path in paths if not path.name.startswith(GONE))]

    def _mirror(self, path: Path, needed: set[str], borrowed: set[str]) -> GarbageItem:
        age = self.now - datetime.fromtimestamp(path.stat().st_mtime, UTC)
        verdict = judge_mirror(
            needed=path.stem in needed,
            borrowed=str(path) in borrowed,
            age=age,
            retention=self._retention,
            asked_for=self.question.mirrors,
        )
        size = disk_use(path).disk_bytes
        if verdict.goes and self.question.remove and not discard(path):
            verdict = Verdict(False, "somebody is fetching into it")
        return GarbageItem(
            kind="mirror",
            path=str(path),
            disk_bytes=size,
            age_seconds=age.total_seconds(),
            goes=verdict.goes,
            reason=verdict.reason,
        )

    def _drop_empty(self, folder: Path) -> None:
        """Folders of repeats, profiles and targets in which nothing is left. Who makes them anew tries again."""
        while folder != self.settings.runs and folder.is_relative_to(self.settings.runs):
            try:
                folder.rmdir()
            except OSError:
                return
            folder = folder.parent


def run_folders(runs: Path) -> Iterator[Path]:
    """Every run directory below `runs`, and what is left of those whose removal was interrupted."""
    for place, folders, _ in os.walk(runs):
        if len(Path(place).relative_to(runs).parts) > _MOST_LEVELS:
            folders.clear()
        here = [name for name in sorted(folders) if name.startswith(GONE) or (Path(place, name) / "lock").is_file()]
        folders[:] = [name for name in folders if name not in here]
        yield from (Path(place, name) for name in here)


def _keys(sources: set[str]) -> set[str]:
    found = set()
    for source in sources:
        with suppress(BadSource):  # then it never had a mirror
            found.add(parse_source(source, relative_to=Path.cwd()).key)
    return found


def _borrowed(runs: Path) -> set[str]:
    """The mirrors that the trees of this machine borrow from."""
    found = set()
    for path in run_folders(runs):
        try:
            lines = (path / "git/objects/info/alternates").read_text("utf-8", "surrogateescape").splitlines()
        except OSError:
            continue
        found |= {str(Path(line).parent) for line in lines}
    return found


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    try:
        home.mkdir(parents=True, exist_ok=True)
        opened = (home / "gc.lock").open("ab")
    except OSError as error:
        raise Unavailable(f"{home}: {error.strerror}: nothing can be removed there, --dry-run only looks") from None
    with opened as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(f"another collection is under way in {home}; wait for it") from None
        yield


def main() -> None:
    """Standard input to standard output."""
    settings = load_settings()
    question = GarbageQuestion.model_validate_json(sys.stdin.read())
    try:
        database = Database(settings.database_url)
        found = Collector(settings=settings, database=database, question=question, now=utc_now()).collect()
    except BakeoffError as error:
        sys.stderr.write(str(error))
        sys.exit(error.exit_code)
    sys.stdout.buffer.write(TypeAdapter(list[GarbageItem]).dump_json(found))


if __name__ == "__main__":
    main()
