"""What an answer of a model server says beside its text: tokens, the model that answered, errors.

Pure and incremental: `AnswerParser` reads a copy of the bytes that pass through the gateway, never raises, and holds
no more than its caps. `errors.classify` gives the error its meaning.
"""

import re
from dataclasses import dataclass

from orchestrator.domain.fleet import Protocol
from orchestrator.domain.usage import TokenUsage
from workers.gateway.jsonvalues import JsonObject, child, items, parse_object, parse_objects, text
from workers.gateway.sse import SseDecoder
from workers.gateway.tokens import chat_usage, gemini_usage, messages_usage, responses_usage

MAX_JSON_BYTES = 8 * 1024 * 1024
MAX_EVENT_BYTES = 1024 * 1024
_USAGE = {"chat": chat_usage, "messages": messages_usage, "responses": responses_usage, "gemini": gemini_usage}
_LAST_EVENTS = frozenset({"message_stop", "response.completed", "response.incomplete", "response.failed"})
# What an event must hold to be parsed: most are deltas of text, and there are thousands of them.
_TELLING = (b'"usage', b'"error"', b'"finish_reason":"', b'"finish_reason": "', b"_stop", b"response.", b'Reason"')
# Sent while nothing is answered, so that no proxy closes the connection.
_KEEP_ALIVE = re.compile(rb'\s*\{\s*"type"\s*:\s*"(?:ping|keepalive)"')
# Nothing else is kept, so that a stream of invented keys cannot fill the memory.
_COUNT_KEYS = frozenset(
    {
        *("prompt_tokens", "completion_tokens", "total_tokens", "prompt_cache_hit_tokens"),
        *("prompt_tokens_details", "completion_tokens_details", "input_tokens_details", "output_tokens_details"),
        *("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"),
        *("promptTokenCount", "candidatesTokenCount", "cachedContentTokenCount"),
        *("thoughtsTokenCount", "toolUsePromptTokenCount"),
    }
)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What an answer told. `error` is the error object of the body, as it stood there.

    `complete`: the body ended the way its protocol ends it. `skipped`: parts that were too large or not readable.
    """

    model_served: str | None = None
    usage: TokenUsage | None = None
    error: JsonObject | None = None
    complete: bool = False
    skipped: int = 0


class AnswerParser:
    """Reads one answer. Feed it the body's bytes in any split, then call `finish` once."""

    def __init__(
        self,
        protocol: Protocol,
        *,
        streaming: bool,
        max_json_bytes: int = MAX_JSON_BYTES,
        max_event_bytes: int = MAX_EVENT_BYTES,
    ) -> None:
        self.protocol = protocol
        self.streaming = streaming
        self.max_json_bytes = max_json_bytes
        self.signs = 0  # of life so far: bytes of a body, events of a stream but those that only keep it open
        self._sse = SseDecoder(max_event_bytes)
        self._body: bytearray | None = bytearray()
        self._model: str | None = None
        self._counts: dict[str, object] = {}
        self._error: JsonObject | None = None
        self._complete = False
        self._skipped = 0

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body."""
        if self.streaming:
            for event in self._sse.feed(data):
                self._event(event)
            return
        self.signs += len(data)
        if self._body is not None:
            self._body += data
            if len(self._body) > self.max_json_bytes:
                self._body = None

    def finish(self) -> Answer:
        """What the whole answer told."""
        if self.streaming:
            for event in self._sse.finish():
                self._event(event)
        else:
            self._whole()
        return Answer(
            model_served=self._model,
            usage=_USAGE[self.protocol](self._counts),
            error=self._error,
            complete=self._complete,
            skipped=self._skipped + self._sse.skipped,
        )

    def _whole(self) -> None:
        values = parse_objects(self._body) if self._body else None
        if values is None:
            self._skipped += self._body is None or len(self._body) > 0
            return
        self._complete = True
        for value in values:
            self._take(value)

    def _event(self, data: bytes) -> None:
        self.signs += _KEEP_ALIVE.match(data) is None
        if data.strip() == b"[DONE]":
            self._complete = True
        elif self._interesting(data):
            value = parse_object(data)
            if value is None:
                self._skipped += 1
            else:
                self._take(value)

    def _interesting(self, data: bytes) -> bool:
        """Whether parsing can tell anything new."""
        return self._model is None or any(mark in data for mark in _TELLING)

    def _take(self, value: JsonObject) -> None:
        kind = text(value, "type")
        inner = child(value, "message") or child(value, "response") or value
        self._model = self._model or text(inner, "model") or text(inner, "modelVersion")
        self._take_counts(child(inner, "usage"), opening=kind == "message_start")
        self._take_counts(child(inner, "usageMetadata"), opening=False)
        self._take_counts(child(value, "usage") if inner is not value else {}, opening=False)
        self._complete = self._complete or kind in _LAST_EVENTS or _has_finish_reason(inner)
        self._error = self._error or _error_of(value, kind) or _error_of(inner, None)

    def _take_counts(self, usage: JsonObject, *, opening: bool) -> None:
        """Later counts are totals, so the larger one is right; an opening event's output count is a placeholder."""
        for key in _COUNT_KEYS.intersection(usage):
            value, before = usage[key], self._counts.get(key)
            if isinstance(value, int) and isinstance(before, int):
                self._counts[key] = max(before, value)
            elif value is not None and not (opening and key == "output_tokens"):
                self._counts[key] = value


def _has_finish_reason(value: JsonObject) -> bool:
    """Whether a choice, or a candidate of Gemini, is at its end; a prompt that Gemini refuses has no candidate."""
    answers = [*items(value, "choices"), *items(value, "candidates")]
    ends = (one.get("finish_reason") or one.get("finishReason") for one in answers if isinstance(one, dict))
    return any(ends) or bool(child(value, "promptFeedback").get("blockReason"))


def _error_of(value: JsonObject, kind: str | None) -> JsonObject | None:
    """The error object in a body or event, in whichever of the known shapes."""
    error = value.get("error")
    if isinstance(error, dict) and error:
        return error
    if isinstance(error, str) and error:
        return {"message": error}
    flat = kind == "error" or value.get("object") == "error"
    return value if flat else None
