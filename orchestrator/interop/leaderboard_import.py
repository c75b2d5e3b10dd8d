"""Reading a leaderboard from disk: the shell around `leaderboard_file` and `leaderboard`."""

from dataclasses import dataclass
from pathlib import Path

from orchestrator.interop.findings import Finding
from orchestrator.interop.input_file import read_file, refused
from orchestrator.interop.leaderboard import BoardRun, about_all, read_runs
from orchestrator.interop.leaderboard_file import read_board
from orchestrator.interop.published_pairs import PublishedPair, read_pairs
from orchestrator.interop.tally import Tally


@dataclass(frozen=True, kw_only=True)
class ReadBoard:
    """A leaderboard as it was read, and everything in it that is unclear."""

    experiment: str
    benchmark: str
    runs: tuple[BoardRun, ...]
    findings: tuple[Finding, ...]
    pairs: tuple[PublishedPair, ...]


def read(file: Path, experiment: str) -> ReadBoard:
    """Read a file. Raises NotFound and InvalidInput."""
    tally = Tally()
    board = read_board(read_file(file), file.name, tally)
    runs = read_runs(board, tally)
    if not runs:
        raise refused(file, "is no leaderboard: no entry says how many tasks it tried (`test_cases` or `n`)")
    findings = (*tally.findings(), *about_all(runs))
    return ReadBoard(
        experiment=experiment,
        benchmark=board.title or experiment,
        runs=tuple(runs),
        findings=findings,
        pairs=read_pairs(board.pairs),
    )
