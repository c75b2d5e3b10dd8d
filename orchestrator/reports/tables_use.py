"""The tables of what was used: tokens, stages, quota, and what of it is known."""

from collections.abc import Callable, Sequence

from orchestrator.analysis.measure import Measure
from orchestrator.analysis.study import Study
from orchestrator.analysis.summary import TOKEN_KINDS, VariantSummary
from orchestrator.reports.table import Table
from orchestrator.reports.words import duration, mean_of, money, share, spaced, sum_of


def tokens_by_kind(study: Study) -> Table:
    """Mean tokens of a result by kind."""
    rows = tuple(
        (entry.label, *(mean_of(entry.tokens[kind], "tokens") for kind in TOKEN_KINDS)) for entry in study.summaries
    )
    return Table(
        key="tokens",
        title="Tokens of a result by kind (mean)",
        columns=("profile", *(spaced(kind) for kind in TOKEN_KINDS)),
        rows=rows,
        numeric=frozenset(range(1, 6)),
        note="Kinds are disjoint: input is without cached tokens, output without reasoning.",
    )


def stages(study: Study) -> Table:
    """Per variant, stage and model: count, failures, time, tokens, cost."""
    rows = tuple(
        (
            entry.label,
            entry.stage,
            entry.model + (f" (answered by {', '.join(entry.other_models)})" if entry.other_models else ""),
            str(entry.count),
            str(entry.failures),
            mean_of(entry.seconds, "duration"),
            mean_of(entry.tokens, "tokens"),
            sum_of(entry.cost_usd_micros, "money"),
            mean_of(entry.context_peak_fill, "share"),
            ", ".join(f"{count} × {spaced(reason)}" for reason, count in list(entry.reasons.items())[:3]),
        )
        for entry in study.stages
    )
    return Table(
        key="stages",
        title="Stages",
        columns=(
            "profile",
            "stage",
            "model",
            "runs",
            "failed",
            "mean time",
            "mean tokens",
            "cost in all",
            "context peak",
            "failed by",
        ),
        rows=rows,
        numeric=frozenset(range(3, 9)),
        note="All stages that ran, also those of jobs that do not count for quality.",
    )


def times(study: Study) -> Table:
    """Where the time of a result went."""
    measures: Sequence[Callable[[VariantSummary], Measure]] = (
        lambda e: e.wall_seconds,
        lambda e: e.working_seconds,
        lambda e: e.rate_limit_wait_seconds,
        lambda e: e.slot_wait_seconds,
        lambda e: e.parked_seconds,
    )
    return Table(
        key="times",
        title="Where the time of a result went (mean)",
        columns=("profile", "wall", "working", "limit wait", "slot wait", "parked"),
        rows=tuple((entry.label, *(mean_of(of(entry), "duration") for of in measures)) for entry in study.summaries),
        numeric=frozenset(range(1, 6)),
        note="Wall is working plus limit wait: the time in which an agent waited in place for a provider's limit. "
        "Waiting for a slot between two stages, and being parked until a limit resets, come on top.",
    )


def quota(study: Study) -> Table:
    """What each variant took from accounts and pools."""
    local = {entry.label: entry for entry in study.offloads}
    rows = tuple(
        (
            use.label,
            use.resource,
            str(use.jobs),
            str(use.stages),
            sum_of(use.requests, "number"),
            sum_of(use.tokens, "tokens"),
            sum_of(use.cached, "tokens"),
            share(local[use.label].calls),
            share(local[use.label].tokens),
        )
        for use in study.resources
    )
    return Table(
        key="quota",
        title="Quota and local work",
        columns=(
            "profile",
            "resource",
            "jobs",
            "stages",
            "requests",
            "tokens",
            "cached",
            "local calls",
            "local tokens",
        ),
        rows=rows,
        numeric=frozenset(range(2, 9)),
        note="≥ marks a sum with unknown parts. Local shares are of the whole profile.",
    )


def coverage(study: Study) -> Table:
    """What is known, per variant: known of results."""
    measures: Sequence[tuple[str, Callable[[VariantSummary], Measure]]] = (
        ("wall time", lambda e: e.wall_seconds),
        ("tokens", lambda e: e.tokens_total),
        ("list price", lambda e: e.cost_usd_micros),
        ("stated cost", lambda e: e.stated_cost_usd_micros),
        ("remote calls", lambda e: e.remote_calls),
        ("context peak", lambda e: e.context_peak_fill),
        ("lines changed", lambda e: e.lines_changed),
    )
    return Table(
        key="coverage",
        title="What is known",
        columns=("profile", *(name for name, _ in measures), "tokens unseen by agents", "spent in all"),
        rows=tuple(
            (
                entry.label,
                *(f"{found.known}/{found.of}" for found in (of(entry) for _, of in measures)),
                sum_of(entry.hidden_tokens, "tokens"),
                sum_of(entry.spent_usd_micros, "money"),
            )
            for entry in study.summaries
        ),
        numeric=frozenset(range(1, 10)),
        note="Of the results. Unseen tokens are counted by the gateway and told by no agent: of sub-agents that its "
        "stream does not show, of titles and retries. “Spent in all” is the list price of every stage that ran, "
        "whatever its job became.",
    )


def legacy(study: Study) -> Table:
    """The score of the original showdown, for comparison with old reports."""
    scored = {item.run.label for item in study.legacy}
    compared = (*(place.summary for place in study.ranking.places), *study.ranking.unranked)
    missing = [entry.label for entry in compared if entry.label not in scored]
    left_out = f" Left out for want of a known cost or time: {', '.join(missing)}." if missing else ""
    return Table(
        key="legacy",
        title="Legacy efficiency score",
        columns=("profile", "score", "solved/results", "cost", "time", "ended by a guard"),
        rows=tuple(
            (
                item.run.label,
                f"{item.score:.2f}",
                f"{item.run.completed}/{item.run.total}",
                money(item.run.cost_usd * 1e6),
                duration(item.run.duration_seconds),
                str(item.run.kills),
            )
            for item in study.legacy
        ),
        numeric=frozenset(range(1, 6)),
        note="rate / (0.3 cost + 0.3 time + 0.01), each over its maximum, less 10 % per guard end (50 % at most). It "
        "favours what is free however little it solves, so it ranks nothing here." + left_out,
    )
