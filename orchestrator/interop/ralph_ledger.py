"""Ralph's ledgers, `runs.jsonl` and `iterations.jsonl`, as runs with their stages."""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from orchestrator.domain.events import InnerStageEnded
from orchestrator.domain.harness import duration, inner_stage
from orchestrator.domain.matrix import Json
from orchestrator.domain.untyped import count, parse_object, pick, text
from orchestrator.interop.findings import Finding

Record = Mapping[str, Json]
_MOST_LEVELS = 50


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line as it stands in its file, its number from 1."""

    number: int
    record: Record


@dataclass(frozen=True, kw_only=True)
class LedgerStage:
    """A stage, and the line that tells it."""

    line: Line
    told: InnerStageEnded


@dataclass(frozen=True, kw_only=True)
class LedgerRun:
    """A run: its summary (None when it was never written) and its stages, in the order of the file."""

    run_id: str
    summary: Line | None
    stages: tuple[LedgerStage, ...] = field(default=())

    def said(self, *path: str) -> object:
        """What the summary says at a path; None without one."""
        return pick(self.summary.record, *path) if self.summary else None

    @property
    def spec(self) -> str:
        """The spec that it worked on; `unknown` when nobody says."""
        return self._word("spec")

    @property
    def profile(self) -> str:
        """The profile by its name; `unknown` when nobody says."""
        return self._word("profile")

    def _word(self, key: str) -> str:
        found = self.said(key)
        return found if isinstance(found, str) and found else "unknown"

    @property
    def config(self) -> Record:
        """The settings that it ran with."""
        found = self.said("config_snapshot")
        return found if isinstance(found, dict) else {}

    @property
    def completed(self) -> int | None:
        """Tasks that were completed."""
        return count(self.said("tasks"), "completed")

    @property
    def left(self) -> int | None:
        """Tasks that were left over: what the original calls their total."""
        return count(self.said("tasks"), "total")

    @property
    def started_at(self) -> datetime | None:
        """When it began. The original writes no time zone."""
        return moment(self.said("started_at"))

    @property
    def ended_at(self) -> datetime | None:
        """When it ended."""
        return moment(self.said("ended_at"))

    @property
    def seconds(self) -> float | None:
        """How long it took, by its summary."""
        return duration(self.summary.record) if self.summary else None


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """Every run, in the order in which the files name them first, and the findings about lines."""

    runs: tuple[LedgerRun, ...]
    findings: tuple[Finding, ...]


def moment(value: object) -> datetime | None:
    """An ISO time; one without a zone is taken as UTC. None for anything else, and for what is no time in UTC."""
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def read_ledger(runs: bytes, iterations: bytes) -> Ledger:
    """Both files. Lines that are no JSON objects, torn ones included, are left out and reported."""
    findings: list[Finding] = []
    summaries: dict[str, Line] = {}
    for line in _lines(runs, "runs.jsonl", findings):
        run_id = text(line.record, "run_id")
        if not run_id:
            _note(findings, "no_run_id", f"runs.jsonl:{line.number}", "a run without run_id", "left out")
        elif run_id in summaries:
            same = summaries[run_id].record == line.record
            found = "the same run again" + ("" if same else ", with other content")
            kind = "duplicate_line" if same else "run_twice"
            _note(findings, kind, f"runs.jsonl:{line.number}", found, "once" if same else "the later line")
            summaries[run_id] = summaries[run_id] if same else line
        else:
            summaries[run_id] = line
    by_run: dict[str, list[Line]] = defaultdict(list)
    for line in _lines(iterations, "iterations.jsonl", findings):
        by_run[text(line.record, "run_id")].append(line)
    if without := by_run.pop("", []):
        where = f"iterations.jsonl:{without[0].number}"
        _note(findings, "no_run_id", where, f"{len(without)} stages without run_id", "left out")
    made = []
    for run_id in dict.fromkeys([*summaries, *by_run]):
        summary = summaries.get(run_id)
        lines = _once(run_id, by_run.get(run_id, []), summary, findings)
        made.append(LedgerRun(run_id=run_id, summary=summary, stages=_stages(lines, findings)))
    return Ledger(runs=tuple(made), findings=tuple(findings))


def _lines(data: bytes, file: str, findings: list[Finding]) -> list[Line]:
    found = []
    lines = data.split(b"\n")
    for index, raw in enumerate(lines, 1):
        if not raw.strip():
            continue
        record = _plain(parse_object(raw))
        if not isinstance(record, dict):
            torn = index == len(lines)
            what = "a last line that was never finished" if torn else "a line that is no JSON object"
            _note(findings, "torn_line" if torn else "garbage_line", f"{file}:{index}", what, "left out")
        else:
            found.append(Line(number=index, record=record))
    return found


def _plain(value: object, depth: int = 0) -> Json:
    """As every database takes it: of bounded depth, and without the numbers that are none."""
    if isinstance(value, dict) and depth < _MOST_LEVELS:
        return {str(key): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list) and depth < _MOST_LEVELS:
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float) or value is None else f"more than {_MOST_LEVELS} levels"


def _once(run_id: str, lines: Sequence[Line], summary: Line | None, findings: list[Finding]) -> list[Line]:
    """Without lines that were written twice: equal ones beyond what the summary counts of their stage."""
    extra = Counter(text(line.record, "stage") for line in lines)
    extra.subtract({stage: count(told, "count") or 0 for stage, told in _stages_said(summary).items()})
    if summary is None:
        return list(lines)
    seen: set[str] = set()
    kept = []
    for line in lines:
        content, stage = json.dumps(line.record, sort_keys=True), text(line.record, "stage")
        if content in seen and extra[stage] > 0:
            extra[stage] -= 1
            _note(findings, "duplicate_line", f"iterations.jsonl:{line.number}", f"a stage of {run_id} again", "once")
            continue
        seen.add(content)
        kept.append(line)
    return kept


def _stages_said(summary: Line | None) -> Mapping[str, object]:
    found = pick(summary.record, "stages") if summary else None
    return found if isinstance(found, dict) else {}


def _stages(lines: Sequence[Line], findings: list[Finding]) -> tuple[LedgerStage, ...]:
    found: list[LedgerStage] = []
    for line in lines:
        told = inner_stage(line.record, len(found) + 1)
        if told is None:
            _note(findings, "no_stage", f"iterations.jsonl:{line.number}", "a line without a stage", "left out")
        else:
            found.append(LedgerStage(line=line, told=told))
    return tuple(found)


def _note(findings: list[Finding], kind: str, where: str, found: str, read_as: str) -> None:
    findings.append(Finding(kind=kind, where=where, found=found, read_as=read_as))
