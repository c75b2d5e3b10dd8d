"""The task ledger where everybody can see it: in the database, as a file that the agents read, and beside the logs.

All three are written from one value: what an agent does to its copy is gone with the next stage. That copy lies in
the agent's `.git`, where no diff, no check and no tool that walks the tree meets it.
"""

import json
from collections.abc import Mapping

from workers.loops.ledger import Ledger, Task
from workers.spool import Recorder
from workers.worktrees.folders import JobPaths
from workers.worktrees.gitdir import leave_note

LEDGER_FILE = "tasks.json"

Entry = Mapping[str, str | int | bool | None]


class TaskBoard:
    """Shows one attempt's ledger."""

    def __init__(self, recorder: Recorder, paths: JobPaths) -> None:
        self._recorder, self._paths = recorder, paths
        self._recorded: dict[str, Entry] = {}

    def show(self, ledger: Ledger) -> None:
        """Make every copy say this. Call when no process of the job lives. Raises OSError."""
        if not ledger.tasks:
            return
        entries = entries_of(ledger)
        counts = {"accepted": ledger.done, "planned": len(ledger.planned)}
        text = json.dumps({**counts, "tasks": entries}, indent=1) + "\n"
        self._paths.restore()
        (self._paths.logs / LEDGER_FILE).write_text(text, encoding="utf-8")
        if not leave_note(self._paths.tree / ".git", LEDGER_FILE, text):
            self._recorder.event(
                "TaskFileNotWritten", {"reason": "the agent's .git is no folder that can be written"}
            )
        fresh = {str(entry["task_id"]): entry for entry in entries}
        changed = [entry for name, entry in fresh.items() if self._recorded.get(name) != entry]
        if changed:
            self._recorder.tasks(changed)
        self._recorded = fresh


def entries_of(ledger: Ledger) -> list[Entry]:
    """The ledger as it is shown, in its order."""
    planned, done = {one.id for one in ledger.planned}, ledger.done_ids
    return [_entry(task, place, task.id in planned, task.id in done) for place, task in enumerate(ledger.tasks, 1)]


def _entry(task: Task, position: int, planned: bool, done: bool) -> Entry:
    return {
        "task_id": task.id,
        "position": position,
        "parent": task.parent,
        "planned": planned,
        "done": done,
        "depth": task.depth,
        "text": task.text,
        "state": task.state,
        "rejects": task.rejects,
        "commit_sha": task.commits[-1] if done and task.commits else None,
        "cause": None if done else task.reason or None,
    }
