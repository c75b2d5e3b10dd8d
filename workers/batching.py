"""Group commit: what the threads of a worker ask of the database at the same moment goes into one transaction.

There is no thread for it and no delay: whoever comes first asks for himself, and whoever comes meanwhile is asked for
together, by one of them, as soon as the first has his answer.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar, cast

from orchestrator.domain.errors import StorageError

Q = TypeVar("Q")
A = TypeVar("A")

# A transaction stays short, whatever comes together.
_MOST = 64


class _Entry(Generic[Q, A]):
    def __init__(self, question: Q) -> None:
        self.question = question
        self.turn = threading.Event()
        self.answered = False
        self.answer: A | None = None
        self.error: BaseException | None = None


class Batcher(Generic[Q, A]):
    """Puts questions together. `perform` answers several, in order, all or none."""

    def __init__(self, perform: Callable[[Sequence[Q]], Sequence[A]]) -> None:
        self._perform = perform
        self._lock = threading.Lock()
        self._waiting: list[_Entry[Q, A]] = []
        self._led = False

    @property
    def waiting(self) -> int:
        """Questions that nobody has taken up yet."""
        return len(self._waiting)

    def ask(self, question: Q) -> A:
        """The answer to one question. Raises what `perform` raised for it."""
        entry: _Entry[Q, A] = _Entry(question)
        with self._lock:
            self._waiting.append(entry)
            leads, self._led = not self._led, True
        if not leads:
            entry.turn.wait()
        if not entry.answered:
            self._lead()
        if entry.error is not None:
            raise entry.error
        return cast(A, entry.answer)

    def _lead(self) -> None:
        with self._lock:
            batch, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
        try:
            self._answer(batch)
        finally:
            with self._lock:
                following = self._waiting[0] if self._waiting else None
                self._led = following is not None
            for entry in batch:
                entry.answered = True
                entry.turn.set()
            if following is not None:
                following.turn.set()

    def _answer(self, batch: Sequence[_Entry[Q, A]]) -> None:
        try:
            answers = self._perform([entry.question for entry in batch])
        except Exception as error:  # noqa: BLE001 - handed to those who asked
            if len(batch) > 1 and not isinstance(error, StorageError):
                # One bad question must not spoil the others' answers; an absent database would spoil each alone.
                for entry in batch:
                    self._answer([entry])
                return
            for entry in batch:
                entry.error = error
            return
        for entry, answer in zip(batch, answers, strict=True):
            entry.answer = answer
