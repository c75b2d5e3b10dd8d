"""Recorded runs of the real programs are read without loss, however their bytes arrive."""

import functools
import json
import tempfile
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.events import AgentEnded, EndReason, ErrorKind, Event, OutputSeen, TurnEnded
from tests.contract.agent_cases import (
    FIXTURES,
    agents,
    all_cases,
    manifest,
    outcome_of,
    read_recording,
    stated,
    stdout_of,
)
from tests.contract.agent_table import PAGE, page
from tests.contract.agents_support import PRICES, model, read, stage
from workers.agents.opencode import OpencodeReader
from workers.agents.registry import adapter, names

CASES = list(all_cases())
STREAMS = [(agent, case) for agent, case in CASES if (FIXTURES / agent / case / "stdout").exists()]


def test_every_agent_with_recordings_is_in_the_registry() -> None:
    assert {agent for agent, _ in CASES} <= set(names())


@pytest.mark.parametrize(("agent", "case"), CASES)
def test_a_recording_is_read_and_typed_as_expected(agent: str, case: str, tmp_path: Path) -> None:
    expected = stated(agent)[case]
    folder, code = FIXTURES / agent / case, expected.pop("exit_code")
    assert code is None or isinstance(code, int)
    play = {name: str(expected.pop(name)) for name in ("served", "then") if name in expected}
    reading = read_recording(agent, folder, tmp_path, [stdout_of(folder)], code)
    assert reading.summary() | {"outcome": outcome_of(agent, reading, **play)} == expected


@functools.cache
def whole_recording(agent: str, case: str) -> tuple[list[str], AgentEnded, int]:
    """Events, end and bytes of a recording that arrives in one piece."""
    folder = FIXTURES / agent / case
    with tempfile.TemporaryDirectory() as place:
        reading = read_recording(agent, folder, Path(place), [stdout_of(folder)], 0)
    return sorted(map(repr, reading.events)), reading.end, reading.output_bytes


@functools.cache
def whole_stream(agent: str, case: str) -> tuple[Event, ...]:
    """Events of a stream alone that arrives in one piece."""
    with tempfile.TemporaryDirectory() as folder:
        return read(adapter(agent).reader(stage(Path(folder))), [stdout_of(FIXTURES / agent / case)], None).events


# An agent has several streams, and each example is one more cut of the same reader.
@settings(max_examples=8, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize(("agent", "case"), STREAMS)
def test_any_split_of_the_bytes_gives_the_same_events(agent: str, case: str, data: st.DataObject) -> None:
    folder = FIXTURES / agent / case
    whole = stdout_of(folder)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    chunks = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    with tempfile.TemporaryDirectory() as place:
        split = read_recording(agent, folder, Path(place), chunks, 0)
    # Codex tells usage by file and text by stream: how they interleave depends on time, not what they tell.
    assert (sorted(map(repr, split.events)), split.end, split.output_bytes) == whole_recording(agent, case)
    assert split.unparsed == 0


@pytest.mark.parametrize(("agent", "case"), STREAMS)
def test_byte_by_byte(agent: str, case: str, tmp_path: Path) -> None:
    whole = stdout_of(FIXTURES / agent / case)[:4000]
    one, two = (adapter(agent).reader(stage(tmp_path)) for _ in range(2))
    together = read(one, [whole], None)
    split = read(two, (whole[i : i + 1] for i in range(len(whole))), None)
    assert (split.events, split.end) == (together.events, together.end)


@settings(max_examples=12, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize(("agent", "case"), STREAMS)
def test_a_cut_stream_never_raises_and_tells_no_more_than_the_whole(
    agent: str, case: str, data: st.DataObject
) -> None:
    whole = stdout_of(FIXTURES / agent / case)
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    with tempfile.TemporaryDirectory() as folder:
        reading = read(adapter(agent).reader(stage(Path(folder))), [cut], None)
    assert reading.events == whole_stream(agent, case)[: len(reading.events)]
    assert reading.unparsed <= 1


KEYS = st.sampled_from(
    ["type", "part", "error", "data", "tokens", "item", "usage", "payload", "state", "text", "message", "content"]
) | st.sampled_from(["subtype", "timestamp", "rate_limit_info", "model_usage_since_last_result", "errors"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            KEYS,
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)
TYPES = (
    st.sampled_from(
        ["step_start", "text", "tool_use", "step_finish", "error", "session", "turn", "tool", "message", "end", "new"]
    )
    | st.sampled_from(["thread.started", "item.completed", "turn.completed", "turn.failed"])
    | st.sampled_from(["assistant", "user", "result", "system", "rate_limit_event"])
)
LINES = st.binary(max_size=60) | st.builds(
    lambda kind, rest: json.dumps({**(rest if isinstance(rest, dict) else {"part": rest}), "type": kind}).encode(),
    TYPES,
    JSON,
)


@settings(max_examples=80, deadline=None)
@given(lines=st.lists(LINES, max_size=8))
@pytest.mark.parametrize("agent", names())
def test_garbage_never_raises(agent: str, lines: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        context = stage(Path(folder))
        reader = adapter(agent).reader(context)
        reading = read(reader, [b"\n".join(lines)], 1)
    assert reading.end.reason in set(EndReason)


@pytest.mark.parametrize(
    "hostile", [b"[" * 100_000, b'{"type":' * 30_000, b"\xff" * 500, b'{"a":' + b"9" * 9_000 + b"}"]
)
def test_hostile_lines_count_as_unparsed(hostile: bytes) -> None:
    reading = read(OpencodeReader(None), [hostile + b"\n"], None)
    assert (reading.events, reading.unparsed) == ((), 1)


def test_a_line_beyond_the_bound_is_dropped_and_the_next_one_is_read() -> None:
    part = b'{"type":"text","sessionID":"s","part":{"text":"said"}}\n'
    reader = OpencodeReader(None)
    chunks = [b'{"x":"', *[b"y" * 1_000_000] * 20, b'"}\n', part]
    reading = read(reader, chunks, None)
    assert (reading.unparsed, reading.end.final_text) == (1, "said")


def test_unknown_event_types_are_counted_and_not_fatal() -> None:
    reader = OpencodeReader(None)
    reader.feed(b'{"type":"brand_new","sessionID":"s"}\n')
    assert (dict(reader.unknown), reader.unparsed) == ({"brand_new": 1}, 0)


def test_a_last_line_without_newline_is_read_once() -> None:
    reader = OpencodeReader(None)
    reader.feed(b'{"type":"text","sessionID":"s","part":{"text":"said"}}')
    assert len(reader.poll()) == 2
    assert reader.poll() == ()
    assert [event for event in reader.feed(b"\n") if not isinstance(event, OutputSeen)] == []
    assert reader.finish(0, "").final_text == "said"


@pytest.mark.parametrize(
    ("prices", "cost"),
    [(PRICES, 7_963), (None, None), (PRICES.model_copy(update={"output": None}), None)],
    ids=["known", "none", "partly"],
)
def test_a_stated_cost_counts_only_where_every_price_was_known(prices: object, cost: int | None) -> None:
    line = stdout_of(FIXTURES / "opencode/ok")
    spec = model().model_copy(update={"prices": prices})
    reading = read(OpencodeReader(spec.prices), [line], 0)
    assert reading.of(TurnEnded)[0].cost_usd_micros == cost


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, {}, ErrorKind.AUTH),
        (402, {}, ErrorKind.QUOTA_EXHAUSTED),
        (429, {"code": "rate_limit_exceeded"}, ErrorKind.RATE_LIMIT),
        (429, {"type": "usage_limit_reached", "resets_in_seconds": 7200}, ErrorKind.USAGE_LIMIT),
        (429, {"code": "insufficient_quota", "type": "insufficient_quota"}, ErrorKind.QUOTA_EXHAUSTED),
        (400, {"code": "context_length_exceeded"}, ErrorKind.CONTEXT_OVERFLOW),
        (400, {}, ErrorKind.BAD_REQUEST),
        (500, {}, ErrorKind.SERVER),
        (503, {}, ErrorKind.OVERLOADED),
        (529, {}, ErrorKind.OVERLOADED),
        (None, {}, ErrorKind.NETWORK),
    ],
)
def test_opencode_errors_by_status_and_code(status: int | None, body: dict[str, object], kind: ErrorKind) -> None:
    data = {"message": "m", "responseBody": json.dumps({"error": body})} | ({"statusCode": status} if status else {})
    line = json.dumps({"type": "error", "sessionID": "s", "error": {"name": "APIError", "data": data}}).encode()
    reading = read(OpencodeReader(None), [line], 1)
    (error,) = [asdict(event) for event in reading.events if type(event).__name__ == "ErrorSeen"]
    assert (error["kind"], error["status"], error["retry_after_seconds"]) == (
        kind,
        status,
        body.get("resets_in_seconds"),
    )
    assert reading.end.reason is EndReason.ERROR


def test_the_table_in_the_docs_is_what_the_suite_proves() -> None:
    assert PAGE.read_text("utf-8") == page(), "run: make reference"


@pytest.mark.parametrize("agent", agents())
def test_every_recording_that_is_kept_is_stated_and_every_stated_file_pattern_finds_something(agent: str) -> None:
    kept = {folder.name for folder in (FIXTURES / agent).iterdir() if folder.is_dir()}
    assert kept <= set(stated(agent))
    assert all(any((FIXTURES / agent).glob(f"*/{pattern}")) for pattern in manifest(agent).files)
