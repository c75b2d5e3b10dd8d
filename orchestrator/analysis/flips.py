"""How few other outcomes would have put another profile first."""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.analysis.tally import Tally


@dataclass(frozen=True, kw_only=True)
class Flip:
    """With `changes` results the other way, `to` would have a higher solved rate than the first.

    `lost` of them are solved results of the first that fail, the others failures of `to` that are solved.
    """

    to: str
    changes: int
    lost: int


def fewest_changes(first: Tally, rivals: Sequence[tuple[str, Tally]]) -> Flip | None:
    """The smallest such change over all rivals, the earlier one of equal ones; None where no change would do.

    The fewer results a profile has, the more each of them moves its rate: those go first. Source: our own, after the
    fragility index of M. Walsh et al., J. Clin. Epidemiol. 67 (2014) 622-628, which asks so about a p-value.
    """
    found = [flip for label, rival in rivals if (flip := _flip(first, label, rival)) is not None]
    return min(found, key=lambda flip: flip.changes, default=None)


def _flip(first: Tally, label: str, rival: Tally) -> Flip | None:
    if not first.results or not rival.results:
        return None
    # In units of 1 / (results x results), in which every step is a whole number.
    gap = first.solved * rival.results - rival.solved * first.results
    loss, gain = (rival.results, first.solved), (first.results, rival.results - rival.solved)
    taken = []
    for step, room in sorted((loss, gain), reverse=True):
        count = min(room, max(0, gap // step + 1))
        gap -= count * step
        taken.append(count)
    if gap >= 0:
        return None
    lost = taken[0] if loss >= gain else taken[1]
    return Flip(to=label, changes=sum(taken), lost=lost)
