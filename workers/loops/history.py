"""The stages of an attempt so far, and what loops derive from them stage by stage: derived once, not at every stage.

A loop is a pure function of the history. Asked ten thousand times about a history that grows by one, it would look at
fifty million stages; `fold` lets it look at each of them once, and gives the same for a plain list.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast, overload

from workers.loops.steps import StageDone

S = TypeVar("S")


class History(Sequence[StageDone]):
    """Stages in their order, only ever added to, but for checks. Not for several threads at once."""

    def __init__(self, stages: Iterable[StageDone] = ()) -> None:
        self._stages = list(stages)
        # By key: how many stages were folded, the value after them, and the one before the last of them.
        self._folds: dict[Hashable, tuple[int, Any, Any]] = {}

    def append(self, done: StageDone) -> None:
        """Add the stage that ended."""
        self._stages.append(done)

    def note_checks(self, said: str) -> None:
        """What the checks say, put down with the last stage that is over: loops do not see those that handed over."""
        index = max(number for number, one in enumerate(self._stages) if one.handover is None)
        self._stages[index] = replace(self._stages[index], checks=said)
        self._folds.clear()

    @overload
    def __getitem__(self, index: int) -> StageDone: ...

    @overload
    def __getitem__(self, index: slice) -> list[StageDone]: ...

    def __getitem__(self, index: int | slice) -> StageDone | list[StageDone]:
        return self._stages[index]

    def __len__(self) -> int:
        return len(self._stages)

    def fold(self, key: Hashable, start: Callable[[], S], step: Callable[[S, StageDone], S], upto: int) -> S:
        """As the function `fold`."""
        known = self._folds.get(key)
        done, value, before = known if known is not None and upto and known[0] <= upto + 1 else (0, start(), None)
        if done == upto + 1:
            return cast(S, before)
        for stage in self._stages[done:upto]:
            value, before = step(value, stage), value
        self._folds[key] = (upto, value, before)
        return cast(S, value)


def fold(
    history: Sequence[StageDone],
    key: Hashable,
    start: Callable[[], S],
    step: Callable[[S, StageDone], S],
    *,
    but_last: int = 0,
) -> S:
    """What `step` makes of the stages one after the other, without the last `but_last` of them.

    `key` names the fold: the same key must always come with the same `start` and `step`.
    """
    upto = max(0, len(history) - but_last)
    if isinstance(history, History):
        return history.fold(key, start, step, upto)
    value = start()
    for stage in history[:upto]:
        value = step(value, stage)
    return value
