"""Results of other programs in every form that is known: which form a file has, and what is in it.

One reader for each form, for `import`, which keeps what it says, and for `analyze`, which does not.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from orchestrator.domain.errors import Fault, InvalidInput, NotFound
from orchestrator.interop import leaderboard_import, stress, trials
from orchestrator.interop.findings import Finding
from orchestrator.interop.input_file import read_file
from orchestrator.interop.leaderboard_results import SOURCE as LEADERBOARD
from orchestrator.interop.leaderboard_results import summary, to_results
from orchestrator.interop.published_pairs import PublishedPair
from orchestrator.interop.ralph_import import read_folder
from orchestrator.interop.ralph_legacy import legacy_ranking
from orchestrator.interop.ralph_reconcile import reconcile
from orchestrator.interop.ralph_results import SOURCE as RALPH
from orchestrator.interop.ralph_results import to_result
from orchestrator.interop.tally import Tally
from orchestrator.interop.trials_file import check_whole, read_lines
from orchestrator.storage.imports import ImportedRun

# Enough of a file to see what it is.
_HEAD_BYTES = 4096


@dataclass(frozen=True, kw_only=True)
class Foreign:
    """Results as they are read. `runs` may be read once, as they stream by; `findings`, the reconcile report, and
    `told`, what programs are told beside it, are complete only then.

    `pairs` are comparisons that the source itself publishes.
    """

    experiment: str
    source: str
    runs: Iterable[ImportedRun]
    findings: Callable[[], Sequence[Finding]]
    told: Callable[[], Mapping[str, Any]] = dict
    pairs: tuple[PublishedPair, ...] = ()


def read_leaderboard(path: Path, experiment: str) -> Foreign:
    """A published leaderboard. Raises NotFound and InvalidInput."""
    board = leaderboard_import.read(path, experiment)
    return Foreign(
        experiment=experiment,
        source=LEADERBOARD,
        runs=to_results(experiment, board.benchmark, board.runs),
        findings=lambda: board.findings,
        told=lambda: {"runs": [summary(run) for run in board.runs]},
        pairs=board.pairs,
    )


def read_trials(path: Path, experiment: str) -> Foreign:
    """A table of trials. Raises NotFound and InvalidInput, also while it is read."""
    check_whole(path)
    tally, counts = Tally(), trials.Counts()

    @cache  # what is missing is noted once, when all has been read
    def findings() -> Sequence[Finding]:
        trials.note_missing(counts, tally)
        return tally.findings()

    return Foreign(
        experiment=experiment,
        source=trials.SOURCE,
        runs=trials.to_results(experiment, path.name, read_lines(path, tally), tally, counts),
        findings=findings,
        told=lambda: {"trials": counts.rows, "infra": counts.infra, "not_judged": counts.unjudged},
    )


def read_ledger(path: Path, experiment: str) -> Foreign:
    """A ledger of ralph's: the folder, or one of its two files. Raises NotFound and InvalidInput."""
    ledger = read_folder(path if path.is_dir() else path.parent)
    return Foreign(
        experiment=experiment,
        source=RALPH,
        runs=[to_result(experiment, run) for run in ledger.runs],
        findings=lambda: [*ledger.findings, *reconcile(ledger.runs)],
        told=lambda: {
            "legacy_scores": [{"run": one.run.label, "score": one.score} for one in legacy_ranking(ledger.runs)]
        },
    )


def read_stress(path: Path, experiment: str) -> Foreign:
    """Cells whose causes of failure somebody looked into. Raises NotFound and InvalidInput."""
    tally = Tally()
    runs = list(stress.to_results(experiment, path.name, stress.read_cells(read_file(path), path.name, tally), tally))
    return Foreign(experiment=experiment, source=stress.SOURCE, runs=runs, findings=tally.findings)


@dataclass(frozen=True, kw_only=True)
class Format:
    """A form of results. `fits` decides by the path and the first bytes of the file, none of a folder."""

    fits: Callable[[Path, bytes], bool]
    read: Callable[[Path, str], Foreign]


_LEDGER_FILES = ("runs.jsonl", "iterations.jsonl")
# The first that fits is taken.
FORMATS: Mapping[str, Format] = {
    "ralph-ledger": Format(
        fits=lambda path, _: path.name in _LEDGER_FILES or any((path / name).is_file() for name in _LEDGER_FILES),
        read=read_ledger,
    ),
    "trials": Format(
        fits=lambda path, head: (head[:2] == b"\x1f\x8b" or path.suffix == ".csv") and not path.is_dir(),
        read=read_trials,
    ),
    "stress": Format(fits=lambda path, head: path.suffix == ".json" and b'"true_cause"' in head, read=read_stress),
    "leaderboard": Format(
        fits=lambda path, _: path.suffix in (".yml", ".yaml", ".json") and path.is_file(), read=read_leaderboard
    ),
}


def read_foreign(path: Path, experiment: str, form: str | None = None) -> Foreign:
    """Read results in the named form, or in the one that the file looks like. Raises NotFound and InvalidInput."""
    return FORMATS[form or _form_of(path)].read(path, experiment)


def _form_of(path: Path) -> str:
    try:
        head = b"" if path.is_dir() else _head(path)
    except OSError as error:
        raise NotFound(f"{path}: {error.strerror}") from None
    found = next((name for name, one in FORMATS.items() if one.fits(path, head)), None)
    if found is None:
        message = f"looks like no results that are known; --format names their form: {', '.join(FORMATS)}"
        raise InvalidInput([Fault(file=str(path), field="", message=message)])
    return found


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD_BYTES)
