"""The pictures of the HTML report, each with the sentence that stands in its place when there is nothing to draw."""

from dataclasses import dataclass

from markupsafe import Markup

from orchestrator.analysis.judge import end_word, group_checks
from orchestrator.analysis.study import Study
from orchestrator.analysis.variants import labels, variant_of
from orchestrator.reports.plots.contexts import NamedCurve, contexts_picture
from orchestrator.reports.plots.forest import forest, shown_pairs
from orchestrator.reports.plots.night import JobMark, night_picture
from orchestrator.reports.plots.windows import MAX_WINDOWS, window_picture, window_sentence
from orchestrator.reports.symbols import symbol
from orchestrator.reports.words import spaced


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """What was drawn; None or empty where a note says why not. Notes also tell what was left out."""

    forest: Markup | None
    forest_note: str
    night: Markup | None
    night_note: str
    windows: tuple[tuple[str, Markup | None], ...]
    windows_note: str
    contexts: Markup | None
    contexts_note: str


def pictures(study: Study) -> Pictures:
    """All of them. Names of targets, profiles and machines are escaped and on one line."""
    course = study.evidence.course
    shown = course.windows[:MAX_WINDOWS]
    contexts = contexts_picture(_named_curves(study))
    return Pictures(
        forest=forest(study.pairs),
        forest_note=_forest_note(study),
        night=night_picture(study.night, _marks(study)) if study.night else None,
        night_note=_night_note(study),
        windows=tuple((window_sentence(one), window_picture(one, at)) for at, one in enumerate(shown, 1)),
        windows_note=_windows_note(study, len(shown)),
        contexts=contexts,
        contexts_note=_contexts_note(study, drawn=contexts is not None),
    )


def _forest_note(study: Study) -> str:
    judged = [pair for pair in study.pairs if pair.difference is not None]
    if not study.pairs:
        return "There is nothing to compare: fewer than two profiles."
    if not judged:
        return "No pair of profiles has enough common targets for a difference with an interval."
    text = (
        "Mean difference over common targets with its 95 % interval. Filled points with a bold name are told apart "
        "after Holm's correction for all pairs; open points are not, whichever side their interval is on."
    )
    hidden = len(study.pairs) - len(shown_pairs(study.pairs))
    return f"{text} {hidden} more pairs are in the table only." if hidden else text


def _marks(study: Study) -> dict[int, JobMark]:
    checks = group_checks(study.evidence.checks)
    made = {}
    for job in study.evidence.jobs:
        word = end_word(job, checks.get(job.job_id, ()))
        made[job.job_id] = JobMark(label=job.label, word=spaced(word), tone=symbol(word).tone)
    return made


def _night_note(study: Study) -> str:
    if study.night is None:
        return "When attempts began and ended is not on record, so there is no picture of the night."
    text = (
        "Above, how many jobs waited, were parked and worked. Below, one line for each slot: a bar is an attempt on "
        "a machine, a stage on an account or pool, in the colour of its job's end. The upright lines at the end of a "
        "bar are the part of it that waited for a provider's limit."
    )
    left_out = study.evidence.course.attempts_left_out
    text += f" {left_out:,} more attempts are left out." if left_out else ""
    unbegun = sum(not job.attempts for job in study.evidence.jobs)
    return f"{text} {unbegun:,} jobs that have not begun are not in it." if unbegun else text


def _windows_note(study: Study, shown: int) -> str:
    hidden = len(study.evidence.course.windows) - shown
    if not shown:
        return "No account of these jobs has a quota window in the fleet file."
    text = "What the provider stated or our ledger counted, whichever is more. Gaps: nobody knows."
    return f"{text} {hidden} more windows are in the table only." if hidden else text


def _named_curves(study: Study) -> list[NamedCurve]:
    named = labels(study.evidence.jobs)
    jobs = {job.job_id: job for job in study.evidence.jobs}
    curves = [
        NamedCurve(
            label=named[variant_of(job)],
            name=f"{job.label}, stage {one.order}" + (f" of attempt {one.attempt}" if one.attempt > 1 else ""),
            curve=one,
        )
        for one in study.evidence.course.contexts
        if (job := jobs.get(one.job_id)) is not None
    ]
    order = {label: at for at, label in enumerate(study.labels)}
    return sorted(curves, key=lambda one: order.get(one.label, len(order)))


def _contexts_note(study: Study, *, drawn: bool) -> str:
    if not drawn:
        return "No stage told of its context turn by turn, or none had two turns, so there is no curve to draw."
    left_out = study.evidence.course.contexts_left_out
    more = f" {left_out:,} stages with lower peaks, or without readings, are left out." if left_out else ""
    return f"The fullest stages of each profile; a diamond is a compaction.{more}"
