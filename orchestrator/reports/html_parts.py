"""The parts of the HTML report that need arithmetic: comparison, cells, facts."""

from collections import Counter
from dataclasses import dataclass

from orchestrator.analysis.judge import group_checks, is_solved
from orchestrator.analysis.matrix import Cell
from orchestrator.analysis.rows import JobRow
from orchestrator.analysis.study import Study
from orchestrator.analysis.summary import VariantSummary
from orchestrator.reports.symbols import Symbol, symbol
from orchestrator.reports.words import money

_HEAT_STEPS = 5


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One row of the comparison. Positions are percentages of the bar's width."""

    summary: VariantSummary
    mark: str
    rank: int | None
    low: float
    high: float
    at: float
    apart: bool | None
    agent: str


@dataclass(frozen=True, kw_only=True)
class JobView:
    """One job of a cell, with the symbol and word of its end."""

    job: JobRow
    word: str
    symbol: Symbol
    solved: bool


@dataclass(frozen=True, kw_only=True)
class CellView:
    """A cell as shown: `heat` is 0 (nothing solved) to 5 (all), None without results; `hidden` jobs did not fit."""

    cell: Cell
    anchor: str
    heat: int | None
    counts: tuple[tuple[Symbol, str, int], ...]
    jobs: tuple[JobView, ...]
    hidden: int


def comparison_bars(study: Study) -> tuple[Bar, ...]:
    """One bar per variant, in the order of the ranking. `mark` is how the small picture names it."""
    apart = {place.summary.label: place.apart_from_leader for place in study.ranking.places}
    recipes = {(row.profile, row.profile_hash): row for row in study.evidence.profiles}
    made = []
    for at, entry in enumerate(study.summaries):
        recipe = recipes.get((entry.variant.profile, entry.variant.profile_hash))
        agent = ""
        if recipe:
            models = dict.fromkeys((recipe.reasoning_model, recipe.build_model))
            agent = f"{recipe.agent} {recipe.agent_version or '(version unknown)'} · {' + '.join(models)}"
        made.append(
            Bar(
                summary=entry,
                mark=letters(at),
                rank=study.ranking.rank_of(entry.label),
                low=round(100 * entry.interval.low, 1),
                high=round(100 * entry.interval.high, 1),
                at=round(100 * (entry.rate or 0.0), 1),
                apart=apart.get(entry.label),
                agent=agent,
            )
        )
    return tuple(made)


def letters(at: int) -> str:
    """A, B, … Z, AA, AB, … for the positions from 0: a number before a name would read as a rank."""
    before, last = divmod(at, 26)
    return (letters(before - 1) if before else "") + chr(ord("A") + last)


def profile_facts(study: Study) -> dict[str, str]:
    """The experiment in numbers: jobs, results, targets, profiles, repeats, what was spent."""
    jobs = study.evidence.jobs
    results = sum(entry.results for entry in study.summaries)
    spent = [entry.spent_usd_micros for entry in study.summaries]
    known = [found.total for found in spent if found.total is not None]
    bound = "" if all(found.complete for found in spent) else "at least "
    return {
        "targets": str(len(study.targets)),
        "profiles": str(len(study.labels)),
        "jobs": str(len(jobs)),
        "results": str(results),
        "spent at list price": f"{bound}{money(sum(known))}" if known else "unknown",
    }


def cell_views(study: Study, most_jobs: int) -> tuple[CellView, ...]:
    """The cells, with at most `most_jobs` jobs spelled out over all of them."""
    checks = group_checks(study.evidence.checks)
    room = most_jobs
    made = []
    for number, cell in enumerate(study.cells, start=1):
        shown = min(room, len(cell.jobs))
        room -= shown
        pairs = list(zip(cell.jobs, cell.words, strict=True))
        made.append(
            CellView(
                cell=cell,
                anchor=f"cell-{number}",
                heat=None if cell.share is None else round(cell.share * _HEAT_STEPS),
                counts=tuple((symbol(word), word, count) for word, count in Counter(cell.words).most_common()),
                jobs=tuple(
                    JobView(
                        job=job, word=word, symbol=symbol(word), solved=is_solved(job, checks.get(job.job_id, ()))
                    )
                    for job, word in pairs[:shown]
                ),
                hidden=len(cell.jobs) - shown,
            )
        )
    return tuple(made)


def end_legend(study: Study) -> tuple[tuple[Symbol, str], ...]:
    """The symbols that occur, with every word that each stands for."""
    groups: dict[Symbol, list[str]] = {}
    for entry in study.summaries:
        for word in entry.ends:
            known = groups.setdefault(symbol(word), [])
            if word not in known:
                known.append(word)
    return tuple((found, ", ".join(sorted(ends)).replace("_", " ")) for found, ends in sorted(groups.items()))
