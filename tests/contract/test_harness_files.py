"""Files of a harness are followed whatever happens to them: nothing is lost, counted twice, or fatal."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from orchestrator.domain.events import InnerRunEnded, InnerStageEnded, InnerStateSeen, OutputSeen, TelemetryFault
from orchestrator.domain.experiment import Telemetry
from workers.agents.harness import HarnessFiles
from workers.agents.tail import Tail

ALL = Telemetry(iterations="iterations.jsonl", runs="runs.jsonl", state="state.json")


def files(folder: Path) -> HarnessFiles:
    return HarnessFiles(ALL, lambda template: folder / template)


def line(name: str, **more: Any) -> str:
    return json.dumps({"stage": name, "outcome": "success", **more}) + "\n"


def told(one: HarnessFiles) -> list[object]:
    """Stages by name and number, other events as they are; signs of life apart."""
    found: list[object] = []
    for event in one.poll():
        if isinstance(event, InnerStageEnded):
            found.append((event.number, event.stage))
        elif not isinstance(event, OutputSeen):
            found.append(event)
    return found


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_stages_are_told_as_they_appear(tmp_path: Path) -> None:
    path = tmp_path / "iterations.jsonl"
    path.write_text(line("old") + '{"stage": "to')
    one = files(tmp_path)
    assert told(one) == [], "what an earlier stage wrote is not told again, nor does its torn line spoil the next"
    append(path, line("build") + line("verify")[:9])
    assert told(one) == [(1, "build")]
    append(path, line("verify")[9:] + line("build").rstrip("\n"))
    assert told(one) == [(2, "verify"), (3, "build")], "a whole record needs no line end"
    append(path, "\n")
    assert told(one) == []
    one.finish()
    assert one.faults == 0


def test_garbage_and_torn_lines_are_counted(tmp_path: Path) -> None:
    one, path = files(tmp_path), tmp_path / "iterations.jsonl"
    path.write_bytes(b"\xff\xfe\n[1]\n{}\n\n" + line("build").encode() + b'{"stage": "bu')
    faults = [TelemetryFault(file="iterations.jsonl", fault="has a line that is no record of a stage or run")] * 3
    assert told(one) == [*faults, (1, "build")]
    one.finish()
    assert one.faults == 4


def test_a_file_that_is_written_anew_tells_only_what_is_new(tmp_path: Path) -> None:
    path = tmp_path / "iterations.jsonl"
    one = files(tmp_path)
    path.write_text(line("a") + line("a"))
    assert told(one) == [(1, "a"), (2, "a")]
    rewritten = TelemetryFault(file=path.name, fault="was written anew; lines that were known are not counted again")
    for text, new in ((line("a"), []), (line("a") * 3 + line("b"), [(3, "a"), (4, "b")])):
        path.with_suffix(".new").write_text(text)
        path.with_suffix(".new").replace(path)
        assert told(one) == [rewritten, *new]
    path.unlink()
    assert told(one) == []


def test_the_run_and_the_state_are_told(tmp_path: Path) -> None:
    one = files(tmp_path)
    (tmp_path / "state.json").write_text('{"stage": "BUILD", "context_to')
    assert told(one) == []
    (tmp_path / "state.json").write_text('{"stage": "BUILD", "context_tokens": 7, "task_id": "t"}')
    append(tmp_path / "runs.jsonl", '{"exit_reason": "max_iterations", "tasks": {"total": 2, "completed": 1}}\n')
    run = InnerRunEnded(word="max_iterations", completed=1, left=2)
    assert told(one) == [run, InnerStateSeen(stage="build", task="t", context_tokens=7)]
    assert told(one) == []
    assert one.run == run


def test_pipes_devices_and_folders_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "iterations.jsonl")
    (tmp_path / "runs.jsonl").symlink_to("/dev/zero")
    (tmp_path / "state.json").mkdir()
    one = files(tmp_path)
    assert told(one) == []


def test_a_file_larger_than_anybody_reads_holds_no_launch_up(tmp_path: Path) -> None:
    path = tmp_path / "iterations.jsonl"
    with path.open("wb") as file:
        file.truncate(1 << 42)  # one hole
    tail = Tail(path, complete=lambda _: False, max_lines=10)
    assert tail.read() == []
    with path.open("ab") as file:
        file.write(b"first\nsecond\n")
    assert tail.read() == [b"first", b"second"]


def test_a_line_without_an_end_is_given_up(tmp_path: Path) -> None:
    one, path = files(tmp_path), tmp_path / "iterations.jsonl"
    for _ in range(3):
        append(path, "x" * 600_000)
        assert told(one) == []
    append(path, "\n" + line("build"))
    fault = TelemetryFault(file=path.name, fault="has a line that is too long")
    assert told(one) == [fault, (1, "build")]


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "{logs}/../x", "~/x", "{model}/x", "", "{logs}/"])
def test_a_path_that_leaves_the_job_is_refused(path: str) -> None:
    with pytest.raises(ValidationError, match="a path in the worktree"):
        Telemetry(iterations=path)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9), st.booleans()), max_size=12))
def test_every_line_is_given_exactly_once(tmp_path_factory: Any, steps: list[tuple[str, int, bool]]) -> None:
    """A writer that appends in pieces and, now and then, writes the same file anew under its name."""
    path = tmp_path_factory.mktemp("tail") / "file"
    tail = Tail(path, complete=lambda _: False, max_lines=1000)
    written, given = "", []
    for letter, cut, anew in steps:
        if anew:
            path.with_suffix(".new").write_text(written)
            path.with_suffix(".new").replace(path)
        for piece in (letter * 9 + "\n")[:cut], (letter * 9 + "\n")[cut:]:
            append(path, piece)
            given += tail.read()
        written += letter * 9 + "\n"
    assert sorted(given) == sorted(written.encode().split())
