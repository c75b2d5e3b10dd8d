"""What the gateway reads out of model answers: tokens, served model, errors, reset times; in any split."""

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.events import ErrorKind
from orchestrator.domain.fleet import Protocol
from orchestrator.domain.usage import TokenUsage
from tests.support.streams import ASKED, PROTOCOLS, REPLY, damaged, stream_of, whole_of
from workers.gateway.conversation import fingerprints
from workers.gateway.errors import classify
from workers.gateway.protocols import Answer, AnswerParser
from workers.gateway.render import RENDERERS

RECORDED = Path(__file__).parent.parent / "fixtures" / "llama_server"
NOW = 1_800_000_000.0


def read(protocol: Protocol, parts: list[bytes], *, streaming: bool = True) -> Answer:
    parser = AnswerParser(protocol, streaming=streaming)
    for part in parts:
        parser.feed(part)
    return parser.finish()


def recorded_body(name: str) -> bytes:
    return (RECORDED / name).read_bytes().replace(b"\r\n", b"\n").split(b"\n\n", 1)[1]


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted(min(cut, len(data)) for cut in cuts)
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


@pytest.mark.parametrize(
    ("name", "protocol", "streaming", "usage"),
    [
        ("chat.stream.http", "chat", True, TokenUsage(input=17, cache_read=17, output=6)),
        ("chat.nonstream.cached.http", "chat", False, TokenUsage(input=1, cache_read=29, output=8)),
        ("anthropic_messages.stream.http", "messages", True, TokenUsage(input=1, cache_read=29, output=4)),
        ("responses.stream.http", "responses", True, TokenUsage(input=1, cache_read=23, output=4)),
    ],
)
def test_recorded_answers_of_a_real_server(name: str, protocol: Protocol, streaming: bool, usage: TokenUsage) -> None:
    answer = read(protocol, [recorded_body(name)], streaming=streaming)

    assert answer == Answer(model_served="tiny-random", usage=usage, complete=True)


@pytest.mark.parametrize(
    ("name", "status", "kind"),
    [
        ("error.context_exceeded.http", 400, ErrorKind.CONTEXT_OVERFLOW),
        ("slots.busy.fail_on_no_slot.http", 503, ErrorKind.OVERLOADED),
    ],
)
def test_recorded_errors_of_a_real_server(name: str, status: int, kind: ErrorKind) -> None:
    answer = read("chat", [recorded_body(name)], streaming=False)
    error = classify(status=status, headers={}, error=answer.error, now_epoch=NOW)

    assert error is not None
    assert error.kind is kind


EXPECTED = {
    "chat": TokenUsage(input=400, cache_read=600, output=60, reasoning=30),
    "messages": TokenUsage(input=400, cache_read=600, cache_write=0, output=90),
    "responses": TokenUsage(input=400, cache_read=600, output=60, reasoning=30),
    "gemini": TokenUsage(input=400, cache_read=600, output=60, reasoning=30),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@given(cuts=st.lists(st.integers(0, 6000), max_size=40), crlf=st.booleans())
def test_any_split_of_a_stream_tells_the_same(protocol: Protocol, cuts: list[int], crlf: bool) -> None:
    stream = stream_of(protocol)
    stream = stream.replace(b"\n", b"\r\n") if crlf else stream

    answer = read(protocol, split(stream, cuts))

    assert answer == Answer(model_served="served", usage=EXPECTED[protocol], complete=True)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@given(cut=st.integers(0, 6000))
def test_a_whole_answer_tells_the_same_as_its_stream(protocol: Protocol, cut: int) -> None:
    body = whole_of(protocol)

    answer = read(protocol, [body[:cut], body[cut:]], streaming=False)

    assert answer == Answer(model_served="served", usage=EXPECTED[protocol], complete=True)


_PIECES = st.sampled_from(
    [b"data: ", b"event: error\n", b"\n", b"\r", b"\r\n", b"\n\n", b"[DONE]", b'{"usage":', b'{"type":"error"}', b"}",
     b'{"model":"a","usage":{"prompt_tokens":5,"completion_tokens":true}}', b'{"usage":{"input_tokens":-1}}',
     b'{"error":{"code":7}}', b'{"choices":[null,{"finish_reason":1}]}', b"[" * 50, b"\xff\xfe", b"x" * 70,
     b'[{"usageMetadata":{"promptTokenCount":-1}},', b'{"candidates":[{"finishReason":{}}]}',
     b'{"message":{"usage":{"input_tokens":1e999,"output_tokens":NaN}}}']
)  # fmt: skip
_NOISE = st.lists(_PIECES | st.binary(max_size=20), max_size=30).map(b"".join)


@settings(max_examples=300)
@given(noise=_NOISE, cuts=st.lists(st.integers(0, 400), max_size=10), streaming=st.booleans())
def test_noise_never_raises_and_any_split_reads_it_alike(noise: bytes, cuts: list[int], streaming: bool) -> None:
    for protocol in PROTOCOLS:
        answers = []
        for parts in ([noise], split(noise, cuts), [bytes([byte]) for byte in noise]):
            parser = AnswerParser(protocol, streaming=streaming, max_json_bytes=200, max_event_bytes=64)
            for part in parts:
                parser.feed(part)
            answers.append(parser.finish())
            classify(status=200, headers={}, error=answers[-1].error, now_epoch=NOW)
        assert answers[0] == answers[1] == answers[2]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@settings(max_examples=250)
@given(data=st.data(), cuts=st.lists(st.integers(0, 6000), max_size=10), streaming=st.booleans())
def test_a_damaged_answer_never_raises_and_any_split_reads_it_alike(
    protocol: Protocol, data: st.DataObject, cuts: list[int], streaming: bool
) -> None:
    body = data.draw(damaged(protocol))

    answer = read(protocol, [body], streaming=streaming)

    assert read(protocol, split(body, cuts), streaming=streaming) == answer
    classify(status=200, headers={}, error=answer.error, now_epoch=NOW)


def test_an_event_beyond_the_cap_is_skipped_and_the_rest_still_read() -> None:
    huge = b'data: {"model":"m","padding":"' + b"x" * 3_000_000 + b'"}\n\n'
    after = b'data: {"model":"m","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1}}\n\ndata: [DONE]\n\n'

    answer = read("chat", split(huge + after, list(range(0, 3_000_000, 65_536))))

    assert answer == Answer(model_served="m", usage=TokenUsage(input=3, output=1), complete=True, skipped=1)


def test_a_broken_off_message_knows_its_input_but_not_its_output() -> None:
    start = {"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 9, "output_tokens": 1}}}

    answer = read("messages", [f"event: message_start\ndata: {json.dumps(start)}\n\n".encode()])

    assert answer == Answer(model_served="m", usage=TokenUsage(input=9), complete=False)


def test_reasoning_beside_the_completion_is_not_taken_off_it() -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 35}
    usage_beside = {**usage, "completion_tokens_details": {"reasoning_tokens": 20}}
    body = json.dumps({"model": "m", "usage": usage_beside}).encode()

    assert read("chat", [body], streaming=False).usage == TokenUsage(input=10, output=5, reasoning=20)


def test_a_gemini_stream_as_one_array_tells_the_same_as_events() -> None:
    asked = dataclasses.replace(ASKED, as_array=True)
    body = b"".join(RENDERERS["gemini"].events(REPLY, asked, 0))

    answer = read("gemini", [body], streaming=False)

    assert answer == Answer(model_served="served", usage=EXPECTED["gemini"], complete=True)


def test_what_gemini_leaves_out_is_unknown_and_its_own_tools_add_to_the_input() -> None:
    begun = {"candidates": [{"content": {}}], "modelVersion": "m", "usageMetadata": {"promptTokenCount": 9}}
    searched = {"promptTokenCount": 9, "candidatesTokenCount": 2, "toolUsePromptTokenCount": 30}
    refused = {"promptFeedback": {"blockReason": "SAFETY"}, "modelVersion": "m"}
    wrapped = {"response": {"modelVersion": "m", "usageMetadata": searched, "candidates": [{"finishReason": "STOP"}]}}

    def told(event: object) -> Answer:
        return read("gemini", [f"data: {json.dumps(event)}\n\n".encode()])

    assert told(begun) == Answer(model_served="m", usage=TokenUsage(input=9), complete=False)
    assert told(refused) == Answer(model_served="m", complete=True)
    # As the same API answers those who signed in with an account.
    assert told(wrapped) == Answer(model_served="m", usage=TokenUsage(input=39, output=2), complete=True)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_conversation_is_known_by_its_tools_and_its_beginning(protocol: Protocol) -> None:
    def body(*said: tuple[str, str], tools: tuple[str, ...] = ("bash", "write")) -> dict[str, object]:
        key = {"responses": "input", "gemini": "contents"}.get(protocol, "messages")
        part = "parts" if protocol == "gemini" else "content"
        offered = [{"name": name} for name in tools]
        shapes = {"chat": [{"function": one} for one in offered], "gemini": [{"functionDeclarations": offered}]}
        messages = [{"role": role, part: [{"text": words}]} for role, words in said]
        return {"model": "m", key: messages, "tools": shapes.get(protocol, offered)}

    first = fingerprints(protocol, body(("system", "today"), ("user", "do it")))
    later = fingerprints(protocol, body(("user", "do it"), ("user", "go on"), tools=("write", "bash")))
    assert first == later
    assert all(first)
    other = fingerprints(protocol, body(("user", "\ud800"), tools=("bash",)))
    assert [one != two for one, two in zip(first, other, strict=True)] == [True, True]
    assert fingerprints(protocol, {"model": "m"}) == ("", "")


def test_usage_that_was_not_told_is_unknown() -> None:
    assert read("chat", [b'data: {"model":"m","usage":null,"choices":[]}\n\n']).usage is None


@pytest.mark.parametrize(
    ("protocol", "stream", "kind"),
    [
        ("messages", {"type": "error", "error": {"type": "overloaded_error"}}, ErrorKind.OVERLOADED),
        ("chat", {"error": {"code": "context_length_exceeded"}}, ErrorKind.CONTEXT_OVERFLOW),
        ("responses", {"type": "error", "code": "rate_limit_exceeded", "message": "m"}, ErrorKind.RATE_LIMIT),
        (
            "responses",
            {"type": "response.failed", "response": {"error": {"code": "insufficient_quota"}}},
            ErrorKind.QUOTA_EXHAUSTED,
        ),
    ],
)
def test_errors_inside_a_stream_that_began_well(
    protocol: Protocol, stream: dict[str, object], kind: ErrorKind
) -> None:
    answer = read(protocol, [b'data: {"model":"m"}\n\n', f"data: {json.dumps(stream)}\n\n".encode()])

    error = classify(status=200, headers={}, error=answer.error, now_epoch=NOW)

    assert error is not None
    assert (error.kind, error.status) == (kind, 200)


def _google(status: str, *details: object) -> dict[str, object]:
    return {"code": 7, "status": status, "message": "rate limit, please retry in 9s", "details": [*details]}


RATE, USAGE, QUOTA = ErrorKind.RATE_LIMIT, ErrorKind.USAGE_LIMIT, ErrorKind.QUOTA_EXHAUSTED


@pytest.mark.parametrize(
    ("status", "headers", "error", "kind", "wait"),
    [
        (429, {"retry-after": "7"}, {}, RATE, 7.0),
        (429, {"retry-after-ms": "1500", "retry-after": "2"}, {}, RATE, 1.5),
        (429, {"retry-after": "Fri, 15 Jan 2027 08:01:00 GMT"}, {}, RATE, 60.0),
        (429, {"retry-after": "Friday, 15-Jan-27 08:01:00 GMT"}, {}, RATE, 60.0),
        (429, {"retry-after": "Fri Jan 15 08:01:00 2027"}, {}, RATE, 60.0),
        (429, {"retry-after": "Fri, 15 Jan 2027 09:01:00 +0100"}, {}, RATE, 60.0),
        (429, {"retry-after": "Fri, 15 Jan 2027 07:59:00 GMT"}, {}, RATE, 0.0),
        (429, {"retry-after": "7.5"}, {}, RATE, 7.5),
        (429, {"retry-after-ms": "soon", "retry-after": "2"}, {}, RATE, 2.0),
        (503, {"retry-after": "Fri, 15 Jan 2027 08:01:00 GMT"}, {}, ErrorKind.OVERLOADED, 60.0),
        (429, {"x-ratelimit-reset-tokens": "2m59.56s"}, {}, RATE, 179.56),
        (429, {"x-ratelimit-reset-tokens": "1d2h3m4s"}, {}, RATE, 93784.0),
        (429, {"ratelimit-reset": "30", "ratelimit-remaining": "0"}, {}, RATE, 30.0),
        (429, {"ratelimit": "limit=9, remaining=0, reset=31"}, {}, RATE, 31.0),
        (429, {"ratelimit": '"minute";r=0;t=32, "day";r=9;t=7'}, {}, RATE, 32.0),
        (429, {"anthropic-ratelimit-unified-7d-status": "rejected",
               "anthropic-ratelimit-unified-7d-reset": str(int(NOW) + 90_000),
               "anthropic-ratelimit-unified-5h-status": "allowed",
               "anthropic-ratelimit-unified-5h-reset": str(int(NOW) + 30)}, {}, USAGE, 90_000.0),
        (429, {"anthropic-ratelimit-unified-status": "allowed_warning", "retry-after": "4",
               "anthropic-ratelimit-unified-5h-status": "rejected"}, {}, RATE, 4.0),
        (429, {"x-ratelimit-reset-tokens": "1m30s", "x-ratelimit-reset-requests": "6ms"}, {}, RATE, 90.0),
        (429, {"x-ratelimit-reset-tokens": "9s", "x-ratelimit-reset-requests": "6s",
               "x-ratelimit-remaining-requests": "0"}, {}, RATE, 6.0),
        (429, {"x-ratelimit-reset": str(int(NOW * 1000) + 5000)}, {}, RATE, 5.0),
        (429, {"anthropic-ratelimit-tokens-reset": "2027-01-15T08:00:20Z"}, {"type": "rate_limit_error"}, RATE, 20.0),
        (429, {"anthropic-ratelimit-unified-status": "rejected", "retry-after": "5",
               "anthropic-ratelimit-unified-reset": str(int(NOW) + 3600)},
         {"type": "rate_limit_error"}, USAGE, 3600.0),
        (429, {"anthropic-ratelimit-unified-5h-reset": str(int(NOW) + 30)}, {}, RATE, 30.0),
        (429, {"x-codex-primary-used-percent": "100", "x-codex-primary-reset-after-seconds": "44"}, {}, USAGE, 44.0),
        (429, {"x-codex-primary-used-percent": "20", "x-codex-primary-reset-at": str(int(NOW) + 10),
               "x-codex-secondary-used-percent": "100", "x-codex-secondary-reset-at": str(int(NOW) + 99)},
         {}, USAGE, 99.0),
        (429, {}, {"type": "usage_limit_reached", "resets_at": NOW + 50}, USAGE, 50.0),
        (429, {}, {"type": "usage_limit_reached", "resets_in_seconds": 70}, USAGE, 70.0),
        (429, {"retry-after": "5"}, {"code": "insufficient_quota"}, QUOTA, None),
        (402, {}, {}, QUOTA, None),
        (400, {}, {"type": "invalid_request_error", "code": "context_length_exceeded"},
         ErrorKind.CONTEXT_OVERFLOW, None),
        (400, {}, {"type": "invalid_request_error", "message": "rate_limit_exceeded"}, ErrorKind.BAD_REQUEST, None),
        (401, {}, {"type": "invalid_request_error", "code": "invalid_api_key"}, ErrorKind.AUTH, None),
        (403, {}, {}, ErrorKind.AUTH, None),
        (529, {"retry-after": "3"}, {"type": "overloaded_error"}, ErrorKind.OVERLOADED, 3.0),
        (503, {}, {}, ErrorKind.OVERLOADED, None),
        (500, {}, {"type": "api_error"}, ErrorKind.SERVER, None),
        (502, {}, {}, ErrorKind.SERVER, None),
        (404, {}, {"code": "model_not_found"}, ErrorKind.BAD_REQUEST, None),
        (429, {}, _google("RESOURCE_EXHAUSTED", {"violations": [{"quotaId": "RequestsPerMinutePerProject"}]},
                          {"retryDelay": "34.074824224s"}), RATE, 34.074824224),
        (429, {}, _google("RESOURCE_EXHAUSTED", {"violations": [{"quotaId": "RequestsPerDayPerProject"}]},
                          {"retryDelay": "2h"}), USAGE, 7200.0),
        (429, {}, _google("RESOURCE_EXHAUSTED", {"reason": "QUOTA_EXHAUSTED",
                          "metadata": {"quotaResetDelay": "1h2m3.5s"}}), USAGE, 3723.5),
        (429, {}, _google("RESOURCE_EXHAUSTED", {"reason": "MODEL_CAPACITY_EXHAUSTED"}), ErrorKind.OVERLOADED, None),
        (429, {}, _google("RESOURCE_EXHAUSTED", None, {"violations": [7, {"quotaId": 3}]}), RATE, None),
        (403, {}, _google("PERMISSION_DENIED", {"reason": "BILLING_DISABLED"}), QUOTA, None),
        (403, {}, _google("PERMISSION_DENIED"), ErrorKind.AUTH, None),
        (400, {}, _google("INVALID_ARGUMENT", {"reason": "API_KEY_INVALID"}), ErrorKind.AUTH, None),
        (400, {}, _google("INVALID_ARGUMENT"), ErrorKind.BAD_REQUEST, None),
        (503, {}, _google("UNAVAILABLE"), ErrorKind.OVERLOADED, None),
        (429, {"retry-after": "soon"}, {}, RATE, None),
        (429, {"retry-after": "1e300"}, {}, RATE, None),
        (429, {"retry-after": "nan"}, {}, RATE, None),
        (429, {"retry-after": "-5"}, {}, RATE, 0.0),
    ],
)  # fmt: skip
def test_the_class_and_the_wait_of_an_error(
    status: int, headers: dict[str, str], error: dict[str, object], kind: ErrorKind, wait: float | None
) -> None:
    seen = classify(status=status, headers=headers, error=error, now_epoch=NOW)

    assert seen is not None
    assert (seen.kind, seen.retry_after_seconds) == (kind, wait)
    assert seen.resets_at_epoch == (None if wait is None else NOW + wait)


def test_an_answer_without_fault_is_no_error() -> None:
    assert classify(status=200, headers={"x-ratelimit-reset-tokens": "6s"}, error=None, now_epoch=NOW) is None


_HEADER = st.sampled_from(
    ["retry-after", "retry-after-ms", "x-ratelimit-reset-tokens", "x-ratelimit-reset", "x-codex-primary-reset-at",
     "anthropic-ratelimit-unified-reset", "x-codex-secondary-used-percent", "anthropic-ratelimit-tokens-reset"]
)  # fmt: skip
_VALUE = st.text(max_size=20) | st.integers().map(str) | st.floats().map(str) | st.datetimes().map(str)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_FIELD = st.sampled_from(["code", "type", "resets_at", "resets_in_seconds", "retry_after", "details", "message"])


@given(
    status=st.none() | st.integers(100, 999),
    headers=st.dictionaries(_HEADER, _VALUE),
    error=st.none() | st.dictionaries(_FIELD, _JSON),
)
def test_no_header_or_field_can_break_the_classification(
    status: int | None, headers: dict[str, str], error: dict[str, object] | None
) -> None:
    seen = classify(status=status, headers=headers, error=error, now_epoch=NOW)

    if seen is not None and seen.retry_after_seconds is not None:
        assert 0 <= seen.retry_after_seconds <= 40 * 86400
