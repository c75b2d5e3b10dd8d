"""One model request on its way through the gateway: what is counted of it, and the event that it ends in."""

import logging
import time
from typing import Protocol as TypingProtocol
from urllib.parse import unquote

from multidict import CIMultiDictProxy

from orchestrator.domain.events import ErrorKind, ErrorSeen, OutputSeen, RequestEnded, RequestStarted
from workers.gateway.cassette import GEMINI_CALL, End
from workers.gateway.conversation import fingerprints
from workers.gateway.errors import classify
from workers.gateway.headers import limit_headers
from workers.gateway.jsonvalues import parse_object, text
from workers.gateway.protocols import Answer, AnswerParser
from workers.gateway.routes import GatewayEvent, Route

_log = logging.getLogger(__name__)
# Calls that make a model answer; everything else (model lists, token counts) passes without an event.
_ANSWERING = ("/chat/completions", "/completions", "/messages", "/responses", "/responses/compact")
# A flowing answer is reported as a sign of life this often.
_SIGN_SECONDS = 1.0
_MAX_ERROR_CHARS = 300


class Head(TypingProtocol):
    """What is read of an answer's beginning."""

    @property
    def status(self) -> int:
        """HTTP status."""

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        """The answer's headers."""


class Exchange:
    """Counts one request and reports it exactly once. Nothing here may break the request itself."""

    def __init__(self, route: Route, request_id: str, method: str, path: str) -> None:
        self.route = route
        self.request_id = request_id
        self.path = path.partition("?")[0]
        gemini = GEMINI_CALL.search(self.path)
        self.reported = method == "POST" and (gemini is not None or self.path.endswith(_ANSWERING))
        self.request_bytes = 0
        self.response_bytes = 0
        self._model = unquote(gemini[1]) if gemini else None
        self._tools = self._opening = ""
        self._began = time.monotonic()
        self._first_byte: float | None = None
        self._told_at = self._began
        self._status: int | None = None
        self._headers: dict[str, str] = {}
        self._parser: AnswerParser | None = None
        self._open = False
        self._recorder = route.recorder.begin(method, self.path) if route.recorder else None

    def started(self, body: bytes | None) -> None:
        """The request is about to be forwarded. `body` is None when it is too large to be looked into."""
        self._open = True
        if self._recorder:
            self._recorder.asked(body)
        if not self.reported:
            return
        value = parse_object(body) if body else None
        self._model = self._model or (text(value, "model") if value else None)
        self._tools, self._opening = fingerprints(self.route.protocol, value) if value else ("", "")
        self._emit(RequestStarted(request_id=self.request_id, model=self._model))

    def answered(self, head: Head) -> None:
        """The upstream's status and headers are here."""
        self._status = head.status
        self._headers = limit_headers(head.headers)
        if self._recorder:
            self._recorder.answered(head.status, head.headers)
        packed = head.headers.get("Content-Encoding", "identity").lower() != "identity"
        if self.reported and not packed:
            streaming = head.headers.get("Content-Type", "").lower().startswith("text/event-stream")
            self._parser = AnswerParser(self.route.protocol, streaming=streaming)

    def passed(self, chunk: bytes) -> None:
        """These bytes of the body go to the agent."""
        if self._first_byte is None:
            self._first_byte = time.monotonic()
        self.response_bytes += len(chunk)
        if self._recorder:
            self._recorder.passed(chunk)
        alive = self._read(chunk)
        now = time.monotonic()
        if self.reported and alive and now - self._told_at >= _SIGN_SECONDS:
            # An agent that prints a long answer only at its end is not silent while the answer flows.
            self._told_at = now
            self._emit(OutputSeen(size_bytes=len(chunk)))

    def _read(self, chunk: bytes) -> bool:
        """Whether the model said something with it: a connection that is only kept open is silent."""
        if self._parser is None:
            return True
        try:
            before = self._parser.signs
            self._parser.feed(chunk)
            return self._parser.signs > before
        # The parser reads what strangers send; whatever it meets, the agent's stream must go on.
        except Exception:  # noqa: BLE001
            _log.exception("gateway_parser_fault attempt=%s request=%s", self.route.attempt_id, self.request_id)
            self._parser = None
            return True

    def ended(self, broken: str | None = None, *, left: bool = False) -> None:
        """The answer is through, or the connection broke for the reason given. Later calls do nothing.

        `left`: it was the agent that went away, or its stage that ended.
        """
        if not self._open:
            return
        self._open = False
        if self._recorder:
            self._recorder.ended(End.LEFT if left else End.BROKEN if broken else End.WHOLE)
        if self.reported:
            self._report(broken)

    def _report(self, broken: str | None) -> None:
        answer = self._answer()
        now = time.monotonic()
        self._emit(
            RequestEnded(
                request_id=self.request_id,
                model_asked=self._model,
                model_served=answer.model_served,
                status=self._status,
                usage=answer.usage,
                first_byte_seconds=None if self._first_byte is None else self._first_byte - self._began,
                duration_seconds=now - self._began,
                request_bytes=self.request_bytes,
                response_bytes=self.response_bytes,
                error=self._error(answer, broken),
                limit_headers=self._headers,
                path=self.path,
                tools=self._tools,
                opening=self._opening,
            )
        )

    def _answer(self) -> Answer:
        if self._parser is None:
            return Answer()
        try:
            return self._parser.finish()
        # As in `passed`.
        except Exception:  # noqa: BLE001
            _log.exception("gateway_parser_fault attempt=%s request=%s", self.route.attempt_id, self.request_id)
            return Answer()

    def _error(self, answer: Answer, broken: str | None) -> ErrorSeen | None:
        now = time.time()
        error = classify(status=self._status, headers=self._headers, error=answer.error, now_epoch=now)
        if error is None and broken is None and self._cut_short(answer):
            broken = "the stream stopped before its last event"
        if error is None and broken is not None:
            return ErrorSeen(kind=ErrorKind.NETWORK, text=self._without_secret(broken), status=self._status)
        if error is None:
            return None
        return ErrorSeen(
            kind=error.kind,
            text=self._without_secret(error.text),
            status=error.status,
            retry_after_seconds=error.retry_after_seconds,
            resets_at_epoch=error.resets_at_epoch,
        )

    def _cut_short(self, answer: Answer) -> bool:
        return self._parser is not None and self._parser.streaming and not answer.complete and not answer.skipped

    def _without_secret(self, value: str) -> str:
        """Some servers quote the key that they refuse. Cut first, a part of it would be left."""
        return (value.replace(self.route.secret, "***") if self.route.secret else value)[:_MAX_ERROR_CHARS]

    def _emit(self, event: GatewayEvent) -> None:
        try:
            self.route.on_event(event)
        # The callback is the runner's; its fault must not break the agent's request.
        except Exception:  # noqa: BLE001
            _log.exception("gateway_callback_fault attempt=%s request=%s", self.route.attempt_id, self.request_id)
