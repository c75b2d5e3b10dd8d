"""Token logs that people keep by hand at the ends of phases: sums without kinds, held against a weekly budget."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from orchestrator.domain.outcome import Outcome
from orchestrator.domain.untyped import count, text
from orchestrator.interop.foreign import UNKNOWN, Arm, Ended, Rows
from orchestrator.interop.input_file import refused
from orchestrator.interop.json_file import items, read_object
from orchestrator.interop.moments import read_moment
from orchestrator.interop.reading import Log, Reading
from orchestrator.storage.imports import ImportedRun

SOURCE = "token-log"
_USE = (
    "The log tells sums of tokens, and neither kinds nor outcomes: tokens can be compared by work, phase and model,"
    " cost and quality cannot."
)


def read_log(path: Path, experiment: str) -> Log:
    """The entries of a log. Raises NotFound and InvalidInput."""
    reading = Reading()
    log = read_object(path, reading.tally)
    if not isinstance(log.get("entries"), list):
        raise refused(path, "is no token log: it has no list 'entries'")
    runs = list(_runs(path, experiment, items(log["entries"]), reading))
    if (used := count(log, "tokens_used")) is not None:
        reading.stated["tokens"] = used
        reading.compare(path.name)
    budget = count(log, "budget_limit")
    if budget:
        reading.shown.append(f"  budget: {reading.sums['tokens'] / budget:.1%} of {budget:,} tokens")
    reading.extra["budget_limit"] = budget
    return Log(source=SOURCE, runs=runs, reading=reading, use=_USE)


def _runs(path: Path, experiment: str, entries: list[object], reading: Reading) -> Iterator[ImportedRun]:
    seen: Counter[str] = Counter()
    for number, entry in enumerate(entries, 1):
        reading.rows += 1
        where = f"{path.name} entry {number}"
        tokens, work = count(entry, "tokens"), text(entry, "sd_id")
        if not tokens or not work:
            reading.leave_out("no_entry", where, "{rows} entries without a count of tokens or a name of the work")
            continue
        reading.add({"tokens": tokens})
        model, phase, said = text(entry, "model") or UNKNOWN, text(entry, "phase"), text(entry, "timestamp")
        if model == UNKNOWN:
            reading.tally.note("model_unknown", where, "{rows} entries do not say the model", "unknown")
        at = read_moment(said, "timestamp", where, reading.tally)
        ended = Ended(
            outcome=Outcome.INTERRUPTED,
            detail="a token log does not tell how work ended",
            ended_at=at,
            total_tokens=tokens,
            stage=phase[:32] or "run",
        )
        # By what it says, and not by its place: the log begins anew every week.
        name = "\0".join((work, phase, said, model, str(tokens)))
        seen[name] += 1
        run = Rows(_arm(experiment, model), work).run(f"{name}\0{seen[name]}", ended, {"record": entry})
        yield run


def _arm(experiment: str, model: str) -> Arm:
    return Arm(
        source=SOURCE,
        experiment=experiment,
        name=model,
        agent=UNKNOWN,
        agent_version=None,
        reasoning=model,
        build=model,
        identity={"imported": SOURCE, "model": model},
    )
