"""Reviews of several agents as flux-drive's findings.json tells them: who found what, and whether it adds up."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from orchestrator.domain.matrix import content_hash
from orchestrator.domain.outcome import Outcome
from orchestrator.domain.untyped import count, pick, storable, text
from orchestrator.interop.foreign import UNKNOWN, Arm, Ended, Rows
from orchestrator.interop.input_file import refused
from orchestrator.interop.json_file import items, read_object
from orchestrator.interop.moments import read_moment
from orchestrator.interop.reading import Log, Reading
from orchestrator.storage.imports import ImportedRun

SOURCE = "findings"
_USE = (
    "Nobody judged whether the findings are right: agents can be compared by what they found, alone and together,"
    " and by tokens where a cost report tells them, not by quality."
)
_SEVERITIES = ("P0", "P1", "P2", "P3")


@dataclass(frozen=True, kw_only=True)
class _Finding:
    id: str
    severity: str
    agents: tuple[str, ...]
    record: Mapping[str, object]


def read_log(paths: Sequence[Path], experiment: str) -> Log:
    """The reviews of several files. Raises NotFound and InvalidInput, before anything is stored."""
    reading = Reading()
    runs = [run for path in paths for run in _review(path, experiment, reading)]
    return Log(source=SOURCE, runs=runs, reading=reading, use=_USE)


def _review(path: Path, experiment: str, reading: Reading) -> Iterator[ImportedRun]:
    review, file = read_object(path, reading.tally), f"{path.absolute().parent.name}/{path.name}"
    if not isinstance(review.get("findings"), list):
        raise refused(path, "is no findings.json: it has no list 'findings'")
    found = list(_findings(review, file, reading))
    reading.add({"findings": len(found)})
    _check_verdict(review, found, file, reading)
    tokens = _tokens(review, file, reading)
    at = read_moment(text(review, "reviewed"), "reviewed", file, reading.tally)
    target = PurePath(text(review, "input")).name or UNKNOWN
    # A day may have two reviews of one input: what a review says is part of its name.
    own = f"{text(review, 'input')}\0{content_hash({'review': json.dumps(review, sort_keys=True)})}"
    for agent in _agents(review, found, file, reading):
        reading.rows += 1
        mine = [one for one in found if agent in one.agents]
        levels = Counter(one.severity for one in mine)
        alone = sum(one.agents == (agent,) for one in mine)
        counts = {level: levels[level] for level in _SEVERITIES}
        reading.add({"tokens": tokens.get(agent)})
        told = " ".join(f"{level} {number}" for level, number in counts.items() if number) or "nothing"
        reading.shown.append(f"  {target}, {agent}: {told}; found by nobody else: {alone}")
        reading.extra.setdefault("agents", []).append(
            {"target": target, "agent": agent, **counts, "alone": alone, "tokens": tokens.get(agent)}
        )
        record = {"record": {"input": text(review, "input"), "findings": [dict(one.record) for one in mine]}}
        yield Rows(_arm(experiment, agent), target).run(f"{own}\0{agent}", _ended(review, agent, at, tokens), record)


def _agents(review: Mapping[str, object], found: Sequence[_Finding], file: str, reading: Reading) -> list[str]:
    """Those that were started, or that found something."""
    names = [storable(str(one)) for key in ("agents_launched", "agents_completed") for one in items(review.get(key))]
    told = dict.fromkeys(names)
    for agent in dict.fromkeys(agent for one in found for agent in one.agents):
        if agent not in told:
            where, who = f"{file} ({agent})", "{rows} agents found something and are not among those started"
            reading.tally.note("agent_unknown", where, who, "as started")
    return list(told | dict.fromkeys(agent for one in found for agent in one.agents))


def _findings(review: Mapping[str, object], file: str, reading: Reading) -> Iterator[_Finding]:
    for number, item in enumerate(items(review["findings"]), 1):
        named = dict.fromkeys(storable(str(one)) for one in items(pick(item, "agents")))
        agents = tuple(named) or (text(item, "agent"),)
        severity, where = text(item, "severity"), f"{file} {text(item, 'id') or f'finding {number}'}"
        if severity not in _SEVERITIES or not agents[0] or not isinstance(item, dict):
            reading.leave_out("no_finding", where, "{rows} findings without a severity or an agent")
            continue
        said = count(item, "convergence")
        if said is not None and pick(item, "agents") is not None and said != len(agents):
            what = f"{{rows}} findings say that {said} agents agree, and name {len(agents)}"
            reading.tally.note("convergence_contradicts", where, what, "those that are named")
        yield _Finding(id=text(item, "id"), severity=severity, agents=agents, record=item)


def _check_verdict(review: Mapping[str, object], found: Sequence[_Finding], file: str, reading: Reading) -> None:
    """The most severe finding decides."""
    levels = {one.severity for one in found}
    by_rule = "risky" if "P0" in levels else "needs-changes" if "P1" in levels else "safe"
    said = text(review, "verdict")
    if said and said != by_rule:
        what = f"the verdict is {said[:40]!r}, and by its findings it is {by_rule!r}"
        reading.tally.note("verdict_contradicts", file, what, "the findings")


def _tokens(review: Mapping[str, object], file: str, reading: Reading) -> dict[str, int]:
    """Tokens of each agent, where a report of costs tells them; a length of text in their place is none."""
    report = review.get("cost_report")
    told = {text(one, "name"): count(one, "actual") for one in items(pick(report, "agents"))}
    tokens = {name: number for name, number in told.items() if number}
    if not tokens:
        reading.tally.note("tokens_unknown", file, "{rows} reviews tell no tokens", "unknown")
    stated = count(report, "actual_total")
    if stated is not None and stated != sum(tokens.values()):
        what = f"actual_total is {stated:,}, and its agents have {sum(tokens.values()):,}"
        reading.tally.note("sum_contradicts", file, what, "those of the agents")
    return tokens


def _ended(review: Mapping[str, object], agent: str, at: Any, tokens: Mapping[str, int]) -> Ended:
    if agent in items(review.get("agents_failed")):
        return Ended(outcome=Outcome.AGENT_ERROR, detail="it gave no review", started_at=at, stage="review")
    completed = agent in items(review.get("agents_completed"))
    return Ended(
        outcome=Outcome.INTERRUPTED,
        detail="its review is judged by nobody" if completed else "nobody tells whether it came to its end",
        started_at=at,
        total_tokens=tokens.get(agent),
        stage="review",
    )


def _arm(experiment: str, agent: str) -> Arm:
    return Arm(
        source=SOURCE,
        experiment=experiment,
        name=agent,
        agent=agent,
        agent_version=None,
        reasoning=UNKNOWN,
        build=UNKNOWN,
        identity={"imported": SOURCE, "agent": agent},
    )
