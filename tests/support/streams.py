"""Answers of every protocol, whole and damaged, for tests of whatever reads them."""

import json
from functools import cache

from hypothesis import strategies as st

from orchestrator.domain.fleet import Protocol
from workers.gateway.conversation import Conversation
from workers.gateway.play import Counts, Reply
from workers.gateway.render import RENDERERS
from workers.gateway.toolcalls import ToolCall

PROTOCOLS: tuple[Protocol, ...] = ("chat", "messages", "responses", "gemini")
REPLY = Reply(
    model="served",
    text="Two words.",
    call=ToolCall("bash", {"command": 'echo "usage" "error" data: {}'}),
    counts=Counts(prompt=1000, completion=90, cached=600, reasoning=30),
)
ASKED = Conversation(
    model="m", stream=True, wants_usage=True, tools={}, system="", first="", last="", results=0,
    results_since_prompt=0, answers=0, size_chars=10,
)  # fmt: skip


# Ids are made by chance: the same example must be the same bytes again.
@cache
def stream_of(protocol: Protocol) -> bytes:
    """The events of an answer."""
    return b"".join(RENDERERS[protocol].events(REPLY, ASKED, 0))


@cache
def whole_of(protocol: Protocol) -> bytes:
    """The same answer as one JSON body."""
    return json.dumps(RENDERERS[protocol].whole(REPLY, 0)).encode()


@st.composite
def damaged(draw: st.DrawFn, protocol: Protocol) -> bytes:
    """An answer of which parts were lost, repeated or overwritten."""
    data = draw(st.sampled_from([stream_of(protocol), whole_of(protocol)]))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 200)))
        piece = draw(st.sampled_from([b"", data[start:end] * 2, b"\xff\x00", b"\n\n", b"\r", b'"', b"}", b"[" * 30]))
        data = data[:start] + piece + data[end:]
    return data
