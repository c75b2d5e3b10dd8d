"""Cassettes: what is written is read again, and which request gets which recorded answer."""

import json
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.domain.errors import InvalidInput
from workers.gateway.cassette import CassetteFile, End, Shape, Take, as_bytes, as_text, load_cassettes, shape_of
from workers.gateway.recording import StageRecorder
from workers.gateway.replay import Deck

ABOUT = {"stage": "01-build", "model": "m"}
_TEXT = st.text(max_size=30) | st.binary(max_size=30).map(as_text)
_SHAPES = st.builds(
    Shape, method=st.just("POST"), path=st.just("/v1/messages"), model=st.sampled_from(["", "a"]),
    tools=st.sampled_from(["", "t"]), results=st.integers(0, 3), answers=st.integers(0, 3),
)  # fmt: skip
_TAKES = st.builds(
    Take, shape=_SHAPES, request=_TEXT, status=st.none() | st.sampled_from([200, 429]), body=_TEXT,
    headers=st.dictionaries(st.sampled_from(["content-type", "retry-after"]), st.text(max_size=9)),
    end=st.sampled_from(End), duration_seconds=st.sampled_from([0.0, 1.5]),
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=st.lists(_TAKES, max_size=6), then=st.lists(_TAKES, max_size=3), torn=st.booleans())
def test_what_is_written_is_read_again(tmp_path: Path, first: list[Take], then: list[Take], torn: bool) -> None:
    path = tmp_path / "01-build.jsonl"
    path.unlink(missing_ok=True)
    with CassetteFile(path, ABOUT) as file:
        for take in first:
            file.add(take)
    if torn:
        with path.open("a") as half:
            half.write('{"shape": {"meth')
    with CassetteFile(path, ABOUT) as file:  # the stage goes on
        for take in then:
            file.add(take)

    assert load_cassettes(tmp_path) == [[*first, *then]]


@given(st.binary(max_size=200))
def test_any_bytes_survive_as_text(data: bytes) -> None:
    assert as_bytes(json.loads(json.dumps(as_text(data)))) == data


def test_a_conversation_that_is_sent_again_takes_no_room(tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    said = "x" * 100_000
    with CassetteFile(path, ABOUT) as file:
        for turn in range(100):
            said += f" turn {turn}"
            file.add(Take(shape=Shape(method="POST", path="/v1/messages"), request=said))

    assert path.stat().st_size < 200_000
    assert load_cassettes(path)[0][-1].request == said


def test_beyond_its_bound_a_file_says_that_something_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.gateway.cassette.MAX_FILE_BYTES", 2000)
    path = tmp_path / "large.jsonl"
    with CassetteFile(path, ABOUT) as file:
        for _ in range(20):
            file.add(Take(shape=Shape(method="POST", path="/v1/messages"), request="", body="y" * 500))

    assert path.stat().st_size < 4000
    assert "larger than 2000 bytes" in path.read_text().splitlines()[-1]
    assert len(load_cassettes(path)[0]) == 3


def test_a_full_disk_ends_the_recording_and_not_the_stage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "01-build.jsonl"
    recorder = StageRecorder(path, ABOUT, None)
    take = Take(shape=Shape(method="POST", path="/v1/messages"), request="one")
    recorder.add(take)
    with patch.object(CassetteFile, "add", side_effect=OSError(28, "No space left on device")):
        recorder.add(take)
    recorder.add(take)
    recorder.close()

    assert load_cassettes(path) == [[take]]
    assert "No space left on device" in caplog.text


@pytest.mark.parametrize(
    "words", ["", "{}", "[1]", '{"cassette": 2}', '{"cassette": 1}\n{"shape": {}, "end": "never"}']
)
def test_what_is_no_cassette_is_refused_with_file_and_line(tmp_path: Path, words: str) -> None:
    path = tmp_path / "odd.jsonl"
    path.write_text(words)
    with pytest.raises(InvalidInput) as refused:
        load_cassettes(path)
    assert (refused.value.faults[0].file, refused.value.faults[0].line) == (str(path), words.count("\n") + 1)


def test_a_folder_without_cassettes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no cassette"):
        load_cassettes(tmp_path)
    with pytest.raises(InvalidInput, match="No such file"):
        load_cassettes(tmp_path / "absent.jsonl")


def test_the_shape_of_a_request_is_not_its_words() -> None:
    def body(prompt: str, result: str) -> bytes:
        messages = [{"role": "user", "content": prompt}, {"role": "assistant"}, {"role": "tool", "content": result}]
        return json.dumps({"model": "m", "messages": messages, "tools": [{"function": {"name": "bash"}}]}).encode()

    one = shape_of("POST", "/v1/chat/completions", body("in /tmp/a, today", "12:00"))
    two = shape_of("POST", "/prefix/v1/chat/completions", body("in /tmp/b, tomorrow", "12:01"))

    assert one.fits(two)
    assert (one.model, one.results, one.answers, bool(one.tools)) == ("m", 1, 1, True)
    assert not one.fits(shape_of("POST", "/v1/chat/completions", body("x", "y").replace(b"bash", b"edit")))
    assert shape_of("GET", "/v1/models", b"") == Shape(method="GET", path="/v1/models")
    gemini = shape_of("POST", "/v1beta/models/flash%402:generateContent", b'{"contents": []}')
    assert gemini.model == "flash@2"


_KEYS = ["model", "messages", "input", "contents", "tools", "role", "content", "parts", "text", "type", "function",
         "functionDeclarations", "functionResponse", "name", "parameters", "systemInstruction"]  # fmt: skip
_BODIES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["user", "tool", "tool_result", "\ud800", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=5),
    max_leaves=25,
)


@given(body=_BODIES, path=st.sampled_from(["chat/completions", "messages", "responses", "models/m:generateContent"]))
def test_every_request_has_a_shape(body: object, path: str) -> None:
    """The gateway asks for it on the agent's way to the model: nothing that an agent sends may raise."""
    shape = shape_of("POST", f"/v1/{path}", json.dumps(body).encode())

    assert shape.fits(shape)


def take(results: int, body: str = "", *, tools: str = "t") -> Take:
    return Take(shape=asked(results, tools=tools), request="", status=200, body=body)


def asked(results: int, *, tools: str = "t") -> Shape:
    return Shape(method="POST", path="/v1/messages", model="m", tools=tools, results=results)


def test_answers_come_in_their_order_and_side_requests_between_them() -> None:
    deck = Deck([[take(0, "a"), take(0, "title", tools=""), take(0, "a again"), take(1, "b")]])

    given = [deck.take(one) for one in (asked(0), asked(0), asked(0, tools=""), asked(1))]
    assert [one.body for one in given if one] == ["a", "a again", "title", "b"]
    assert (deck.left, deck.take(asked(1))) == (0, None)
    assert deck.expected() == "everything recorded was played"


def test_who_only_looks_takes_nothing_away() -> None:
    models = Take(shape=Shape(method="GET", path="/v1/models"), request="", status=200, body="list")
    deck = Deck([[models, take(0, "one")]])

    look = Shape(method="GET", path="/box/v1/models")
    assert [deck.take(look), deck.take(look)] == [models, models]
    assert deck.take(Shape(method="GET", path="/health")) is None
    assert (deck.recorded, deck.left) == (1, 1)


def test_the_next_stage_begins_with_a_request_that_only_it_has() -> None:
    deck = Deck([[take(0, "one"), take(1, "never asked")], [], [take(0, "two")], [take(2, "far")]])

    first, second = deck.take(asked(0)), deck.take(asked(0))
    assert (first and first.body, second and second.body) == ("one", "two")
    assert deck.take(asked(1)) is None, "a stage that is over does not come back"
    assert "and 2 tool results" in deck.expected()
    assert deck.left == 1
