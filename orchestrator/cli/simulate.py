"""simulate: how long a fleet takes, in simulated time and by the code that orders jobs in production."""

import time
from datetime import datetime, timedelta
from pathlib import Path
from statistics import mean
from typing import Any

import click

from orchestrator.analysis.simulate import Simulated, SimulatedJob, simulate
from orchestrator.analysis.workload import Workload, generated, recorded, with_quotas
from orchestrator.cli.common import as_json, emit, open_database
from orchestrator.clock import utc_now
from orchestrator.domain.durations import format_duration, parse_duration_seconds
from orchestrator.domain.errors import ExitCode

_MOST_JOBS = 1_000_000


class _Duration(click.ParamType[float]):
    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            seconds = parse_duration_seconds(value)
        except ValueError as error:
            self.fail(f"{value!r}: {error}", param, ctx)
        return seconds if seconds > 0 else self.fail(f"{value!r}: more than nothing", param, ctx)


def _capacities(_ctx: click.Context, _param: click.Parameter, pairs: tuple[str, ...]) -> dict[str, int]:
    found = {}
    for pair in pairs:
        name, _, count = pair.partition("=")
        if not (count.isascii() and count.isdigit() and len(count) < 7):
            raise click.BadParameter(f"{pair!r} is not RESOURCE=SLOTS, such as pool:box=8")
        found[name] = int(count)
    return found


@click.command("simulate")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--trials", type=click.Path(path_type=Path), help="Recorded trials (.csv or .csv.gz) instead of FILE.")
@click.option("--jobs", type=click.IntRange(1, _MOST_JOBS), help="So many generated jobs instead of FILE.")
@click.option("--slots", type=click.IntRange(1, 100_000), default=64, show_default=True, help="For --trials, --jobs.")
@click.option("--with", "capacities", multiple=True, callback=_capacities, metavar="RESOURCE=SLOTS", help="For FILE.")
@click.option("--unknown", type=_Duration(), help="For FILE: duration of jobs of which nothing is known.")
@click.option("--quotas", is_flag=True, help="For --jobs: windows of 5 h and 7 d on every account, a budget on one.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="For --trials and --jobs.")
@as_json
def simulate_command(
    file: Path | None,
    trials: Path | None,
    jobs: int | None,
    slots: int,
    capacities: dict[str, int],
    unknown: float | None,
    quotas: bool,
    seed: int,
    as_json: bool,
) -> int:
    """Foretell how long the open jobs of FILE take on its fleet, how busy each account and pool is, and how near that
    comes to what no order can beat. Runs nothing. Jobs take as long as earlier ones did; guesses are counted.

    \b
    Examples:
      bakeoff simulate experiment.yaml --with pool:box=16
      bakeoff simulate --trials trials.csv.gz --slots 64
      bakeoff simulate --jobs 100000 --slots 1000
    """
    if sum(one is not None for one in (file, trials, jobs)) != 1:
        raise click.UsageError("name one of FILE, --trials and --jobs")
    if quotas and jobs is None:
        raise click.UsageError("--quotas is for --jobs; `bakeoff plan FILE` has the windows of FILE's fleet")
    notes: list[str] = []
    if file is not None:
        work = _of_file(file, capacities, unknown, notes)
    elif trials is not None:
        from orchestrator.files.trials import load_trials

        found, without = load_trials(trials)
        work = recorded(found, slots, seed)
        notes += [f"{without} rows without times are left out"] if without else []
    else:
        work = generated(jobs or 0, slots, seed)
        work = with_quotas(work) if quotas else work
    began = time.perf_counter()
    done = simulate(work.jobs, work.slots, windows=work.windows)
    took = time.perf_counter() - began
    idle = sum(start is None for start in done.starts)
    notes += [f"{idle} jobs never start: what they need has no slot, or a budget is spent"] if idle else []
    if as_json:
        emit(_document(work, done, took, utc_now(), notes))
    else:
        for line in _lines(work, done, took, utc_now(), notes):
            click.echo(line)
    return ExitCode.OK


def _of_file(file: Path, capacities: dict[str, int], unknown: float | None, notes: list[str]) -> Workload:
    from orchestrator.domain.states import FINAL_JOB_STATES
    from orchestrator.files import load_experiment
    from orchestrator.scheduling.submit import plan

    loaded = load_experiment(file)
    slots = loaded.fleet.capacities()
    strange = sorted(set(capacities) - set(slots))
    if strange:
        raise click.BadParameter(f"no {strange[0]} in the fleet file; there are: {', '.join(sorted(slots))}")
    planned, _ = plan(loaded, open_database())
    open_jobs = [job for job in planned.jobs if job.state not in FINAL_JOB_STATES]
    known = [job.expected_seconds for job in open_jobs if job.expected_seconds is not None]
    longest = max((job.cell.spec.limits.wall_timeout for job in open_jobs), default=0.0)
    guess = unknown or (mean(known) if known else longest)
    guessed = len(open_jobs) - len(known)
    if guessed:
        why = "as --unknown says" if unknown else "the mean of the others" if known else "their longest wall_timeout"
        notes.append(f"{guessed} of {len(open_jobs)} durations are guesses of {format_duration(guess)}: {why}")
    jobs = tuple(
        SimulatedJob(job.needs, place, guess if job.expected_seconds is None else job.expected_seconds)
        for place, job in enumerate(open_jobs)
    )
    return Workload(jobs=jobs, slots=slots | capacities, known=len(known), guessed=guessed)


def _use(work: Workload, done: Simulated, name: str) -> float | None:
    whole = work.slots[name] * done.makespan_seconds
    return done.busy_seconds.get(name, 0.0) / whole if whole else None


def _document(work: Workload, done: Simulated, took: float, now: datetime, notes: list[str]) -> dict[str, object]:
    return {
        "jobs": len(work.jobs),
        "ordered_by_known_durations": work.known,
        "guessed": work.guessed,
        "makespan_seconds": done.makespan_seconds,
        "lower_bound_seconds": done.lower_bound_seconds,
        "ratio": done.ratio,
        "ends_at": now + timedelta(seconds=done.makespan_seconds),
        "resources": [
            {
                "name": name,
                "slots": count,
                "busy_seconds": done.busy_seconds.get(name, 0.0),
                "utilisation": _use(work, done, name),
            }
            for name, count in sorted(work.slots.items())
        ],
        "windows": [
            {"name": one.name, "gate": one.gate, "peak": peak, "held_seconds": held}
            for one, peak, held in zip(work.windows, done.peaks, done.held_seconds, strict=True)
        ],
        "passes": done.passes,
        "simulated_in_seconds": took,
        "notes": notes,
    }


def _lines(work: Workload, done: Simulated, took: float, now: datetime, notes: list[str]) -> list[str]:
    if done.ratio is None:
        return [*notes, "nothing to do"]
    ends = now + timedelta(seconds=done.makespan_seconds)
    lines = [
        f"{len(work.jobs)} jobs, {work.known} of them ordered by a known duration",
        f"makespan {format_duration(done.makespan_seconds)}: {done.ratio:.3f} x the lower bound of "
        f"{format_duration(done.lower_bound_seconds)}; begun now it ends at {ends:%Y-%m-%d %H:%M} UTC",
    ]
    for name, count in sorted(work.slots.items()):
        use = _use(work, done, name)
        lines.append(f"{name}: {count} slot{'' if count == 1 else 's'}, {100 * (use or 0.0):.1f} % used")
    for window, peak, held in zip(work.windows, done.peaks, done.held_seconds, strict=True):
        waits = f", jobs wait {format_duration(held)} for it" if held else ""
        lines.append(f"{window.name} of {window.gate}: {100 * peak:.0f} % full at the most{waits}")
    lines.append(f"simulated in {took:.1f} s, {done.passes} scheduler passes")
    return lines + [f"note: {note}" for note in notes]
