"""Questions that come together are asked together, and each gets its own answer."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from orchestrator.domain.errors import StorageError
from workers.batching import Batcher


def test_one_question_is_asked_at_once_and_alone() -> None:
    asked: list[list[int]] = []

    def perform(questions: Sequence[int]) -> list[int]:
        asked.append(list(questions))
        return [question * 2 for question in questions]

    batcher = Batcher[int, int](perform)
    assert [batcher.ask(1), batcher.ask(2)] == [2, 4]
    assert asked == [[1], [2]]


def test_what_comes_while_one_is_answered_is_asked_together() -> None:
    asked: list[list[int]] = []
    first_is_in, go_on = threading.Event(), threading.Event()

    def perform(questions: Sequence[int]) -> list[int]:
        asked.append(list(questions))
        if questions[0] == 0:
            first_is_in.set()
            assert go_on.wait(30)
        return [-question for question in questions]

    batcher = Batcher[int, int](perform)
    with ThreadPoolExecutor(101) as pool:
        first = pool.submit(batcher.ask, 0)
        assert first_is_in.wait(30)
        others = [pool.submit(batcher.ask, number) for number in range(1, 101)]
        while batcher.waiting < 100:
            threading.Event().wait(0.001)
        go_on.set()
        assert first.result(30) == 0
        assert [other.result(30) for other in others] == [-number for number in range(1, 101)]
    assert asked[0] == [0]
    assert sorted(number for batch in asked[1:] for number in batch) == list(range(1, 101))
    assert len(asked) == 3  # 64 at most, then the rest


def test_a_bad_question_spoils_no_other() -> None:
    def perform(questions: Sequence[int]) -> list[int]:
        if 13 in questions:
            raise ValueError("thirteen")
        return list(questions)

    batcher = Batcher[int, int](perform)
    with ThreadPoolExecutor(50) as pool:
        answers = {number: pool.submit(batcher.ask, number) for number in range(50)}
    with pytest.raises(ValueError, match="thirteen"):
        answers.pop(13).result()
    assert all(answer.result() == number for number, answer in answers.items())


def test_an_absent_database_is_told_to_everybody_once() -> None:
    calls = []

    def perform(questions: Sequence[int]) -> list[int]:
        calls.append(len(questions))
        raise StorageError("away")

    batcher = Batcher[int, int](perform)
    with ThreadPoolExecutor(20) as pool:
        answers = [pool.submit(batcher.ask, number) for number in range(20)]
    for answer in answers:
        with pytest.raises(StorageError):
            answer.result()
    assert sum(calls) == 20
