"""Published leaderboards read as runs: who solved how many of how many tasks at which cost, and what does not fit."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from orchestrator.domain.untyped import count, number, usd_micros
from orchestrator.interop.findings import Finding
from orchestrator.interop.foreign import UNKNOWN
from orchestrator.interop.leaderboard_file import Board, Entry
from orchestrator.interop.moments import read_moment
from orchestrator.interop.tally import Tally

# A run that tried fewer of the tasks than this is not compared: nobody knows whether it met the easy ones.
_COMPARABLE_SHARE = 0.9
# Published rates have one decimal, and some are cut rather than rounded.
_RATE_POINTS = 0.1
# More jobs than this of one entry are a slip of the pen, not a benchmark.
_MAX_TASKS = 100_000
# A year for one task is one too.
_MAX_SECONDS = 366 * 86_400


@dataclass(frozen=True, kw_only=True)
class BoardRun:
    """A run of all tasks. `ran` of `tasks` were tried; totals are over those that ran, and None is unknown.

    `editor` is the second model of an architect's pair. `cost_usd_micros` is what the publisher computed from list
    prices. `input_tokens` are all of them, cached or not.
    """

    entry: Entry
    name: str
    model: str
    editor: str | None
    version: str | None
    solved: int
    ran: int
    tasks: int
    cost_usd_micros: int | None
    seconds: float | None
    input_tokens: int | None
    output_tokens: int | None
    date: datetime | None

    @property
    def label(self) -> str:
        """The model, or both of a pair."""
        return f"{self.model} + {self.editor}" if self.editor and self.editor not in self.model else self.model


def read_runs(board: Board, tally: Tally) -> list[BoardRun]:
    """The runs that can be compared; whatever does not fit is noted."""
    tasks = _tasks_of(board.entries)
    found: dict[str, BoardRun] = {}
    for entry in board.entries:
        run = _run(entry, tasks, tally)
        if run is None:
            continue
        first = found.setdefault(run.name, run)
        if first is not run:
            same = first.entry.fields == entry.fields
            kind = "duplicate" if same else "duplicate_contradicts"
            what = "again, word for word" if same else "again, with other numbers"
            tally.note(kind, entry.where, f"{run.name} {what}", f"the one in line {first.entry.line}")
    for pair in board.pairs:
        _check_pair(pair, tally)
    return list(found.values())


def _tasks_of(entries: Sequence[Entry]) -> int | None:
    """How many tasks the benchmark has: as `total_tests` says, or as most entries have."""
    told = Counter(found for entry in entries if (found := count(_data(entry), "total_tests")))
    tried = Counter(found for entry in entries if (found := _ran(entry)))
    most = (told or tried).most_common(1)
    return most[0][0] if most else None


def _data(entry: Entry) -> dict[str, object]:
    return dict(entry.fields)


def _ran(entry: Entry) -> int | None:
    found = count(_data(entry), "test_cases")
    return count(_data(entry), "n") if found is None else found


def _run(entry: Entry, tasks: int | None, tally: Tally) -> BoardRun | None:
    ran, fields = _ran(entry), _data(entry)
    if not ran or tasks is None or ran > _MAX_TASKS:
        tally.note("no_denominator", entry.where, "{rows} entries do not say how many tasks they tried", "left out")
        return None
    if ran < _COMPARABLE_SHARE * tasks:
        found = f"{ran} of {tasks} tasks were tried"
        tally.note("set_aside", f"{entry.where} ({_name(entry)})", found, "set aside: compared with nothing")
        return None
    solved = _solved(entry, ran, max(tasks, ran), tally)
    if solved is None:
        return None
    if ran < tasks:
        found = f"{ran} of {tasks} tasks were tried"
        tally.note("tasks_missing", f"{entry.where} ({_name(entry)})", found, f"{tasks - ran} jobs without a result")
    elif ran > tasks:
        found = f"{ran} tasks, where the others have {tasks}"
        tally.note("tasks_differ", f"{entry.where} ({_name(entry)})", found, f"all {ran} of them")
    return BoardRun(
        entry=entry,
        name=_name(entry),
        model=_word(entry, "model") or UNKNOWN,
        editor=_word(entry, "editor_model"),
        version=_word(entry, "versions"),
        solved=solved,
        ran=ran,
        tasks=max(tasks, ran),
        cost_usd_micros=_cost(entry, tally),
        seconds=_seconds(entry, ran, tally),
        input_tokens=_tokens(entry, "prompt_tokens", tally),
        output_tokens=count(fields, "completion_tokens"),
        date=_date(entry, tally),
    )


def _word(entry: Entry, key: str) -> str | None:
    found = entry.fields.get(key)
    return None if found is None or found == "" else str(found)


def _name(entry: Entry) -> str:
    return _word(entry, "dirname") or _word(entry, "model") or f"line {entry.line}"


def _solved(entry: Entry, ran: int, tasks: int, tally: Tally) -> int | None:
    """By count where it is told, of the last try; a rate is checked against it, or read where it stands alone."""
    data, where = _data(entry), f"{entry.where} ({_name(entry)})"
    told = next(
        (one for key in ("pass_num_2", "pass_num_1", "solved") if (one := count(data, key)) is not None), None
    )
    keys = ("pass_rate_2", "pass_rate_1", "published_pct")
    rate = next((found for key in keys if (found := number(data, key)) is not None), None)
    first, last = number(data, "pass_rate_1"), number(data, "pass_rate_2")
    if first is not None and last is not None and first > last:
        tally.note("tries_contradict", where, f"{first} % at the first try and {last} % at the second", "the second")
    solved = told if told is not None else None if rate is None else round(rate * ran / 100)
    if solved is None or not 0 <= solved <= ran:
        tally.note("no_result", where, f"{solved} of {ran} solved, at a rate of {rate}", "left out")
        return None
    if rate is not None:
        _check_rate(where, rate, solved, ran, tasks, tally)
    return solved


def _check_rate(where: str, rate: float, solved: int, ran: int, tasks: int, tally: Tally) -> None:
    if abs(rate - 100 * solved / ran) <= _RATE_POINTS:
        return
    if abs(rate - 100 * solved / tasks) <= _RATE_POINTS:
        found = f"{rate} % is {solved} of {tasks}, and {ran} tasks were tried"
        tally.note("other_denominator", where, found, f"{solved} of {ran}, and {tasks - ran} without a result")
        return
    found = f"{rate} % is said, and {solved} of {ran} is {100 * solved / ran:.1f} %"
    tally.note("rate_contradicts", where, found, f"{solved} of {ran}")


def _cost(entry: Entry, tally: Tally) -> int | None:
    """A cost of 0 is what the publisher writes when it had no price: nothing is free. Both kinds are told apart."""
    cost = usd_micros(_data(entry), "total_cost")
    if cost == 0:
        tally.note("cost_zero", entry.where, "{rows} entries say a cost of 0", "unknown: a price was missing")
    elif cost is None:
        tally.note("cost_unknown", entry.where, "{rows} entries say no cost", "unknown")
    return cost or None


def _seconds(entry: Entry, ran: int, tally: Tally) -> float | None:
    each = number(_data(entry), "seconds_per_case")
    minutes = number(_data(entry), "wall_min")
    if each is None and minutes is not None:
        each = minutes * 60 / ran
    if each is None or not 0 < each < _MAX_SECONDS:
        tally.note("time_unknown", entry.where, "{rows} entries say no duration", "unknown")
        return None
    return each * ran


def _tokens(entry: Entry, key: str, tally: Tally) -> int | None:
    found = count(_data(entry), key)
    if found:
        text = "{rows} entries do not say how many of their input tokens were cached"
        tally.note("tokens_undivided", entry.where, text, "input, of which the cached share is unknown")
    return found or None


def _date(entry: Entry, tally: Tally) -> datetime | None:
    """A day, which has no zone."""
    told = read_moment(_word(entry, "date") or "", "date", entry.where, Tally())
    if told is None:
        tally.note("date_unknown", entry.where, "{rows} entries have no date", "1970-01-01")
    return told


def _check_pair(pair: Entry, tally: Tally) -> None:
    data, where = _data(pair), f"{pair.where} ({pair.fields.get('a')} and {pair.fields.get('b')})"
    parts = [count(data, key) for key in ("both", "a_only", "b_only", "neither")]
    known, total = [part for part in parts if part is not None], count(data, "sum")
    if len(known) == len(parts) and total is not None and sum(known) != total:
        found = f"its four parts are {sum(known)} tasks and not {total}"
        tally.note("pair_incomplete", where, found, _NOT_STORED)
    nets = number(data, "published_net"), number(data, "net_from_totals")
    if None not in nets and nets[0] != nets[1]:
        found = f"the net difference is {nets[0]:g} as published and {nets[1]:g} from the totals"
        tally.note("pair_contradicts", where, found, _NOT_STORED)


_NOT_STORED = "not stored: it names no tasks"


def about_all(runs: Sequence[BoardRun]) -> list[Finding]:
    """What holds for every entry of such a file."""
    if not runs:
        return []
    found = f"{len(runs)} runs tell sums and means, and not which tasks were solved"
    read_as = "one job for each task with the mean cost and time; tasks of two runs are never paired"
    findings = [Finding(kind="tasks_unnamed", where=runs[0].entry.file, found=found, read_as=read_as)]
    versions = {run.version for run in runs}
    if len(versions) > 1:
        found = f"the runs were made by {len(versions)} versions of the program"
        read_as = "as they are: a difference may be the program's"
        findings.append(Finding(kind="versions_differ", where=runs[0].entry.file, found=found, read_as=read_as))
    return findings
