"""Bars of parts: where the time, tokens and money of each profile's stages went, and how its jobs ended."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.analysis.judge import word_standing
from orchestrator.analysis.measure import Measure
from orchestrator.analysis.stages import StageSummary
from orchestrator.analysis.study import Study
from orchestrator.reports.symbols import symbol
from orchestrator.reports.words import duration, money, one_line, spaced, tokens

_TONES = 6  # colours of stages in colours.css


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a bar: its share in percent, its class in the style sheet, and the facts behind it.

    `sign` is shown where the name has no room.
    """

    name: str
    sign: str = ""
    percent: float
    style: str
    facts: str


@dataclass(frozen=True, kw_only=True)
class Stack:
    """The bar of one variant. `complete` is false when a part is a lower bound, or unknown and not there."""

    label: str
    total: str
    complete: bool
    parts: tuple[Part, ...]


@dataclass(frozen=True, kw_only=True)
class StackGroup:
    """Bars of one quantity, or the sentence that stands in their place."""

    title: str
    stacks: tuple[Stack, ...]
    refusal: str = ""


def stage_tones(study: Study) -> tuple[tuple[str, int], ...]:
    """Each stage and its tone, in the order of a run."""
    names = dict.fromkeys(entry.stage for entry in study.stages)
    return tuple((name, index % _TONES) for index, name in enumerate(names))


def stage_groups(study: Study) -> tuple[StackGroup, ...]:
    """Stage time, tokens and list price by variant, in the order of the ranking; a stage keeps its tone in all."""
    tones = dict(stage_tones(study))
    by_label: dict[str, list[StageSummary]] = {}
    for entry in study.stages:
        by_label.setdefault(entry.label, []).append(entry)
    ordered = {label: by_label[label] for label in study.labels if label in by_label}
    return tuple(
        _group(title, ordered, tones, pick, say)
        for title, pick, say in (
            ("Time", lambda entry: entry.seconds, duration),
            ("Tokens", lambda entry: entry.tokens, tokens),
            ("Cost at list price", lambda entry: entry.cost_usd_micros, money),
        )
    )


def _group(
    title: str,
    by_label: Mapping[str, Sequence[StageSummary]],
    tones: Mapping[str, int],
    pick: Callable[[StageSummary], Measure],
    say: Callable[[float | None], str],
) -> StackGroup:
    stacks = [_stage_stack(label, found, tones, pick, say) for label, found in by_label.items()]
    shown = tuple(stack for stack in stacks if stack.parts)
    missing = [one_line(stack.label) for stack in stacks if not stack.parts]
    refusal = f"Nothing is known, or all of it is 0, of {', '.join(missing)}." if missing else ""
    return StackGroup(title=title, stacks=shown, refusal=refusal)


def _stage_stack(
    label: str,
    found: Sequence[StageSummary],
    tones: Mapping[str, int],
    pick: Callable[[StageSummary], Measure],
    say: Callable[[float | None], str],
) -> Stack:
    total = sum(pick(entry).total or 0.0 for entry in found)
    parts = tuple(
        Part(
            name=entry.stage,
            percent=round(100 * (pick(entry).total or 0.0) / total, 1),
            style=f"s{tones[entry.stage]}",
            facts=f"{entry.stage} with {entry.model}: {say(pick(entry).total)}, "
            f"{entry.failures} of {entry.count} failed",
        )
        for entry in found
        if total
    )
    return Stack(label=label, total=say(total), complete=all(pick(entry).complete for entry in found), parts=parts)


def end_stacks(study: Study) -> tuple[Stack, ...]:
    """How the jobs of each variant ended: solved first, then failures, then what does not count."""
    return tuple(_end_stack(entry.label, entry.ends, entry.jobs) for entry in study.summaries if entry.jobs)


def _end_stack(label: str, ends: Mapping[str, int], jobs: int) -> Stack:
    ordered = sorted(Counter(ends).items(), key=lambda pair: (_place(pair[0]), -pair[1], pair[0]))
    parts = tuple(
        Part(
            name=f"{symbol(word).sign} {count}",
            sign=symbol(word).sign,
            percent=round(100 * count / jobs, 1),
            style=f"e-{symbol(word).tone}",
            facts=f"{spaced(word)}: {count} of {jobs} jobs",
        )
        for word, count in ordered
    )
    return Stack(label=label, total=f"{jobs} job{'s' * (jobs != 1)}", complete=True, parts=parts)


_TONE_ORDER = ("good", "bad", "warn", "busy", "quiet")


def _place(word: str) -> tuple[int, str]:
    return _TONE_ORDER.index(symbol(word).tone), word_standing(word)
