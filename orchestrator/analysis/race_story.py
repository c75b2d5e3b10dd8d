"""What a report says about a race: who was stopped on what evidence, what that saved, and what it forbids."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from orchestrator.analysis.judge import Standing, standing
from orchestrator.analysis.race import RaceRecord, Stop
from orchestrator.analysis.rows import JobRow
from orchestrator.analysis.variants import labels, variant_of
from orchestrator.domain.race import Race


@dataclass(frozen=True, kw_only=True)
class StopShown:
    """A stop with the labels that the report uses."""

    label: str
    against: str
    stop: Stop
    rules: Race
    at: datetime


@dataclass(frozen=True, kw_only=True)
class RaceStory:
    """The race of one experiment. `saved` jobs of `jobs` were ended before they began; `spent`: by `most_runs`.

    `out` are the labels of which no rate may be compared with another: on which targets they have results depends on
    those results.
    """

    rules: Race | None
    stops: tuple[StopShown, ...]
    out: tuple[str, ...]
    inside: tuple[str, ...]
    saved: int
    jobs: int
    spent: bool


def race_story(record: RaceRecord | None, jobs: Sequence[JobRow]) -> RaceStory | None:
    """None where there never was a race."""
    if record is None:
        return None
    named = labels(jobs)
    by_hash: dict[str, list[str]] = {}
    for variant, label in named.items():
        by_hash.setdefault(variant.profile_hash, []).append(label)
    ended = [job for job in jobs if standing(job) is Standing.RACED_OUT]
    # A stop that came when nothing waited any more, or that was overruled since, took nothing away.
    cut = {job.profile_hash for job in ended}
    out = tuple(label for one in record.stops if one.stop.arm in cut for label in by_hash.get(one.stop.arm, ()))
    return RaceStory(
        rules=record.rules,
        stops=tuple(
            StopShown(label=label, against=by_hash[one.stop.against][0], stop=one.stop, rules=one.rules, at=one.at)
            for one in record.stops
            for label in by_hash.get(one.stop.arm, ())[:1]
        ),
        out=out,
        inside=tuple(label for label in named.values() if label not in out),
        saved=sum(not job.attempts for job in ended),
        jobs=len(jobs),
        spent=any(named[variant_of(job)] not in out for job in ended),
    )


def race_words(story: RaceStory | None) -> tuple[str, ...]:
    """Sentences for the verdict."""
    if story is None or not (story.stops or story.rules):
        return ()
    said = [_stopped(one) for one in story.stops] or ["The race has stopped nobody."]
    if story.stops:
        rules = story.stops[0].rules
        best = f"better than all others by {100 * rules.margin:g} points" if rules.margin else "as good as the best"
        said.append(f"Of such races at most {100 * rules.error_rate:g} % ever stop a profile that is {best}.")
    if story.out:
        said.append(
            f"{' and '.join(story.out)} ran on fewer targets, and how many depends on the results: no rate is "
            "compared with theirs."
        )
    if story.spent:
        said.append("The race ended because its runs were made (most_runs): who is left was not told apart by it.")
    if story.saved:
        said.append(f"The race saved {story.saved} of {story.jobs} runs.")
    return tuple(said)


def _stopped(one: StopShown) -> str:
    return (
        f"The race stopped {one.label}: on {one.stop.targets} common targets {one.against} was better on "
        f"{one.stop.better} and worse on {one.stop.worse}."
    )
