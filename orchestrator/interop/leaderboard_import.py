"""Reading a leaderboard from disk and storing it: the shell around `leaderboard_file` and `leaderboard`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.clock import utc_now
from orchestrator.interop import findings as reports
from orchestrator.interop.findings import Finding
from orchestrator.interop.input_file import read_file
from orchestrator.interop.leaderboard import BoardRun, about_all, read_runs
from orchestrator.interop.leaderboard_file import read_board
from orchestrator.interop.leaderboard_results import SOURCE, summary, to_results
from orchestrator.interop.tally import Tally
from orchestrator.storage.engine import Database
from orchestrator.storage.imports import Stored, store_imported


@dataclass(frozen=True, kw_only=True)
class ReadBoard:
    """A leaderboard as it was read, and everything in it that is unclear."""

    experiment: str
    benchmark: str
    runs: tuple[BoardRun, ...]
    findings: tuple[Finding, ...]


def read(file: Path, experiment: str) -> ReadBoard:
    """Read a file. Raises NotFound and InvalidInput."""
    tally = Tally()
    board = read_board(read_file(file), file.name, tally)
    runs = read_runs(board, tally)
    findings = (*tally.findings(), *about_all(runs))
    return ReadBoard(experiment=experiment, benchmark=board.title or experiment, runs=tuple(runs), findings=findings)


def store(database: Database, board: ReadBoard) -> Stored:
    """Store what is not there yet. Raises Conflict for the name of another experiment."""
    results = to_results(board.experiment, board.benchmark, board.runs)
    return store_imported(database, name=board.experiment, source=SOURCE, runs=results, now=utc_now())


def as_json(board: ReadBoard, stored: Stored) -> dict[str, Any]:
    """The summary and the reconcile report for programs."""
    runs = [summary(run) for run in board.runs]
    return {
        "experiment": board.experiment,
        **stored._asdict(),
        "runs": runs,
        "findings": reports.as_json(board.findings),
    }
