"""A stage that goes on in another session: the order stays the same, and the prompt tells what is done already."""

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.domain.jobspec import JobSpec
from orchestrator.domain.outcome import RESUMABLE
from workers.loops.prompts import render
from workers.loops.steps import NextStep, StageDone, StageOrder, Step, iteration_end


def next_step(loop: NextStep, spec: JobSpec, history: Sequence[StageDone]) -> Step:
    """The stage after `history`, or the end. A loop never sees the sessions that handed their stage over.

    Those whose context was full count as iterations, so a model that fills one after the other comes to an end; those
    that a limit of the provider or a fault of the machine interrupted do not.
    """
    step = loop(spec, settled(history))
    if not isinstance(step, StageOrder):
        return step
    end = iteration_end(spec, [done for done in history if done.outcome not in RESUMABLE])
    notes = _notes(history, step.stage)
    if end is not None or notes is None:
        return end or step
    return replace(step, prompt=render("handover", prompt=step.prompt, notes=notes), resumed=True)


def _notes(history: Sequence[StageDone], stage: str) -> str | None:
    """What the last session left that handed this stage over, also when one that was to go on with it failed."""
    handed = False
    for done in reversed(history):
        if done.stage != stage or (done.outcome is None and done.handover is None):
            break
        if done.handover:
            return done.handover
        handed = handed or done.handover is not None
    return "" if handed else None


def settled(history: Sequence[StageDone]) -> list[StageDone]:
    """The stages that came to an end of their own, with what earlier sessions of theirs had changed."""
    whole: list[StageDone] = []
    changed, commits = False, tuple[str, ...]()
    for done in history:
        changed, commits = changed or done.changed, (*commits, *done.commits)
        if done.handover is None:
            whole.append(replace(done, changed=changed, commits=commits))
            changed, commits = False, ()
    return whole
