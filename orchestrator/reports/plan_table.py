"""The plan as a terminal table."""

from collections import Counter
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.domain.preflight import Answer
from orchestrator.reports.plan_estimates import estimate_table
from orchestrator.scheduling.estimates import PlanEstimates
from orchestrator.scheduling.next_step import nobody_serves
from orchestrator.scheduling.race_plan import race_plan
from orchestrator.scheduling.submit import Plan

# More rows than this are summed up by queue alone; --json has all of them.
_MOST_ROWS = 200


def print_expected(found: PlanEstimates, lines: Sequence[str]) -> None:
    """Print what each job is expected to take, as far as anything is known, and these lines."""
    console = Console()
    if any(one.seconds or one.tokens or one.cost_usd_micros for _, one in found.jobs):
        console.print("\n[bold]expected of each job[/]: mean, and where 8 of 10 such runs lie")
        console.print(estimate_table(found))
    for line in lines:
        console.print(Text(line), soft_wrap=True)


def print_plan(
    planned: Plan, answer: Answer, unserved: Sequence[str], unneeded: Sequence[str], smaller: Sequence[str]
) -> None:
    """Print the matrix, the queues, and what is missing before it could run."""
    console = Console()
    experiment = planned.loaded.experiment
    console.print(f"[bold]{experiment.experiment}[/]: {len(planned.jobs)} jobs, {len(planned.new)} of them new")
    table = Table("#", "job", "queue", "holds", "state", box=None, pad_edge=False, header_style="bold")
    for job in planned.jobs[:_MOST_ROWS]:
        words = ("new, second part" if job.second_part else "new") if job.state is None else job.state
        state = Text(words, style="green" if job.state is None else "dim")
        table.add_row(str(job.position), Text(job.label), Text(job.queue), Text(" + ".join(job.needs)), state)
    console.print(table)
    if len(planned.jobs) > _MOST_ROWS:
        console.print(f"... and {len(planned.jobs) - _MOST_ROWS} more: use --json")
    for line in _rules(planned):
        console.print(line, highlight=False, soft_wrap=True)
    for queue, count in sorted(Counter(job.queue for job in planned.new).items()):
        console.print(f"queue {queue}: {count} new jobs")
    for label, target in answer.targets.items():
        console.print(f"target {label}: base {target.sha[:12]}")
    for name, agent in answer.agents.items():
        found = (
            f"version {agent.version or 'unknown'}"
            if agent.installed
            else f"[red]not installed here[/]: {agent.hint}"
        )
        console.print(f"agent {name}: {found}", highlight=False)
    for resource in unserved:
        console.print(f"[yellow]{nobody_serves(resource)}[/]", highlight=False, soft_wrap=True)
    for warning in smaller:
        console.print(f"[yellow]{warning}[/]", highlight=False, soft_wrap=True)
    for resource in unneeded:
        console.print(f"{resource} is gone from the fleet file and no open job needs it: a submit forgets it.")
    if planned.stale:
        console.print(f"{planned.stale} stored jobs are no longer in the file; they stay as they are.")


def _rules(planned: Plan) -> Iterator[str]:
    """What decides while it runs which of the jobs take place."""
    race, then = race_plan(planned), planned.loaded.experiment.then
    if race:
        yield race.words()
    if then:
        yield (
            f"second part: {', '.join(then.profiles)} on the {then.top} targets with the {then.first} {then.rank_by} "
            "in the first, once that has ended"
        )
    if race or then:
        yield "what is expected counts every job; those that are stopped or not chosen take nothing"
