"""The tables of quality, and the list of all tables in reading order."""

from collections.abc import Sequence

from orchestrator.analysis.judge import Standing, word_standing
from orchestrator.analysis.study import Study
from orchestrator.analysis.summary import VariantSummary
from orchestrator.reports import (
    tables_checks,
    tables_estimates,
    tables_night,
    tables_pairs,
    tables_race,
    tables_robust,
    tables_sure,
    tables_tasks,
    tables_use,
)
from orchestrator.reports.options import PLAIN, ReportOptions
from orchestrator.reports.symbols import symbol
from orchestrator.reports.table import Table
from orchestrator.reports.words import duration, mean_of, money, share, spaced


def comparison(study: Study) -> Table:
    """One row per variant: rank, both denominators, rate with interval, means of the results."""
    rows = []
    for entry in study.summaries:
        rows.append(
            (
                entry.label,
                place_text(study, entry.label),
                f"{entry.solved}/{entry.results}",
                f"{entry.solved}/{entry.jobs}",
                rate_text(entry),
                mean_of(entry.wall_seconds, "duration"),
                "–"
                if study.evidence.tasks_unnamed or not entry.wall_seconds.known
                else duration(entry.wall_seconds.median),
                mean_of(entry.rate_limit_wait_seconds, "duration"),
                mean_of(entry.tokens_total, "tokens"),
                mean_of(entry.cost_usd_micros, "money"),
                money(entry.cost_per_solved_usd_micros) if entry.solved else "–",
            )
        )
    return Table(
        key="comparison",
        title="Profiles compared",
        columns=(
            "profile",
            "rank",
            "solved/results",
            "solved/jobs",
            "solved (95 %)",
            "mean wall",
            "median wall",
            "limit wait",
            "tokens",
            "cost",
            "cost/solved",
        ),
        rows=tuple(rows),
        numeric=frozenset(range(1, 11)),
        note="Means are over results. Cost is at list price. (18/24) = known for 18 of 24; – = no value possible.",
    )


def short_comparison(study: Study) -> Table:
    """The comparison in as few columns as an ordinary terminal has room for."""
    rows = tuple(
        (
            entry.label,
            f"{entry.solved}/{entry.results}",
            rate_text(entry),
            mean_of(entry.wall_seconds, "duration"),
            mean_of(entry.tokens_total, "tokens"),
            mean_of(entry.cost_usd_micros, "money"),
        )
        for entry in study.summaries
    )
    return Table(
        key="short",
        title="Profiles compared",
        columns=("profile", "solved", "rate [95 %]", "wall", "tokens", "cost"),
        rows=rows,
        numeric=frozenset(range(1, 6)),
        note="Solved of results; means over results.",
    )


def place_text(study: Study, label: str) -> str:
    """The rank; `out` of the race; `second` part; – with too few results."""
    place = study.ranking.rank_of(label)
    if place is not None:
        return str(place)
    if study.second and label in study.second.labels:
        return "second"
    return "out" if study.race and label in study.race.out else "–"


def rate_text(entry: VariantSummary) -> str:
    """`88 % [69–96]`; `no results` without any."""
    if entry.rate is None:
        return "no results"
    low, high = entry.interval
    return f"{share(entry.rate)} [{100 * low:.0f}–{100 * high:.0f}]"


def ends(study: Study) -> Table:
    """How jobs ended: one row per kind of end, one column per variant, results first."""
    words = {word for entry in study.summaries for word in entry.ends}
    total = {word: sum(entry.ends.get(word, 0) for entry in study.summaries) for word in words}
    ordered = sorted(words, key=lambda word: (_class_place(word), -total[word], word))
    if len(study.labels) > _MAX_COLUMNS:
        return _ends_of_many(study, ordered)
    rows = tuple(
        (
            f"{symbol(word).sign} {spaced(word)}",
            class_of(word),
            *(str(entry.ends.get(word, "·")) for entry in study.summaries),
            str(total[word]),
        )
        for word in ordered
    )
    return Table(
        key="ends",
        title="How jobs ended",
        columns=("end", "counts as", *study.labels, "all"),
        rows=rows,
        numeric=frozenset(range(2, len(study.labels) + 3)),
        note="Only results are in the denominator of quality.",
    )


# More profiles than have room beside each other.
_MAX_COLUMNS = 5


def _ends_of_many(study: Study, words: Sequence[str]) -> Table:
    """One row per variant, one column per kind of end."""
    return Table(
        key="ends",
        title="How jobs ended",
        columns=("profile", *(f"{spaced(word)} ({class_of(word)})" for word in words)),
        rows=tuple((entry.label, *(str(entry.ends.get(word, "·")) for word in words)) for entry in study.summaries),
        numeric=frozenset(range(1, len(words) + 1)),
        note="In brackets what an end counts as. Only results are in the denominator of quality.",
    )


_CLASS_WORDS = {
    Standing.RESULT: "result",
    Standing.INFRA: "infrastructure",
    Standing.QUOTA: "quota",
    Standing.CANCELLED: "cancelled",
    Standing.RACED_OUT: "out of the race",
    Standing.INVALID: "invalid",
    Standing.OPEN: "open",
}


def class_of(word: str) -> str:
    """What an end counts as, in words."""
    return _CLASS_WORDS[word_standing(word)]


def _class_place(word: str) -> int:
    if word == "solved":
        return -1
    return list(_CLASS_WORDS.values()).index(class_of(word))


def denominators(study: Study) -> Table:
    """Per variant: jobs, results, and everything that stands apart, with the range that the missing jobs leave."""
    raced = any(entry.standings[Standing.RACED_OUT] for entry in study.summaries)
    apart = {Standing.RESULT} if raced else {Standing.RESULT, Standing.RACED_OUT}
    kinds = [kind for kind in Standing if kind not in apart]
    rows = tuple(
        (
            entry.label,
            str(entry.jobs),
            str(entry.results),
            *(str(entry.standings[kind]) for kind in kinds),
            str(entry.unjudged),
            f"{share(entry.sensitivity.low)} to {share(entry.sensitivity.high)}",
        )
        for entry in study.summaries
    )
    return Table(
        key="denominators",
        title="What counts, and what stands apart",
        columns=(
            "profile",
            "jobs",
            "results",
            *(_CLASS_WORDS[kind] for kind in kinds),
            "not judged",
            "if all counted",
        ),
        rows=rows,
        numeric=frozenset(range(1, len(kinds) + 5)),
        note="“If all counted”: solved share of all jobs if every missing one had failed, and if all were solved.",
    )


def advice(study: Study) -> Table:
    """Which profile for which wish."""
    return Table(
        key="advice",
        title="Which profile for which wish",
        columns=("wish", "profile", "because"),
        rows=tuple(
            (item.question, " = ".join(item.labels) or "no answer", item.refusal or item.because)
            for item in study.advice
        ),
        note="Best observed value among ranked profiles; the verdict says which differences the data support.",
    )


def all_tables(study: Study, options: ReportOptions = PLAIN) -> tuple[Table, ...]:
    """Every table that has rows, in reading order."""
    made = (
        comparison(study),
        tables_race.race(study),
        tables_sure.certainty(study),
        tables_sure.passes(study),
        tables_pairs.pairs(study, everything=options.everything),
        tables_sure.frontier(study),
        advice(study),
        denominators(study),
        tables_robust.robust(study),
        tables_robust.contradictions(study),
        ends(study),
        tables_checks.checks(study),
        tables_checks.cases(study),
        tables_checks.tampering(study),
        tables_checks.changes(study),
        tables_use.stages(study),
        tables_use.times(study),
        tables_night.slots(study),
        tables_night.windows(study),
        tables_use.quota(study),
        tables_tasks.efficiency(study),
        tables_use.tokens_by_kind(study),
        tables_use.coverage(study),
        tables_estimates.estimates(study),
        tables_robust.scores(study),
        tables_use.legacy(study),
        *options.appendix,
    )
    kept = {"comparison", "pairs"}  # what one looks for must be there, if only to say why there is no answer
    return tuple(table for table in made if table.rows and (table.key in kept or not table.tells_nothing))
