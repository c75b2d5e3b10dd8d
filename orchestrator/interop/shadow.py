"""Shadow logs of a router: what it would have changed, line by line, and which lines cannot be read."""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from orchestrator.domain.outcome import Outcome
from orchestrator.domain.untyped import storable, text
from orchestrator.interop.foreign import UNKNOWN, Arm, Ended, Rows
from orchestrator.interop.input_file import refused, text_lines
from orchestrator.interop.json_file import items, read_object
from orchestrator.interop.moments import read_moment
from orchestrator.interop.reading import Log, Reading
from orchestrator.storage.imports import ImportedRun

SOURCE = "shadow-log"
_USE = (
    "A shadow log tells what would have been asked, and nothing of what came of it: changes can be counted by model,"
    " tier and phase; quality and cost of them cannot be told."
)
_ARROW = r"\s*(?:→|->)\s*"
# What a router says it would change. Names are free of spaces, so that no pattern looks at more than a few words of
# a long line; a tier nobody knows has no model.
_CHANGES = tuple(
    re.compile(pattern)
    for pattern in (
        rf"\[(?P<policy>B2)-shadow\] complexity=(?P<complexity>\S*) would change model: (?P<base>\S+?){_ARROW}"
        r"(?P<proposed>\S+) \(phase=(?P<phase>[^ )]*) category=(?P<category>[^)\s]*)\)",
        rf"\[(?P<policy>B2)-shadow\] complexity=(?P<complexity>\S*) would change dispatch: "
        rf"(?P<base>[^\s(]+)\([^)\s]*\){_ARROW}(?P<proposed>[^\s(]+)\([^)\s]*\)",
        rf"\[(?P<policy>B5)-shadow\] would route locally: (?P<base>\S+?){_ARROW}(?P<proposed>\S+)"
        r"(?: \(complexity=(?P<complexity>\S*) agent=(?P<agent>[^)\s]*)\))?",
        r"\[(?P<policy>interspect)-shadow\] (?P<agent>\S+): base=(?P<base>[^,\s]+), calibrated=(?P<proposed>\S+)",
    )
)
# Said in every mode, of what was done and not of what would be.
_OTHER = re.compile(r"\[(?:safety-floor|fable-window)\]")
_LEFT = re.compile(r"-shadow|would (?:change|route)")
_TIME = re.compile(r"\s*\[?(\d{4}-\d\d-\d\d[T ][\d:.,]+(?:Z|[+-]\d\d:?\d\d)?)")
_PARTS = ("policy", "complexity", "base", "proposed", "phase", "category", "agent")
_SHOWN_CHARS = 120


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What was asked (`base`) and what the router would have asked; the same where it agreed. Empty is not told."""

    place: str
    said: str
    at: str
    parts: Mapping[str, str]

    @property
    def change(self) -> str:
        """In short."""
        base, proposed = self.parts["base"], self.parts["proposed"]
        return f"{base} → {proposed}" if base != proposed else f"{base} kept"


def read_log(paths: Sequence[Path], experiment: str) -> Log:
    """The decisions in several files. Raises NotFound and InvalidInput, before anything is stored."""
    reading = Reading(extra={"unparsed": 0})
    runs: list[ImportedRun] = []
    for path in paths:
        decisions, tells_agreement = _decisions(path, reading)
        found = list(decisions)
        runs += [_run(experiment, path, one, reading) for one in found]
        _show(path, found, reading, tells_agreement=tells_agreement)
    return Log(source=SOURCE, runs=runs, reading=reading, use=_USE)


def _decisions(path: Path, reading: Reading) -> tuple[Iterator[Decision], bool]:
    """Of a log, or of a table (TSV, or JSON with `cases`) that has a router's standard error by the row.

    The second tells whether agreement is told too, as it is in a table.
    """
    if path.suffix == ".json":
        cases = items(read_object(path, reading.tally).get("cases"))
        if not cases:
            raise refused(path, "has no list 'cases'; read are logs, and tables with 'mode' and 'stderr'")
        return _of_cases(path, (({**one} if isinstance(one, dict) else {}) for one in cases), reading), True
    lines = text_lines(path)
    first = next(lines, "")
    if {"mode", "stderr"} <= set(first.rstrip("\n").split("\t")):
        table = csv.DictReader(chain([first], lines), delimiter="\t", quoting=csv.QUOTE_NONE)
        return _of_cases(path, ({**one} for one in table), reading), True
    return _of_lines(path, chain([first], lines) if first else (), reading), False


def _of_lines(path: Path, lines: Iterable[str], reading: Reading) -> Iterator[Decision]:
    for number, line in enumerate(lines, 1):
        reading.rows += 1
        at = _TIME.match(line)
        found = _said(line, f"{path.name}:{number}", at[1] if at else "", {}, reading)
        reading.left_out += not found
        yield from found


def _of_cases(path: Path, cases: Iterable[Mapping[str, object]], reading: Reading) -> Iterator[Decision]:
    for number, case in enumerate(cases, 1):
        reading.rows += 1
        place = f"{path.name} case {number}"
        told = {name: text(case, name) for name in _PARTS}
        found = _said(text(case, "stderr"), place, "", told, reading)
        asked = text(case, "tier") or text(case, "resolved") or text(case, "model")
        if found:
            yield from found
        elif text(case, "mode") != "shadow":
            reading.leave_out("not_shadow", place, f"{{rows}} cases in mode {text(case, 'mode')[:20]!r}")
        elif not asked or not told["complexity"]:
            reading.leave_out("not_asked", place, "{rows} cases in shadow mode without a tier or a model")
        else:
            parts = told | {"policy": "B2", "base": asked, "proposed": asked}
            yield Decision(place=place, said="agreed", at="", parts=parts)


def _said(said: str, place: str, at: str, told: Mapping[str, str], reading: Reading) -> list[Decision]:
    """All that a line says; a line that speaks of shadows and cannot be read is noted with its text."""
    decisions, rest = [], said
    for pattern in _CHANGES:
        for found in pattern.finditer(said):
            named = found.groupdict()
            parts = {name: storable((named.get(name) or told.get(name) or "").rstrip(";")) for name in _PARTS}
            decisions.append(Decision(place=place, said=storable(found[0]), at=at, parts=parts))
        rest = pattern.sub("", rest)
    if _LEFT.search(rest):
        shown = storable(rest.strip())[:_SHOWN_CHARS]
        what = f"{{rows}} lines of the router that cannot be read: {shown!r}"
        reading.tally.note("unparsed", place, what, "left out")
        reading.extra["unparsed"] += 1
    elif rest.strip(" ;\r\n") and not decisions:
        what = "notes of the router about what it did" if _OTHER.search(said) else "lines of other programs"
        reading.tally.note("other_lines", place, f"{{rows}} {what}", "left out")
    return decisions


def _run(experiment: str, path: Path, decision: Decision, reading: Reading) -> ImportedRun:
    parts = decision.parts
    identity = {"imported": SOURCE, **{name: parts[name] for name in ("policy", "base", "proposed")}}
    arm = Arm(
        source=SOURCE,
        experiment=experiment,
        name=f"{parts['policy']}-{decision.change.replace('→', 'to')}",
        agent=parts["agent"] or UNKNOWN,
        agent_version=None,
        reasoning=parts["base"],
        build=parts["base"],
        identity=identity,
    )
    ended = Ended(
        outcome=Outcome.INTERRUPTED,
        detail="a shadow log does not tell how work ended",
        started_at=read_moment(decision.at.replace(",", "."), "time", decision.place, reading.tally),
        stage=parts["phase"][:32] or "run",
    )
    record = {"place": decision.place, "record": {name: value for name, value in parts.items() if value}}
    return Rows(arm, path.stem).run(f"{decision.place}\0{decision.said}", ended, record)


def _show(path: Path, found: Sequence[Decision], reading: Reading, *, tells_agreement: bool) -> None:
    """How often each change would have been made, and how often none, where the file tells that."""
    changes = Counter((one.parts["policy"], one.parts["complexity"], one.change) for one in found)
    changed = sum(one.parts["base"] != one.parts["proposed"] for one in found)
    agreed = len(found) - changed if tells_agreement else None
    told = "it does not tell how often it agreed" if agreed is None else f"and {agreed} were left as they were"
    reading.shown.append(f"  {path.name}: {changed} would have changed ({told})")
    for (policy, tier, change), times in sorted(changes.items()):
        reading.shown.append(f"    {policy} {tier or 'any tier'}: {change}: {times}")
    reading.add({"changes": changed})
    reading.extra.setdefault("routing", []).append(
        {
            "target": path.stem,
            "changed": changed,
            "agreed": agreed,
            "changes": [
                {"policy": policy, "complexity": tier or None, "change": change, "times": times}
                for (policy, tier, change), times in sorted(changes.items())
            ],
        }
    )
