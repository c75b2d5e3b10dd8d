"""Stress tests of which somebody looked into every failure: cells with an outcome, and the cause of a failure."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.domain.check import CheckStatus
from orchestrator.domain.errors import Fault, InvalidInput
from orchestrator.domain.outcome import Outcome
from orchestrator.domain.untyped import parse_object, text
from orchestrator.interop.foreign import UNKNOWN, Arm, Ended, Rows
from orchestrator.interop.tally import Tally
from orchestrator.storage.imports import ImportedRun

SOURCE = "stress"
_SUCCESS = frozenset({"success", "solved", "pass", "passed"})


@dataclass(frozen=True, kw_only=True)
class StressCell:
    """A cell. `cause` is what made it fail outside of the agent's work, empty where nobody found anything."""

    repo: str
    task: str
    agent: str
    outcome: str
    cause: str
    record: Mapping[str, Any]


def read_cells(content: str, file: str, tally: Tally) -> list[StressCell]:
    """The cells of a JSON object with a list `cells`. Raises InvalidInput; cells without an outcome are noted."""
    found = (parse_object(content.encode()) or {}).get("cells")
    if not isinstance(found, list):
        message = "is no stress test: a JSON object with a list 'cells' is accepted"
        raise InvalidInput([Fault(file=file, field="cells", message=message)])
    cells = []
    for number, one in enumerate(found, 1):
        if not (text(one, "task") and text(one, "outcome")):
            tally.note("no_cell", f"{file}: cell {number}", "{rows} cells have no task or no outcome", "left out")
            continue
        cells.append(
            StressCell(
                repo=text(one, "repo"),
                task=text(one, "task"),
                agent=text(one, "agent") or text(one, "model") or UNKNOWN,
                outcome=text(one, "outcome").strip().lower(),
                cause=" ".join(text(one, "true_cause").split()),
                record=dict(one),
            )
        )
    return cells


def to_results(experiment: str, file: str, cells: Sequence[StressCell], tally: Tally) -> Iterator[ImportedRun]:
    """One job for each cell; the same cell again is a repeat."""
    seen: dict[tuple[str, str, str], int] = {}
    for number, cell in enumerate(cells, 1):
        target = f"{cell.repo}-{cell.task}" if cell.repo else cell.task
        key = (cell.agent, cell.repo, cell.task)
        seen[key] = seen.get(key, 0) + 1
        name = json.dumps([*key, seen[key]])
        rows = Rows(_arm(experiment, cell), target)
        ended = _ended(cell, f"{file}: cell {number} ({target})", tally)
        yield rows.run(name, ended, {"line": number, "record": dict(cell.record)})


def _arm(experiment: str, cell: StressCell) -> Arm:
    return Arm(
        source=SOURCE,
        experiment=experiment,
        name=cell.agent,
        agent=cell.agent,
        agent_version=None,
        reasoning=UNKNOWN,
        build=UNKNOWN,
        identity={"imported": SOURCE, "agent": cell.agent},
    )


def _ended(cell: StressCell, where: str, tally: Tally) -> Ended:
    """A failure with a cause outside of the work is nobody's; a success is one, whatever was found beside it."""
    solved = cell.outcome in _SUCCESS
    if cell.cause and not solved:
        found = f"{{rows}} cells ended as {cell.outcome}, and the cause is told: {cell.cause}"
        tally.note("environment", where, found, "setup_failed: the environment's failure, not in quality")
        return Ended(outcome=Outcome.SETUP_FAILED, detail=f"{cell.outcome}: {cell.cause}")
    if cell.cause:
        tally.note("success_with_cause", where, f"{{rows}} successes have a cause of failure: {cell.cause}", "solved")
    status = CheckStatus.PASS if solved else CheckStatus.FAIL
    return Ended(outcome=Outcome.COMPLETE, detail="" if solved else cell.outcome, check=(status, ""))
